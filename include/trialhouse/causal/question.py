"""One causal question, answered: DoWhy's four steps in order, for each of its contrasts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.causal.identify import Identification, by_instrument, identify, in_words, rules_broken
from trialhouse.causal.inference import Inference
from trialhouse.causal.model import Assignment, CausalGraph, causal_model
from trialhouse.causal.recipes import INSTRUMENTAL, PRIMARY, RECIPES, Nuisances, fit_recipe
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.results import Contrast, Results, add_rows
from trialhouse.causal.sample import Sample, Survival, amount, arms_of, finishing, label, make_sample, surviving
from trialhouse.causal.verdict import Check, decide

RECIPES_OF = {
    "randomised": ("naive", PRIMARY, "double_ml"),
    "observational": ("naive", PRIMARY, "double_ml", "double_ml_boosting", "doubly_robust"),
}
"""The recipes of a registered contrast. Without a lottery the effect rests on how confounding is modelled, so a family that
can bend as the first cannot has to agree: in simulations it differs from a wrong line in 100% of draws at n = 500."""

BY_MODIFIER = ("linear_dr", "linear_dml")
"""Recipes beside them where the graph names what modifies the effect: for two arms, and for quantities too."""

FEW_UNITS = 20
"""Repeated units below which the small sample is mentioned."""


@dataclass(frozen=True)
class Comparison:
    """Two levels of a question's treatment.

    Parameters
    ----------
    control, level
        The two levels.
    recipes
        Names of recipes to estimate it with; none for those that go with the assignment.
    is_primary
        Whether the primary recipe's row is an answer.
    is_refuted
        Whether refuters attack it.
    only
        Column -> value that the treated arm is restricted to.
    """

    control: Any
    level: Any
    recipes: tuple[str, ...] = ()
    is_primary: bool = False
    is_refuted: bool = False
    only: tuple[str, Any] | None = None


@dataclass(frozen=True)
class Question:
    """What is asked, of which rows, on which assumptions. Plain data, so that it can go to another process.

    Parameters
    ----------
    study_id, name
        The study and its estimand.
    frame
        The rows of the subgroup, one per trial.
    treatment, outcome
        Columns; the outcome may be missing where a trial did not finish.
    comparisons
        Pairs of levels.
    graph, assignment
        What causes what, and how the treatment came about.
    adjustment, precision
        See `identify`.
    categorical
        Columns that are categories though they may be numbers.
    cluster
        Column of the repeated units.
    strata
        Other assigned factors, among whose combinations those are chosen in which both arms survive.
    lost_for
        Words of `status` that the treatment can cause.
    recipes
        Recipes besides those that go with the assignment.
    nuisances
        Settings of nuisance learners.
    refuters, simulations, seed
        Of the attempts to refute.
    left_out
        Columns that might be common causes although the graph leaves them out.
    mediators
        Nodes other than through which the direct effect is asked for as well.
    unaffecting
        Columns that cannot change the outcome, whatever the graph draws: negative-control treatments.
    placebo
        Column of a label that was drawn at random and changes nothing.
    ids
        Columns that tell rows apart, for the hash of the data.
    subgroup_column, subgroup
        Which rows these are.
    is_quantity
        Whether the treatment enters as a quantity with a slope instead of as two arms.
    averaged_over, meaning, per, caveats
        For the words of the answer; `per` says what one step from 0 to 1 is, where levels are those of a scale.
    """

    study_id: str
    name: str
    frame: pd.DataFrame
    treatment: str
    outcome: str
    comparisons: tuple[Comparison, ...]
    graph: CausalGraph
    assignment: Assignment
    adjustment: tuple[str, ...] | str = "auto"
    precision: tuple[str, ...] | str = ()
    categorical: tuple[str, ...] = ()
    cluster: str | None = None
    strata: tuple[str, ...] = ()
    lost_for: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    nuisances: Nuisances = field(default_factory=dict)
    refuters: tuple[str, ...] = ()
    simulations: int = 100
    seed: int = 0
    left_out: tuple[str, ...] = ()
    mediators: tuple[str, ...] = ()
    unaffecting: tuple[str, ...] = ()
    placebo: str | None = None
    ids: tuple[str, ...] = ()
    subgroup_column: str | None = None
    subgroup: str | None = None
    is_quantity: bool = False
    averaged_over: tuple[str, ...] = ()
    meaning: str | None = None
    per: str | None = None
    caveats: tuple[str, ...] = ()


def answer(question: Question, at: datetime) -> Results:
    """Model, identify, estimate and refute; one row per comparison and recipe.

    Raises
    ------
    EstimationError
        If the graph does not name the treatment or the outcome, or draws no path between them.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    results = Results()
    with threadpool_limits(1), _quiet():  # one thread: the same bits whatever runs beside
        graph = question.graph
        model = causal_model(question.frame, graph, question.treatment, question.outcome)
        identification = identify(
            model,
            graph,
            treatment=question.treatment,
            outcome=question.outcome,
            adjustment=question.adjustment,
            precision=question.precision,
        )
        for comparison in question.comparisons:
            _compare(question, comparison, identification, results, at)
    return results


def _compare(question: Question, comparison: Comparison, identification: Identification, results: Results, at: datetime) -> None:
    from trialhouse.causal.checks import always
    from trialhouse.causal.refute import attacks

    arms, span = compared_arms(question, comparison)
    frame = question.frame[arms.notna()]
    arms = arms[arms.notna()]
    survival = (
        finishing(frame, question.outcome, question.lost_for)
        if question.is_quantity
        else surviving(frame, arms, question.outcome, question.strata, question.lost_for)
    )
    contrast = _contrast(question, comparison)
    kept, finished = frame.loc[survival.rows], frame[frame[question.outcome].notna()]
    is_random = question.assignment == "randomised"
    seed = always.seed_of(question.seed, contrast)
    modifiers = question.graph.modifiers(question.treatment, frame)
    wanted = (*RECIPES_OF[question.assignment], *(BY_MODIFIER if modifiers else ()), *question.recipes)
    recipes = comparison.recipes or tuple(name for name in dict.fromkeys(wanted) if _applies(name, question, modifiers))
    plain, instrumental = _unadjusted(question, identification), by_instrument(identification)
    if identification.instrument_adjustment is not None and not comparison.recipes:
        recipes = (*recipes, INSTRUMENTAL)
    # Where no observed columns close every back door, the instrument's estimate is the answer, if there is one.
    has_answer = identification.is_identified or question.adjustment != "auto" or INSTRUMENTAL not in recipes
    primary = PRIMARY if has_answer else INSTRUMENTAL
    fits: dict[str, Fit] = {}
    samples: dict[str, Sample] = {}
    for recipe in recipes:
        adjusting = plain if not RECIPES[recipe].is_adjusted else instrumental if recipe == INSTRUMENTAL else identification
        rows = finished if adjusting is plain and survival.stratum is not None else kept
        samples[recipe] = make_sample(
            rows,
            treatment=question.treatment,
            outcome=question.outcome,
            arms=arms,
            covariates=adjusting.columns,
            categorical=question.categorical,
            cluster=question.cluster,
            is_binary=not question.is_quantity,
            instruments=identification.instruments,
            modifiers=modifiers,
        )
        if len(rows) > 0 and np.ptp(samples[recipe].arms) > 0:
            fits[recipe] = fit_recipe(recipe, samples[recipe], span=span, seed=seed, nuisances=question.nuisances)
    overlaps: dict[bool, Check] = {}
    for recipe in recipes:
        sample, fit = samples[recipe], fits.get(recipe)
        adjusting = plain if not RECIPES[recipe].is_adjusted else instrumental if recipe == INSTRUMENTAL else identification
        checks = [*_missing(survival, question.outcome, fit), always.graph_rules(adjusting, by_instrument=adjusting is instrumental)]
        if survival.stratum is not None and (adjusting is plain or question.is_quantity):
            checks.append(_survivors(survival))
        if fit is not None:
            if adjusting is not instrumental:
                # Of the treatment and the covariates, not of the recipe: recipes that adjust alike share it.
                if (adjusting is plain) not in overlaps:
                    overlaps[adjusting is plain] = always.overlap(sample, adjusting.adjustment, is_random=is_random, seed=seed)
                checks.append(overlaps[adjusting is plain])
            checks += attacks(question, comparison, identification, sample, fit, fits, span=span, seed=seed)
        is_attacked = comparison.is_refuted and recipe == primary
        is_bounded = recipe == PRIMARY and is_random and not question.is_quantity and sum(survival.lost) > 0
        checks += _bounds(question, frame, arms, seed) if is_bounded else ()
        told = _caveats(question, adjusting, survival, sample, fit, is_naive=adjusting is plain, is_attacked=is_attacked)
        verdict = decide(checks, told, is_random=is_random)
        average = fit.inference if fit else Inference(math.nan)
        for named, inference, trials in ((contrast, average, len(sample.arms)), *_by_modifier(contrast, fit)):
            add_rows(
                results,
                named,
                method=recipe,
                method_estimand=RECIPES[recipe].estimand,
                is_primary=comparison.is_primary and recipe == primary and named is contrast,
                inference=inference,
                confidence_set=_confidence_set(fit, span),
                effective_trials=_effective_trials(fit),
                nuisance_r2=fit.nuisance_r2 if fit else (math.nan, math.nan),
                verdict=verdict,
                adjustment=list(adjusting.columns),
                expression=_expression(question, comparison, adjusting, is_instrumental=adjusting is instrumental),
                trials=trials,
                stratum=survival.stratum if adjusting is not plain else None,
                data_id=sample.data_id(question.ids),
                seed=seed,
                at=at,
            )
    if question.mediators and comparison.is_primary and PRIMARY in fits:
        _direct(question, contrast, samples[PRIMARY], results, span=span, stratum=survival.stratum, at=at)


def _direct(
    question: Question, contrast: Contrast, sample: Sample, results: Results, *, span: float, stratum: str | None, at: datetime
) -> None:
    from trialhouse.causal.direct import METHOD_ESTIMAND, direct

    found = direct(
        sample,
        question.graph,
        question.mediators,
        categorical=question.categorical,
        span=span,
        caveats=question.caveats,
        is_random=question.assignment == "randomised",
    )
    add_rows(
        results,
        replace(contrast, estimand=f"{contrast.estimand}_not_through_{'_'.join(question.mediators)}"),
        method=PRIMARY,
        method_estimand=METHOD_ESTIMAND,
        is_primary=False,
        inference=found.inference,
        verdict=found.verdict,
        adjustment=list(found.adjustment),
        expression=found.expression,
        trials=len(sample.arms),
        stratum=stratum,
        data_id=sample.data_id(question.ids),
        at=at,
    )


def _applies(recipe: str, question: Question, modifiers: Sequence[str]) -> bool:
    """Whether there is what a recipe needs. Instruments are added where the graph lets them be such."""
    made = RECIPES[recipe]
    return not (made.needs == "instruments" or (made.needs == "arms" and question.is_quantity) or (made.has_effects and not modifiers))


def _confidence_set(fit: Fit | None, span: float) -> str | None:
    """The Anderson-Rubin set as JSON, where it is what is to be trusted and has no two ends."""
    if fit is None or fit.instrumented is None:
        return None
    known = fit.instrumented.anderson_rubin.scaled(span)
    if known.is_bounded and not known.is_disjoint:
        return None
    return json.dumps([[end if math.isfinite(end) else None for end in piece] for piece in known.pieces])


def _effective_trials(fit: Fit | None) -> float:
    from trialhouse.causal.checks.diagnostics import effective_size

    left = fit.partialled if fit else None
    return effective_size(left) if left is not None and float(left.treatment @ left.treatment) > 0 else math.nan


def _by_modifier(contrast: Contrast, fit: Fit | None) -> Iterator[tuple[Contrast, Inference, int]]:
    """Each row of a recipe's table of effects, as an estimate of its own."""
    if fit is None or fit.effects is None:
        return
    modifiers = [name for name in fit.effects if name not in ("effect", "ci_low", "ci_high", "p_value", "n")]
    for row in fit.effects.to_dict("records"):
        columns = [*([contrast.subgroup_column] if contrast.subgroup_column else []), *map(str, modifiers)]
        levels = [*([contrast.subgroup] if contrast.subgroup else []), *(label(row[name]) for name in modifiers)]
        inference = Inference(row["effect"], ci_low=row["ci_low"], ci_high=row["ci_high"], p_value=row["p_value"])
        yield replace(contrast, subgroup_column=", ".join(columns), subgroup=", ".join(levels)), inference, int(row["n"])


def compared_arms(question: Question, comparison: Comparison) -> tuple[pd.Series[Any], float]:
    """Arm (0, 1 or missing) of each row, or the quantity's values; and how many units of it lie between the two levels."""
    column = question.frame[question.treatment]
    if question.is_quantity:
        return column.astype(float), float(comparison.level) - float(comparison.control)
    arms = arms_of(column, comparison.control, comparison.level)
    if comparison.only is not None:
        name, value = comparison.only
        arms = arms.mask((arms == 1) & (question.frame[name].astype(str) != str(value)))
    return arms, 1.0


def _contrast(question: Question, comparison: Comparison) -> Contrast:
    columns = [question.subgroup_column] if question.subgroup_column else []
    values = [question.subgroup] if question.subgroup_column else []
    if comparison.only is not None:
        columns.append(comparison.only[0])
        values.append(label(comparison.only[1]))
    return Contrast(
        study_id=question.study_id,
        estimand=question.name,
        treatment=question.treatment,
        outcome=question.outcome,
        control=label(comparison.control),
        level=label(comparison.level),
        subgroup_column=", ".join(map(str, columns)) or None,
        subgroup=", ".join(map(str, values)) or None,
        per=question.per,
    )


def _expression(question: Question, comparison: Comparison, identification: Identification, *, is_instrumental: bool) -> str:
    level = label(comparison.level)
    if comparison.only is not None:
        level += f", {comparison.only[0]} = {label(comparison.only[1])}"
    return in_words(
        identification,
        treatment=question.treatment,
        outcome=question.outcome,
        control=label(comparison.control),
        level=level,
        assignment=question.assignment,
        is_binary=not question.is_quantity,
        within=f"{question.subgroup_column} = {question.subgroup}" if question.subgroup_column else None,
        averaged_over=question.averaged_over if comparison.only is None else (),
        meaning=question.meaning,
        is_instrumental=is_instrumental,
    )


def _missing(survival: Survival, outcome: str, found: Fit | None) -> Iterator[Check]:
    if found is None:
        reason = f"No estimate: there are no two arms with {outcome} to compare"
        if survival.stratum is not None:
            lost, assigned = survival.lost, survival.assigned
            reason = (
                "No estimate: in no stratum did every trial of both arms finish"
                f" ({lost[0]} of {assigned[0]} control and {lost[1]} of {assigned[1]} treated trials did not)"
            )
        yield Check("estimable", "failed", f"{reason}.", consequence="withheld")
    elif found.inference.note is not None:
        yield Check("estimable", "failed", f"No interval: {found.inference.note}.", consequence="withheld")


def _survivors(survival: Survival) -> Check:
    lost, assigned = survival.lost, survival.assigned
    if assigned[1] == 0:
        reason = f"Compares survivors only: {lost[0]} of {assigned[0]} trials did not finish, more at some levels than at others."
        return Check("survivorship", "failed", reason, consequence="withheld")
    reason = (
        f"Compares survivors only: {lost[0]} of {assigned[0]} control and {lost[1]} of {assigned[1]} treated trials did not finish,"
        " so the arms are no longer alike."
    )
    return Check("survivorship", "failed", reason, consequence="withheld")


def _unadjusted(question: Question, identification: Identification) -> Identification:
    """The same question for the plain contrast, which adjusts for nothing."""
    broken = rules_broken(question.graph, question.treatment, question.outcome, ())
    return replace(identification, adjustment=(), precision=(), violations=broken)


def _caveats(
    question: Question,
    identification: Identification,
    survival: Survival,
    sample: Sample,
    found: Fit | None,
    *,
    is_naive: bool,
    is_attacked: bool,
) -> list[str]:
    told = list(question.caveats)
    told += identification.notes
    if survival.sentence and not is_naive and not question.is_quantity:
        told.append(survival.sentence)
    if survival.left_out:
        told.append(f"{survival.left_out} trials that crashed, or have no {question.outcome} for another reason, are left out")
    if found is not None:
        told += found.caveats
        told += _precision_caveats(question, sample, found.inference)
    if question.assignment == "observational":
        told.append("conditional on the graph and on the model's adequacy: the treatment was not assigned")
    if not is_attacked:
        told.append("exploratory: only the checks that always run were applied")
    return told


def _bounds(question: Question, frame: pd.DataFrame, arms: pd.Series[Any], seed: int) -> Iterator[Check]:
    """What the effect can be over trials that the estimate cannot speak of, because the treatment lost some of their outcomes."""
    from trialhouse.causal.bounds import trimming_bounds, worst_case_bounds

    is_counted = frame[question.outcome].notna()
    is_counted |= frame["status"].isin(list(question.lost_for)) if "status" in frame else True
    rows = frame[is_counted]
    given, values = arms[is_counted].to_numpy(dtype=float), rows[question.outcome].to_numpy(dtype=float)
    clusters = None if question.cluster is None else np.unique(rows[question.cluster].astype(str), return_inverse=True)[1]
    cells = rows.groupby(list(question.strata), sort=False, dropna=False).ngroup() if question.strata else None
    strata = None if cells is None else np.asarray(cells, dtype=np.int64)
    yield trimming_bounds(given, values, clusters=clusters, strata=strata, seed=seed).check(question.outcome)
    if len(values) > 0 and not np.isnan(values).all() and np.nanmin(values) >= 0 and np.nanmax(values) <= 1:
        yield worst_case_bounds(given, values, (0.0, 1.0), clusters=clusters).check(question.outcome)


def _precision_caveats(question: Question, sample: Sample, inference: Inference) -> Iterator[str]:
    from scipy.stats import t as student

    if inference.clusters is not None and inference.clusters < FEW_UNITS:
        shared = ""
        if "weights_id" in sample.frame:
            weights = sample.frame["weights_id"].nunique()
            if weights < len(sample.frame):
                shared = f"; {len(sample.frame)} trials share {weights} sets of weights"
        yield f"small sample: {inference.clusters} repeated units ({question.cluster}){shared}"
    elif inference.clusters is None and len(sample.arms) < 2 * FEW_UNITS:
        yield f"small sample: {len(sample.arms)} trials"
    freedom, error = inference.degrees_of_freedom, inference.standard_error
    if inference.p_value >= 0.05 and freedom > 0 and error > 0:
        detectable = float(student.ppf(0.975, freedom) + student.ppf(0.8, freedom)) * error
        least = amount(detectable, question.outcome)
        yield f"low power: an effect of less than {least} would be missed in more than one of five such studies"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep DoWhy from telling what the rows say already."""
    import logging
    import warnings

    logger = logging.getLogger("dowhy")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def answer_all(questions: Sequence[Question], at: datetime, workers: int = 1) -> Results:
    """All questions' rows in order; with several workers, in as many processes, with the same bits."""
    results = Results()
    if workers > 1 and len(questions) > 1:
        from joblib import Parallel, delayed  # type: ignore[import-untyped]

        parts = Parallel(n_jobs=min(workers, len(questions)), batch_size=1)(delayed(answer)(question, at) for question in questions)
    else:
        parts = [answer(question, at) for question in questions]
    for part in parts:
        results.extend(part)
    return results
