"""An allocation in words, for a terminal: what `trialhouse allocate` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from trialhouse.reporting.law_numbers import amount, amounts, interval, place


def allocation_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The split, its frontier, what others' rules would do, what to run next, and what to keep in mind."""
    yield f"{result['sentence']}."
    yield result["cost"]["sentence"]
    yield from (limit["sentence"] for limit in result["limits"])
    if result["spent"] < 0.999 * result["budget"]:
        yield f"spent: {amount(result['spent'])} of {amount(result['budget'])}"
    yield f"reach: {result['reach']['sentence']}"
    if (ratio := result["data_per_size"]) is not None:
        told = f"95% interval {interval(ratio['interval'], '.3g')}, 80% {interval(ratio['interval_80'], '.3g')}"
        yield f"data per unit of size: {ratio['value']:.3g} ({told})"
    for column, found in result["exponents"].items():
        yield f"along the frontier {column} grows as C^{found['value']:.3f} ({interval(found['interval'], '.3g')})"
    yield ""
    yield "frontier"
    for row in result["frontier"]:
        split = ", ".join(f"{column} {amount(found['value'])} ({amounts(found['interval'])})" for column, found in row["best"].items())
        yield f"- {amount(row['budget'])}: {split}; {result['outcome']} {row['outcome']['mean']:.4g}"
    if result["recipes"]:
        yield "others' rules"
        for recipe in result["recipes"]:
            yield f"- {recipe['name']}: {place(recipe['place'])}; {_excess(recipe)}"
    if result["next_trials"]:
        first = next(iter(result["best"]))
        yield f"next trials that would make the best {first} surest (standard deviation of its base-10 logarithm)"
        for where, same in groupby(result["next_trials"], key=lambda trial: place(trial["place"])):
            trials = list(same)
            each = f"{len(trials)} times, each" if len(trials) > 1 else "once,"
            sds = f"{trials[0]['log10_sd_before']:.3g} -> {trials[-1]['log10_sd_after']:.3g}"
            yield f"- {where}: {each} for {amount(trials[0]['cost'])}; {sds}"
    yield from (f"caveat: {caveat}" for caveat in result["caveats"])


def _excess(recipe: Mapping[str, Any]) -> str:
    if (excess := recipe["excess"]) is None:
        return f"too far from the trials to compare ({recipe['reach']['sentence']})"
    return f"{excess['ratio']:+.2%} ({interval(excess['interval'], '+.2%')}) above the best"
