"""Do two arms differ in their constant or in their exponents, and where do their curves cross?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trialhouse.errors import LawError
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Array
from trialhouse.scaling_laws.intervals import LEVEL, degrees_of_freedom
from trialhouse.scaling_laws.prediction import freedom, interval
from trialhouse.scaling_laws.support import in_words

POINTS = 400
"""Places between which a crossing is looked for."""
BEYOND = np.log(10.0)
"""How far above the trials' range a crossing is looked for (log): tenfold."""


@dataclass(frozen=True)
class Comparison:
    """One quantity of the second law against the first.

    Parameters
    ----------
    quantity
        `difference of beta`, `ratio above E` (of what can be reduced of a loss, in the middle of the common range) or `crossing`.
    estimate, low, high
        With a 95% interval; NaN where there is none.
    sentence
        What it says.
    p_value
        Of no difference (of a ratio of 1), from what the interval is from: below .05 just where the interval excludes it. NaN for a
        crossing, which tests nothing.
    """

    quantity: str
    estimate: float
    low: float
    high: float
    sentence: str
    p_value: float = np.nan


def compare(first: Law, second: Law, *, names: tuple[str, str]) -> list[Comparison]:
    """Hold two laws of one form against each other; of several factors there is no crossing.

    Notes
    -----
    Intervals of differences combine the two profile intervals (Zou & Donner 2008, MOVER), which keeps their asymmetry and is
    conservative where arms share blocks. The ratio and the crossing come from the bootstrap, draws paired at random; the ratio's
    interval is widened for few trials or blocks as forecasts' are.

    P-values invert the same intervals: that of a difference is of t = estimate / half-width towards 0 x the t quantile of the
    interval, since the root of a profile is nearly linear in the distance, with the fewer degrees of freedom of the two arms; that of
    a ratio is one less the level of the interval that ends at 1, at least 2 / (draws + 1), which is as much as draws tell.

    Raises
    ------
    LawError
        If the forms differ or a law is missing.
    """
    if first.form.name != second.form.name:
        raise LawError("laws that are compared must have one form", f"{first.form.name} and {second.form.name}", "name it")
    if first.drawn is None or second.drawn is None:
        raise LawError("laws that are compared must have been fitted", "one that is withheld without parameters", "see its reasons")
    found = [_difference(first, second, k, names) for k in range(len(first.form.parameters)) if first.form.parameters[k].is_exponent]
    if first.form.names[0] == "E":
        found.append(_difference(first, second, 0, names))
    ends = _common(first, second)
    if first.form.is_log:
        found.append(_ratio(first, second, {role: (low + high) / 2 for role, (low, high) in ends.items()}, names))
    if first.form.roles == ("n",):
        found.append(_crossing(first, second, ends["n"], names))
    return found


def _difference(first: Law, second: Law, k: int, names: tuple[str, str]) -> Comparison:
    name = first.form.names[k]
    (a, b), ((al, ah), (bl, bh)) = ((law.parameters[name] for law in (first, second)), (law.intervals[name] for law in (first, second)))
    estimate = b - a
    low, high = estimate - np.hypot(b - bl, ah - a), estimate + np.hypot(bh - b, a - al)
    p_value = _p_of_distance(estimate, float(low), float(high), min(_freedom(law, k) for law in (first, second)))
    says = "cannot be told apart" if low <= 0 <= high else f"{'larger' if estimate > 0 else 'smaller'} with {names[1]}"
    return Comparison(f"difference of {name}", estimate, float(low), float(high), f"{name} of {names[0]} and {names[1]}: {says}", p_value)


def _freedom(law: Law, k: int) -> float:
    return float(degrees_of_freedom(law.form, law.sample, law.coordinates)[k])


def _p_of_distance(estimate: float, low: float, high: float, df: float) -> float:
    """Of zero; 1 where the interval has no end on its side."""
    from scipy import stats

    half_width = estimate - low if estimate > 0 else high - estimate
    return float(2 * stats.t.sf(abs(estimate) / max(half_width, 1e-300) * stats.t.ppf((1 + LEVEL) / 2, df), df))


def _common(first: Law, second: Law) -> dict[str, tuple[float, float]]:
    """Role -> lowest and highest logarithm that both laws have trials at."""
    found = {}
    for role in first.form.roles:
        logs = [law.sample.points[role] for law in (first, second)]
        low, high = max(values.min() for values in logs), min(values.max() for values in logs)
        if low >= high:
            raise LawError("laws that are compared must overlap in their factors", "ranges without a common part", "add trials")
        found[role] = (float(low), float(high))
    return found


def _above_floor(law: Law, coordinates: Array, middle: Mapping[str, float]) -> Array:
    """Logarithm of the curve less E (b)."""
    level = law.form.predict(coordinates, {role: np.array([value]) for role, value in middle.items()})
    floor = law.form.natural(coordinates)[:, :1] if law.form.names[0] == "E" else dict(law.form.fixed).get("E", 0.0)
    return np.asarray(np.log(np.maximum(level - floor, 1e-300))[:, 0])


def _paired(first: Law, second: Law) -> tuple[Array, Array]:
    assert first.drawn is not None
    assert second.drawn is not None
    count = min(len(first.drawn.coordinates), len(second.drawn.coordinates))
    order = np.random.default_rng(0).permutation(count)
    return first.drawn.coordinates[:count], second.drawn.coordinates[:count][order]


def _ratio(first: Law, second: Law, middle: Mapping[str, float], names: tuple[str, str]) -> Comparison:
    a, b = _paired(first, second)
    ratio = float(_above_floor(second, second.coordinates[None], middle)[0] - _above_floor(first, first.coordinates[None], middle)[0])
    draws = _above_floor(second, b, middle) - _above_floor(first, a, middle)
    fewer = min(first, second, key=freedom)
    low, high = interval(fewer, ratio, draws)
    says = "cannot be told from 1" if low <= 0 <= high else f"{'more' if ratio > 0 else 'less'} is left with {names[1]}"
    amounts = {role: in_words(float(f"{np.exp(value):.3g}")) for role, value in middle.items()}
    place = [amount if role == "n" else f"{first.sample.columns[role]} {amount}" for role, amount in amounts.items()]
    what = f"what can be reduced, at {' and '.join(place)}, {names[1]} over {names[0]}: {says}"
    return Comparison(
        "ratio above E", float(np.exp(ratio)), float(np.exp(low)), float(np.exp(high)), what, _p_of_draws(fewer, ratio, draws)
    )


def _p_of_draws(law: Law, centre: float, draws: Array) -> float:
    """Of zero: one less the level whose interval ends there."""
    from scipy.optimize import brentq

    def towards_zero(level: float) -> float:
        low, high = interval(law, centre, draws, level)
        return low if centre > 0 else -high

    narrowest, widest = 1e-6, 1 - 2 / (len(draws) + 1)
    if towards_zero(narrowest) <= 0:
        return 1.0
    return 1 - (widest if towards_zero(widest) > 0 else float(brentq(towards_zero, narrowest, widest, xtol=1e-9)))


def _crossing(first: Law, second: Law, ends: tuple[float, float], names: tuple[str, str]) -> Comparison:
    """The place from which on one arm stays the better one, and the share of draws in which there is such a place."""
    log_n = np.linspace(ends[0], ends[1] + BEYOND, POINTS)
    a, b = _paired(first, second)
    where = _last_crossing(second.form.curve(b, {"n": log_n})[0] - first.form.curve(a, {"n": log_n})[0], log_n)
    gap = second.form.curve(second.coordinates[None], {"n": log_n})[0] - first.form.curve(first.coordinates[None], {"n": log_n})[0]
    place = float(np.exp(_last_crossing(gap, log_n)[0]))
    share = float(np.isfinite(where).mean())
    if not np.isfinite(place) or share < LEVEL:
        reach = f"between {np.exp(log_n[0]):.3g} and {np.exp(log_n[-1]):.3g}"
        return Comparison(
            "crossing", np.nan, np.nan, np.nan, f"no crossing {reach} that {LEVEL:.0%} of draws agree on ({share:.0%} have one)"
        )
    low, high = np.exp(np.nanquantile(where, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    after = names[1] if (float(gap[0, -1]) < 0) == first.form.is_log else names[0]
    beyond = "" if np.log(place) <= ends[1] else ", above the trials' range"
    return Comparison(
        "crossing", place, float(low), float(high), f"from {place:.3g} ({low:.3g} to {high:.3g}) on {after} is better{beyond}"
    )


def _last_crossing(gaps: Array, log_n: Array) -> Array:
    """Where each row changes its sign last, between two points by a straight line; NaN where it does not."""
    turns = np.signbit(gaps[:, 1:]) != np.signbit(gaps[:, :-1])
    last = turns.shape[1] - 1 - turns[:, ::-1].argmax(axis=1)
    row = np.arange(len(gaps))
    before, after = gaps[row, last], gaps[row, last + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        place = log_n[last] + (log_n[1] - log_n[0]) * before / (before - after)
    return np.where(turns.any(axis=1), place, np.nan)
