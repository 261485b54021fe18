"""Whether columns go with one another given others: the test behind negative controls and implied independences."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from trialhouse.causal.inference import DETERMINED, Array, is_degenerate, least_squares

ROWS_PER_TERM = 10
"""Rows that each curve or product needs before it is drawn."""
MIN_DISTINCT = 10
"""Distinct values from which on a column can bend."""
KNOTS = 5


def association(columns: Array, target: Array, given: Array, clusters: NDArray[np.int64] | None = None) -> float:
    """p-value that none of the columns (n x m) goes with the target (n), given others (n x k); Bonferroni over the columns.

    NaN where that cannot be told: what is given determines the columns or the target, or too few repeated units carry them.

    Notes
    -----
    A t-test of the slope with the errors of `least_squares`. A joint Wald test would have more power against several
    small slopes, but rejects far too often when columns are nearly as many as repeated units.
    """
    p_values = [_slope_p(column, target, given, clusters) for column in columns.T]
    known = [p_value for p_value in p_values if not math.isnan(p_value)]
    return min(1.0, len(known) * min(known)) if known else math.nan


def residuals(target: Array, given: Array) -> Array:
    """What a linear regression on others (n x k, and a constant) leaves of the target (n, or n x m)."""
    design = np.column_stack([np.ones(len(given)), given])
    result: Array = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return result


def with_curves(given: Array) -> Array:
    """The columns (n x k) with as much of their curvature and interaction as so many rows can carry.

    An independence given columns is not the absence of a slope given straight lines in them: where both sides bend in
    what is given, their residuals go together although the graph is right. In order of preference: cubic splines with
    products, squares with products, squares, the columns alone.
    """
    if given.shape[1] == 0:
        return given
    room = len(given) / ROWS_PER_TERM
    spread = given.std(axis=0)
    standard = (given - given.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    bends = np.array([len(np.unique(column)) > 2 for column in given.T])
    curves = np.array([len(np.unique(column)) >= MIN_DISTINCT for column in given.T])
    squares = standard[:, bends] ** 2
    products = [standard[:, one] * standard[:, other] for one, other in itertools.combinations(range(given.shape[1]), 2)]
    products = [product for product in products if product.std() > math.sqrt(DETERMINED)]
    second_degree = np.column_stack([squares, *products])
    if 0 < len(given.T) + second_degree.shape[1] <= room:
        splines = _splines(standard[:, curves])
        richest = np.column_stack([given, second_degree, splines])
        return richest if richest.shape[1] <= room else np.column_stack([given, second_degree])
    return np.column_stack([given, squares]) if given.shape[1] + squares.shape[1] <= room else given


def _splines(columns: Array) -> Array:
    """Truncated cubes at inner quantiles, with the cube itself: beside lines and squares these span cubic splines."""
    parts = []
    for column in columns.T:
        knots = np.unique(np.quantile(column, np.linspace(0, 1, KNOTS + 2)[1:-1]))
        parts += [column**3, *(np.maximum(column - knot, 0) ** 3 for knot in knots)]
    return np.column_stack(parts) if parts else np.empty((len(columns), 0))


def _slope_p(column: Array, target: Array, given: Array, clusters: NDArray[np.int64] | None) -> float:
    left = residuals(target, given)
    if float(left @ left) <= DETERMINED * float(((target - target.mean()) ** 2).sum()):
        return math.nan
    found = least_squares(column, target, given, clusters)
    if math.isnan(found.estimate) or math.isnan(found.standard_error):
        return math.nan
    if is_degenerate(found, target):  # every repeated unit says the same
        return 1.0 if abs(found.estimate) * np.ptp(column) <= 1e-7 * np.ptp(target) else 0.0
    return found.p_value
