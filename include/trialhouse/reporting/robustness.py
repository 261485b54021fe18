"""What an effect could be otherwise: under other sensible choices, hidden causes, and whatever lost outcomes would have been."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialhouse.reporting import figures
from trialhouse.reporting.answer import Answer
from trialhouse.reporting.findings import BOUNDS, Finding
from trialhouse.reporting.formats import MISSING, decimals_for, effect_text, is_number, number, title, words
from trialhouse.reporting.marts import Row, StudyData, details_of

NOTHING = "nothing"
"""How the engine writes an adjustment for no column."""
BOUNDED = dict(zip(BOUNDS, ("would finish in either arm", "were assigned, lost ones at their worst"), strict=True))
"""Check -> the trials that its bounds speak of."""


@dataclass(frozen=True)
class Curve:
    """The specification curve of one effect: a heading, a drawing and a sentence."""

    title: str
    verdict: str
    svg: str
    note: str


@dataclass(frozen=True)
class HiddenCause:
    """What a hidden cause as strong as an observed column could do to one effect."""

    finding: Finding
    column: str
    moved: str
    """Between what it could bring the effect, in the written unit."""
    interval: str
    """The 95% interval of that."""
    is_told: bool
    """Whether that interval still leaves 0 out."""


@dataclass(frozen=True)
class Bounded:
    """Between what one effect lies where outcomes were lost."""

    finding: Finding
    kind: str
    """Among which trials."""
    finished: str
    between: str
    interval: str
    verdict: str


def curves(data: StudyData, found: Answer) -> list[Curve]:
    """The specification curve of each primary estimate that has one."""
    drawn = []
    for finding, check in _checks(data, found, "specification_curve"):
        choices = [row for row in details_of(check) if is_number(row["estimate"])]
        if len(choices) > 1:
            drawn.append(_curve(finding, choices))
    return drawn


def _curve(finding: Finding, choices: Sequence[Mapping[str, Any]]) -> Curve:
    of, headline = finding.quantity, finding.headline

    def point(place: int, row: Mapping[str, Any]) -> figures.Point:
        low, high = (None if row[end] is None else row[end] * of.scale for end in ("ci_low", "ci_high"))
        return figures.Point(place, row["estimate"] * of.scale, low, high, is_flagged=not _is_told(row["ci_low"], row["ci_high"]))

    sets = [() if row["adjustment"] == NOTHING else tuple(row["adjustment"].split(", ")) for row in choices]
    marks = {f"adjusted for {words(name)}": [name in chosen for chosen in sets] for name in dict.fromkeys(sum(sets, ()))}
    for name, column, value in (
        ("logarithm of the outcome", "transformation", "log"),
        ("without far-out trials", "outliers", "without far-out trials"),
    ):
        if any(row[column] == value for row in choices):
            marks[name] = [row[column] == value for row in choices]
    noun = title(of.noun.removeprefix("the "))
    drawing = figures.curve(
        f"{noun}, {of.short_unit}" if of.short_unit else noun,
        figures.Axis(f"effect on {of.noun}", is_signed=True),
        [point(place, row) for place, row in enumerate(choices)],
        marks,
        reported=None if headline.estimate is None else headline.estimate * of.scale,
    )
    return Curve(f"{noun}: {finding.change}, {finding.where}", headline.verdict, drawing, _summary(finding, choices))


def _summary(finding: Finding, choices: Sequence[Mapping[str, Any]]) -> str:
    """What the curve says: its range, its signs, and how many of its intervals leave 0 out."""
    span = effect_text(None, choices[0]["estimate"], choices[-1]["estimate"], finding.quantity, is_long=True)
    told = sum(_is_told(row["ci_low"], row["ci_high"]) for row in choices)
    text = f"{len(choices)} sensible choices give estimates of {span.interval} {span.unit}".rstrip()
    reported = finding.headline.estimate
    if reported is not None:
        same = sum((row["estimate"] > 0) == (reported > 0) for row in choices)
        text += f"; {same} have the sign of the reported estimate ({finding.text(is_long=True).with_unit}, dotted)"
    return f"{text}; {told} can be told from zero (filled)."


def hidden_causes(data: StudyData, found: Answer) -> list[HiddenCause]:
    """What hidden causes as strong as observed columns could do to each primary estimate, the strongest first."""
    return [
        HiddenCause(
            finding,
            words(row["column"]),
            _between(finding, row["low"], row["high"], "anything"),
            _between(finding, row["ci_low"], row["ci_high"], "unbounded"),
            _is_told(row["ci_low"], row["ci_high"]),
        )
        for finding, check in _checks(data, found, "sensitivity")
        for row in details_of(check)
    ]


def bounds(data: StudyData, found: Answer) -> list[Bounded]:
    """Bounds of each primary estimate whose treatment lost outcomes."""
    return [
        Bounded(
            finding,
            kind,
            f"{row['finished_control']:.0%}, {row['finished_treated']:.0%}",
            _between(finding, row["low"], row["high"], MISSING),
            _between(finding, row["ci_low"], row["ci_high"], MISSING),
            check["verdict"],
        )
        for finding in found.primary
        for check in data.checks_of(finding.headline.estimate_id)
        if (kind := BOUNDED.get(check["refuter"])) is not None
        for row in details_of(check)
    ]


def _between(finding: Finding, low: float | None, high: float | None, otherwise: str) -> str:
    """Two ends in the written unit and in the precision of the estimate; where there are none, a word."""
    if not is_number(low) or not is_number(high):
        return otherwise
    of, headline = finding.quantity, finding.headline
    ends = [low * of.scale, high * of.scale]
    has_spread = is_number(headline.ci_low) and is_number(headline.ci_high)
    spread = (headline.ci_high - headline.ci_low) / 2 * of.scale if has_spread else None  # type: ignore[operator]
    decimals = decimals_for(ends, min(spread, (ends[1] - ends[0]) / 2) if spread and ends[1] > ends[0] else spread)
    return f"{number(ends[0], decimals, is_signed=True)} to {number(ends[1], decimals, is_signed=True)} {of.short_unit}".rstrip()


def _checks(data: StudyData, found: Answer, refuter: str) -> list[tuple[Finding, Row]]:
    """Each primary finding with its check of that name."""
    return [
        (finding, check)
        for finding in found.primary
        for check in data.checks_of(finding.headline.estimate_id)
        if check["refuter"] == refuter
    ]


def _is_told(low: float | None, high: float | None) -> bool:
    """Whether an interval leaves 0 out."""
    return is_number(low) and is_number(high) and (low > 0 or high < 0)
