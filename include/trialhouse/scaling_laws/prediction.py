"""What a law says at a place, and how sure that is: of the average trial, and of one new trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trialhouse.errors import ForecastError
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Array, Points
from trialhouse.scaling_laws.intervals import LEVEL


@dataclass(frozen=True)
class Prediction:
    """The outcome at one place.

    Parameters
    ----------
    mean
        Of the law: the median of trials there, where outcomes are compared by logarithms.
    low, high
        95% interval of that.
    new_low, new_high
        95% interval of one new trial.
    """

    mean: float
    low: float
    high: float
    new_low: float
    new_high: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"mean": self.mean, "interval": [self.low, self.high], "new_trial_interval": [self.new_low, self.new_high]}


@dataclass(frozen=True)
class Levels:
    """A law on its form's scale at k places: `centre` (k) and bootstrap `draws` (b x k)."""

    centre: Array
    draws: Array


def levels_at(law: Law, points: Points) -> Levels:
    """The law and its draws at points."""
    if law.drawn is None:
        raise ForecastError("a law must have a curve to forecast", law.reasons[0] if law.reasons else "none", "name another form")
    centre, _ = law.form.curve(law.coordinates[None], points)
    drawn, _ = law.form.curve(law.drawn.coordinates, points)
    return Levels(centre[0], drawn)


def freedom(law: Law) -> int:
    """Degrees of freedom of the law's errors: rows less parameters, or clusters less one."""
    return max(len(law.sample) - len(law.coordinates) if law.sample.clusters is None else law.sample.units - 1, 1)


def interval(law: Law, centre: float, draws: Array, level: float = LEVEL) -> tuple[float, float]:
    """95% (or other) interval of whatever was computed from a law and from each of its draws.

    Notes
    -----
    Quantiles of the draws, their distances from the centre scaled by sqrt(n / (n - p)) and by the t over the normal quantile:
    a bootstrap of n rows has residuals that p parameters have shrunk, and takes their spread for known. For clusters n is
    their number and p is 1.
    """
    from scipy import stats

    df = freedom(law)
    count = df + (len(law.coordinates) if law.sample.clusters is None else 1)
    scale = np.sqrt(count / df) * stats.t.ppf(0.5 + level / 2, df) / stats.norm.ppf(0.5 + level / 2)
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return float(centre - scale * (centre - low)), float(centre + scale * (high - centre))


def noise(law: Law) -> float:
    """Standard deviation of one trial (of weight 1) around the law, on the form's scale; all trials count, outliers too."""
    residuals = law.sample.residuals(law.form, law.coordinates)
    return float(np.sqrt(residuals @ residuals / max(len(residuals) - len(law.coordinates), 1)))


def predict(law: Law, points: Points) -> list[Prediction]:
    """The outcome at each of k points; the scatter around the law is taken to be the same everywhere."""
    from scipy import stats

    found = levels_at(law, points)
    scatter = noise(law) * stats.t.ppf(0.5 + LEVEL / 2, freedom(law))
    predictions = []
    for centre, draws in zip(found.centre, found.draws.T, strict=True):
        low, high = interval(law, centre, draws)
        new = centre - np.hypot(centre - low, scatter), centre + np.hypot(high - centre, scatter)
        values = np.array([centre, low, high, *new])
        values = np.exp(values) if law.form.is_log else np.clip(values, 0, 1)
        predictions.append(Prediction(*map(float, values)))
    return predictions
