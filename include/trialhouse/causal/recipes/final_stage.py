"""A last regression of scores on modifiers, with errors that hold in small samples, and the median over repeated splits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trialhouse.causal.inference import Array, Inference, with_interval


@dataclass(frozen=True)
class LinearFit:
    """Coefficients of a regression and how far they can be trusted.

    Parameters
    ----------
    coefficients
        Length k.
    covariance
        k x k; NaN where leaving out one unit leaves no estimate.
    design
        n x k.
    clusters
        Length n: codes of the repeated units, if there are any.
    """

    coefficients: Array
    covariance: Array
    design: Array
    clusters: NDArray[np.int64] | None

    def at(self, rows: Array) -> list[Inference]:
        """What the line says at rows (m x k), each with a t reference of as many rows or units as carry it."""
        return [self._at(row) for row in rows]

    def _at(self, row: Array) -> Inference:
        estimate = float(row @ self.coefficients)
        variance = float(row @ self.covariance @ row)
        count = None if self.clusters is None else len(np.unique(self.clusters))
        if not variance >= 0:
            return Inference(estimate, clusters=count, note="too few repeated units carry the contrast")
        share = self.design @ np.linalg.lstsq(self.design.T @ self.design, row, rcond=None)[0]
        carries = np.abs(share) > 1e-9 * np.abs(share).max(initial=0.0)
        if self.clusters is not None:
            freedom = len(np.unique(self.clusters[carries])) - 1
        else:
            freedom = int(carries.sum()) - int(np.linalg.matrix_rank(self.design[carries]))
        return with_interval(Inference(estimate, math.sqrt(variance), degrees_of_freedom=freedom, clusters=count))


def linear_fit(design: Array, target: Array, clusters: NDArray[np.int64] | None = None) -> LinearFit:
    """Least squares without a constant of its own.

    Parameters
    ----------
    design
        n x k.
    target
        Length n.
    clusters
        Length n: codes of the repeated units. Without, rows are taken as independent.

    Notes
    -----
    HC3 (MacKinnon & White 1985), or the jackknife over units (CV3, MacKinnon, Nielsen & Webb 2023), as in
    `trialhouse.causal.inference`, for all coefficients at once.
    """
    inverse = np.linalg.pinv(design.T @ design, hermitian=True)
    coefficients = inverse @ (design.T @ target)
    if clusters is None:
        leverage = np.minimum(np.einsum("ij,jk,ik->i", design, inverse, design), 1 - 1e-8)
        scores = design * ((target - design @ coefficients) / (1 - leverage))[:, None]
        return LinearFit(coefficients, inverse @ (scores.T @ scores) @ inverse, design, None)
    units = np.unique(clusters)
    without = np.array([_without(design, target, clusters != unit) for unit in units])
    spread = without - coefficients
    covariance = (len(units) - 1) / len(units) * spread.T @ spread
    return LinearFit(coefficients, covariance, design, clusters)


def mean_of(scores: Array, clusters: NDArray[np.int64] | None = None) -> Inference:
    """The mean of scores (n) with its error."""
    return linear_fit(np.ones((len(scores), 1)), scores, clusters).at(np.ones((1, 1)))[0]


def median_of(repeats: Sequence[Inference]) -> Inference:
    """The median over repeated splits; the error adds how far each repeat lies from it (Chernozhukov et al. 2018, section 3.4)."""
    estimates = np.array([one.estimate for one in repeats])
    errors = np.array([one.standard_error for one in repeats])
    centre = float(np.median(estimates))
    error = float(np.median(np.sqrt(errors**2 + (estimates - centre) ** 2)))
    first = repeats[0]
    found = Inference(centre, error, degrees_of_freedom=first.degrees_of_freedom, clusters=first.clusters)
    note = next((one.note for one in repeats if one.note), None)
    return Inference(centre, clusters=first.clusters, note=note) if note else with_interval(found)


def _without(design: Array, target: Array, kept: NDArray[np.bool_]) -> Array:
    rest = design[kept]
    if np.linalg.matrix_rank(rest) < np.linalg.matrix_rank(design):
        return np.full(design.shape[1], math.nan)
    return np.asarray(np.linalg.lstsq(rest, target[kept], rcond=None)[0], dtype=float)
