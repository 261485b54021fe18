"""Pre-registration: what a study asks, and which trials shall answer it, landed before the first of them runs.

Every later task needs only the study's id: `registered` reads the version back from the landing zone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialhouse import __version__
from trialhouse.errors import SpecError
from trialhouse.hardware.classes import HOST, HardwareClass, load_hardware_classes
from trialhouse.hardware.limits import require_memory
from trialhouse.identity import content_id
from trialhouse.interventions import check_held_factors, interventions
from trialhouse.landing import LandingZone
from trialhouse.records import Records, land_records, read_records
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.catalogue import graph_file, load_study, parse_study
from trialhouse.studies.designs import Trial, WorkloadIdentity, assign
from trialhouse.studies.recorded import DERIVED
from trialhouse.studies.spec import Factor, Level, Study
from trialhouse.workloads.protocol import Learner
from trialhouse.workloads.registry import is_learner, load_learner, load_workload

if TYPE_CHECKING:
    from trialhouse.causal.model import CausalGraph


@dataclass(frozen=True)
class Registration:
    """One version of a study.

    Parameters
    ----------
    study_id
        Hash of the spec and of all that it resolves to: workload version, data, hardware classes, graphs.
    study
        The spec.
    trials
        Its trials in their random order.
    graphs
        Name -> text of every causal graph that its estimands use.
    is_new
        Whether this call registered it.
    """

    study_id: str
    study: Study
    trials: list[Trial]
    graphs: dict[str, str]
    is_new: bool = False


def plan(study: Study, settings: Settings | None = None) -> Registration:
    """Resolve a study to its id and trials without landing anything.

    Raises
    ------
    TrialhouseError
        If the workload, a hardware class, a graph or a level cannot be used.
    """
    settings = settings or get_settings()
    if study.recorded is not None:
        return _imported(study, settings)
    learner = load_learner(study) if is_learner(study.workload.name) else None
    workload = learner or load_workload(study)
    identity = workload.identity()
    hardware = _hardware(study, settings)
    graphs = graphs_of(study, settings)
    _check_questions(study, graphs, workload.outcomes)
    hardware_ids = {name: item.hardware_id for name, item in hardware.items()}
    study_id = content_id("study", {"spec": study.content, "workload": _plain(identity), "hardware": hardware_ids, "graphs": graphs})
    trials = assign(study, identity, hardware_ids)
    if learner is not None:
        _check_interventions(study, trials, learner)
    else:
        check_held_factors(study)
    return Registration(study_id, study, trials, graphs)


def plan_import(study: Study, table: Path, settings: Settings | None = None) -> tuple[Registration, Records]:
    """Resolve a recorded study and its table to id and trials without landing anything.

    Raises
    ------
    TrialhouseError
        If a graph, the table or a row of it cannot be used.
    """
    settings = settings or get_settings()
    records = read_records(study, table, {name: item.hardware_id for name, item in _hardware(study, settings).items()})
    graphs = graphs_of(study, settings)
    assert study.recorded is not None
    _check_questions(study, graphs, DERIVED | set(study.recorded.outcomes))
    study_id = content_id("study", {"spec": study.content, "records": records.records_id, "graphs": graphs})
    return Registration(study_id, study, [record.trial for record in records.records], graphs), records


def register(name: str, overrides: Mapping[str, Any] | None = None, settings: Settings | None = None) -> Registration:
    """Land a study's spec, questions and assignment; does nothing where this version is registered already.

    Parameters
    ----------
    name
        A study's name or the path of its YAML.
    overrides
        Fields from the UI's form (`Study.with_overrides`); they make another version.

    Raises
    ------
    TrialhouseError
        If the study cannot be used; nothing is landed then.
    """
    settings = settings or get_settings()
    return register_version(plan(load_study(name, settings).with_overrides(**(overrides or {})), settings), settings)


def register_version(planned: Registration, settings: Settings | None = None) -> Registration:
    """Land a version that was planned; one that is registered already becomes the current one of its name again."""
    settings = settings or get_settings()
    landing = LandingZone(settings.landing_dir)
    if landing.has("study_versions", planned.study_id):
        _make_current(planned, landing)
        return planned
    return _land(planned, settings)


def import_table(name: str, table: Path, settings: Settings | None = None) -> tuple[Registration, Records]:
    """Land a recorded study: its spec and questions, and what its table says of its trials. What landed is not landed again.

    Parameters
    ----------
    name
        A study's name or the path of its YAML.
    table
        CSV or Parquet, one row per trial.

    Raises
    ------
    TrialhouseError
        If the study or the table cannot be used; nothing is landed then.
    """
    settings = settings or get_settings()
    planned, records = plan_import(load_study(name, settings), table, settings)
    land_records(records, LandingZone(settings.landing_dir))
    return register_version(planned, settings), records


def _land(planned: Registration, settings: Settings) -> Registration:
    landing, study = LandingZone(settings.landing_dir), planned.study
    hardware = _hardware(study, settings)
    tables = {
        "hardware_classes": [{"study_id": planned.study_id, **_hardware_row(item)} for item in hardware.values()],
        "treatments": [row for trial in planned.trials for row in _treatment_rows(planned.study_id, trial)],
        "assignments": [_assignment_row(planned.study_id, study, trial) for trial in planned.trials],
        "study_versions": [_version_row(planned)],  # last: without it the rest is not registered
    }
    for table, rows in tables.items():
        landing.write_once(table, rows, unit_id=planned.study_id)
    return Registration(planned.study_id, study, planned.trials, planned.graphs, is_new=True)


def registered(study_id: str, settings: Settings | None = None) -> Registration:
    """Read a registered version back.

    Raises
    ------
    SpecError
        If it was never registered in this home.
    """
    import duckdb

    settings = settings or get_settings()
    landing = LandingZone(settings.landing_dir)
    if not landing.has("study_versions", study_id):
        raise SpecError("study must be registered in this home before its trials run", repr(study_id), "run `trialhouse run STUDY`")

    def read(table: str) -> list[dict[str, Any]]:
        result = connection.execute("SELECT * FROM read_parquet(?)", [str(landing.root / table / f"{study_id}.0.0.parquet")])
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        version = read("study_versions")[0]
        study = parse_study(json.loads(version["spec"]), source=study_id)
        factors: dict[str, dict[str, Level]] = {}
        labels: dict[str, dict[str, Level]] = {}
        for row in read("treatments"):
            factor = study.factor(row["factor"])
            kind = labels if factor.is_label else factors
            kind.setdefault(row["trial_id"], {})[factor.name] = _level(factor, row["assigned"], row["assigned_value"])
        trials = [
            Trial(
                trial_id=row["trial_id"],
                weights_id=row["weights_id"],
                hardware_class=row["hardware_class"],
                factors=factors[row["trial_id"]],
                arm=row["arm"],
                block=row["block"],
                replicate=row["replicate"],
                position=row["position"],
                labels=labels.get(row["trial_id"], {}),
            )
            for row in read("assignments")
        ]
    return Registration(study_id, study, sorted(trials, key=lambda trial: trial.position), json.loads(version["graph"]))


def _make_current(planned: Registration, landing: LandingZone) -> None:
    """Register a known version once more where another version of its name came after it: what is run last is current."""
    import duckdb

    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        files = [str(path) for path in landing.files("study_versions")]
        last, times = connection.execute(
            "SELECT arg_max(study_id, registered_at), count(*) FILTER (study_id = $id) FROM read_parquet($files) WHERE study_name = $name",
            {"id": planned.study_id, "files": files, "name": planned.study.name},
        ).fetchall()[0]
    if last != planned.study_id:
        landing.write("study_versions", [_version_row(planned)], unit_id=planned.study_id, sequence=times)


def _imported(study: Study, settings: Settings) -> Registration:
    """The newest import of this very spec and its graphs."""
    import duckdb

    graphs = json.dumps(graphs_of(study, settings), sort_keys=True)
    files = [str(path) for path in LandingZone(settings.landing_dir).files("study_versions")]
    found = None
    if files:
        query = "SELECT arg_max(study_id, registered_at) FROM read_parquet($files) WHERE spec_id = $spec_id AND graph = $graphs"
        with duckdb.connect(":memory:", config={"threads": 1}) as connection:
            found = connection.execute(query, {"files": files, "spec_id": study.spec_id, "graphs": graphs}).fetchall()[0][0]
    if found is None:
        expected = f"the table of study {study.name!r}, as its YAML is now, must be imported into this home"
        raise SpecError(expected, "no import of it", f"run `trialhouse import {study.name} --table FILE`")
    return registered(str(found), settings)


def _hardware(study: Study, settings: Settings) -> dict[str, HardwareClass]:
    if study.recorded is not None:
        machines = study.recorded.hardware_class.classes
        return {
            name: HardwareClass(
                name=name,
                represents=machines[name].represents,
                cpus=machines[name].cpus,
                threads=machines[name].cpus,
                memory_bytes=machines[name].memory_bytes,
                is_emulated=False,
            )
            for name in study.hardware_classes
        }
    known = load_hardware_classes(settings)
    unknown = [name for name in study.hardware_classes if name not in known]
    if unknown:
        raise SpecError(f"hardware_classes must be among {sorted(known)}", repr(unknown[0]), f"fix study {study.name!r}")
    for name in study.hardware_classes:
        if known[name].is_emulated:  # the others are measured elsewhere
            require_memory(known[name])
    return {name: known[name] for name in study.hardware_classes}


def _check_interventions(study: Study, trials: list[Trial], learner: Learner) -> None:
    """Refuse, before anything runs, an intervention that cannot be had as it was asked for (a width of so many parameters, say)."""
    if study.hardware_classes != (HOST.name,):
        expected = f"hardware_classes must be [{HOST.name}] where trials are only trained: no other class would change what they come to"
        raise SpecError(expected, list(study.hardware_classes), f"fix study {study.name!r}")
    for trial in trials:
        learner.plan(trial.factors)
    interventions(study, trials, learner)


def _check_questions(study: Study, graphs: Mapping[str, str], outcomes: Set[str]) -> None:
    """Refuse, before anything runs, what could only fail when everything has run: unknown outcomes, graphs without the question."""
    from trialhouse.causal.model import read_graph  # brings networkx, which tasks that read a registration back do without

    indicators = {indicator.name: indicator.column for indicator in study.indicators}
    factors = {factor.name for factor in study.factors if not factor.is_label}
    for indicator in study.indicators:
        if indicator.column not in outcomes | factors:
            expected = f"column of indicator {indicator.name!r} must be one of {sorted(outcomes | factors)}"
            raise SpecError(expected, repr(indicator.column), f"fix study {study.name!r}")
    for estimand in study.estimands:
        treatment, outcome = (indicators.get(name, name) for name in (estimand.treatment, estimand.outcome))
        if outcome not in outcomes:
            expected = f"outcome of estimand {estimand.name!r} must be one of {sorted(outcomes)} or an indicator of one"
            raise SpecError(expected, repr(estimand.outcome), f"fix study {study.name!r}")
        name = estimand.graph or study.graph
        graph = read_graph(graphs[name], name)
        graph.require_path(treatment, outcome)
        if graph.assignment == "randomised" and study.is_observational:
            expected = f"{name} must not say that the treatment was randomised in an observational study"
            raise SpecError(expected, "assignment 'randomised'", f"fix {name} or design.kind")
        _check_confounding(study, graph, treatment)
    if study.laws:
        from trialhouse.scaling_laws.study import check_laws

        check_laws(study, sorted(outcomes | factors))
    if study.responses:
        from trialhouse.scaling_laws.response_study import check_responses

        check_responses(study, sorted(outcomes | factors))


def _check_confounding(study: Study, graph: CausalGraph, treatment: str) -> None:
    """Refuse a graph that hides why a treatment goes with others, where the design lets them."""
    confounded = [factor.name for factor in study.factors if factor.assignment == "confounded"]
    for other in confounded if treatment in confounded else []:
        if other != treatment and (other not in graph.digraph or graph.separates(treatment, other)):
            expected = f"{graph.name} must draw why {treatment!r} goes with {other!r}, which the design confounds"
            raise SpecError(expected, "no open back door between them", f"draw the budget: budget -> {treatment}; budget -> {other}")


def graphs_of(study: Study, settings: Settings) -> dict[str, str]:
    """Name -> text of each graph that a study's estimands use."""
    names = sorted({study.graph, *(estimand.graph for estimand in study.estimands if estimand.graph)})
    return {name: graph_file(study, settings, name).read_text(encoding="utf-8") for name in names}


def _plain(workload: WorkloadIdentity) -> dict[str, Any]:
    return {**vars(workload), "settings": dict(workload.settings)}


def _version_row(planned: Registration) -> dict[str, Any]:
    study = planned.study
    questions = {
        key: study.content[key]
        for key in ("estimands", "laws", "responses", "indicators", "limits", "refuters", "refuter_simulations", "gates")
        if key in study.content  # a study without responses is what it was before there were any
    }
    return {
        "study_id": planned.study_id,
        "study_name": study.name,
        "spec_id": study.spec_id,
        "estimands_id": content_id("estimands", {**questions, "graphs": planned.graphs}),
        "title": study.title,
        "question": study.question,
        "spec": json.dumps(study.content, sort_keys=True),
        "graph": json.dumps(planned.graphs, sort_keys=True),
        "trials": len(planned.trials),
        "code_version": __version__,
        "registered_at": datetime.now(UTC),
    }


def _hardware_row(item: HardwareClass) -> dict[str, Any]:
    return {
        "hardware_class": item.name,
        "hardware_id": item.hardware_id,
        "represents": item.represents,
        "cpus": item.cpus,
        "threads": item.threads,
        "memory_bytes": item.memory_bytes,
        "is_emulated": item.is_emulated,
        "not_emulated": "; ".join(item.not_emulated) or None,
    }


def _assignment_row(study_id: str, study: Study, trial: Trial) -> dict[str, Any]:
    keys = ("trial_id", "weights_id", "hardware_class", "arm", "block", "replicate", "position")
    return {"study_id": study_id, "workload": study.workload.name, **{key: getattr(trial, key) for key in keys}}


def _treatment_rows(study_id: str, trial: Trial) -> list[dict[str, Any]]:
    return [
        {
            "study_id": study_id,
            "trial_id": trial.trial_id,
            "factor": name,
            "assigned": str(level),
            "assigned_value": None if isinstance(level, str) else float(level),
        }
        for name, level in (*trial.factors.items(), *trial.labels.items())
    ]


def _level(factor: Factor, text: str, value: float | None) -> Level:
    """The level as the spec wrote it: categories by their text, numbers by their value."""
    named = {str(level): level for level in (*factor.levels, factor.otherwise)}
    if text in named and named[text] is not None:
        return named[text]  # type: ignore[return-value]
    if value is None:
        raise SpecError(f"factor {factor.name!r} must have a level of its spec", repr(text), "register the study anew")
    return int(value) if value.is_integer() else value
