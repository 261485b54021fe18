"""The best place that a budget buys, for a law and all its draws at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from trialhouse.scaling_laws.cost import Limit, Powers
from trialhouse.scaling_laws.forms import Array, Form

STEPS = {2: 41, 3: 13, 4: 9}
"""Points per free factor of the grids that close in on an optimum, by number of factors."""
TOGETHER = 2_000_000
"""Laws x parameters x points that are worked on together."""


@dataclass(frozen=True)
class Box:
    """Lowest and highest logarithm of each role, in the order of `roles`; the last one is what the budget leaves."""

    roles: tuple[str, ...]
    low: Array
    high: Array


@dataclass(frozen=True)
class Optima:
    """The best places of b laws.

    Parameters
    ----------
    logs
        b x roles; NaN where nothing is affordable.
    is_at_edge
        Whether the place lies at a wall of the box in a role, rather than between (b x roles).
    """

    logs: Array
    is_at_edge: NDArray[np.bool_]


def best_places(form: Form, coordinates: Array, box: Box, cost: Powers, budget: float, limits: Sequence[Limit] = ()) -> Optima:
    """Minimise the outcome of laws (b x p) over places that cost at most `budget` and keep the limits.

    Notes
    -----
    A loss falls with every factor, so the last one is taken as large as budget and limits let it be; the others are searched on
    grids that close in. Sums of powers, and powers of such sums, are convex in logarithms (Boyd & Vandenberghe 2004, section
    4.5), so there is one minimum to close in on.
    """
    free = len(box.roles) - 1
    steps = STEPS.get(len(box.roles), 7)
    unit = np.array(list(product(np.linspace(-1, 1, steps), repeat=free)))
    bounds = [(cost, float(np.log(budget))), *((limit.quantity, float(np.log(limit.at_most))) for limit in limits)]
    found = []
    chunk = max(1, TOGETHER // (len(unit) * coordinates.shape[1]))
    for first in range(0, len(coordinates), chunk):
        part = coordinates[first : first + chunk]
        found.append(_close_in(form, part, box, bounds, unit, steps))
    logs = np.concatenate(found)
    slack = 1e-3
    return Optima(logs, np.asarray((logs <= box.low + slack) | (logs >= box.high - slack)))


def _close_in(form: Form, laws: Array, box: Box, bounds: Sequence[tuple[Powers, float]], unit: Array, steps: int) -> Array:
    middle = np.tile((box.low + box.high)[:-1] / 2, (len(laws), 1))
    half = np.tile((box.high - box.low)[:-1] / 2, (len(laws), 1))
    best = np.full((len(laws), len(box.roles)), np.nan)
    rows = np.arange(len(laws))
    while half.max() > 1e-7:
        tried = np.clip(middle[:, None, :] + unit[None] * half[:, None, :], box.low[:-1], box.high[:-1])
        last, is_possible = _largest_last(tried, box, bounds)
        points = {role: tried[..., k] for k, role in enumerate(box.roles[:-1])} | {box.roles[-1]: last}
        level, _ = form.curve(laws, points)
        level = np.where(is_possible & np.isfinite(level), level, np.inf)
        chosen = level.argmin(axis=1)
        is_any = np.isfinite(level[rows, chosen])[:, None]
        if not is_any.any():
            break
        best = np.where(is_any, np.concatenate([tried[rows, chosen], last[rows, chosen, None]], axis=1), best)
        middle = np.where(is_any, tried[rows, chosen], middle)
        half = half * 4 / (steps - 1)  # two steps to either side of the best one
    return best


def _largest_last(tried: Array, box: Box, bounds: Sequence[tuple[Powers, float]]) -> tuple[Array, NDArray[np.bool_]]:
    """The largest logarithm of the last role (b x m) that keeps all bounds, and whether there is one."""
    last = np.full(tried.shape[:-1], box.high[-1])
    is_possible = np.ones(tried.shape[:-1], dtype=bool)
    for quantity, bound in bounds:
        left = bound - quantity.constant - sum(quantity.exponents.get(role, 0.0) * tried[..., k] for k, role in enumerate(box.roles[:-1]))
        own = quantity.exponents.get(box.roles[-1], 0.0)
        if own > 1e-9:
            last = np.minimum(last, left / own)
        else:
            is_possible &= np.asarray(left - own * last >= -1e-9)
    return np.maximum(last, box.low[-1]), is_possible & (last >= box.low[-1] - 1e-9)
