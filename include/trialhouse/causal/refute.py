"""Step 4, refute: which attempts are made on which estimate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trialhouse.causal.checks import always
from trialhouse.causal.checks.battery import STOCK_REFUTERS, stock_refuter
from trialhouse.causal.checks.diagnostics import balance, effective_trials
from trialhouse.causal.checks.implications import implied_independences
from trialhouse.causal.checks.negative_controls import negative_control_outcome, negative_control_treatment, place_controls
from trialhouse.causal.checks.overidentification import overidentification
from trialhouse.causal.checks.robust_shift import robust_shift
from trialhouse.causal.checks.sensitivity import sensitivity
from trialhouse.causal.checks.specification import specification
from trialhouse.causal.checks.specification_curve import allowed_sets, specification_curve, summary
from trialhouse.causal.identify import Identification
from trialhouse.causal.instruments import agreement_of_instruments, durbin_wu_hausman, first_stage
from trialhouse.causal.recipes import PRIMARY, RECIPES
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.sample import Sample
from trialhouse.causal.verdict import ALPHA, Check

if TYPE_CHECKING:
    from trialhouse.causal.question import Comparison, Question


HARMLESS = 1.0
"""Standard errors within which recipes that bend must agree for a wrong shape to be a caveat only."""


def attacks(
    question: Question,
    comparison: Comparison,
    identification: Identification,
    sample: Sample,
    fit: Fit,
    fits: Mapping[str, Fit],
    *,
    span: float,
    seed: int,
) -> Iterator[Check]:
    """The checks of one estimate, beyond the rules of the graph and overlap.

    Parameters
    ----------
    fit
        The estimate.
    fits
        All recipes' estimates of the same contrast.
    span
        Units of treatment between its two levels.
    """
    is_random = question.assignment == "randomised"
    if not RECIPES[fit.recipe].is_adjusted:
        return
    if fit.instrumented is not None:
        yield first_stage(fit.instrumented, sample.instruments, sample.treatment, span)
        yield agreement_of_instruments(fit.instrumented, sample.instruments)
        yield overidentification(sample, sample.instruments, question.categorical)
    elif PRIMARY in fits:
        yield from always.recipe_agreement(fit, [fits[name] for name in _peers(fit.recipe, fits)])
    if fit.instrumented is None:
        yield from _roles(question, identification, sample, is_random=is_random)
    if fit.recipe != PRIMARY:
        return
    yield always.repeated_units(sample, fit, question.cluster, question.ids)
    if question.placebo is not None and comparison.is_primary:
        yield always.placebo_arms(sample, question.placebo)
    if "left_out_columns" in question.refuters:
        candidates = [column for column in question.left_out if column not in sample.covariates]
        yield always.left_out_columns(sample, candidates, is_random=is_random)
    if not comparison.is_refuted:
        return
    if fit.partialled is not None and not set(sample.values.tolist()) <= {0.0, 1.0}:
        yield robust_shift(fit.partialled, sample.outcome, span=span)
    if not is_random:
        yield _shape(sample, fit, fits, seed)
        yield _specification_curve(question, sample, fit, span)
        if fit.partialled is not None:
            yield balance(sample, fit.partialled)
            yield effective_trials(sample, fit.partialled)
    for name in STOCK_REFUTERS:
        if name in question.refuters and fit.partialled is not None:
            yield stock_refuter(name, sample, fit.partialled, span=span, simulations=question.simulations, seed=always.seed_of(seed, name))
    if "sensitivity" in question.refuters:
        yield sensitivity(sample, fit.inference, is_random=is_random, partialled=fit.partialled, span=span)


def _roles(question: Question, identification: Identification, sample: Sample, *, is_random: bool) -> Iterator[Check]:
    """What the graph itself, and the roles of its nodes, say that the data would show if the effect were confounded."""
    instruments = identification.instruments
    # With other covariates than the instrument needs, the two estimates could differ for the instrument's fault.
    is_comparable = identification.instrument_adjustment is not None and set(identification.instrument_adjustment) == set(
        identification.columns
    )
    if instruments and is_comparable:
        yield durbin_wu_hausman(sample, instruments, question.categorical)
    named = [node for node in question.graph.roles.get("negative_control", ()) if node in sample.frame]
    controls = place_controls(question.graph, sample.treatment, sample.outcome, sample.covariates, named)
    treatments = (*controls.treatments, *question.unaffecting)
    if controls.outcomes:
        yield negative_control_outcome(sample, controls.outcomes, question.categorical)
    if treatments:
        yield negative_control_treatment(sample, treatments, question.categorical)
    yield implied_independences(
        sample,
        question.graph,
        needed=identification.adjustment,
        precision=identification.precision,
        categorical=question.categorical,
        is_random=is_random,
        elsewhere=(*(instruments if is_comparable else ()), *controls.treatments),
    )


def _shape(sample: Sample, fit: Fit, fits: Mapping[str, Fit], seed: int) -> Check:
    """The test of the regression's shape, which decides unless recipes that bend say that it hardly matters to the effect.

    Effects that differ between units are no fault of the shape, but of what one average says: they are left out of the test.
    """
    check = specification(sample, seed=always.seed_of(seed, "specification"), interactions=False)
    agreement = next(always.recipe_agreement(fit, [fits[name] for name in _peers(fit.recipe, fits)]), None)
    is_harmless = agreement is not None and agreement.statistic is not None and agreement.statistic <= HARMLESS
    if check.p_value is None or check.p_value >= ALPHA or not is_harmless:
        return check
    reason = f"{check.reason}; but recipes that can bend agree within {HARMLESS:g} standard error, so it hardly moves the effect"
    return replace(check, verdict="inconclusive", reason=reason, is_test=False, consequence="none")


def _specification_curve(question: Question, sample: Sample, fit: Fit, span: float) -> Check:
    """The estimate under every adjustment that the graph allows, with and without far-out trials; it never decides."""
    import pandas as pd

    adjustments = allowed_sets(question.graph, sample.treatment, sample.outcome, [str(name) for name in sample.frame])
    curve = specification_curve(
        sample.frame,
        treatment=sample.treatment,
        outcome=sample.outcome,
        arms=pd.Series(sample.arms, index=sample.frame.index),
        adjustments=adjustments,
        categorical=question.categorical,
        cluster=question.cluster,
        span=span,
        is_binary=sample.is_binary,
    )
    known = curve["estimate"].dropna()
    is_stable = len(known) > 0 and (np.sign(known) == np.sign(fit.inference.estimate)).all()
    reason = summary(curve, fit.inference.estimate, sample.outcome)
    details: tuple[Any, ...] = tuple(curve.to_dict("records"))
    return Check("specification_curve", "passed" if is_stable else "inconclusive", reason, consequence="none", details=details)


def _peers(recipe: str, fits: Mapping[str, Fit]) -> list[str]:
    """Recipes that estimate the same as this one: all of them for the primary one, the primary one for the others."""
    same = [name for name in fits if RECIPES[name].estimand == RECIPES[recipe].estimand and RECIPES[name].is_adjusted]
    return [name for name in same if name != recipe] if recipe == PRIMARY else [PRIMARY]
