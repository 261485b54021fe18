"""Whether the adjusted regression has the right shape: does a richer one explain more than chance?

A score test of squares, cubes and products of the covariates, of the treatment times each covariate and, for a quantity, of the
treatment squared. The statistic is the largest squared studentised score, with robust errors (summed over repeated units), and
its distribution under the null is that of a wild bootstrap (Wu 1986; Liu 1988; Cameron, Gelbach & Miller 2008): signs of the
null's residuals flipped, unit by unit. An F test would have no degrees of freedom left in small samples, and its robust forms
reject far too often there.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.causal.checks.diagnostics import second_degree_terms
from trialhouse.causal.inference import DETERMINED, Array, linear_basis
from trialhouse.causal.sample import Sample
from trialhouse.causal.verdict import ALPHA, Check

DRAWS = 499
FEW_UNITS = 12
"""Below, two signs give too few different draws; Webb's (2023) six points do not."""
MANY_UNITS = 2_000
"""From here on scores are as good as normal, and drawn as such instead of from the residuals (Chernozhukov, Chetverikov & Kato 2013)."""
MIN_UNITS = 6
POWER_UNITS = 100
"""From here on it mostly sees confounding of another shape."""
MIN_FREEDOM = 6
"""Rows beyond the null's coefficients, below which residuals say nothing."""

_CHUNK = 4_000_000
_WEBB = np.array([-math.sqrt(1.5), -1.0, -math.sqrt(0.5), math.sqrt(0.5), 1.0, math.sqrt(1.5)])


def specification(sample: Sample, *, seed: int, interactions: bool = True, draws: int = DRAWS) -> Check:
    """Test the linear regression of a sample against a richer one.

    Parameters
    ----------
    sample
        The rows of the contrast with the covariates adjusted for.
    seed
        Of the bootstrap.
    interactions
        Whether the treatment may act differently at other values of a covariate. Such effects do not bias a randomised
        comparison; among observed trials they make the estimate a weighted average of effects.

    Notes
    -----
    Share of rejections at .05 on sound data (400 samples of 36 and of 100, 200 of 500): .03-.07 with normal and t(3) errors and with
    errors whose spread follows a covariate, also a skewed one, for two and five covariates; .04-.08 with 6, 12, 20 or 50 repeated
    units, where rows taken as independent give .4-.6. Power at n = 36, 100, 500 against confounding by a square .5, 1, 1; by
    max and bump .5, 1, 1; by tanh .3, .8, 1; by sin and step .1, .4, 1; against an effect that differs .4, .8, 1.
    Departures that no cubic shows are not seen: a flexible second recipe has to agree.
    """
    name = "specification"
    terms = _terms(sample, interactions)
    if terms.empty:
        return Check(name, "not_applicable", "There are no covariates whose shape could be wrong.")
    units = None if sample.clusters is None else np.unique(sample.clusters, return_inverse=True)[1]
    basis = linear_basis(np.column_stack([sample.matrix, sample.arms]))
    if len(sample.arms) - basis.shape[1] < MIN_FREEDOM or (units is not None and units.max() + 1 < MIN_UNITS):
        return Check(name, "not_applicable", "There are too few trials to tell the shape of the regression.")
    values = terms.to_numpy(dtype=float)
    values = values - values.mean(axis=0)
    left = values - basis @ (basis.T @ values)
    is_new = (left**2).sum(axis=0) > 1e-8 * (values**2).sum(axis=0)
    names = [term for term, is_one in zip(terms, is_new, strict=True) if is_one]
    errors = sample.values - basis @ (basis.T @ sample.values)
    variation = float(((sample.values - sample.values.mean()) ** 2).sum())
    if not names or float(errors @ errors) <= DETERMINED * variation:
        return Check(name, "not_applicable", "Nothing is left that another shape could explain.")
    scores = left[:, is_new] / np.sqrt((left[:, is_new] ** 2).sum(axis=0))
    found = _statistics(scores, errors[:, None], units)[:, 0]
    p_value = _p_value(scores, errors, basis, units, float(found.max()), np.random.default_rng(seed), draws)
    worst = names[int(found.argmax())]
    opening = f"Of {len(names)} squares, cubes and products that the regression leaves out, {worst} matters most: p = {p_value:.2g}"
    reason = f"{opening}, so its shape is wrong" if p_value < ALPHA else f"{opening}."
    count = len(errors) if units is None else int(units.max()) + 1
    statistic = math.sqrt(float(found.max()))
    return Check(name, "passed", reason, statistic, p_value, draws, is_test=True, has_power=count >= POWER_UNITS)


def _terms(sample: Sample, interactions: bool) -> pd.DataFrame:
    encoded = sample.encoded
    terms = second_degree_terms(encoded)
    spread = encoded.std(ddof=0).replace(0.0, 1.0)
    standard = (encoded - encoded.mean()) / spread
    more = {f"{name}^3": standard[name] ** 3 for name in standard if encoded[name].nunique() > 3}
    if interactions:
        arms = (sample.arms - sample.arms.mean()) / (sample.arms.std() or 1.0)
        more |= {f"{sample.treatment}*{name}": arms * standard[name] for name in standard}
        if not sample.is_binary:
            more[f"{sample.treatment}^2"] = pd.Series(arms**2, index=encoded.index)
    return pd.concat([terms, pd.DataFrame(more, index=encoded.index)], axis=1)


def _p_value(
    scores: Array, errors: Array, basis: Array, units: NDArray[np.int64] | None, found: float, generator: np.random.Generator, draws: int
) -> float:
    count = len(errors) if units is None else int(units.max()) + 1
    if count >= MANY_UNITS:
        sums = _unit_sums(scores * errors[:, None], units)
        _, singular, directions = np.linalg.svd(sums / np.maximum(np.sqrt((sums**2).sum(axis=0)), 1e-300), full_matrices=False)
        normal = generator.standard_normal((draws, len(singular))) @ (singular[:, None] * directions)
        return float((1 + ((normal**2).max(axis=1) >= found).sum()) / (draws + 1))
    leverage = np.minimum((basis**2).sum(axis=1), 0.999)
    inflated = errors / (1 - leverage)  # as in HC3: with the errors themselves small samples reject too often
    has_few = units is not None and count < FEW_UNITS
    step = max(1, _CHUNK // len(errors))
    larger = 0
    for start in range(0, draws, step):
        size = (count, min(step, draws - start))
        signs = generator.choice(_WEBB, size=size) if has_few else 2.0 * generator.integers(0, 2, size=size, dtype=np.int8) - 1
        made_up = (signs if units is None else signs[units]) * inflated[:, None]
        made_up -= basis @ (basis.T @ made_up)
        larger += int((_statistics(scores, made_up, units).max(axis=0) >= found * (1 - 1e-9)).sum())
    return (1 + larger) / (draws + 1)


def _statistics(scores: Array, errors: Array, units: NDArray[np.int64] | None) -> Array:
    """Squared studentised scores (terms x S) of errors (n x S)."""
    total = scores.T @ errors
    if units is None:
        variance = (scores**2).T @ (errors**2)
    else:
        variance = np.zeros_like(total)
        for rows in _rows_of(units):
            variance += (scores[rows].T @ errors[rows]) ** 2
    result: Array = np.divide(total**2, variance, out=np.zeros_like(total), where=variance > 0)
    return result


def _unit_sums(columns: Array, units: NDArray[np.int64] | None) -> Array:
    """Sums (units x m) of columns (n x m)."""
    return columns if units is None else np.stack([columns[rows].sum(axis=0) for rows in _rows_of(units)])


def _rows_of(units: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Row numbers of each unit."""
    return np.split(np.argsort(units, kind="stable"), np.cumsum(np.bincount(units))[:-1])
