"""An audit in words, for a terminal: what `trialhouse allocate STUDY --run` prints below the allocation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trialhouse.reporting.law_numbers import amount, interval, place, value


def audit_lines(result: Mapping[str, Any]) -> Iterator[str | list[dict[str, Any]]]:
    """What came out beside what was forecast, and how good forecasts have been so far; tables are lists of rows."""
    yield f"{result['sentence']}."
    levels = ", ".join(f"{name} {level}" for name, level in result["candidates"][0]["levels"].items())
    yield f"the trials nearest to the best split ({place(result['wanted'])}) have {levels}"
    yield ""
    yield [_candidate_row(one) for one in result["candidates"]]
    yield ""
    yield [_rival_row(one) for one in result["candidates"] if "difference" in one]
    yield "intervals are 95%, each for itself: of one new trial above, of the mean difference below (t over pairs of the same block)"
    yield from _untried(result["candidates"])
    yield from (f"left out: {name}: {reason}" for name, reason in result["left_out"].items())
    for one in result["candidates"]:
        if one["lost"]:
            yield f"{_name(one)}: {', '.join(f'{count} {status}' for status, count in one['lost'].items())}"
        if untested := len(one["outcomes"]) - one["trials_after_forecast"]:
            yield f"{_name(one)}: {untested} trials are no test of its forecast: they had run before it, or stopped early"
    if result["log_rmse"]:
        errors = (f"{'who looks at ' if name != 'the law' else ''}{name} by {error:.2%}" for name, error in result["log_rmse"].items())
        yield f"on these trials {', '.join(errors)} (root mean square of the relative error)".replace("the law by", "the law misses by")
    record = result["record"]
    share = f"{record['in_interval']} of {record['trials']}"
    yield f"record: of all trials that ended after this law had forecast them, {share} lie in their 95% interval (marts.fct_calibration)"


def _untried(candidates: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is not known where all rivals lie on one side of the recommended split."""
    column = next(iter(candidates[0]["place"]))
    own, *others = (one["place"][column] for one in candidates)
    for word, is_tried in {"smaller": min(others) < own, "larger": max(others) > own}.items():
        if not is_tried:
            yield f"no rival had a {word} {column}: whether a {word} one would do better was not tried"


def _candidate_row(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "split": _name(one),
        **{name: str(level) for name, level in one["levels"].items()},
        **{column: amount(number) for column, number in one["place"].items() if column not in one["levels"]},
        "cost": amount(one["cost"]),
        "forecast": value(one["forecast"]["mean"]),
        "one new trial": interval(one["forecast"]["new_trial_interval"]),
        "came out": value(one["mean"]),
        "inside": f"{one['trials_in_interval']} of {one['trials_after_forecast']}",
    }


def _rival_row(one: Mapping[str, Any]) -> dict[str, Any]:
    forecast, found = one["forecast_difference"], one["difference"]
    return {
        "less the recommended": _name(one),
        "forecast": f"{forecast['value']:+.3g} ({interval(forecast['interval'], '+.3g')})",
        "came out": value(found["value"], "+.3g"),
        "interval": interval(found["interval"], "+.3g"),
        "so it is": one["verdict"],
    }


def _name(one: Mapping[str, Any]) -> str:
    return "; ".join(one["names"])
