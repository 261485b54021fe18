"""Effects that depend on modifiers: a table of them, by recipes whose errors are known to hold.

`linear_dr` and `group_effects` regress doubly robust scores on the modifiers or on their groups (Semenova & Chernozhukov
2021); `linear_dml` regresses what nuisances leave of the outcome on what they leave of the treatment times the modifiers, and
takes quantities as treatment too. EconML makes scores and remainders. The forest is in `forests.py`, learners without errors
in `meta_learners.py`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.causal.inference import Array, Inference
from trialhouse.causal.nuisances import features, learner
from trialhouse.causal.recipes.doubly_robust import OneArm, Scores, scores
from trialhouse.causal.recipes.final_stage import LinearFit, linear_fit, mean_of, median_of
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.recipes.modifiers import Modifiers, modifiers_of
from trialhouse.causal.recipes.propensity import classifier, refusal, told
from trialhouse.causal.recipes.units import folds, unlearnable, without_units
from trialhouse.causal.sample import Sample

ROWS_PER_COEFFICIENT = 10
"""Trials, or repeated units, below which a line in the modifiers is refused."""
REPEATS = 3

ESTIMANDS = {
    "linear_dr": "the line in the modifiers that comes closest to the effects; on average the average effect (ATE)",
    "group_effects": "the average effect among the trials of each level or fifth; on average the average effect (ATE)",
    "linear_dml": "the line in the modifiers that comes closest to the effects where each trial weighs as the variance of its treatment"
    " given the covariates; on average the average effect (ATE)",
}


def linear_dr(
    sample: Sample,
    modifiers: Sequence[str],
    *,
    name: str = "linear_dr",
    seed: int = 0,
    family: str = "lasso",
    settings: Mapping[str, Any] | None = None,
    at: pd.DataFrame | None = None,
    repeats: int = REPEATS,
) -> Fit:
    """Effects of the other arm as a line in the modifiers, from doubly robust scores.

    Parameters
    ----------
    modifiers, at
        See `modifiers_of`.
    family, settings
        Of the nuisance learners; see `trialhouse.causal.nuisances`.
    """
    seen = modifiers_of(sample, modifiers, at)
    return _from_scores(name, sample, seen, seen.line, seen.row_line, seed, family, settings or {}, repeats)


def group_effects(
    sample: Sample,
    modifiers: Sequence[str],
    *,
    name: str = "group_effects",
    seed: int = 0,
    family: str = "lasso",
    settings: Mapping[str, Any] | None = None,
    at: pd.DataFrame | None = None,
    repeats: int = REPEATS,
) -> Fit:
    """Average effects of the other arm in each level or fifth of the modifiers: right whatever the shape."""
    seen = modifiers_of(sample, modifiers, at)
    cells = np.eye(seen.cell_of.max() + 1)
    return _from_scores(name, sample, seen, cells[seen.cell_of], cells[seen.row_cell], seed, family, settings or {}, repeats)


def linear_dml(
    sample: Sample,
    modifiers: Sequence[str],
    *,
    name: str = "linear_dml",
    seed: int = 0,
    family: str = "lasso",
    settings: Mapping[str, Any] | None = None,
    at: pd.DataFrame | None = None,
    repeats: int = REPEATS,
) -> Fit:
    """Effects of one unit of treatment, or of the other arm, as a line in the modifiers, from partialled-out columns."""
    from econml.dml import LinearDML

    seen = modifiers_of(sample, modifiers, at)
    why_not = (refusal(sample) if sample.is_binary else None) or unlearnable(sample) or too_small(sample, seen.line)
    if why_not is not None:
        return Fit(name, Inference(math.nan, note=why_not))
    outcome, covariates = nuisance_columns(family, sample, seen)
    scale = float(outcome.std()) or 1.0
    lines: list[LinearFit] = []
    averages: list[Inference] = []
    for repeat in range(repeats):
        state = (seed + repeat) % 2**31
        nuisance = learner(family, settings or {}, state)
        recipe = LinearDML(
            model_y=nuisance,
            model_t=classifier(family, state) if sample.is_binary else nuisance,
            discrete_treatment=sample.is_binary,
            cv=folds(len(sample.arms), sample.clusters, state, sample.arms if sample.is_binary else None),
            random_state=state,
        )
        treatment = sample.arms.astype(int) if sample.is_binary else sample.arms
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lasso paths that stop early choose a slightly larger penalty
            recipe.fit(outcome / scale, treatment, X=seen.matrix, W=covariates, cache_values=True, inference=None)
        left_outcome, left_treatment, _, _ = recipe.residuals_
        left_outcome, left_treatment = left_outcome.ravel() * scale, left_treatment.ravel()
        line = linear_fit(left_treatment[:, None] * seen.line, left_outcome, sample.clusters)
        lines.append(line)
        averages.append(average_of(sample, seen.line @ line.coefficients, left_treatment, left_outcome))
    rows = [median_of(row) for row in zip(*[line.at(seen.row_line) for line in lines], strict=True)]
    return Fit(name, median_of(averages), effects=table(seen, rows))


def average_of(sample: Sample, effects: Array, treatment: Array, outcome: Array) -> Inference:
    """The average effect, from effects that a model gives each trial and what it leaves unexplained.

    For two arms this is doubly robust (Chernozhukov et al. 2018, section 5). For a quantity it takes the variance of the
    treatment given the covariates to be the same everywhere.

    Parameters
    ----------
    effects
        Length n: effects of one unit of treatment.
    treatment, outcome
        Length n: what nuisances leave of them.
    """
    chances = np.clip(sample.arms - treatment, 0.02, 0.98)
    variance = chances * (1 - chances) if sample.is_binary else np.mean(treatment**2)
    return mean_of(effects + treatment / variance * (outcome - effects * treatment), sample.clusters)


def nuisance_columns(family: str, sample: Sample, seen: Modifiers) -> tuple[Array, Array]:
    """The outcome (n), and what nuisances see: the covariates and the modifiers (n x k), standardised."""
    everything = np.column_stack([sample.matrix, seen.matrix])
    outcome, columns = without_units(sample.values, features(family, everything), everything, sample.clusters)
    columns = columns[:, columns.std(axis=0) > 1e-9]
    return outcome, (columns - columns.mean(axis=0)) / columns.std(axis=0)


def too_small(sample: Sample, line: Array) -> str | None:
    """Why the data cannot carry a line, if they cannot."""
    units = len(sample.arms) if sample.clusters is None else len(np.unique(sample.clusters))
    needed = ROWS_PER_COEFFICIENT * line.shape[1]
    if units >= needed:
        return None
    what = "trials" if sample.clusters is None else "repeated units"
    return f"effects by {line.shape[1] - 1} columns of modifiers need at least {needed} {what}, not {units}"


def table(seen: Modifiers, rows: Sequence[Inference]) -> pd.DataFrame:
    """One row per level or fifth of the modifiers: their values, the effect with its 95% interval, and the trials there.

    Beyond what was seen there is no effect to tell.
    """
    trials = seen.trials
    known = [row if count else Inference(math.nan) for row, count in zip(rows, trials, strict=True)]
    told_rows = [{"effect": row.estimate, "ci_low": row.ci_low, "ci_high": row.ci_high, "p_value": row.p_value} for row in known]
    return pd.concat([seen.rows, pd.DataFrame(told_rows).assign(n=trials)], axis=1)


def _from_scores(
    name: str,
    sample: Sample,
    seen: Modifiers,
    design: Array,
    rows: Array,
    seed: int,
    family: str,
    settings: Mapping[str, Any],
    repeats: int,
) -> Fit:
    why_not = refusal(sample) or unlearnable(sample) or too_small(sample, design)
    if why_not is not None:
        return Fit(name, Inference(math.nan, note=why_not))
    columns = np.column_stack([sample.matrix, seen.matrix])
    try:
        found: list[Scores] = list(scores(sample, columns, seed=seed, family=family, settings=settings, repeats=repeats))
    except OneArm as error:
        return Fit(name, Inference(math.nan, note=str(error)))
    lines = [linear_fit(design, one.effects, sample.clusters) for one in found]
    effects = [median_of(row) for row in zip(*[line.at(rows) for line in lines], strict=True)]
    of_treatment, of_outcome = np.median([one.r2 for one in found], axis=0)
    return Fit(
        name,
        median_of([mean_of(one.effects, sample.clusters) for one in found]),
        caveats=tuple(told(sample, np.median([one.propensities for one in found], axis=0), "the outcome regression alone")),
        nuisance_r2=(float(of_treatment), float(of_outcome)),
        effects=table(seen, effects),
    )
