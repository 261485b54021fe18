"""Matching through DoWhy: every trial is compared with the trial of the other arm that is most like it.

The bootstrap is not valid for matching (Abadie & Imbens 2008), so errors are Abadie and Imbens' (2006, theorem 7). They are
right for independent rows; for repeated units there are none. Matching on an estimated propensity with errors as if it were
known errs on the safe side for the average effect (Abadie & Imbens 2016).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.causal.inference import Array, Inference, with_interval
from trialhouse.causal.recipes.backdoor import backdoor
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.recipes.propensity import clipped, refusal, told
from trialhouse.causal.recipes.weighting import PROPENSITY, propensity, standardised
from trialhouse.causal.sample import Sample

ESTIMAND = "the average effect (ATE)"


def matching(sample: Sample, *, name: str = "matching", seed: int = 0) -> Fit:
    """Matches on the covariates, each in units of its standard deviation. Nothing is drawn: the seed changes nothing."""
    covariates = standardised(sample.matrix)
    columns = pd.DataFrame(covariates, columns=[f"covariate {number}" for number in range(covariates.shape[1])])
    caveats = [
        f"matches on {columns.shape[1]} columns are never exact, and what is left of their differences is in the estimate: its bias falls"
        f" with the trials no faster than to the power -1/{columns.shape[1]}"
        for _ in range(columns.shape[1] > 1)
    ]
    return _matched(name, sample, columns, caveats)


def propensity_matching(sample: Sample, *, name: str = "propensity_matching", seed: int = 0) -> Fit:
    """Matches on the logarithm of the odds of being treated, from a logistic regression. Nothing is drawn."""
    if refusal(sample) is not None:
        return _matched(name, sample, pd.DataFrame(), [])
    covariates = standardised(sample.matrix)
    chances = propensity(covariates, sample.arms)
    odds = np.log(clipped(chances) / (1 - clipped(chances)))
    columns = pd.DataFrame({PROPENSITY: odds} if covariates.shape[1] else {})
    return _matched(name, sample, columns, list(told(sample, chances, "matches that are unlike them")))


def _matched(name: str, sample: Sample, columns: pd.DataFrame, caveats: list[str]) -> Fit:
    why_not = refusal(sample)
    if why_not is None and columns.shape[1] == 0:
        why_not = "there is nothing to match on"
    if why_not is not None:
        return Fit(name, Inference(math.nan, note=why_not))
    partners = _partners(sample, columns)
    imputed = np.array([sample.values[rows].mean() for rows in partners])
    effects = np.where(sample.arms == 1, sample.values - imputed, imputed - sample.values)
    estimate = float(effects.mean())
    if sample.clusters is not None:
        count = len(np.unique(sample.clusters))
        return Fit(name, Inference(estimate, clusters=count, note="errors of matching do not allow for repeated units"), tuple(caveats))
    used = np.bincount(np.concatenate(partners), minlength=len(effects))
    if used.max() > MOST_USED * len(effects):
        caveats.append(f"one trial is the match of {used.max()} others")
    error = math.sqrt(float(((effects - estimate) ** 2 + (used**2 + used) * _noise(sample, columns)).sum())) / len(effects)
    return Fit(name, with_interval(Inference(estimate, error, degrees_of_freedom=len(effects) - 2)), tuple(caveats))


MOST_USED = 0.1
"""Share of the trials beyond which one that is used so often is mentioned."""


def _partners(sample: Sample, columns: pd.DataFrame) -> list[Any]:
    """Row of the nearest trial in the other arm, of each trial, as DoWhy finds it."""
    from dowhy.causal_estimators.distance_matching_estimator import DistanceMatchingEstimator

    data = columns.assign(**{sample.treatment: sample.arms, sample.outcome: sample.values})
    estimator = DistanceMatchingEstimator(backdoor(sample, list(map(str, columns))), num_matches_per_unit=1, distance_metric="euclidean")
    estimator.fit(data).estimate_effect(data, target_units="ate")
    found = {**estimator.matched_indices_att, **estimator.matched_indices_atc}
    return [found[row] for row in range(len(data))]


def _noise(sample: Sample, columns: pd.DataFrame) -> Array:
    """Variance of the outcome of each trial given its columns and arm, from the nearest trial of its own arm (their equation 14)."""
    from sklearn.neighbors import NearestNeighbors

    result = np.empty(len(columns))
    for arm in (0, 1):
        rows = np.flatnonzero(sample.arms == arm)
        here = columns.to_numpy()[rows]
        nearest = NearestNeighbors(n_neighbors=2).fit(here).kneighbors(here, return_distance=False)
        own = np.arange(len(rows))
        other = np.where(nearest[:, 0] == own, nearest[:, 1], nearest[:, 0])
        result[rows] = (sample.values[rows] - sample.values[rows[other]]) ** 2 / 2
    return result
