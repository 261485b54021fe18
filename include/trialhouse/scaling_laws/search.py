"""Where a law's loss is lowest: many starts by our own solver, the best confirmed by scipy's L-BFGS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trialhouse.scaling_laws.forms import Array, Form, Points
from trialhouse.scaling_laws.solver import minimise, objective

STARTS = 32
"""Most promising starts that are followed; a third of random ones reach the optimum of the Chinchilla fit."""
SAME = 1e-7
"""Relative difference of losses up to which two optima are one."""


@dataclass(frozen=True)
class Optimum:
    """The lowest minimum that was found.

    Parameters
    ----------
    coordinates
        Of the law, length p.
    objective
        Its loss.
    starts, reached
        How many starts were followed, and how many of them ended there.
    confirmed
        Whether L-BFGS, started there, found nothing lower.
    """

    coordinates: Array
    objective: float
    starts: int
    reached: int
    confirmed: bool


@dataclass(frozen=True)
class MeanStop:
    """Where L-BFGS with default tolerances stops if the loss is averaged over points instead of summed.

    Parameters
    ----------
    coordinates
        Length p.
    objective
        The summed loss there.
    iterations
        That it took.
    """

    coordinates: Array
    objective: float
    iterations: int


def ranked_starts(form: Form, points: Points, outcome: Array, delta: float, count: int = STARTS, *, weights: Array | None = None) -> Array:
    """The most promising of the form's starts (count x p), best first."""
    grid = form.grid(points, outcome)
    losses = objective(form, grid, points, form.on_scale(outcome), delta, weights)
    order = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
    return grid[order[:count]]


def optimum(
    form: Form,
    points: Points,
    outcome: Array,
    delta: float,
    *,
    weights: Array | None = None,
    starts: Array | None = None,
    confirm: bool = True,
    iterations: int = 300,
) -> Optimum:
    """The law with the lowest Huber loss, summed over n points with their weights (n; by default 1); the same data give the same bits."""
    target = form.on_scale(outcome)
    weights = np.ones(len(target)) if weights is None else weights
    starts = ranked_starts(form, points, outcome, delta, weights=weights) if starts is None else starts
    solved = minimise(form, points, target, starts, weights=weights, delta=delta, iterations=iterations)
    losses = np.where(np.isfinite(solved.objective), solved.objective, np.inf)
    best = int(losses.argmin())
    coordinates, lowest = solved.coordinates[best], float(losses[best])
    reached = int((losses <= lowest * (1 + SAME)).sum())
    if not confirm:
        return Optimum(coordinates, lowest, len(starts), reached, confirmed=False)
    tight = _lbfgs(form, points, target, coordinates, delta, weights, scale=1 / max(lowest, 1e-300), ftol=1e-15, gtol=1e-10)
    again = minimise(form, points, target, tight[None], weights=weights, delta=delta)
    is_lower = float(again.objective[0]) < lowest * (1 - SAME)
    if is_lower:
        coordinates, lowest = again.coordinates[0], float(again.objective[0])
    return Optimum(coordinates, lowest, len(starts), reached, confirmed=not is_lower)


def mean_stop(form: Form, points: Points, outcome: Array, delta: float, starts: Array, *, weights: Array | None = None) -> MeanStop:
    """What many fits in use do: L-BFGS on the average loss with scipy's default tolerances, the best of the given starts.

    The gradient of an average of Huber losses is of the order of delta, so `gtol` 1e-5 and `ftol` 2.2e-9 are met at once.
    """
    from scipy.optimize import minimize

    target = form.on_scale(outcome)
    weights = np.ones(len(target)) if weights is None else weights
    given = (form, points, target, delta, weights, 1 / len(target))
    found = [minimize(_loss_and_gradient, start, args=given, jac=True, method="L-BFGS-B") for start in starts]
    best = min(found, key=lambda result: float(result.fun))
    return MeanStop(np.asarray(best.x), float(best.fun) * len(target), int(best.nit))


def _lbfgs(
    form: Form, points: Points, target: Array, start: Array, delta: float, weights: Array, *, scale: float, ftol: float, gtol: float
) -> Array:
    from scipy.optimize import minimize

    options = {"maxiter": 2000, "maxfun": 4000, "ftol": ftol, "gtol": gtol, "maxcor": 30}
    given = (form, points, target, delta, weights, scale)
    result = minimize(_loss_and_gradient, start, args=given, jac=True, method="L-BFGS-B", options=options)
    return np.asarray(result.x) if np.isfinite(result.fun) else start


def _loss_and_gradient(
    coordinates: Array, form: Form, points: Points, target: Array, delta: float, weights: Array, scale: float
) -> tuple[float, Array]:
    """The summed Huber loss times `scale`, and its gradient."""
    level, slopes = form.curve(coordinates[None], points)
    residuals = level[0] - target
    loss = objective(form, coordinates[None], points, target, delta, weights)[0]
    if not np.isfinite(loss):
        return 1e300, np.zeros_like(coordinates)
    return float(loss) * scale, np.asarray(slopes[0] @ (weights * np.clip(residuals, -delta, delta))) * scale
