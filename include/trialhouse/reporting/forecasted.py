"""A forecast in words, for a terminal: what `trialhouse forecast` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trialhouse.reporting.formats import counted
from trialhouse.reporting.law_numbers import interval, subgroup, value


def forecast_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The causal forecast and what passive observers would say, a row each."""
    rows = {f"causal: {result['form']}": result}
    rows |= {_observer(name): effect for name, effect in result["correlational"].items()}
    return [
        {
            "forecast": name,
            "before": value(effect["before"]["mean"]),
            "after": value(effect["after"]["mean"]),
            "difference": f"{effect['difference']:+.3g}",
            "95% interval": interval(effect["difference_interval"], "+.3g"),
            "one new trial": interval(effect["after"]["new_trial_interval"]),
        }
        for name, effect in rows.items()
    ]


def forecast_lines(result: Mapping[str, Any]) -> Iterator[str | list[dict[str, Any]]]:
    """The answer, where it starts, how far it reaches, on what each kind of forecast rests; tables are lists of rows."""
    if "law" in result:
        yield f"law {result['law']} of {subgroup(result['subgroup'])}"
        if result["refusal"] is not None:
            yield f"no forecast: {result['refusal']}"
            return
    yield f"{result['sentence']}."
    yield f"start: {result['start_is']}, {result['start_reach']['sentence']}"
    yield f"reach: {result['reach']['sentence']}"
    yield f"causal: {result['rests_on']['causal']}"
    if result["correlational"]:
        yield f"correlational: {result['rests_on']['correlational']}"
    yield from (f"caveat: {caveat}" for caveat in result["caveats"])
    yield ""
    yield forecast_rows(result)
    if result["held_out"] is not None:
        yield ""
        yield held_out_rows(result["held_out"])
        yield from result["held_out"]["sentences"].values()


def held_out_rows(check: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Errors on held-out trials, a row per kind and forecaster."""
    return [
        {
            "held-out trials": f"{score['kind']} ({score['trials']} of {counted(score['configurations'], 'configuration')})",
            "forecast": "causal" if score["basis"] == "causal" else _observer(score["basis"]),
            "RMSE": f"{score['rmse']:.3g}",
            "mean error": f"{score['bias']:+.3g}",
            "in the 95% interval": f"{score['coverage']:.0%}",
        }
        for score in check["scores"]
    ]


def _observer(looks_at: str) -> str:
    return f"correlational: looks at {looks_at} only"
