"""A causal forest: effects as any function of the modifiers, for exploring (Athey, Tibshirani & Wager 2019; EconML).

Each tree chooses its leaves on one half of its rows and estimates on the other (honest), and errors are those of little bags.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.causal.inference import Inference, with_interval
from trialhouse.causal.nuisances import learner
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.recipes.heterogeneity import average_of, nuisance_columns, table
from trialhouse.causal.recipes.modifiers import modifiers_of
from trialhouse.causal.recipes.propensity import classifier, refusal
from trialhouse.causal.recipes.units import folds, unlearnable
from trialhouse.causal.sample import Sample

ESTIMAND = (
    "the effect at each value of the modifiers, where trials nearby weigh as the variance of their treatment given the covariates;"
    " on average the average effect (ATE)"
)
MIN_ROWS = 400
FOREST: dict[str, Any] = {"n_estimators": 500, "min_samples_leaf": 5, "max_samples": 0.45}


def causal_forest(
    sample: Sample,
    modifiers: Sequence[str],
    *,
    name: str = "causal_forest",
    seed: int = 0,
    family: str = "lasso",
    settings: Mapping[str, Any] | None = None,
    forest: Mapping[str, Any] | None = None,
    at: pd.DataFrame | None = None,
) -> Fit:
    """Effects of one unit of treatment, or of the other arm, by a forest in the modifiers.

    Parameters
    ----------
    family, settings
        Of the nuisance learners; see `trialhouse.causal.nuisances`.
    forest
        Settings of EconML's CausalForestDML, besides `FOREST`.
    """
    from econml.dml import CausalForestDML

    seen = modifiers_of(sample, modifiers, at)
    why_not = (refusal(sample) if sample.is_binary else None) or unlearnable(sample)
    if why_not is None and len(sample.arms) < MIN_ROWS:
        why_not = f"a causal forest needs at least {MIN_ROWS} trials, not {len(sample.arms)}"
    if why_not is not None:
        return Fit(name, Inference(math.nan, note=why_not))
    state = seed % 2**31
    nuisance = learner(family, settings or {}, state)
    outcome, columns = nuisance_columns(family, sample, seen)
    scale = float(outcome.std()) or 1.0
    recipe = CausalForestDML(
        model_y=nuisance,
        model_t=classifier(family, state) if sample.is_binary else nuisance,
        discrete_treatment=sample.is_binary,
        cv=folds(len(sample.arms), sample.clusters, state, sample.arms if sample.is_binary else None),
        drate=False,
        n_jobs=1,
        random_state=state,
        **{**FOREST, **(forest or {})},
    )
    treatment = sample.arms.astype(int) if sample.is_binary else sample.arms
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lasso paths that stop early choose a slightly larger penalty
        recipe.fit(outcome / scale, treatment, X=seen.matrix, W=columns, cache_values=True)
    left_outcome, left_treatment, _, _ = recipe.residuals_
    out_of_bag = recipe.model_final_.oob_predict(seen.matrix).ravel()
    average = average_of(sample, out_of_bag * scale, left_treatment.ravel(), left_outcome.ravel() * scale)
    effects, variances = (column.ravel() for column in recipe.model_final_.predict_and_var(seen.row_matrix))
    caveats = ["exploratory: a forest's intervals leave out its bias where effects change fast"]
    if sample.clusters is not None:
        caveats.append("no intervals by modifiers: a forest's errors do not allow for repeated units")
        variances = np.full_like(variances, math.nan)
    rows = [
        with_interval(Inference(scale * float(effect), scale * math.sqrt(variance), degrees_of_freedom=len(sample.arms)))
        for effect, variance in zip(effects, variances, strict=True)
    ]
    return Fit(name, average, tuple(caveats), effects=table(seen, rows))
