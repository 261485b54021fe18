"""The report: one self-contained HTML file per study, which says what was found and never more than the verdicts allow."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from trialhouse.errors import WarehouseError
from trialhouse.identity import NAME_PATTERN
from trialhouse.reporting import choice, exported, formats, learning, panels, plots, robustness, survivorship
from trialhouse.reporting.answer import Answer, RefuterSummary, answer_of
from trialhouse.reporting.files import write_whole
from trialhouse.reporting.findings import Finding
from trialhouse.reporting.formats import counted, joined, level_name, words
from trialhouse.reporting.graph_drawing import Arrows, arrows_of, draw
from trialhouse.reporting.law_panels import LawSection, law_sections
from trialhouse.reporting.marts import Row, StudyData, read_study
from trialhouse.reporting.responses import response_panels
from trialhouse.reporting.trust import trust_of

TEMPLATES = Path(__file__).with_name("templates")
_PACKAGES = ("torch", "torch-pruning", "dowhy", "econml", "great-expectations", "dbt-core", "duckdb", "apache-airflow")

DESIGNS = {
    "full_factorial": "full factorial: every combination of the crossed factors",
    "fractional_factorial": "fractional factorial: the runs that its generator names",
    "latin_hypercube": "Latin hypercube over the crossed factors",
    "completely_randomised": "completely randomised: combinations drawn in random order",
    "randomised_blocks": "randomised blocks: every combination of the crossed factors in every block, in random order",
    "one_factor_at_a_time": "one factor at a time: each factor's levels in turn, all others at their references",
    "listed": "listed: the combinations that the study names, no others",
    "observational": "observational: nobody assigned the treatments, or they were confounded on purpose",
}
ASSIGNMENTS = {
    "crossed": "crossed",
    "randomised": "drawn at random, balanced",
    "blocked": "blocks (repeated units)",
    "fixed": "fixed",
    "placebo": "a label drawn at random that changes nothing (A/A test)",
    "confounded": "confounded on purpose: drawn so that it goes with a hidden budget",
    "twin": "a label: in the randomised half nothing is confounded",
}
REFUTERS = {
    "random_common_cause": "Adds a random common cause; the estimate should not move.",
    "bootstrap": "Estimates again on resampled trials; the estimate should not move.",
    "dummy_outcome": "Replaces the outcome with noise; the effect should vanish.",
    "data_subset": "Estimates again on random subsets; the estimate should not move.",
    "permuted_placebo": "Replaces the treatment with a shuffled one; the effect should vanish.",
    "left_out_columns": "Looks for measured columns that go with treatment and outcome although the graph leaves them out.",
    "graph_rules": "Is the effect identified, and is nothing adjusted for that the treatment causes?",
    "overlap": "Could units of every kind have been in either arm?",
    "recipe_agreement": "Do recipes that ought to agree do so within two standard errors?",
    "repeated_units": "Are rows taken for independent trials that are not?",
    "estimable": "Is there anything to compare, and an interval to be had?",
    "placebo_arms": "Compares equal treatments, told apart by a random label only (A/A test); they should not differ.",
    "implied_independences": "Do columns that the graph keeps apart from treatment or outcome go with them all the same?",
    "negative_control_treatment": "Does what cannot change the outcome seem to?",
    "negative_control_outcome": "Does the treatment seem to move what it cannot move?",
    "durbin_wu_hausman": "Does the instrument's estimate differ from the adjusted one beyond chance?",
    "first_stage": "Does the instrument move the treatment enough?",
    "agreement_of_instruments": "Is one effect compatible with all instruments?",
    "overidentification": "Do more instruments than are needed say the same about the effect?",
    "specification": "Would squares, cubes or products of the covariates explain more than chance?",
    "robust_shift": "Do a few far-out trials carry the estimate?",
    "specification_curve": "What is the estimate under other sensible choices?",
    "balance": "How alike does adjustment make the arms?",
    "effective_trials": "How many trials carry the estimate?",
    "survivorship": "Are only trials compared that finished, more of them in one arm?",
    "trimming_bounds": "Between what does the effect lie for trials that would finish in either arm?",
    "worst_case_bounds": "Between what does the effect lie, whatever lost trials would have shown?",
    "pre_trends": "Did trials that switch and those that do not run alike before?",
    "comparable_points": "Are there points before and after, of trials that switch and of some that do not?",
    "sensitivity": "How strong an unobserved confounder would have to be to explain the effect away.",
}
STOCK_REFUTERS = ("random_common_cause", "permuted_placebo", "data_subset", "bootstrap", "dummy_outcome")


@dataclass(frozen=True)
class Snippet:
    """A query that runs against the published warehouse as it stands."""

    title: str
    sql: str


def write_report(study_id: str, warehouse: Path, out_dir: Path) -> Path:
    """Write `<out_dir>/<study_name>/index.html` from the published warehouse, and pictures of laws in `figures/` beside it.

    The page needs nothing beside itself, says what is known at whatever stage the study is, is the same for the same data,
    and takes the place of an older one as a whole.

    Parameters
    ----------
    study_id
        A study version in `marts.dim_studies`.
    warehouse
        The published DuckDB file; opened read-only.
    out_dir
        The reports folder; made if it is not there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    WarehouseError
        If the warehouse is missing, lacks the marts, or does not know the study.
    EstimationError
        If the registered causal graph cannot be read.
    """
    data = read_study(study_id, warehouse)
    name = str(data.study["study_name"])
    if not re.match(NAME_PATTERN, name):
        raise WarehouseError("a study's name must be lower-case letters, digits and underscores", repr(name), "fix the study's YAML")
    path = out_dir / name / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = answer_of(data)
    laws = () if found.failed_gates else law_sections(data)
    exported.export([plot for section in laws for plot in section.plots], path)
    write_whole(path, render_report(data, found, laws, warehouse, path).encode())
    return path


def render_report(data: StudyData, found: Answer, laws: Sequence[LawSection], warehouse: Path, path: Path) -> str:
    """The report's HTML; `path` is where it will be, for links to what lies beside it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "words": words,
        "title_case": formats.title,
        "sentence": formats.sentence,
        "level": level_name,
        "at": formats.time_text,
        "p": formats.p_text,
        "share": lambda value: f"{value:.0%}" if formats.is_number(value) else formats.MISSING,
        "bytes": formats.bytes_text,
        "joined": joined,
        "svg": Markup,  # only ever text from figures.py, graph_drawing.py and plots.py, which escape what they draw
        "drawn": lambda plot: Markup(plots.on_page(plot)),  # noqa: S704 (escaped there)
    }
    environment.globals |= {"counted": counted, "level_text": formats.level_text}
    chosen = choice.choices(data)
    return environment.get_template("report.html.j2").render(
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704 (our own file)
        data=data,
        answer=found,
        groups=_groups(found),
        design=_design(data),
        designs=DESIGNS,
        assignments=ASSIGNMENTS,
        registration=_registration(data),
        graphs=_graphs(data),
        estimated=panels.estimated_figure(data, found),
        learning=learning.learning_figure(data),
        laws=laws,
        responses=() if found.failed_gates else response_panels(data),
        figures=exported.FOLDER,
        observed=panels.observed_figures(data),
        memory=panels.memory_figure(data),
        out_of_memory=panels.out_of_memory_figure(data),
        frontier=choice.frontier_figure(data),
        survivorship=survivorship.comparisons(data, found),
        removed=panels.removed_figure(data),
        pareto=choice.pareto_figure(data),
        choices=chosen,
        choice_summary=choice.summary(chosen),
        forests=panels.forests(found),
        by_method=panels.forests_by_method(data, found),
        by_modifier=panels.forests_by_modifier(data, found),
        instruments=panels.instruments(data, found),
        curves=robustness.curves(data, found),
        hidden_causes=robustness.hidden_causes(data, found),
        bounds=robustness.bounds(data, found),
        refuters=[(summary, REFUTERS.get(summary.refuter, "")) for summary in found.refuters],
        stock=_stock(found),
        refutations=_refutations(data, found),
        sensitivity=_refutations(data, found, only="sensitivity"),
        trust=trust_of(data),
        failures=_failures(data),
        snippets=snippets(data),
        warehouse=warehouse,
        docs=os.path.relpath(warehouse.parent.parent / "docs" / "index.html", path.parent),
        provenance=_provenance(data),
    )


def snippets(data: StudyData) -> list[Snippet]:
    """Queries for those who want to look further; each runs against the published warehouse."""
    name = str(data.study["study_name"]).replace("'", "''")
    treatment = next((factor for factor in data.factors if data.factors[factor]["assignment"] == "crossed"), None)
    by = ", ".join(["hardware_class", *([treatment] if treatment else [])])
    averages = (
        f"select {by}, count(*) as trials, avg(accuracy) as accuracy, median(latency_ms) as latency_ms,\n"
        "       median(peak_memory_bytes) / 1048576 as peak_memory_mib, avg(is_oom) as out_of_memory_share\n"
    )
    if data.is_trained:
        averages = f"select {by}, count(*) as trials, avg(accuracy) as accuracy, avg(loss) as loss, median(parameters) as parameters\n"
    laws = Snippet(
        "Every law: parameters and contrasts",
        "select law, subgroup, compared_with, form, quantity, estimate, ci_low, ci_high, verdict, reasons, sentence\n"
        f"from marts.fct_scaling_laws\nwhere study_name = '{name}' and is_current\norder by law, compared_with nulls first, subgroup;",
    )
    return [
        *([laws] if data.spec.get("laws") else []),
        Snippet(
            "Every current effect with its interval and verdict",
            "select estimand, subgroup, contrast_from, contrast_to, method, estimate, ci_low, ci_high, verdict, reasons\n"
            f"from marts.fct_estimates\nwhere study_name = '{name}' and is_current\norder by estimand, subgroup, contrast_to, method;",
        ),
        Snippet(
            "Averages by class and treatment, one row per trial in the view",
            f'{averages}from analysis."{name}"\nwhere is_measured\ngroup by {by}\norder by {by};',
        ),
        Snippet(
            "Trials that failed, and why",
            "select hardware_class, status, failure_reason, count(*) as trials, min(trial_id) as an_example\n"
            f"from marts.fct_trials\nwhere study_name = '{name}' and status not in ('ok', 'pending')\ngroup by all\norder by trials desc;",
        ),
        Snippet(
            "What tried to refute each effect",
            "select estimand, subgroup, method, refuter, verdict, p_value, statistic, reason\n"
            f"from marts.fct_refutations\nwhere study_name = '{name}' and is_current\norder by estimand, subgroup, refuter;",
        ),
        Snippet(
            "How the numbers came about over time: every estimate ever made, newest first",
            "select estimated_at, estimand, subgroup, method, estimate, verdict, data_id, code_version, is_current\n"
            f"from marts.fct_estimates\nwhere study_name = '{name}'\norder by estimated_at desc, estimand, subgroup, method;",
        ),
    ]


def _groups(found: Answer) -> list[tuple[str, list[Finding]]]:
    """Primary findings by outcome: the answer's paragraphs."""
    groups = panels.by_estimand(found.primary)
    nouns = Counter(panels.noun_of(group[0]) for group in groups.values())
    treatments = Counter((panels.noun_of(group[0]), group[0].headline.treatment) for group in groups.values())

    def title(estimand: str, group: list[Finding]) -> str:
        noun = panels.noun_of(group[0])
        if estimand in found.twins:
            return f"{noun} ({words(estimand)})"
        if treatments[noun, group[0].headline.treatment] > 1:
            return f"{noun}: {group[0].change}"
        return f"{noun}, by {words(group[0].headline.treatment)}" if nouns[noun] > 1 else noun

    return [(title(estimand, group), group) for estimand, group in groups.items()]


def _design(data: StudyData) -> dict[str, Any]:
    per_class = Counter(trial["hardware_class"] for trial in data.trials)
    return {
        "is_recorded": data.spec.get("recorded") is not None,
        "is_observational": data.spec["design"]["kind"] == "observational",
        "per_class": [(name, per_class[name]) for name in data.spec["hardware_classes"]],
        "blocks": len({trial["block"] for trial in data.trials}),
        "weights": len({trial["weights_id"] for trial in data.trials}),
        "emulated": [row for row in data.hardware_classes if row["is_emulated"]],
        "limits": sorted(
            {limit.strip() for row in data.hardware_classes for limit in (row["not_emulated"] or "").split(";") if limit.strip()}
        ),
        "methods": [(name, factor) for name, factor in data.factors.items() if factor["applies_when"]],
    }


def _registration(data: StudyData) -> dict[str, Any]:
    started = [trial["started_at"] for trial in data.trials if trial["started_at"] is not None]
    registered_at = data.study["registered_at"]
    return {
        "registered_at": registered_at,
        "first_trial_at": min(started, default=None),
        "earlier": sum(at < registered_at for at in started),
    }


def _graphs(data: StudyData) -> list[tuple[str, str, str]]:
    """Name, drawing and text of each registered graph."""
    drawn = []
    for name, text in sorted(data.graphs.items()):
        graph = arrows_of(text, name)
        label = f"Causal graph {name} with {counted(len(graph.nodes), 'variable')} and {counted(len(graph.edges), 'arrow')}"
        drawn.append((name, draw(graph, _roles(data, graph), label), text))
    return drawn


def _roles(data: StudyData, graph: Arrows) -> dict[str, str]:
    def column(name: str) -> str:
        return str(data.indicators[name]["column"]) if name in data.indicators else name

    estimands = data.estimands.values()
    roles = dict.fromkeys((*data.factors, "hardware_class"), "assigned")
    roles |= {column(estimand["outcome"]): "outcome" for estimand in estimands}
    roles |= {column(estimand["treatment"]): "treatment" for estimand in estimands}
    return {node: roles.get(node, "covariate") for node in graph.nodes}


def _stock(found: Answer) -> dict[str, Any]:
    stock: list[RefuterSummary] = [summary for summary in found.refuters if summary.refuter in STOCK_REFUTERS]
    return {
        "names": [words(summary.refuter) for summary in stock],
        "tried": sum(sum(summary.verdicts.values()) for summary in stock),
        "rejected": sum(summary.verdicts.get("failed", 0) for summary in stock),
    }


def _refutations(data: StudyData, found: Answer, only: str | None = None) -> list[tuple[Finding, list[Row]]]:
    """Checks of each primary estimate."""
    tables = []
    for finding in found.primary:
        rows = [
            row
            for row in data.refutations
            if row["estimate_id"] == finding.headline.estimate_id and (only is None or row["refuter"] == only)
        ]
        if rows:
            tables.append((finding, rows))
    return tables


def _failures(data: StudyData) -> dict[str, Any]:
    failed = [trial for trial in data.trials if trial["status"] not in ("ok", "pending")]
    reasons = Counter((trial["hardware_class"], trial["status"], trial["failure_reason"] or "no reason recorded") for trial in failed)
    return {
        "trials": failed,
        "reasons": sorted(reasons.items(), key=lambda item: (-item[1], item[0])),
        "pending": sum(trial["status"] == "pending" for trial in data.trials),
    }


def _provenance(data: StudyData) -> list[tuple[str, str]]:
    started = [trial["started_at"] for trial in data.trials if trial["started_at"] is not None]
    ended = [trial["ended_at"] for trial in data.trials if trial["ended_at"] is not None]
    versions = [f"{name} {metadata.version(name)}" for name in _PACKAGES if _is_installed(name)]

    times = [
        ("First trial started", formats.time_text(min(started, default=None))),
        ("Last trial ended", formats.time_text(max(ended, default=None))),
    ]
    if data.spec.get("recorded") is not None:
        times = [("Imported", formats.time_text(min(started, default=None)))]

    def all_of(rows: Sequence[Row], column: str) -> str:
        return ", ".join(sorted({str(row[column]) for row in rows if row.get(column) is not None})) or formats.MISSING

    return [
        ("Study version", str(data.study["study_id"])),
        ("Questions (hash)", str(data.study["estimands_id"])),
        ("Registered", formats.time_text(data.study["registered_at"])),
        *times,
        ("Validated", formats.time_text(max((row["validated_at"] for row in data.validations), default=None))),
        ("Estimated", formats.time_text(max((row["estimated_at"] for row in data.estimates), default=None))),
        ("Hosts", all_of(data.trials, "host")),
        ("Estimated from data", all_of(data.estimates, "data_id")),
        ("Estimated by code version", all_of(data.estimates, "code_version")),
        ("This report by", f"Trialhouse {metadata.version('trialhouse')}, Python {platform.python_version()}, {', '.join(versions)}"),
    ]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
