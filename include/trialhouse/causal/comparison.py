"""One comparison of a question, carried from its rows to its verdicts: estimate and refute, recipe by recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.causal.caveats import caveats
from trialhouse.causal.checks import always
from trialhouse.causal.checks.diagnostics import effective_size
from trialhouse.causal.checks.lost_outcomes import bounds, estimable, survivors_only
from trialhouse.causal.direct import METHOD_ESTIMAND, direct
from trialhouse.causal.identify import Identification, by_instrument, rules_broken
from trialhouse.causal.inference import Inference
from trialhouse.causal.question import BY_MODIFIER, RECIPES_OF, Comparison, Question, applies, compared_arms, contrast_of, expression_of
from trialhouse.causal.recipes import INSTRUMENTAL, PRIMARY, RECIPES, fit_recipe
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.refute import attacks
from trialhouse.causal.results import Contrast, Results, add_rows
from trialhouse.causal.sample import Sample, Survival, finishing, label, make_sample, surviving
from trialhouse.causal.verdict import Check, decide


def compare(question: Question, comparison: Comparison, identification: Identification, at: datetime) -> Results:
    """Estimate one comparison by every recipe that applies, attack the estimates, decide on each, and give their rows."""
    case = _Case.of(question, comparison, identification)
    fits = {
        recipe: fit_recipe(recipe, sample, span=case.span, seed=case.seed, nuisances=question.nuisances)
        for recipe in case.recipes
        if len((sample := case.approach(recipe).sample).arms) > 0 and np.ptp(sample.arms) > 0
    }
    results = Results()
    for recipe in case.recipes:
        _add(results, case, recipe, fits, at)
    if question.mediators and comparison.is_primary and PRIMARY in fits:
        _add_direct(results, case, at)
    return results


@dataclass(frozen=True)
class _Case:
    """A comparison made ready: its rows, and all that its recipes share.

    Parameters
    ----------
    frame
        Rows of both arms, finished or not.
    arms
        Arm of each, or the quantity's values.
    span
        Units of treatment between the two levels.
    survival
        Which of the rows can be compared.
    contrast
        What its estimates are called.
    modifiers
        Columns of the frame that the graph says modify the effect.
    seed
        Of whatever is drawn.
    """

    question: Question
    comparison: Comparison
    identification: Identification
    frame: pd.DataFrame
    arms: pd.Series[Any]
    span: float
    survival: Survival
    contrast: Contrast
    modifiers: tuple[str, ...]
    seed: int

    @classmethod
    def of(cls, question: Question, comparison: Comparison, identification: Identification) -> _Case:
        """See the class."""
        arms, span = compared_arms(question, comparison)
        frame, arms = question.frame[arms.notna()], arms[arms.notna()]
        survival = (
            finishing(frame, question.outcome, question.lost_for)
            if question.is_quantity
            else surviving(frame, arms, question.outcome, question.strata, question.lost_for)
        )
        contrast = contrast_of(question, comparison)
        modifiers = tuple(question.graph.modifiers(question.treatment, frame))
        seed = always.seed_of(question.seed, contrast)
        return cls(question, comparison, identification, frame, arms, span, survival, contrast, modifiers, seed)

    @property
    def is_random(self) -> bool:
        """Whether the treatment was drawn by lot."""
        return self.question.assignment == "randomised"

    @cached_property
    def recipes(self) -> tuple[str, ...]:
        """What the comparison asks for, or all that apply."""
        if self.comparison.recipes:
            return self.comparison.recipes
        question = self.question
        wanted = (*RECIPES_OF[question.assignment], *(BY_MODIFIER if self.modifiers else ()), *question.recipes)
        applying = tuple(name for name in dict.fromkeys(wanted) if applies(name, question, self.modifiers))
        return applying if self.identification.instrument_adjustment is None else (*applying, INSTRUMENTAL)

    @property
    def primary(self) -> str:
        """The recipe whose estimate is the answer: the instrument's, where there is one and no observed columns close every back door."""
        has_answer = self.identification.is_identified or self.question.adjustment != "auto" or INSTRUMENTAL not in self.recipes
        return PRIMARY if has_answer else INSTRUMENTAL

    def approach(self, recipe: str) -> _Approach:
        """What a recipe adjusts for, and so on which rows and columns it works."""
        if not RECIPES[recipe].is_adjusted:
            return self._unadjusted
        return self._instrumental if recipe == INSTRUMENTAL else self._adjusted

    @cached_property
    def _unadjusted(self) -> _Approach:
        broken = rules_broken(self.question.graph, self.question.treatment, self.question.outcome, ())
        plain = replace(self.identification, adjustment=(), precision=(), violations=broken)
        return _Approach(self, plain, is_unadjusted=True)

    @cached_property
    def _adjusted(self) -> _Approach:
        return _Approach(self, self.identification)

    @cached_property
    def _instrumental(self) -> _Approach:
        return _Approach(self, by_instrument(self.identification), is_instrumental=True)


@dataclass(frozen=True)
class _Approach:
    """One way to adjust, which several recipes share: for nothing, for what closes the back doors, or for what instruments need."""

    case: _Case
    identification: Identification
    is_unadjusted: bool = False
    is_instrumental: bool = False

    @cached_property
    def sample(self) -> Sample:
        """Rows and columns. The plain contrast takes all that finished; what adjusts keeps to strata in which everything did."""
        case, question = self.case, self.case.question
        is_of_finished = self.is_unadjusted and case.survival.stratum is not None
        return make_sample(
            case.frame[case.frame[question.outcome].notna()] if is_of_finished else case.frame.loc[case.survival.rows],
            treatment=question.treatment,
            outcome=question.outcome,
            arms=case.arms,
            covariates=self.identification.columns,
            categorical=question.categorical,
            cluster=question.cluster,
            is_binary=not question.is_quantity,
            instruments=case.identification.instruments,
            modifiers=case.modifiers,
            is_assigned=case.is_random,
        )

    @cached_property
    def overlap(self) -> Check:
        """Of the treatment and the covariates, not of the recipe."""
        return always.overlap(self.sample, self.identification.adjustment, is_random=self.case.is_random, seed=self.case.seed)

    @property
    def is_of_survivors(self) -> bool:
        """Whether it compares what finished, though some did not."""
        return self.case.survival.stratum is not None and (self.is_unadjusted or self.case.question.is_quantity)


def _add(results: Results, case: _Case, recipe: str, fits: Mapping[str, Fit], at: datetime) -> None:
    """The rows of one recipe's estimate, of its effects by modifier if it tells such, and of what attacked it."""
    question, approach, fit = case.question, case.approach(recipe), fits.get(recipe)
    verdict = decide(
        list(_checks(case, recipe, fits)),
        caveats(
            question,
            approach.identification,
            case.survival,
            approach.sample,
            fit,
            is_naive=approach.is_unadjusted,
            is_attacked=case.comparison.is_refuted and recipe == case.primary,
        ),
        is_random=case.is_random,
    )
    average = fit.inference if fit else Inference(math.nan)
    for contrast, inference, trials in ((case.contrast, average, len(approach.sample.arms)), *_by_modifier(case.contrast, fit)):
        add_rows(
            results,
            contrast,
            method=recipe,
            method_estimand=RECIPES[recipe].estimand,
            is_primary=case.comparison.is_primary and recipe == case.primary and contrast is case.contrast,
            inference=inference,
            confidence_set=_confidence_set(fit, case.span),
            effective_trials=_effective_trials(fit),
            nuisance_r2=fit.nuisance_r2 if fit else (math.nan, math.nan),
            verdict=verdict,
            adjustment=list(approach.identification.columns),
            expression=expression_of(question, case.comparison, approach.identification, is_instrumental=approach.is_instrumental),
            trials=trials,
            stratum=None if approach.is_unadjusted else case.survival.stratum,
            data_id=approach.sample.data_id(question.ids),
            seed=case.seed,
            at=at,
        )


def _checks(case: _Case, recipe: str, fits: Mapping[str, Fit]) -> Iterator[Check]:
    question, approach, fit = case.question, case.approach(recipe), fits.get(recipe)
    yield from estimable(case.survival, question.outcome, fit)
    yield always.graph_rules(approach.identification, by_instrument=approach.is_instrumental)
    if approach.is_of_survivors:
        yield survivors_only(case.survival)
    if fit is not None:
        if not approach.is_instrumental:
            yield approach.overlap
        yield from attacks(question, case.comparison, case.identification, approach.sample, fit, fits, span=case.span, seed=case.seed)
    if recipe == PRIMARY and case.is_random and not question.is_quantity and sum(case.survival.lost) > 0:
        yield from bounds(question, case.frame, case.arms, case.seed)


def _add_direct(results: Results, case: _Case, at: datetime) -> None:
    question, sample = case.question, case.approach(PRIMARY).sample
    found = direct(
        sample,
        question.graph,
        question.mediators,
        categorical=question.categorical,
        span=case.span,
        caveats=question.caveats,
        is_random=case.is_random,
    )
    add_rows(
        results,
        replace(case.contrast, estimand=f"{case.contrast.estimand}_not_through_{'_'.join(question.mediators)}"),
        method=PRIMARY,
        method_estimand=METHOD_ESTIMAND,
        is_primary=False,
        inference=found.inference,
        verdict=found.verdict,
        adjustment=list(found.adjustment),
        expression=found.expression,
        trials=len(sample.arms),
        stratum=case.survival.stratum,
        data_id=sample.data_id(question.ids),
        at=at,
    )


def _confidence_set(fit: Fit | None, span: float) -> str | None:
    """The Anderson-Rubin set as JSON, where it is what is to be trusted and has no two ends."""
    if fit is None or fit.instrumented is None:
        return None
    known = fit.instrumented.anderson_rubin.scaled(span)
    if known.is_bounded and not known.is_disjoint:
        return None
    return json.dumps([[end if math.isfinite(end) else None for end in piece] for piece in known.pieces])


def _effective_trials(fit: Fit | None) -> float:
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
