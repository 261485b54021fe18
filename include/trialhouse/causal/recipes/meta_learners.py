"""Meta-learners: effects as differences of predictions (S, T, X) or predictions of doubly robust scores (DR), by EconML.

What they give is a point for each trial, averaged here over the trials of each level or fifth. They have no errors: a
bootstrap, where it is asked for, shows how much they vary and not how far they are off.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.causal.inference import Array, Inference
from trialhouse.causal.nuisances import learner
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.recipes.heterogeneity import nuisance_columns, table
from trialhouse.causal.recipes.modifiers import Modifiers, modifiers_of
from trialhouse.causal.recipes.propensity import LIMITS, classifier, refusal
from trialhouse.causal.recipes.units import drawn, folds
from trialhouse.causal.sample import Sample

ESTIMAND = "the average, over the trials of each level or fifth, of effects that learners predict; on average the average effect (ATE)"
KINDS = ("s", "t", "x", "dr")
MIN_ROWS = 200
"""Trials below which learners tell their own shape: at 36 rows T and X give about twice the truth."""


def meta_learner(
    sample: Sample,
    modifiers: Sequence[str],
    *,
    kind: str,
    name: str | None = None,
    seed: int = 0,
    family: str = "boosting",
    settings: Mapping[str, Any] | None = None,
    at: pd.DataFrame | None = None,
    bootstrap: int = 0,
) -> Fit:
    """Effects of the other arm, without errors.

    Parameters
    ----------
    kind
        `s` (one learner that sees the arm), `t` (one per arm), `x` (Künzel et al. 2019) or `dr` (Kennedy 2023).
    family, settings
        Of the learners; see `trialhouse.causal.nuisances`.
    bootstrap
        Samples of whole units for percentile intervals; none by default.
    """
    name = name or f"{kind}_learner"
    seen = modifiers_of(sample, modifiers, at)
    why_not = refusal(sample)
    if why_not is None and len(sample.arms) < MIN_ROWS:
        why_not = f"meta-learners need at least {MIN_ROWS} trials, not {len(sample.arms)}"
    if why_not is not None:
        return Fit(name, Inference(math.nan, note=why_not))
    _, columns = nuisance_columns(family, sample, seen)

    def effects(rows: Any, state: int) -> Array:
        units = None if sample.clusters is None else sample.clusters[rows]
        return _by_row(seen, _predicted(kind, family, settings or {}, columns, sample.arms, sample.values, rows, units, state))

    found = effects(np.arange(len(sample.arms)), seed % 2**31)
    rows = [Inference(value) for value in found]
    caveats = ["points without errors: nothing here says how far a meta-learner is off"]
    average = Inference(float(found[-1]), note="a meta-learner has no errors")
    if bootstrap:
        rng = np.random.default_rng(seed)
        draws = np.array([effects(drawn(len(sample.arms), sample.clusters, rng), (seed + draw) % 2**31) for draw in range(bootstrap)])
        low, high = np.nanquantile(draws, [0.025, 0.975], axis=0)
        rows = [replace(row, ci_low=float(a), ci_high=float(b)) for row, a, b in zip(rows, low, high, strict=True)]
        caveats.append(f"intervals are percentiles of {bootstrap} bootstrap samples: they leave out the learners' bias")
    return Fit(name, average, tuple(caveats), effects=table(seen, rows[:-1]))


def _by_row(seen: Modifiers, effects: Array) -> Array:
    """Averages (m + 1) over the trials of each row, then over all."""
    groups = [seen.cell_of == cell for cell in seen.row_cell]
    return np.array([float(effects[group].mean()) if group.any() else math.nan for group in groups] + [float(effects.mean())])


def _predicted(
    kind: str, family: str, settings: Mapping[str, Any], columns: Array, arms: Array, values: Array, rows: Any, units: Any, state: int
) -> Array:
    """Effects of every trial (n) by a learner that was fitted to some rows."""
    from econml.dr import DRLearner
    from econml.metalearners import SLearner, TLearner, XLearner

    made = learner(family, settings, state)
    scale = float(values.std()) or 1.0
    if kind == "s":
        recipe = SLearner(overall_model=made)
    elif kind == "t":
        recipe = TLearner(models=made)
    elif kind == "x":
        recipe = XLearner(models=made, propensity_model=classifier(family, state))
    else:
        recipe = DRLearner(
            model_regression=made,
            model_propensity=classifier(family, state),
            model_final=made,
            min_propensity=LIMITS[0],
            cv=folds(len(rows), units, state, arms[rows]),
            random_state=state,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lasso paths that stop early choose a slightly larger penalty
        recipe.fit(values[rows] / scale, arms[rows].astype(int), X=columns[rows])
        result: Array = recipe.effect(columns).ravel() * scale
    return result
