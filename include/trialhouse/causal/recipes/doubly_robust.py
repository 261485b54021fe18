"""Doubly robust: outcome regression and propensity, cross-fitted, so that one may be wrong where the other is right (AIPW).

EconML's LinearDRLearner makes the scores (Robins, Rotnitzky & Zhao 1994). Their mean is the average effect; its error is
HC3's with a t reference or the jackknife over repeated units, where EconML's is HC1 and normal.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trialhouse.causal.inference import Array, Inference
from trialhouse.causal.nuisances import features, learner
from trialhouse.causal.recipes.final_stage import mean_of, median_of
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.recipes.propensity import LIMITS, classifier, refusal, told
from trialhouse.causal.recipes.units import folds, unlearnable, without_units
from trialhouse.causal.sample import Sample

ESTIMAND = "the average effect (ATE)"
MIN_ROWS = 10
REPEATS = 5
"""Cross-fitting splits the rows at random; the median over repeats takes that chance out."""


@dataclass(frozen=True)
class Scores:
    """One cross-fitted repeat.

    Parameters
    ----------
    effects
        Length n: doubly robust scores, whose mean given any covariate is the effect there.
    propensities
        Length n: before they are limited.
    r2
        Shares of the variance of treatment and outcome that nuisances predict out of fold.
    """

    effects: Array
    propensities: Array
    r2: tuple[float, float]


def doubly_robust(
    sample: Sample,
    *,
    name: str = "doubly_robust",
    seed: int = 0,
    family: str = "lasso",
    settings: Mapping[str, Any] | None = None,
    repeats: int = REPEATS,
) -> Fit:
    """The average effect of being in the other arm.

    Parameters
    ----------
    family, settings
        Of the nuisance learners; see `trialhouse.causal.nuisances`.
    """
    why_not = refusal(sample) or unlearnable(sample)
    if why_not is None and len(sample.arms) < MIN_ROWS:
        why_not = f"cross-fitting needs at least {MIN_ROWS} trials"
    if why_not is not None:
        return Fit(name, Inference(math.nan, note=why_not))
    try:
        found = list(scores(sample, sample.matrix, seed=seed, family=family, settings=settings or {}, repeats=repeats))
    except OneArm as error:
        return Fit(name, Inference(math.nan, note=str(error)))
    of_treatment, of_outcome = np.median([one.r2 for one in found], axis=0)
    return Fit(
        name,
        median_of([mean_of(one.effects, sample.clusters) for one in found]),
        caveats=tuple(told(sample, np.median([one.propensities for one in found], axis=0), "the outcome regression alone")),
        nuisance_r2=(float(of_treatment), float(of_outcome)),
    )


class OneArm(Exception):
    """Leaving a fold out leaves one arm only."""


def scores(
    sample: Sample, covariates: Array, *, seed: int, family: str, settings: Mapping[str, Any], repeats: int = REPEATS
) -> Iterator[Scores]:
    """Doubly robust scores of every row, once per repeat.

    Parameters
    ----------
    covariates
        n x k: what nuisances see, k may be 0.
    """
    from econml.dr import LinearDRLearner
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    clusters = sample.clusters
    outcome, seen = without_units(sample.values, features(family, covariates), covariates, clusters)
    seen = seen[:, seen.std(axis=0) > 1e-9]
    seen = (seen - seen.mean(axis=0)) / seen.std(axis=0) if seen.shape[1] else np.zeros((len(outcome), 1))
    centre, scale = float(outcome.mean()), float(outcome.std()) or 1.0
    for repeat in range(repeats):
        state = (seed + repeat) % 2**31
        splits = folds(len(outcome), clusters, state, sample.arms)
        if any(len(np.unique(sample.arms[train])) < 2 for train, _ in splits):
            raise OneArm("too few repeated units carry the contrast")
        made = LinearDRLearner(
            model_regression=make_pipeline(FunctionTransformer(_with_products), learner(family, settings, state)),
            model_propensity=classifier(family, state),
            cv=splits,
            min_propensity=LIMITS[0],
            random_state=state,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lasso paths that stop early choose a slightly larger penalty
            made.fit((outcome - centre) / scale, sample.arms.astype(int), X=None, W=seen, cache_values=True, inference=None)
        potential, _, propensities = made._cached_values.nuisances  # what `refit_final` uses; econml has no public name for it
        treated = propensities[:, 1]
        unexplained = float(np.mean([np.mean(some) for some in made.nuisance_scores_regression]))
        yield Scores(
            (potential[..., 1] - potential[..., 0]).ravel() * scale,
            treated,
            (1 - float(((sample.arms - treated) ** 2).mean() / sample.arms.var()), unexplained),
        )


def _with_products(features: Array) -> Array:
    """Columns of which the last is the arm, with its products: another line in each arm, if that predicts better."""
    arm = features[:, -1:]
    return np.column_stack([features, arm * features[:, :-1]])
