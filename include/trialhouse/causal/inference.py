"""Least squares with errors that hold in small samples: HC3 with a t reference, CR3 (t, G - 1) for repeated units.

Written on arrays because refuters call it thousands of times; the tests compare it with statsmodels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DETERMINED = 1e-9
"""Share of a column's variance below which what is left of it is rounding error."""


@dataclass(frozen=True)
class Inference:
    """An effect with what is known about its error. NaN where it cannot be had.

    Parameters
    ----------
    estimate, standard_error, ci_low, ci_high, p_value
        In units of the outcome; a 95% interval; two-sided against no effect.
    degrees_of_freedom
        Of the t reference.
    clusters
        Repeated units, where errors allow for them.
    unclustered_error
        HC3 error as if all rows were independent.
    partial_r2
        Share of what covariates leave of the outcome that the treatment explains.
    residual_degrees_of_freedom
        Rows less fitted coefficients.
    note
        Why the interval is not the usual one.
    """

    estimate: float
    standard_error: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    p_value: float = math.nan
    degrees_of_freedom: float = math.nan
    clusters: int | None = None
    unclustered_error: float = math.nan
    partial_r2: float = math.nan
    residual_degrees_of_freedom: int = 0
    note: str | None = None

    def scaled(self, factor: float) -> Inference:
        """The effect of `factor` units of the treatment instead of one."""
        low, high = sorted((self.ci_low * factor, self.ci_high * factor))
        return replace(
            self,
            estimate=self.estimate * factor,
            standard_error=self.standard_error * abs(factor),
            ci_low=low,
            ci_high=high,
            unclustered_error=self.unclustered_error * abs(factor),
        )


def coefficient(treatment: Array, outcome: Array, covariates: Array) -> float:
    """Slope of the outcome (n) on the treatment (n), adjusted for covariates (n x k, k may be 0).

    NaN where the covariates determine the treatment.
    """
    left, residual = _partial_out(treatment, outcome, covariates)
    return _slope(treatment, outcome, left, residual)


def least_squares(treatment: Array, outcome: Array, covariates: Array, clusters: NDArray[np.int64] | None = None) -> Inference:
    """`coefficient` with its error.

    Parameters
    ----------
    treatment, outcome
        Length n.
    covariates
        n x k, without a constant; collinear columns do no harm.
    clusters
        Length n: codes of the repeated units. Without, rows are taken as independent.

    Notes
    -----
    HC3: MacKinnon & White (1985). CR3 is the jackknife over clusters, (G - 1)/G times the sum of squared differences of
    leaving one out (Bell & McCaffrey 2002; MacKinnon, Nielsen & Webb 2023, CV3); degrees of freedom are one less than
    the clusters in which the treatment varies given the covariates. In simulations with 6 to 20 clusters this covers
    95% where HC3 covers 66-82%.
    """
    left, residual = _partial_out(treatment, outcome, covariates)
    estimate = _slope(treatment, outcome, left, residual)
    if math.isnan(estimate):
        return Inference(estimate, note="the covariates determine the treatment")
    weight = float(left @ left)
    fitted = left * (residual @ left) / weight
    errors = residual - fitted
    rank, leverage = _leverage(covariates)
    leverage = leverage + left**2 / weight
    remaining = len(outcome) - rank - 1
    explained = float(residual @ residual)
    partial_r2 = float(fitted @ fitted) / explained if explained > DETERMINED * _variation(outcome) else math.nan
    hc3 = _hc3(left, errors, leverage, weight) if remaining > 0 else math.nan
    common = {
        "estimate": estimate,
        "unclustered_error": hc3,
        "partial_r2": partial_r2,
        "residual_degrees_of_freedom": remaining,
    }
    if clusters is None:
        return with_interval(Inference(standard_error=hc3, degrees_of_freedom=remaining, **common))  # type: ignore[arg-type]
    count = len(np.unique(clusters))
    informative = int((np.bincount(clusters, weights=left**2) > DETERMINED * weight).sum())
    error = _cr3(treatment, outcome, covariates, clusters, estimate) if informative > 1 else math.nan
    note = None if not math.isnan(error) else "too few repeated units carry the contrast"
    return with_interval(Inference(standard_error=error, degrees_of_freedom=informative - 1, clusters=count, note=note, **common))  # type: ignore[arg-type]


def with_interval(inference: Inference) -> Inference:
    """Add the 95% interval and the p-value that its error and degrees of freedom give."""
    from scipy.stats import t as student

    if not inference.standard_error > 0 or not inference.degrees_of_freedom > 0:
        return replace(inference, ci_low=math.nan, ci_high=math.nan, p_value=math.nan)
    half = float(student.ppf(0.975, inference.degrees_of_freedom)) * inference.standard_error
    p_value = 2 * float(student.sf(abs(inference.estimate) / inference.standard_error, inference.degrees_of_freedom))
    return replace(inference, ci_low=inference.estimate - half, ci_high=inference.estimate + half, p_value=p_value)


def score_interval(events: tuple[int, int], trials: tuple[int, int]) -> tuple[float, float, float]:
    """95% interval and p-value for the difference of two shares, second minus first (Newcombe 1998, method 10; Fisher).

    It has width even where no event was seen: the rule of three's answer to "none of 18".
    """
    from scipy.stats import fisher_exact

    shares = [event / trial for event, trial in zip(events, trials, strict=True)]
    (low_0, high_0), (low_1, high_1) = (_wilson(event, trial) for event, trial in zip(events, trials, strict=True))
    difference = shares[1] - shares[0]
    low = difference - math.hypot(shares[1] - low_1, high_0 - shares[0])
    high = difference + math.hypot(high_1 - shares[1], shares[0] - low_0)
    table = [[events[0], trials[0] - events[0]], [events[1], trials[1] - events[1]]]
    return low, high, float(fisher_exact(table).pvalue)


def exact_interval(events: int, trials: int) -> tuple[float, float]:
    """95% interval for a share (Clopper & Pearson 1934); 0 to 1 where there are no trials."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, events, trials - events + 1)) if events > 0 else 0.0
    high = float(beta.ppf(0.975, events + 1, trials - events)) if events < trials else 1.0
    return low, high


def is_degenerate(inference: Inference, outcome: Array) -> bool:
    """Whether the error is zero up to rounding: the outcome is determined, which is no proof that it always would be."""
    scale = max(float(np.ptp(outcome)), DETERMINED * float(np.abs(outcome).max(initial=0.0)))
    return inference.standard_error <= 1e-7 * scale


def partial_r2(column: Array, target: Array, covariates: Array) -> float:
    """Share of what covariates leave of the target (n) that the columns (n x m) explain; 0 where nothing is left."""
    base = _residuals(target, covariates)
    variance = float(base @ base)
    if variance <= DETERMINED * _variation(target):
        return 0.0
    full = _residuals(target, np.column_stack([covariates, column]))
    return max(0.0, 1 - float(full @ full) / variance)


def _wilson(events: int, trials: int) -> tuple[float, float]:
    z2 = 1.959963984540054**2
    centre = (events + z2 / 2) / (trials + z2)
    half = math.sqrt(z2 * (events * (trials - events) / trials + z2 / 4)) / (trials + z2)
    return (0.0 if events == 0 else centre - half), (1.0 if events == trials else centre + half)


def _with_constant(covariates: Array) -> Array:
    """Columns that span the constant and the covariates, all of one size: beside FLOPs a dummy must not count as rounding error."""
    centred = covariates - covariates.mean(axis=0) if len(covariates) else covariates
    scale = centred.std(axis=0) if len(covariates) else np.ones(covariates.shape[1])
    varies = scale > 1e-12 * np.abs(covariates).max(axis=0, initial=0.0)
    return np.column_stack([np.ones(len(covariates)), np.divide(centred, scale, out=np.zeros_like(centred), where=varies)])


def _residuals(target: Array, covariates: Array) -> Array:
    design = _with_constant(covariates)
    result: Array = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return result


def _partial_out(treatment: Array, outcome: Array, covariates: Array) -> tuple[Array, Array]:
    both = _residuals(np.column_stack([treatment, outcome]), covariates)
    return both[:, 0], both[:, 1]


def _slope(treatment: Array, outcome: Array, left: Array, residual: Array) -> float:
    weight = float(left @ left)
    if weight <= DETERMINED * _variation(treatment) or np.ptp(treatment) == 0:
        return math.nan
    slope = float(left @ residual) / weight
    # Rounding errors must not look like differences between simulations.
    grain = 1e-12 * float(np.ptp(outcome)) / float(np.ptp(treatment))
    return round(slope / grain) * grain if grain > 0 else 0.0


def _variation(column: Array) -> float:
    centred = column - column.mean()
    return float(centred @ centred)


def linear_basis(covariates: Array) -> Array:
    """An orthonormal basis (n x rank) of what the constant and the covariates (n x k) span."""
    left, singular, _ = np.linalg.svd(_with_constant(covariates), full_matrices=False)
    basis: Array = left[:, singular > singular[0] * 1e-10]
    return basis


def _leverage(covariates: Array) -> tuple[int, Array]:
    basis = linear_basis(covariates)
    return basis.shape[1], (basis**2).sum(axis=1)


def _hc3(left: Array, errors: Array, leverage: Array, weight: float) -> float:
    free = 1 - leverage
    # A row that a coefficient of its own fits exactly has no error to tell.
    shares = np.divide(left * errors, free, out=np.zeros_like(errors), where=free > 1e-8)
    return float(np.sqrt((shares**2).sum())) / weight


def _cr3(treatment: Array, outcome: Array, covariates: Array, clusters: NDArray[np.int64], estimate: float) -> float:
    columns = np.column_stack([covariates, treatment, outcome])
    columns = columns - columns.mean(axis=0)
    scale = columns.std(axis=0)
    columns = np.column_stack([np.ones(len(columns)), columns / np.where(scale > 0, scale, 1.0)])
    _, codes = np.unique(clusters, return_inverse=True)
    groups = int(codes.max()) + 1
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(groups))
    width = columns.shape[1]
    moments = np.empty((groups, width, width))
    for group, rows in enumerate(np.split(order, starts[1:])):
        moments[group] = columns[rows].T @ columns[rows]
    without = moments.sum(axis=0) - moments
    k = width - 2
    inverse = np.linalg.pinv(without[:, :k, :k], rcond=1e-10, hermitian=True)
    cross = without[:, :k, k]
    projected = np.einsum("gi,gij->gj", cross, inverse)
    weight = without[:, k, k] - np.einsum("gj,gj->g", projected, cross)
    product = without[:, k, k + 1] - np.einsum("gj,gj->g", projected, without[:, :k, k + 1])
    if (weight <= 1e-8 * without[:, k, k]).any():
        return math.nan  # without one of the units there is no contrast left
    slopes = product / weight * (scale[-1] / scale[-2])
    return math.sqrt((groups - 1) / groups * float(((slopes - estimate) ** 2).sum()))
