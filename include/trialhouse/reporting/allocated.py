"""An allocation in words, for a terminal: what `trialhouse allocate` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from trialhouse.scaling_laws.support import in_words


def allocation_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The split, its frontier, what others' rules would do, what to run next, and what to keep in mind."""
    yield f"{result['sentence']}."
    yield result["cost"]["sentence"]
    yield from (limit["sentence"] for limit in result["limits"])
    if result["spent"] < 0.999 * result["budget"]:
        yield f"spent: {_number(result['spent'])} of {_number(result['budget'])}"
    yield f"reach: {result['reach']['sentence']}"
    if (ratio := result["data_per_size"]) is not None:
        yield f"data per unit of size: {ratio['value']:.3g} (95% interval {_ends(ratio['interval'])}, 80% {_ends(ratio['interval_80'])})"
    for column, found in result["exponents"].items():
        yield f"along the frontier {column} grows as C^{found['value']:.3f} ({_ends(found['interval'])})"
    yield ""
    yield "frontier"
    for row in result["frontier"]:
        split = ", ".join(f"{column} {_number(found['value'])} ({_span(found['interval'])})" for column, found in row["best"].items())
        yield f"- {_number(row['budget'])}: {split}; {result['outcome']} {row['outcome']['mean']:.4g}"
    if result["recipes"]:
        yield "others' rules"
        for recipe in result["recipes"]:
            yield f"- {recipe['name']}: {_place(recipe['place'])}; {_excess(recipe)}"
    if result["next_trials"]:
        first = next(iter(result["best"]))
        yield f"next trials that would make the best {first} surest (standard deviation of its base-10 logarithm)"
        for place, same in groupby(result["next_trials"], key=lambda trial: _place(trial["place"])):
            trials = list(same)
            each = f"{len(trials)} times, each" if len(trials) > 1 else "once,"
            sds = f"{trials[0]['log10_sd_before']:.3g} -> {trials[-1]['log10_sd_after']:.3g}"
            yield f"- {place}: {each} for {_number(trials[0]['cost'])}; {sds}"
    yield from (f"caveat: {caveat}" for caveat in result["caveats"])


def _place(place: Mapping[str, float]) -> str:
    return ", ".join(f"{column} {_number(value)}" for column, value in place.items())


def _excess(recipe: Mapping[str, Any]) -> str:
    if (excess := recipe["excess"]) is None:
        return f"too far from the trials to compare ({recipe['reach']['sentence']})"
    low, high = excess["interval"]
    return f"{excess['ratio']:+.2%} ({low:+.2%} to {high:+.2%}) above the best"


def _ends(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}"


def _span(ends: tuple[float, float]) -> str:
    """Of a quantity that a factor has, as `_ends` of any number."""
    return f"{_number(ends[0])} to {_number(ends[1])}"


def _number(value: float) -> str:
    return in_words(float(f"{value:.3g}"))
