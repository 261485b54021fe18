"""Inverse-propensity weighting through DoWhy: trials count as much as they were unlikely to be in the arm that they are in.

Weights are normalised within each arm (Hajek), which makes stabilised ones and plain ones the same. The error is that of a
bootstrap of whole units in which the propensity is estimated anew, with a t reference.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from trialhouse.causal.inference import Array, Inference, with_interval
from trialhouse.causal.recipes.backdoor import backdoor
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.recipes.propensity import LIMITS, clipped, refusal, told
from trialhouse.causal.recipes.units import drawn
from trialhouse.causal.sample import Sample

ESTIMAND = "the average effect (ATE)"
DRAWS = 400
"""Of the bootstrap: the error is then known to within 4%."""


def weighting(sample: Sample, *, name: str = "weighting", seed: int = 0, draws: int = DRAWS) -> Fit:
    """The difference of weighted means; without covariates, of means.

    The propensity is a logistic regression on the covariates as they are, hardly penalised: if that is wrong, so is the effect.
    """
    from dowhy.causal_estimators.propensity_score_weighting_estimator import PropensityScoreWeightingEstimator

    why_not = refusal(sample)
    if why_not is not None:
        return Fit(name, Inference(math.nan, note=why_not))
    covariates = standardised(sample.matrix)
    propensities = propensity(covariates, sample.arms)
    data = sample.numbers.assign(**{PROPENSITY: propensities})
    estimand = backdoor(sample, list(sample.encoded.columns) or [PROPENSITY])
    estimator = PropensityScoreWeightingEstimator(
        estimand,
        min_ps_score=LIMITS[0],
        max_ps_score=LIMITS[1],
        weighting_scheme="ips_stabilized_weight",
        propensity_score_column=PROPENSITY,
    )
    estimate = float(estimator.fit(data).estimate_effect(data, target_units="ate").value)
    return Fit(
        name, _with_error(sample, covariates, estimate, seed, draws), tuple(told(sample, propensities, "weights that are too small"))
    )


PROPENSITY = "propensity of the other arm"


def propensity(covariates: Array, arms: Array) -> Array:
    """Propensities (n) of a logistic regression on standardised covariates (n x k, k may be 0)."""
    from sklearn.linear_model import LogisticRegression

    if covariates.shape[1] == 0:
        return np.full(len(arms), arms.mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # separated arms end at the limits
        fitted = LogisticRegression(C=PENALTY, max_iter=200).fit(covariates, arms)
    result: Array = fitted.predict_proba(covariates)[:, 1]
    return result


PENALTY = 10.0
"""Inverse strength of the ridge, which only matters where covariates separate the arms."""


def weighted_difference(arms: Array, outcome: Array, propensities: Array) -> float:
    """What DoWhy computes from propensities, for the hundreds of draws of a bootstrap (its own takes 10 ms each)."""
    weights = 1 / clipped(np.where(arms == 1, propensities, 1 - propensities))
    means = [np.average(outcome[arms == arm], weights=weights[arms == arm]) for arm in (0, 1)]
    return float(means[1] - means[0])


def standardised(columns: Array) -> Array:
    """Columns (n x k) with mean 0 and standard deviation 1; constant ones are dropped."""
    columns = columns[:, columns.std(axis=0) > 1e-9]
    return (columns - columns.mean(axis=0)) / columns.std(axis=0) if columns.shape[1] else columns


def _with_error(sample: Sample, covariates: Array, estimate: float, seed: int, draws: int) -> Inference:
    rng = np.random.default_rng(seed)
    found: list[float] = []
    for _ in range(draws):
        rows = drawn(len(sample.arms), sample.clusters, rng)
        if 0 < sample.arms[rows].sum() < len(rows):
            again = propensity(covariates[rows], sample.arms[rows])
            found.append(weighted_difference(sample.arms[rows], sample.values[rows], again))
    count = None if sample.clusters is None else len(np.unique(sample.clusters))
    units = len(sample.arms) if count is None else count
    if len(found) < draws / 2:
        return Inference(estimate, clusters=count, note="most bootstrap samples have one arm only")
    error = float(np.std(found, ddof=1)) * math.sqrt(units / (units - 1))
    return with_interval(
        Inference(estimate, error, degrees_of_freedom=units - 1 if count else units - covariates.shape[1] - 2, clusters=count)
    )
