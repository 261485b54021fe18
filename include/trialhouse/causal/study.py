"""From a study's trials to its estimates: every estimand, in every subgroup, as the spec registered it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from trialhouse.causal.answer import answer_all
from trialhouse.causal.checks.always import check_refuters
from trialhouse.causal.model import CausalGraph, read_graph
from trialhouse.causal.nuisances import check_families
from trialhouse.causal.over_training import answer_over_training
from trialhouse.causal.question import Comparison, Question, compared_arms
from trialhouse.causal.recipes import PRIMARY, check_recipes
from trialhouse.causal.results import Results, adjust_for_multiplicity
from trialhouse.causal.sample import Sample, label, make_sample, require_columns
from trialhouse.causal.scale import Scale
from trialhouse.errors import EstimationError
from trialhouse.studies.factors import TWINS
from trialhouse.studies.spec import HARDWARE_CLASS, Estimand, Factor, Indicator, Level, Study

LOST_FOR = ("out_of_memory", "diverged", "timed_out")
"""What the treatment can do to a trial. A crash is taken for an accident, and such trials are left out singly."""

_FINISHED_ONLY = (
    *("accuracy", "accuracy_as_served", "peak_memory_bytes", "memory_utilisation"),
    *("load_ms", "warmup_ms", "throughput_images_per_s", "loading_ms"),
)
"""Only a finished trial has these (and latencies): what was measured before memory ran out stops at the class's limit."""

_ENVIRONMENT = ("position", "slot_order", "host")
"""Columns that treatments cannot cause, but that may go with outcomes."""

_OF_WEIGHTS = ("accuracy", "accuracy_as_served", "weights_accuracy")
_OF_MEASURING = (HARDWARE_CLASS, "batch_size", "num_workers")
"""How weights are put to work cannot change how accurate they are: negative controls that come free."""

_IDS = ("trial_id", HARDWARE_CLASS)


def estimate_study(
    study: Study,
    trials: pd.DataFrame,
    graphs: Mapping[str, str],
    *,
    study_id: str,
    workers: int = 1,
    curves: pd.DataFrame | None = None,
) -> Results:
    """Estimate and try to refute everything that a study registered.

    Parameters
    ----------
    study
        The spec.
    trials
        Its analysis view: one row per trial with `trial_id`, `weights_id`, `hardware_class`, `block`, `status`, one column
        per factor and per outcome; an outcome is missing where the trial did not finish. Trials not yet measured are
        left out.
    graphs
        File name -> text of each causal graph that the estimands use.
    study_id
        Of the registered version.
    workers
        Processes; the results do not depend on it.
    curves
        Learning curves, one row per point (`trial_id`, `split`, `step`, `metric`, `value`); for estimands `over_training`.

    Returns
    -------
    Results
        Rows of the raw tables `estimates` and `refutations`: per estimand and subgroup the registered contrast by three
        recipes; by the primary recipe alone every other level against the control (`dose_response`), and every level of
        a factor that only exists in the treated arm (`subgroup_column` then names both columns, `hardware_class,
        pruning_method`).

    Raises
    ------
    EstimationError
        If a column, a graph or a node that an estimand needs is missing, or no trial was measured.
    """
    check_refuters(study.refuters)
    check_recipes(study.recipes)
    check_families(study.nuisances)
    require_columns(trials, "trial_id", "hardware_class", "status")
    frame = analysed(study, trials)
    if frame.empty:
        raise EstimationError("trials must be measured before effects are estimated", "none measured", f"run study {study.name!r} first")
    now = datetime.now(UTC)
    of_trials = [estimand for estimand in study.estimands if not estimand.over_training]
    questions = [question for estimand in of_trials for question in _questions(study, estimand, frame, graphs, study_id)]
    results = answer_all(questions, now, workers)
    block = study.block_factor.name if study.block_factor else None
    for estimand in study.estimands:
        if estimand.over_training:
            graph = _graph(study, estimand, graphs, *_treatment_factor(study, estimand), None)
            cluster = repeated_unit(frame, block)
            results.extend(
                answer_over_training(study, estimand, frame, curves, graph, study_id=study_id, cluster=cluster, lost_for=LOST_FOR, at=now)
            )
    adjust_for_multiplicity(results)
    return results


def primary_samples(
    study: Study, estimand: Estimand, trials: pd.DataFrame, graphs: Mapping[str, str]
) -> list[tuple[str | None, Sample, float]]:
    """What the primary recipe would see of an estimand, for each subgroup: its name, the sample, and the units between the two levels.

    Parameters
    ----------
    trials
        As in `estimate_study`, all of them measured. Every other factor is adjusted for, as in a randomised study.
    """
    found = []
    for question in _questions(study, estimand, trials, graphs, study_id="study_0000000000000000"):
        arms, span = compared_arms(question, question.comparisons[0])
        others = [
            item.name for item in study.factors if item.assignment != "fixed" and not item.is_label and item.name != estimand.treatment
        ]
        covariates = question.precision if isinstance(question.precision, tuple) else others
        sample = make_sample(
            question.frame[arms.notna()],
            treatment=question.treatment,
            outcome=question.outcome,
            arms=arms[arms.notna()],
            covariates=covariates,
            categorical=question.categorical,
            cluster=question.cluster,
            is_binary=not question.is_quantity,
        )
        found.append((question.subgroup, sample, span))
    return found


def analysed(study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    """The measured trials, by id, as they enter every analysis: with indicators, and without what only a finished trial has."""
    return _with_indicators(study, _finished(_measured(trials)))


def _measured(trials: pd.DataFrame) -> pd.DataFrame:
    is_measured = trials["status"].notna() & (trials["status"] != "pending")
    return trials[is_measured].sort_values("trial_id", kind="stable").reset_index(drop=True)


def _finished(trials: pd.DataFrame) -> pd.DataFrame:
    columns = [name for name in trials if name in _FINISHED_ONLY or str(name).startswith("latency_")]
    result = trials.copy()
    for name in columns:
        result[name] = pd.to_numeric(result[name]).astype(float).where(result["status"] == "ok")
    return result


def _with_indicators(study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    result = trials.copy()
    for indicator in study.indicators:
        if indicator.column not in trials:
            continue  # an error only for those who ask for it
        column = pd.to_numeric(trials[indicator.column]).astype(float)
        holds = column > indicator.above if indicator.above is not None else column < float(indicator.below or 0)
        result[indicator.name] = holds.astype(float).where(column.notna())
    return result


def _questions(study: Study, estimand: Estimand, frame: pd.DataFrame, graphs: Mapping[str, str], study_id: str) -> list[Question]:
    factor, indicator = _treatment_factor(study, estimand)
    outcome_indicator = next((item for item in study.indicators if item.name == estimand.outcome), None)
    averaged = [item for item in study.factors if _is_tied(item, factor, estimand, indicator)]
    free = [item for item in study.factors if item.assignment != "fixed" and not item.is_label]
    along = _goes_along(study, estimand, factor)
    covariates = [item for item in free if item.name != factor.name and item not in averaged and item.name not in along]
    adjustment = estimand.adjustment
    block = study.block_factor.name if study.block_factor else None
    used = [factor.name, *(item.name for item in covariates), *(adjustment if adjustment != "auto" else ())]
    require_columns(frame, *([outcome_indicator.column] if outcome_indicator else []), estimand.outcome, *used)
    drawn = _graph(study, estimand, graphs, factor, indicator, outcome_indicator)
    # An arm is the combination of a trial's levels, not a unit that is measured again.
    frame = _of_ladder(study, factor, frame).drop(columns=["arm", *along], errors="ignore")
    precision = [item.name for item in covariates]
    strata = [name for name in precision if name != block]
    if HARDWARE_CLASS not in (estimand.by, factor.name):
        precision.append(HARDWARE_CLASS)
        strata.append(HARDWARE_CLASS)
    # Whose weights the trials of a table have, it does not tell.
    is_of_weights = study.recorded is None and estimand.outcome in _OF_WEIGHTS
    placebo = study.placebo_factor.name if study.placebo_factor and study.placebo_factor.name in frame else None
    quantities = {item.name for item in study.factors if item.kind == "continuous" and (len(item.levels) > 6 or study.is_range(item))}
    scale = None if estimand.per is None else Scale(estimand.per)
    is_quantity = scale is not None or (study.is_range(factor) and indicator is None)
    quantities |= {factor.name} if is_quantity else set()
    environment = _ENVIRONMENT if study.recorded is None else ()  # a table does not tell in which order its trials ran
    left_out = [
        name
        for name in (*environment, *precision)
        if name in frame and name not in drawn.digraph and name not in {factor.name, estimand.by}
    ]
    questions = []
    for value in _subgroups(study, estimand):
        rows = frame if estimand.by is None else frame[frame[estimand.by].map(label).isin(_levels_of(estimand.by, value, averaged))]
        is_observational = study.is_observational and not _is_randomised_twin(study, estimand, value)
        graph = drawn.without_causes(_confounded(study)) if study.is_observational and not is_observational else drawn
        questions.append(
            Question(
                study_id=study_id,
                name=estimand.name,
                frame=(rows if scale is None else rows.assign(**{factor.name: scale.column(rows[factor.name])})).reset_index(drop=True),
                treatment=estimand.treatment,
                outcome=estimand.outcome,
                comparisons=tuple(_comparisons(study, estimand, factor, indicator, averaged, is_quantity)),
                graph=graph,
                assignment=graph.assignment or ("observational" if is_observational else "randomised"),
                adjustment=adjustment,
                # Only a design makes it safe to adjust for what the graph does not draw.
                precision="efficient" if is_observational else tuple(name for name in precision if name != estimand.by),
                categorical=(HARDWARE_CLASS, *(item.name for item in study.factors if item.name not in quantities)),
                cluster=repeated_unit(frame, block),
                strata=tuple(name for name in strata if name != estimand.by),
                lost_for=LOST_FOR,
                mediators=estimand.mediators,
                recipes=study.recipes,
                nuisances=study.nuisances,
                refuters=study.refuters,
                simulations=study.refuter_simulations,
                seed=study.estimation_seed,
                left_out=tuple(left_out),
                unaffecting=tuple(
                    name for name in _OF_MEASURING if is_of_weights and name in frame and name not in (estimand.by, factor.name)
                ),
                placebo=placebo,
                ids=_IDS,
                subgroup_column=estimand.by,
                subgroup=None if estimand.by is None else label(value),
                is_quantity=is_quantity,
                averaged_over=tuple(item.name for item in averaged if item.name != estimand.by),
                meaning=_meaning(rows, estimand, factor, indicator) if scale is None else f"Effect {scale.words(factor.name)}.",
                per=None if scale is None else str(scale),
                caveats=tuple(_caveats(study, graph, factor, along)),
            )
        )
    return questions


def _of_ladder(study: Study, factor: Factor, frame: pd.DataFrame) -> pd.DataFrame:
    """In a one-factor-at-a-time design the rows in which all other crossed factors are at their references."""
    references = {item.name: item.reference for item in study.factors if item.reference is not None and item.name != factor.name}
    for name, level in references.items():
        frame = frame[frame[name].map(label) == label(level)]
    return frame


def _goes_along(study: Study, estimand: Estimand, factor: Factor) -> list[str]:
    """Crossed factors that a list of points gives other levels, or in other shares, at some level of a factor than at others."""
    points = study.design.points
    if not isinstance(points, tuple) or factor.assignment != "crossed":
        return []

    def shares(name: str, level: Level) -> list[tuple[str, float]]:
        found = Counter(label(point[name]) for point in points if point[factor.name] == level)
        return sorted((other, count / found.total()) for other, count in found.items())

    others = [item.name for item in study.factors if item.assignment == "crossed" and item.name not in (factor.name, *estimand.adjustment)]
    return [name for name in others if any(shares(name, level) != shares(name, factor.levels[0]) for level in factor.levels)]


def _is_randomised_twin(study: Study, estimand: Estimand, value: Any) -> bool:
    return study.twin_factor is not None and estimand.by == study.twin_factor.name and value == TWINS[1]


def _confounded(study: Study) -> list[str]:
    """What the budget decides, as factors or as indicators of them."""
    factors = {item.name for item in study.factors if item.assignment == "confounded"}
    return sorted(factors | {item.name for item in study.indicators if item.column in factors})


def _treatment_factor(study: Study, estimand: Estimand) -> tuple[Factor, Indicator | None]:
    indicator = next((item for item in study.indicators if item.name == estimand.treatment), None)
    return study.factor(indicator.column if indicator else estimand.treatment), indicator


def _is_tied(other: Factor, factor: Factor, estimand: Estimand, indicator: Indicator | None) -> bool:
    """Whether a factor cannot be held fixed in the contrast, because it has no meaning in one of the arms (or gives the treatment its)."""
    levels = estimand.compared
    if other.applies_when is not None and other.applies_when.factor == factor.name:
        is_mixed = indicator is not None or estimand.dose_response or estimand.per is not None
        return is_mixed or not all(other.applies_when.holds(level) for level in levels)
    return factor.applies_when is not None and factor.applies_when.factor == other.name and factor.otherwise in levels


def _levels_of(column: str, value: Any, averaged: list[Factor]) -> list[str]:
    """The levels that make a subgroup: its own, and the one that stands for "does not apply" (the control that all share)."""
    otherwise = [item.otherwise for item in averaged if item.name == column and item.otherwise is not None]
    return [label(level) for level in (value, *otherwise)]


def _graph(
    study: Study, estimand: Estimand, graphs: Mapping[str, str], factor: Factor, indicator: Indicator | None, outcome: Indicator | None
) -> CausalGraph:
    name = estimand.graph or study.graph
    if name not in graphs:
        raise EstimationError(f"the graph of estimand {estimand.name!r} must be given", f"graphs {sorted(graphs)}", f"add {name}")
    graph = read_graph(graphs[name], name)
    if indicator is not None:
        graph = graph.with_treatment(estimand.treatment, factor.name)
    if outcome is not None:
        graph = graph.with_outcome(estimand.outcome, outcome.column)
    graph.require(estimand.treatment, estimand.outcome)
    return graph


def _subgroups(study: Study, estimand: Estimand) -> list[Any]:
    if estimand.by is None:
        return [None]
    return list(study.hardware_classes) if estimand.by == HARDWARE_CLASS else list(study.factor(estimand.by).levels)


def _comparisons(
    study: Study, estimand: Estimand, factor: Factor, indicator: Indicator | None, averaged: list[Factor], is_quantity: bool
) -> list[Comparison]:
    control, level = estimand.compared
    found = [Comparison(control, level, is_primary=estimand.is_primary, is_refuted=estimand.is_primary)]
    if is_quantity or indicator is not None:
        return found
    if estimand.dose_response:
        others: list[Level] = [other for other in factor.levels if label(other) not in (label(control), label(level))]
        found += [Comparison(control, other, (PRIMARY,)) for other in others]
    for nested in averaged:
        condition = nested.applies_when
        is_of_treatment = condition is not None and condition.factor == factor.name and nested.name != estimand.by
        if condition is not None and is_of_treatment and condition.holds(level) and not condition.holds(control):
            found += [Comparison(control, level, (PRIMARY,), only=(nested.name, value)) for value in nested.levels]
    return found


def repeated_unit(frame: pd.DataFrame, block: str | None) -> str | None:
    """The repeated units: the blocks; without blocks, weights that several trials share."""
    if block is not None:
        return "block" if "block" in frame else block
    has_shared = "weights_id" in frame and frame["weights_id"].duplicated().any()
    return "weights_id" if has_shared else None


def _meaning(rows: pd.DataFrame, estimand: Estimand, factor: Factor, indicator: Indicator | None) -> str | None:
    if indicator is None:
        return None
    mixes = []
    for value in (0, 1):
        levels = sorted(rows.loc[rows[indicator.name] == value, factor.name].unique())
        mixes.append(f"{value} stands for {factor.name} in {{{', '.join(map(label, levels))}}}")
    return f"{estimand.treatment} has several versions, mixed as assigned: {', '.join(mixes)}."


def _caveats(study: Study, graph: CausalGraph, factor: Factor, along: list[str]) -> list[str]:
    told: list[str] = []
    if study.design.kind == "one_factor_at_a_time":
        others = [f"{item.name} = {label(item.reference)}" for item in study.factors if item.reference is not None and item != factor]
        if others:
            told.append(f"one factor at a time: the effect at {', '.join(others)}; whether it is another elsewhere was not tried")
    if along:
        together = f"{', '.join(along)} {'goes' if len(along) == 1 else 'go'} along with {factor.name} from point to point"
        told.append(f"a list of points: {together}, so the effect is of all of them together")
    if factor.name == HARDWARE_CLASS and study.recorded is None:
        told.append("classes are measured one after another: what drifted meanwhile goes with the class")
    elif factor.name == HARDWARE_CLASS:
        told.append("a class is a whole machine: the effect is that of all in which the machines differed, software included")
    return told
