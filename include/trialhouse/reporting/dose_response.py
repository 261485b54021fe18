"""Average outcomes of the trials per level, class and method: what the dose-response panels show, before any model.

Latency and memory are compared with the control trial of the same block, class and remaining factors (batch size), so that
a method that happened to draw small batches does not look fast. Repeated units are the blocks: trials are averaged within a
block first, and intervals come from the spread between blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trialhouse.reporting.figures import Point, Series
from trialhouse.reporting.formats import as_number, is_number, quantity, words
from trialhouse.reporting.marts import Row, StudyData

Scale = Literal["share", "chance", "ratio", "level"]


@dataclass(frozen=True)
class DoseResponse:
    """One outcome's averages in one class, a series per level of the factor that only applies to the treated (the method)."""

    outcome: str
    hardware_class: str
    scale: Scale
    series: tuple[Series, ...]


def dose_responses(data: StudyData, treatment: str, outcome: str, control: float | str) -> list[DoseResponse]:
    """Averages per hardware class.

    Parameters
    ----------
    data
        The study.
    treatment
        A factor.
    outcome
        A column of `fct_trials`. Shares are averaged in percent, chances (`is_oom`) counted in percent with Wilson's
        interval, anything else is a geometric mean in percent of the matched control; where trials only train, a mean in its unit.
    control
        The treatment's control level.

    Returns
    -------
    list of DoseResponse
        One per class; a class without any value has no series.
    """
    is_chance = outcome.startswith("is_")
    plain: Scale = "level" if data.is_trained else "ratio"
    scale: Scale = "chance" if is_chance else "share" if quantity(outcome).level_unit == "%" else plain
    method = next((name for name, factor in data.factors.items() if (factor["applies_when"] or {}).get("factor") == treatment), None)
    found = []
    for hardware_class in data.spec["hardware_classes"]:
        # What was measured before memory ran out stops at the class's limit: only finished trials count, but for chances.
        counted = [trial for trial in data.trials if (trial["is_measured"] if is_chance else trial["status"] == "ok")]
        trials = [trial for trial in counted if trial["hardware_class"] == hardware_class and is_number(_float(trial.get(outcome)))]
        controls = [trial for trial in trials if _level(trial[treatment]) == _level(control)]
        treated = [trial for trial in trials if _level(trial[treatment]) != _level(control)]
        start = _point(data, treatment, method, outcome, scale, _level(control), controls, controls)
        series = []
        for name in sorted({str(trial[method]) if method else "all trials" for trial in treated}, key=_spec_order(data, method)):
            mine = [trial for trial in treated if method is None or str(trial[method]) == name]
            levels = sorted({_level(trial[treatment]) for trial in mine}, key=lambda level: (isinstance(level, str), level))
            by_level = {level: [trial for trial in mine if _level(trial[treatment]) == level] for level in levels}
            points = [_point(data, treatment, method, outcome, scale, level, by_level[level], controls) for level in levels]
            series.append(Series(words(name), tuple(point for point in (start, *points) if point is not None)))
        found.append(DoseResponse(outcome, hardware_class, scale, tuple(series)))
    return found


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean and Student's 95% interval; no interval of fewer than two values."""
    from scipy.special import stdtrit

    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = float(stdtrit(len(values) - 1, 0.975)) * math.sqrt(variance / len(values))
    return mean, mean - half, mean + half


def wilson_interval(count: int, of: int) -> tuple[float, float, float]:
    """Share and Wilson's 95% interval (Wilson 1927), which stays within [0, 1]."""
    z, share = 1.959964, count / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return share, max(0.0, centre - half), min(1.0, centre + half)


def _point(
    data: StudyData,
    treatment: str,
    method: str | None,
    outcome: str,
    scale: Scale,
    level: float | str,
    trials: Sequence[Row],
    controls: Sequence[Row],
) -> Point | None:
    if scale == "chance":
        if not trials:
            return None
        share, low, high = wilson_interval(sum(bool(trial[outcome]) for trial in trials), len(trials))
        return Point(level, 100 * share, 100 * low, 100 * high)
    if scale == "ratio" and trials is controls:
        return Point(level, 100.0) if trials else None
    if scale == "ratio":
        matched = _matched(data, treatment, method, outcome, controls)
        values = [
            (trial, math.log(_float(trial[outcome]) / base))
            for trial in trials
            if (base := matched.get(_match(data, treatment, method, trial))) and _float(trial[outcome]) > 0
        ]
    else:
        values = [(trial, _float(trial[outcome])) for trial in trials]
    if not values:
        return None
    blocks: dict[str, list[float]] = {}
    for trial, value in values:
        blocks.setdefault(trial["block"], []).append(value)
    estimate, low_, high_ = mean_interval([sum(block) / len(block) for block in blocks.values()])
    factor = quantity(outcome).scale if scale == "level" else 100.0
    write = (lambda value: 100 * math.exp(value)) if scale == "ratio" else (lambda value: factor * value)
    return Point(level, write(estimate), None if low_ is None else write(low_), None if high_ is None else write(high_))


def _matched(data: StudyData, treatment: str, method: str | None, outcome: str, controls: Sequence[Row]) -> Mapping[tuple[Any, ...], float]:
    """Mean of the control trials per block, class and remaining factors."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for trial in controls:
        groups.setdefault(_match(data, treatment, method, trial), []).append(_float(trial[outcome]))
    return {key: sum(values) / len(values) for key, values in groups.items()}


def _match(data: StudyData, treatment: str, method: str | None, trial: Row) -> tuple[Any, ...]:
    others = [
        name for name, factor in data.factors.items() if name not in (treatment, method) and factor["assignment"] not in ("placebo", "twin")
    ]
    return (trial["block"], *(trial.get(name) for name in others))


def _spec_order(data: StudyData, factor: str | None) -> Any:
    order = {str(level): place for place, level in enumerate(data.factors[factor]["levels"])} if factor else {}
    return lambda name: (order.get(name, len(order)), name)


def _level(value: Any) -> float | str:
    number = as_number(value)
    return str(value) if number is None else number


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)
