"""Many laws at once, each at the minimum of its own Huber loss: thousands of bootstrap draws, starts or profiles in one call.

The loss of one law is the sum over points of weight x Huber(curve - outcome) on the form's scale: summed, never averaged,
so that what counts as converged does not depend on the number of points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trialhouse.scaling_laws.forms import Array, Form, Points

CELLS = 400_000
"""Laws x parameters x points that are worked on together: as much as a processor's cache holds."""
FARTHEST = 3.0
"""No coordinate moves more than this in one step: a factor of 20 for what is positive."""


@dataclass(frozen=True)
class Solved:
    """Laws at their minima.

    Parameters
    ----------
    coordinates
        b x p.
    objective
        Their Huber losses, length b.
    is_converged
        Whether no step promised to lower the loss by more than `tolerance` of it, length b.
    """

    coordinates: Array
    objective: Array
    is_converged: NDArray[np.bool_]


def huber(residuals: Array, delta: float) -> Array:
    """Half the square up to `delta`, a straight line from there on (Huber 1964)."""
    size = np.abs(residuals)
    return np.where(size <= delta, 0.5 * residuals**2, delta * (size - 0.5 * delta))


def objective(form: Form, coordinates: Array, points: Points, target: Array, delta: float, weights: Array | None = None) -> Array:
    """Huber losses (b) of laws (b x p) at points with a target (n) on the form's scale and weights (n, or b x n)."""
    level, _ = form.curve(coordinates, points)
    losses = huber(level - target, delta)
    return np.asarray((losses if weights is None else losses * weights).sum(axis=-1))


def minimise(
    form: Form,
    points: Points,
    target: Array,
    start: Array,
    *,
    weights: Array,
    delta: float,
    held: NDArray[np.bool_] | None = None,
    iterations: int = 300,
    tolerance: float = 1e-11,
) -> Solved:
    """Bring laws to the minima of their losses.

    Parameters
    ----------
    form, points, target
        The family and n points with their target on its scale.
    start
        b x p.
    weights
        b x n, or n for all.
    delta
        Of the Huber loss; infinity for least squares.
    held
        b x p: coordinates that stay where they start.

    Notes
    -----
    Levenberg-Marquardt with the Hessian J'(A + mu W) J: A marks residuals within delta, W are the weights of iteratively
    reweighted least squares. Large mu majorises the loss and always descends; as mu falls the step becomes Newton's, which
    ends where reweighting alone would creep, since few residuals are within a delta far below the noise.
    """
    start = np.array(start, dtype=float)
    laws, size = start.shape
    held = np.zeros((laws, size), dtype=bool) if held is None else held
    found = Solved(start, np.empty(laws), np.zeros(laws, dtype=bool))
    chunk = max(1, CELLS // (size * len(target)))
    for first in range(0, laws, chunk):
        part = slice(first, first + chunk)
        own = weights if weights.ndim == 1 else weights[part]
        _descend(form, points, target, found, part, own, delta, held[part], iterations, tolerance)
    return found


def _descend(
    form: Form,
    points: Points,
    target: Array,
    found: Solved,
    part: slice,
    weights: Array,
    delta: float,
    held: NDArray[np.bool_],
    iterations: int,
    tolerance: float,
) -> None:
    """`minimise` for one chunk, in place; laws that have arrived leave the work to the others."""
    theta, size = found.coordinates[part], found.coordinates.shape[1]
    loss, done = found.objective[part], found.is_converged[part]
    weights = np.broadcast_to(weights, (len(theta), len(target)))
    level, slopes = form.curve(theta, points)
    residuals = level - target
    loss[:] = (huber(residuals, delta) * weights).sum(axis=-1)
    active, at = np.arange(len(theta)), theta.copy()
    damping, own, still = np.ones(len(theta)), weights, held
    diagonal = np.arange(size)
    for _ in range(iterations):
        spread = np.abs(residuals)
        reweighted = delta / np.maximum(spread, delta) if np.isfinite(delta) else np.ones_like(spread)
        pull = own * reweighted
        gradient = (slopes @ (pull * residuals)[..., None])[..., 0]
        bend = pull * damping[:, None] + own * (spread <= delta)
        hessian = (slopes * bend[:, None, :]) @ slopes.swapaxes(-1, -2)
        gradient[still] = 0
        if still.any():
            hessian[still] = 0
            hessian.swapaxes(-1, -2)[still] = 0
        curvature = hessian[:, diagonal, diagonal]
        hessian[:, diagonal, diagonal] = curvature * (1 + 1e-10) + 1e-13 * curvature.max(axis=1, keepdims=True) + 1e-300 + still
        step = -_solve(hessian, gradient)
        step *= np.minimum(1, FARTHEST / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300))
        promised = -(step * gradient).sum(axis=1)
        tried = at + step
        new_level, new_slopes = form.curve(tried, points)
        new_residuals = new_level - target
        new_loss = (huber(new_residuals, delta) * own).sum(axis=-1)
        new_loss = np.where(np.isfinite(new_loss), new_loss, np.inf)
        current = loss[active]
        is_better = new_loss < current
        arrived = (promised <= tolerance * current) | (current <= 1e-300) | ((damping > 1e10) & ~is_better)
        loss[active[is_better]] = new_loss[is_better]
        theta[active[is_better]] = tried[is_better]
        at = np.where(is_better[:, None], tried, at)
        residuals = np.where(is_better[:, None], new_residuals, residuals)
        slopes = np.where(is_better[:, None, None], new_slopes, slopes)
        damping = np.where(is_better, np.maximum(damping * 0.2, 1e-6), damping * 5)
        if arrived.any():
            done[active[arrived]] = True
            left = ~arrived
            if not left.any():
                return
            active, at, residuals, slopes = active[left], at[left], residuals[left], slopes[left]
            damping, own, still = damping[left], own[left], still[left]


def _solve(matrices: Array, vectors: Array) -> Array:
    """Steps from Hessians and gradients; those of a singular matrix follow the gradient, scaled."""
    scale = 1 / np.sqrt(np.maximum(np.einsum("bii->bi", matrices), 1e-300))
    scaled = matrices * scale[:, :, None] * scale[:, None, :]
    try:
        return np.asarray(np.linalg.solve(scaled, (vectors * scale)[..., None])[..., 0] * scale)
    except np.linalg.LinAlgError:
        ridge = scaled + 1e-8 * np.eye(matrices.shape[-1])
        return np.asarray(np.linalg.solve(ridge, (vectors * scale)[..., None])[..., 0] * scale)
