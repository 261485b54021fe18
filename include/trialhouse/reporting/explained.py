"""The explanation of one trial in words, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trialhouse.reporting.formats import (
    MISSING,
    Quantity,
    counted,
    decimals_for,
    effect_text,
    is_number,
    joined,
    level_text,
    number,
    quantity,
    title,
)

if TYPE_CHECKING:
    from trialhouse.causal import Explanation
    from trialhouse.causal.gcm.attribution import Contribution
    from trialhouse.causal.gcm.counterfactual import Check, Counterfactual

UNUSUAL = 0.95
"""Noise that is larger than this share of the trials' is worth a look."""

_SCALES = {"identity": "amounts add up", "log": "factors multiply", "logit": "logistic regression of the chance"}


def explanation_lines(found: Explanation) -> list[str]:
    """What a person is told: why, how strong each arrow is, what would have been, and what it all rests on."""
    of, is_share = quantity(found.outcome), found.forms[found.outcome].scale == "logit"
    of = Quantity(found.outcome, 100.0, "percentage points", "pp", "%") if is_share else of
    blocks = [list(_why(found, of, is_share=is_share)), list(_arrows(found, of))]
    if found.counterfactual is not None:
        blocks.append(list(_otherwise(found, found.counterfactual, of, is_share=is_share)))
    blocks.append(list(_rests_on(found)))
    return [line for block in blocks for line in [*block, ""]][:-1]


def _why(found: Explanation, of: Quantity, *, is_share: bool) -> Iterator[str]:
    told = found.attribution
    difference = told.value - told.reference
    values = [item.contribution * of.scale for item in told.contributions] + [difference * of.scale]
    decimals = decimals_for(values)
    yield f"Why did {found.trial_id} come to {found.outcome} = {_value(told.value, of, is_share=is_share)}?"
    side = "more" if difference >= 0 else "less"
    amount = f"{number(abs(difference) * of.scale, decimals)} {of.short_unit}".strip()
    average = f"the average of the {counted(found.trials, 'trial')} that have it ({level_text(told.reference, of)})"
    fewer = round(told.rank * found.trials) or "none"
    yield f"That is {amount} {side} than {average}" + (":" if is_share else f"; {fewer} of them had less:")
    yield ""
    rows = [
        (
            _cause(item),
            _signed(item.contribution, of, decimals),
            _interval(item.ci_low, item.ci_high, of, decimals),
            _unusual(item, is_share=is_share),
        )
        for item in told.contributions
    ]
    rows.append(("together", _signed(difference, of, decimals), "", ""))
    yield from _aligned(("cause", f"adds {of.short_unit}".strip(), "95% interval", ""), rows)
    if told.monte_carlo_error > 0:
        error = number(told.monte_carlo_error * of.scale, decimals_for([told.monte_carlo_error * of.scale]))
        yield f"Orders were drawn at random: that alone gives an error of at most {error} {of.short_unit}.".replace(" .", ".")
    yield f"({title(told.method)}.)"


def _arrows(found: Explanation, of: Quantity) -> Iterator[str]:
    yield f"Arrows into {found.outcome}: how much its variance grows when they are cut, their end being fed other trials' values"
    spreads = [math.sqrt(item.variance) * of.scale for item in found.arrow_strengths]
    decimals = decimals_for(spreads)
    rows = [
        (
            ", ".join(item.causes),
            f"({f'{number(spread, decimals)} {of.short_unit}'.strip()})²",
            f"{item.share:.0%} of the variance between trials",
            f"± {1.96 * item.error / item.variance:.0%} from sampling" if item.variance > 0 else "",
        )
        for item, spread in zip(found.arrow_strengths, spreads, strict=True)
    ]
    yield from _aligned(("cut", "variance", "", ""), rows)
    yield "No effect of going from one level to another, and no shares of a whole: they need not add up to 100%."
    if any(len(item.causes) > 1 for item in found.arrow_strengths):
        yield "Causes in one line follow from one another: no data tell their arrows apart."


def _otherwise(found: Explanation, told: Counterfactual, of: Quantity, *, is_share: bool) -> Iterator[str]:
    do = ", ".join(f"{name} = {level}" for name, level in told.do.items())
    value = f"a chance {_chance(told.value, of)}" if is_share else level_text(told.value, of)
    yield f"Had it been {do}: {value} instead of {_value(told.factual, of, is_share=is_share)}"
    if is_number(told.ci_low):
        how = ", and what the check cannot exclude" if is_share else ""
        interval = _span(told.ci_low, told.ci_high, of)
        yield f"- 95% interval for the fitted mechanisms: {interval}, from leaving out repeated units in turn{how}"
    else:
        lacks = "nothing shows how far such a chance is off" if is_share else "there are too few repeated units"
        yield f"- no interval: {lacks}"
    if is_number(told.range_low):
        yield f"- nine in ten measurements of it would lie in {_span(told.range_low, told.range_high, of)}"
    yield f"- {_measured(told, of, is_share=is_share)}"
    yield f"- {_checked(told.check, of, is_share=is_share)}"
    chance = found.chance_of_out_of_memory
    if chance is not None:
        share = quantity("is_oom")
        yield f"- it would run out of memory with a chance {_chance(chance.value, share)}; the number above is for where it does not"
    if told.untried:
        yield f"- no trial had {joined(told.untried)}: there the mechanisms extrapolate"


def _rests_on(found: Explanation) -> Iterator[str]:
    units = counted(found.trials, "trial")
    units += f" in {counted(found.units, 'repeated unit')} ({found.cluster})" if found.cluster else ", taken as independent"
    yield f"What this rests on: {units}"
    for node, form in found.forms.items():
        noise = "they determine it" if form.is_determined else f"they predict {max(form.explained, 0):.1%} of what varies"
        products = " and products of two" if form.degree > 1 else ""
        yield f"- {node} from its causes{products}, {_SCALES[form.scale]}; {noise}"
    for item in found.left_out:
        yield f"- the model does without {item.node}: {item.reason}"
    if found.no_path:
        verb = "has" if len(found.no_path) == 1 else "have"
        yield f"- {joined(found.no_path)} {verb} no part: {found.graph} draws no path from there to {found.outcome}"
    for text in (*found.caveats, *found.assumptions):
        yield f"- {text}"


def _value(value: float, of: Quantity, *, is_share: bool) -> str:
    return ("1 (yes)" if value == 1 else "0 (no)") if is_share else level_text(value, of)


def _chance(value: float, of: Quantity) -> str:
    """A fitted chance, never surer than one in a hundred."""
    return "below 1%" if value < 0.01 else "above 99%" if value > 0.99 else f"of {level_text(value, of)}"


def _span(low: float, high: float, of: Quantity) -> str:
    """Two ends in one precision, with the unit once: ``86.6 to 92.9 ms``."""
    ends = [low * of.scale, high * of.scale]
    decimals = decimals_for(ends, abs(ends[1] - ends[0]) / 2)
    unit = of.level_unit if of.level_unit == "%" else f" {of.level_unit}".rstrip()
    return f"{number(ends[0], decimals)} to {number(ends[1], decimals)}{unit}"


def _cause(item: Contribution) -> str:
    if not item.is_noise:
        return ", ".join(f"{name} = {level}" for name, level in zip(item.causes, item.levels, strict=True))
    return f"not explained: {item.causes[0]}"


def _unusual(item: Contribution, *, is_share: bool) -> str:
    if is_share:
        return "the less likely happened" if item.is_noise and abs(item.contribution) > 0.5 else ""
    return f"unusual: larger than in {item.rank:.0%} of trials" if item.rank is not None and item.rank > UNUSUAL else ""


def _signed(value: float, of: Quantity, decimals: int) -> str:
    return number(value * of.scale, decimals, is_signed=True)


def _interval(low: float, high: float, of: Quantity, decimals: int) -> str:
    if not is_number(low):
        return MISSING
    return f"{_signed(low, of, decimals)} to {_signed(high, of, decimals)}"


def _measured(told: Counterfactual, of: Quantity, *, is_share: bool) -> str:
    if not told.measured:
        return "this was not measured"
    values = list(told.measured.values())
    if is_share:
        return f"measured with just these causes: {int(sum(values))} of {counted(len(values), 'trial')} came to 1"
    shown = joined([f"{level_text(value, of)} ({trial})" for trial, value in list(told.measured.items())[:3]])
    return f"measured with just these causes: {shown}" + (f" and {len(values) - 3} more" if len(values) > 3 else "")


def _checked(check: Check | None, of: Quantity, *, is_share: bool) -> str:
    if check is None:
        return "no check: hardly any trials differ in this alone"
    whose = f" (each of one {check.within})" if check.within else ""
    pairs = f"over {counted(check.pairs, 'pair')} of trials measured both ways{whose}, the second held out"
    if is_share:
        missed = f"the less likely happened in {check.missed:.0%} of them (up to {check.missed_at_most:.0%} cannot be excluded)"
        return f"check: {pairs}, {missed}; in {check.difference:.0%} of them the two differ"
    missed, differ = (
        f"{effect_text(size, None, None, of).value.lstrip('+')} {of.short_unit}".strip() for size in (check.missed, check.difference)
    )
    return f"check: {pairs}, the counterfactual missed by {missed} at the median; the two differ by {differ}"


def _aligned(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    lines = [names, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *rest = (
            cell.ljust(width) if place != 1 else cell.rjust(width) for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join(["  " + first, *rest]).rstrip()
