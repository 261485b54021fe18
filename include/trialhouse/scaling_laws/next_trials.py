"""Which trials to run next: those that would make the optimum surest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from trialhouse.scaling_laws.cost import Limit, Powers
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Array
from trialhouse.scaling_laws.prediction import noise
from trialhouse.scaling_laws.support import Place, ranges

BEYOND = 0.5
"""Factors of ten beyond the largest trials that a next one may lie."""
KNOWN = 1e-6
"""Standard deviation of an optimum's logarithm below which limits, not the law, say where it is: no trial makes that surer."""
LEVELS = {1: 25, 2: 9, 3: 6}
"""Candidates per factor, by number of factors."""


@dataclass(frozen=True)
class NextTrial:
    """One configuration that is worth a trial.

    Parameters
    ----------
    place
        Column -> value.
    cost
        Of the trial.
    sd_before, sd_after
        Standard deviation of the logarithm (base 10) of the optimum without and with this trial and those before it in the batch.
    """

    place: Place
    cost: float
    sd_before: float
    sd_after: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"place": self.place, "cost": self.cost, "log10_sd_before": self.sd_before, "log10_sd_after": self.sd_after}


def next_trials(
    law: Law, optimum: Array, cost: Powers, *, count: int = 4, at_most: float | None = None, limits: Sequence[Limit] = ()
) -> list[NextTrial]:
    """Choose a batch, one trial after the other, each the one that lowers the variance of the optimum most.

    Parameters
    ----------
    law
        With its draws.
    optimum
        Natural logarithm of the quantity to be sure of, in each draw.
    cost, at_most
        What a trial costs and may cost; by default as much as the dearest there was.
    limits
        That a trial keeps too.

    Notes
    -----
    The draws stand for a normal distribution of law and optimum together. A trial at x, whose outcome scatters with variance s^2,
    lowers the variance of the optimum by cov(optimum, f(x))^2 / (var f(x) + s^2): the c-optimal step (Chaloner & Verdinelli 1995),
    with covariances of draws in the place of Jacobians. Draws are cut at their 1% quantiles, which a normal distribution needs.
    """
    assert law.drawn is not None
    places = _candidates(law)
    points = dict(zip(law.sample.columns, places.T, strict=True))
    costs = cost.log(points)
    top = float(cost.log(law.sample.points).max()) if at_most is None else float(np.log(at_most))
    keeps = costs <= top + 1e-9
    for limit in limits:
        keeps &= limit.quantity.log(points) <= np.log(limit.at_most) + 1e-9
    if not keeps.any() or np.std(optimum) < KNOWN:
        return []
    places, costs = places[keeps], costs[keeps]
    levels, _ = law.form.curve(law.drawn.coordinates, {role: values[keeps] for role, values in points.items()})
    joint = np.column_stack([optimum, levels])
    joint = np.clip(joint, *np.quantile(joint, [0.01, 0.99], axis=0))
    covariance = np.cov(joint.T)
    scatter = noise(law) ** 2
    found: list[NextTrial] = []
    for _ in range(count):
        spread = covariance.diagonal()[1:] + scatter
        best = int((covariance[0, 1:] ** 2 / spread).argmax())
        row = covariance[:, best + 1].copy()
        before = covariance[0, 0]
        covariance = covariance - np.outer(row, row) / spread[best]
        place = {column: float(f"{np.exp(places[best, k]):.3g}") for k, column in enumerate(law.sample.columns.values())}
        sds = (float(np.sqrt(max(value, 0)) / np.log(10)) for value in (before, covariance[0, 0]))
        found.append(NextTrial(place, float(np.exp(costs[best])), *sds))
    return found


def _candidates(law: Law) -> Array:
    low, high = ranges(law)
    levels = LEVELS.get(len(low), 4)
    axes = [np.linspace(a, b + BEYOND * np.log(10), levels) for a, b in zip(low, high, strict=True)]
    return np.array(list(product(*axes)))
