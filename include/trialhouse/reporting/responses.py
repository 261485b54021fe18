"""The report's section on responses: an outcome by all factors together, from the rows of `fct_scaling_laws` that have it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialhouse.reporting.formats import MISSING, counted, p_text, quantity, short, title, words
from trialhouse.reporting.laws import where_text
from trialhouse.reporting.marts import Row, StudyData
from trialhouse.scaling_laws.response import DEFINITIONS, change

KINDS = {"main": "on average over the design", "interaction": "how one depends on another", "curvature": "what bends"}
MANY = 2
"""Pairs of factors that the answer names."""


@dataclass(frozen=True)
class EffectRow:
    """One effect; texts as they stand in the table."""

    name: str
    levels: str
    change: str
    interval: str
    p: str
    size: float
    """Of the change, whatever its sign."""
    is_sure: bool
    """Whether it outlasts Holm's correction."""
    passive: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class ResponsePanel:
    """One response of one subgroup.

    Parameters
    ----------
    name, question, where
        As registered; `where` is empty for all trials.
    sentence
        Which model was chosen, and how a passive observer compares; empty where it is withheld.
    rests_on
        Trials, configurations and repeated units.
    groups
        Heading, definition and rows of each kind of effect.
    observers
        What passive observers look at, besides each factor alone.
    errors
        Who forecasts, from how many terms, with which error, and whether it was chosen.
    reasons, warnings
        Why it is withheld, what to keep in mind.
    outcome
        Its column.
    """

    name: str
    question: str | None
    where: str
    sentence: str
    rests_on: str
    groups: tuple[tuple[str, str, tuple[EffectRow, ...]], ...]
    observers: tuple[str, ...]
    errors: tuple[tuple[str, str, str, bool], ...]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    outcome: str

    @property
    def parts(self) -> tuple[str, str, str]:
        """The answer in three: before what is told from zero, that, and how it forecasts."""
        about = title(f"{f'{self.where}: ' if self.where else ''}{quantity(self.outcome).noun} by all factors together: ")
        if self.reasons:
            return f"{about}{'; '.join(self.reasons)}.", "", ""
        pairs = [row for heading, _, rows in self.groups for row in rows if heading == KINDS["interaction"]]
        sure = sorted((row for row in pairs if row.is_sure), key=lambda row: -row.size)
        depend = "; ".join(row.sentence for row in sure) or "no two factors are seen to depend on each other"
        if len(sure) > MANY:
            told = "; ".join(row.sentence for row in sure[:MANY])
            depend = f"{len(sure)} of {len(pairs)} pairs of factors depend on each other, these most: {told}"
        return about, depend, f". {self.sentence}"


def response_panels(data: StudyData) -> tuple[ResponsePanel, ...]:
    """A panel per response and subgroup, in the order of the study; none before anything was fitted."""
    found = []
    for question in data.spec.get("responses", ()):
        groups: dict[str | None, list[Row]] = {}
        for row in data.laws:
            if row["law"] == question["name"]:
                groups.setdefault(row["subgroup"], []).append(row)
        found += [_panel(question, rows, tuple(data.factors)) for rows in groups.values()]
    return tuple(found)


def _panel(question: Mapping[str, Any], rows: Sequence[Row], names: Sequence[str]) -> ResponsePanel:
    first = rows[0]
    choice: dict[str, Any] = json.loads(first["choice"]) if first["choice"] else {}
    observers = tuple(one["looks_at"] for one in choice.get("observers", ()))
    told = choice.get("effects", {})
    by_name = {row["quantity"]: row for row in rows}
    shown = [(about, by_name[name]) for name, about in told.items() if name in by_name]
    looked = tuple(name for name in observers if name not in told and any(name in about["passive"] for about, _ in shown))
    units = choice.get("repeated_units")
    return ResponsePanel(
        name=question["name"],
        question=question.get("question"),
        where=where_text(json.loads(first["subgroup"])) if first["subgroup"] else "",
        sentence=title(f"{choice['sentence']}.") if choice else "",
        rests_on=", ".join(
            [
                counted(first["trials"], "trial"),
                counted(choice.get("configurations", 0), "configuration"),
                *([counted(units, "repeated unit")] if units else []),
            ]
        ),
        groups=tuple(
            (heading, DEFINITIONS[kind], own)
            for kind, heading in KINDS.items()
            if (own := tuple(_effect(about, row, choice["scale"], looked, names) for about, row in shown if about["kind"] == kind))
        ),
        observers=looked,
        errors=tuple(_errors(choice)),
        reasons=tuple(json.loads(first["reasons"] or "[]")),
        warnings=tuple(json.loads(first["warnings"] or "[]")),
        outcome=first["outcome"],
    )


def _effect(about: Mapping[str, Any], row: Row, scale: str, observers: Sequence[str], names: Sequence[str]) -> EffectRow:
    of = quantity(row["outcome"])

    def text(value: float | None) -> str:
        if value is None:
            return MISSING
        written = change(value, "log") if scale == "log" else f"{value * of.scale:+.3g} {of.short_unit}".strip()
        return written.replace("-", "−")

    ends = (text(row["ci_low"]), text(row["ci_high"]))
    return EffectRow(
        name=words(row["quantity"].split(" = ")[0]) if about["kind"] == "main" else _named(row["quantity"], names),
        levels=" → ".join(about["levels"]) if about["levels"] else MISSING,
        change=text(row["estimate"]),
        interval=MISSING if MISSING in ends else f"{ends[0]} to {ends[1]}",
        p=p_text(row["p_value_adjusted"]),
        size=abs(row["estimate"] or 0.0),
        is_sure=row["p_value_adjusted"] is not None and row["p_value_adjusted"] < 0.05,
        passive=tuple(text(about["passive"].get(name)) for name in (row["quantity"], *observers)),
        sentence=re.sub(r"-(?=\d)", "−", _named(row["sentence"] or "", names).replace("->", "→")),
    )


def _named(text: str, names: Sequence[str]) -> str:
    """The engine's text with the factors' names in words, and products with their sign."""
    for name in names:
        text = re.sub(rf"\b{re.escape(name)}\b", words(name), text)
    return text.replace(" x ", " × ")


def _errors(choice: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    for one in choice.get("candidates", ()):
        yield f"{one['form']} model", str(one["terms"]), short(one["held_out_error"]), one["form"] == choice["chosen"]
    for name, why in choice.get("not_tried", {}).items():
        yield f"{name} model", f"not tried: {why}", MISSING, False
    for one in choice.get("observers", ()):
        yield f"who looks at {words(one['looks_at'])} only", MISSING, short(one["held_out_error"]), False
