"""One trial of a study explained: why it came out as it did, how strong the arrows into its outcome are, what would have been."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from trialhouse.causal.inference import exact_interval
from trialhouse.causal.model import CausalGraph, read_graph
from trialhouse.causal.sample import require_columns
from trialhouse.causal.study import LOST_FOR, analysed, repeated_unit
from trialhouse.errors import EstimationError
from trialhouse.studies.spec import HARDWARE_CLASS, Study

if TYPE_CHECKING:
    from trialhouse.causal.gcm.attribution import ArrowStrength, Attribution
    from trialhouse.causal.gcm.counterfactual import Counterfactual
    from trialhouse.causal.gcm.mechanisms import Mechanisms
    from trialhouse.causal.gcm.projection import LeftOut
    from trialhouse.causal.gcm.regression import Form

OUT_OF_MEMORY = "is_oom"
OWN_CAVEAT = "what the graph draws no arrow for, and what no column holds, is in the part that is not explained"


@dataclass(frozen=True)
class Explanation:
    """What a study's rows and its causal graph say about one trial.

    Parameters
    ----------
    study_id, trial_id, outcome
        What is explained; numbers are in units of the outcome (the suffix of its name), 1 and 0 for yes and no.
    status
        How the trial ended.
    trials, units, cluster
        Rows that the model was fitted to, their repeated units, and the column that names those (None: rows are independent).
    graph
        Name of the causal graph.
    attribution
        The trial's difference from the average trial, shared out among causes.
    arrow_strengths
        Of the arrows into the outcome.
    counterfactual
        Under `do`; None where nothing was set.
    chance_of_out_of_memory
        Of the trial under `do`, for an outcome that only trials have that finish.
    forms
        Node -> shape of its mechanism.
    left_out
        Causes by the graph that the model does without.
    no_path
        Factors of the study from which the graph draws no path to the outcome.
    assumptions, caveats
        As sentences.
    seed
        Of all that is drawn at random.
    """

    study_id: str
    trial_id: str
    outcome: str
    status: str
    trials: int
    units: int
    cluster: str | None
    graph: str
    attribution: Attribution
    arrow_strengths: tuple[ArrowStrength, ...]
    counterfactual: Counterfactual | None
    chance_of_out_of_memory: Counterfactual | None
    forms: Mapping[str, Form]
    left_out: tuple[LeftOut, ...]
    no_path: tuple[str, ...]
    assumptions: tuple[str, ...]
    caveats: tuple[str, ...]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; None for what cannot be had."""
        found = _plain({**asdict(self), "mechanisms": {name: asdict(form) for name, form in self.forms.items()}})
        del found["forms"]
        return dict(found)


def explain_trial(
    study: Study,
    trials: pd.DataFrame,
    graphs: Mapping[str, str],
    *,
    study_id: str,
    trial_id: str,
    outcome: str | None = None,
    do: Mapping[str, str] | None = None,
) -> Explanation:
    """Why a trial came out as it did, and what it would have come to with other levels of some factors.

    Parameters
    ----------
    study
        The spec.
    trials
        Its analysis view, as `estimate_study` takes it.
    graphs
        File name -> text of each causal graph of the study.
    study_id
        Of the registered version.
    trial_id
        The trial, or the beginning of its id.
    outcome
        A column; by default `is_oom` for a trial that ran out of memory, else the first outcome that the study asks about and the
        trial has.
    do
        Factor -> level that it is set to, as text.

    Returns
    -------
    Explanation
        In units of the outcome. The same rows and code give the same bits.

    Raises
    ------
    EstimationError
        If the trial, the outcome, a factor or a level is unknown, the trial has no such outcome, or no graph draws its causes.
    """
    from trialhouse.causal.gcm.attribution import arrow_strengths, attribute
    from trialhouse.causal.gcm.counterfactual import counterfactual, read_levels
    from trialhouse.causal.gcm.mechanisms import fit_mechanisms

    require_columns(trials, "trial_id", "status")
    trial = _trial(trials, trial_id)
    frame = analysed(study, trials)
    block = study.block_factor.name if study.block_factor else None
    cluster = repeated_unit(frame, block)
    row = frame[frame["trial_id"] == trial]
    if row.empty:
        raise EstimationError(f"{trial} must have been measured", "a trial that was not", "run the study to its end")
    status = str(row["status"].iloc[0])
    chosen = outcome or _default_outcome(study, row, status)
    require_columns(frame, chosen)
    if row[chosen].isna().any():
        other = f"ask about {OUT_OF_MEMORY}" if status == "out_of_memory" and chosen != OUT_OF_MEMORY else "ask about another outcome"
        raise EstimationError(f"{trial} must have {chosen!r}", f"none: its status is {status!r}", other)
    graph = _graph(study, graphs, chosen)
    seed = study.estimation_seed
    tied = [(item.applies_when.factor, item.name) for item in study.factors if item.applies_when is not None]

    def fitted(target: str, graph: CausalGraph) -> tuple[Mechanisms, int]:
        model = fit_mechanisms(frame, graph, target, categorical=_categories(study), cluster=cluster, seed=seed)
        places = model.rows.index[model.rows["trial_id"] == trial]
        if len(places) == 0:
            raise EstimationError(f"{trial} must have every cause of {target!r} that the model uses", "a gap", "ask about another trial")
        return model, int(places[0])

    factors = _varied(study, frame)
    mechanisms, place = fitted(chosen, graph)
    found, chance = None, None
    if do:
        levels = read_levels(mechanisms, do, factors=factors)
        if all(float(mechanisms.values[node].iloc[place]) == level for node, level in levels.items()):
            told = ", ".join(f"{node}={level}" for node, level in do.items())
            raise EstimationError(f"what is set must differ from what {trial} had", told, "choose another level")
        found = counterfactual(mechanisms, place, levels, tied=tied, cluster=cluster, seed=seed)
        if _can_be_lost(frame, graph, chosen):
            of_memory, there = fitted(OUT_OF_MEMORY, graph)
            its_causes = {node: level for node, level in do.items() if node in of_memory.digraph}
            if its_causes:
                levels = read_levels(of_memory, its_causes, factors=factors)
                chance = counterfactual(of_memory, there, levels, tied=tied, cluster=cluster, seed=seed)
    units = len(mechanisms.rows) if cluster is None else int(mechanisms.rows[cluster].nunique())
    lost = int((frame[chosen].isna() & frame["status"].isin(LOST_FOR)).sum())
    return Explanation(
        study_id=study_id,
        trial_id=trial,
        outcome=chosen,
        status=status,
        trials=len(mechanisms.rows),
        units=units,
        cluster=cluster,
        graph=graph.name,
        attribution=attribute(mechanisms, place, tied=tied, seed=seed),
        arrow_strengths=arrow_strengths(mechanisms, tied=tied, seed=seed),
        counterfactual=found,
        chance_of_out_of_memory=chance,
        forms=mechanisms.forms,
        left_out=mechanisms.left_out,
        no_path=tuple(name for name in factors if not graph.descendants(name) & {chosen}),
        assumptions=tuple(_assumptions(study, mechanisms, graph, is_set=bool(do))),
        caveats=(*mechanisms.caveats, *_caveats(mechanisms, units, lost)),
        seed=seed,
    )


def _trial(trials: pd.DataFrame, wanted: str) -> str:
    ids = trials["trial_id"].astype(str)
    found = sorted(set(ids[ids.str.startswith(wanted)])) if wanted else []
    if len(found) != 1:
        actual = f"{wanted!r}, with which {len(found)} ids begin" if found else repr(wanted)
        raise EstimationError("--trial must be the id of one of the study's trials, or how only one begins", actual, "see fct_trials")
    return found[0]


def _default_outcome(study: Study, row: pd.DataFrame, status: str) -> str:
    if status == "out_of_memory" and OUT_OF_MEMORY in row:
        return OUT_OF_MEMORY
    asked = dict.fromkeys(item.outcome for item in study.estimands if item.is_primary)
    for outcome in asked:
        if outcome in row and row[outcome].notna().all():
            return outcome
    raise EstimationError(
        "an outcome must be named", f"none, and the trial (status {status!r}) has none of {list(asked)}", "give --outcome"
    )


def _graph(study: Study, graphs: Mapping[str, str], outcome: str) -> CausalGraph:
    """The study's graph, or the first of its questions' that draws the outcome; that of an indicator is drawn below its column."""
    indicator = next((item for item in study.indicators if item.name == outcome), None)
    names = dict.fromkeys([study.graph, *(item.graph for item in study.estimands if item.graph)])
    for name in [name for name in names if name in graphs]:
        graph = read_graph(graphs[name], name)
        graph = graph if indicator is None else graph.with_outcome(outcome, indicator.column)
        if outcome in graph.digraph:
            return graph
    drawn = sorted({str(node) for name in names if name in graphs for node in read_graph(graphs[name], name).digraph})
    raise EstimationError("the outcome must be a node of the study's causal graph", repr(outcome), f"ask about one of {drawn}")


def _categories(study: Study) -> list[str]:
    """Factors whose levels are levels, not amounts (see `estimate_study`)."""
    amounts = {item.name for item in study.factors if item.kind == "continuous" and (len(item.levels) > 6 or study.is_range(item))}
    return [HARDWARE_CLASS, *(item.name for item in study.factors if item.name not in amounts)]


def _varied(study: Study, frame: pd.DataFrame) -> list[str]:
    names = [HARDWARE_CLASS, *(item.name for item in study.factors if item.assignment != "fixed")]
    return [name for name in names if name in frame and frame[name].nunique() > 1]


def _can_be_lost(frame: pd.DataFrame, graph: CausalGraph, outcome: str) -> bool:
    """Whether setting a factor could cost the trial its outcome by running out of memory."""
    if OUT_OF_MEMORY not in graph.digraph or OUT_OF_MEMORY not in frame or outcome == OUT_OF_MEMORY:
        return False
    return bool(frame.loc[frame[OUT_OF_MEMORY] == 1, outcome].isna().any())


def _assumptions(study: Study, mechanisms: Mechanisms, graph: CausalGraph, *, is_set: bool) -> list[str]:
    told = [f"{graph.name} is right: an arrow that it lacks, or a common cause that it does not draw, would change these numbers"]
    told.append(OWN_CAVEAT)
    if study.is_observational:
        told.append("the factors were not assigned: what they are given a part in rests on the graph alone")
    if is_set:
        told.append("what is particular to the trial (its noise) stays the same when a factor is set: no data can show that of one trial")
    if mechanisms.is_share:
        told.append("of a yes or no, chances are explained: those of the fitted logistic regression, which knows no certainty")
    return told


def _caveats(mechanisms: Mechanisms, units: int, lost: int) -> list[str]:
    told = []
    if lost:
        told.append(f"{lost} trials that did not finish have no {mechanisms.target} and are not among these")
    if mechanisms.is_share:
        unseen = exact_interval(0, units)[1]
        told.append(
            f"where all {units} repeated units agree, a chance of up to {unseen:.0%} of the contrary stays possible (Clopper & Pearson);"
            " narrower intervals rest on the regression's form"
        )
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
