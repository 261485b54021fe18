"""The laws of a study as `fct_scaling_laws` has them: parameters, contrasts and verdicts, each law in one plain sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from trialhouse.reporting.formats import (
    MISSING,
    as_number,
    counted,
    decimals_for,
    is_number,
    joined,
    level_name,
    level_text,
    number,
    quantity,
    short,
    title,
    words,
)
from trialhouse.reporting.marts import Row, StudyData
from trialhouse.scaling_laws.registry import FORMS, form_named
from trialhouse.scaling_laws.two_step import MAP_NAME
from trialhouse.studies.spec import HARDWARE_CLASS

SURE = 0.05
NEXT_TO_NOTHING = 1e-6
POWERS = {
    "pure_power_law": {"beta": "n"},
    "power_law": {"beta": "n"},
    "chinchilla": {"alpha": "size", "beta": "data"},
    "width_depth": {"alpha": "width", "beta": "depth", "gamma": "data"},
    "width_depth_size": {"alpha": "width", "beta": "depth", "gamma": "size", "delta": "data"},
}
"""Forms of which each exponent alone says how the outcome falls with its factor; `n` is the only one."""


@dataclass(frozen=True)
class Estimated:
    """A parameter or a compared quantity with its 95% interval; an end is None where there is none."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    is_identified: bool = True

    @property
    def number(self) -> str:
        """The value, in the precision of its interval."""
        return self._texts[0]

    @property
    def interval(self) -> str:
        """`0.30 to 0.42`; with one end `above 0.30`."""
        _, low, high = self._texts
        if MISSING in (low, high):
            return MISSING if low == high else f"above {low}" if high == MISSING else f"below {high}"
        return f"{low} to {high}"

    @property
    def text(self) -> str:
        """`0.36 (0.30 to 0.42)`; without a number where the trials do not determine it."""
        return f"{self.number} ({self.interval})" if self.is_identified else "not identified"

    @property
    def negative(self) -> Estimated:
        """The power that an exponent is minus of."""
        value, low, high = (None if not is_number(one) else -one for one in (self.value, self.low, self.high))
        return Estimated(self.name, value, high, low, self.is_identified)

    @property
    def _texts(self) -> list[str]:
        """Value, lower and upper end: with as many decimals as the interval is worth, or one by one where they are far apart."""
        known = [value for value in (self.value, self.low, self.high) if is_number(value)]
        if len(known) == 3 and known[1] == 0 and known[0] < NEXT_TO_NOTHING * known[2]:
            known[0] = 0.0  # where a search for the logarithm stopped
        if len(known) < 3:
            return [short(value) for value in (self.value, self.low, self.high)]
        least, most = min(map(abs, known)), max(map(abs, known))
        spread = (known[2] - known[1]) / 2
        if known[1] < 0 < known[2] and 1e-3 <= spread < 1e6:
            return [number(value, decimals_for(known, spread)) for value in known]
        if not 1e-3 <= least <= most < 1e6 or most > 100 * least:
            return [short(value) for value in known]
        decimals = max(decimals_for(known, spread), 1 - math.floor(math.log10(least)))
        return [number(value, decimals) for value in known]


@dataclass(frozen=True)
class FoundLaw:
    """One law of a study: its rows of the mart.

    Parameters
    ----------
    law, outcome, columns
        Its name, what falls, and role -> column.
    subgroup
        Factor -> level; empty for a law of all trials.
    data_id
        Of the rows that it rests on.
    form, formula
        Of the curve; no formula where none was fitted.
    parameters
        Of the curve, in the order of the formula's parameters.
    trials, loss
        How many it rests on, and the summed Huber loss.
    verdict, reasons, warnings
        As landed.
    choice
        How the form was chosen by held-out trials, in a sentence; None where it was named.
    """

    law: str
    outcome: str
    columns: Mapping[str, str]
    subgroup: Mapping[str, Any]
    data_id: str
    form: str
    formula: str | None
    parameters: tuple[Estimated, ...]
    trials: int
    loss: float | None
    verdict: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    choice: str | None
    known: Mapping[str, float] = field(default_factory=dict)
    """Of a map to a score: the ceiling, and what guessing scores where that was said."""

    @property
    def is_map(self) -> bool:
        """Whether it is the map from a loss to a score, rather than a law by factors."""
        return self.form == MAP_NAME

    @property
    def is_released(self) -> bool:
        return self.verdict == "released" and bool(self.parameters)

    @property
    def where(self) -> str:
        """The subgroup as words: ``nearest neighbour, dimension 1``, or ``all trials``."""
        return where_text(self.subgroup) or "all trials"

    @cached_property
    def parts(self) -> tuple[str, str, str]:
        """The sentence in three: before the numbers, the numbers (empty where none may be stated), after them."""
        if self.is_map:
            return self._map_parts
        noun = quantity(self.outcome).noun
        where = f"{where_text(self.subgroup)}: " if self.subgroup else ""
        if not self.is_released:
            why = joined(self.reasons) or "no curve was fitted"
            return title(f"{where}no law of {noun}: {why}."), "", ""
        known = {parameter.name: parameter for parameter in self.parameters}
        powers = [(known[name], self._column(role)) for name, role in POWERS.get(self.form, {}).items() if name in known]
        if not powers:
            told = joined([f"{one.name} {one.text}" for one in self.parameters if one.is_identified])
            return title(f"{where}{noun} follows "), str(self.formula), f" with {told}; 95% intervals in brackets."
        floor = _floor(known.get("E"))
        if len(powers) == 1:
            exponent, column = powers[0]
            power, verb = exponent.negative, "grows" if (exponent.value or 0.0) < 0 else "falls"
            return title(f"{where}{noun} {verb} as "), f"{column}^{power.number}", f" (95% interval {power.interval}){floor}."
        terms = [f"{column}^{exponent.negative.number} (95% interval {exponent.negative.interval})" for exponent, column in powers]
        many = {2: "two", 3: "three", 4: "four"}[len(powers)]
        return title(f"{where}{noun} falls in {many} parts, as "), joined(terms, "and as"), f"{floor}."

    @property
    def sentence(self) -> str:
        """What may be said of it, without the verdict word."""
        return "".join(self.parts)

    @property
    def _map_parts(self) -> tuple[str, str, str]:
        score, loss = quantity(self.outcome), quantity(self.columns["loss"]).noun
        where = f"{where_text(self.subgroup)}: " if self.subgroup else ""
        if not self.is_released:
            return title(f"{where}no map from {loss} to {score.noun}: {joined(self.reasons) or 'none was fitted'}."), "", ""
        fitted = {parameter.name: parameter for parameter in self.parameters}
        chance = self.known["chance"] if "chance" in self.known else fitted["chance"].value
        ends = f"from {level_text(chance, score)} by guessing towards {level_text(self.known.get('ceiling', 1.0), score)}"
        middle = fitted["L0"]
        return title(f"{where}{score.noun} rises {ends} as {loss} falls, half of the way at "), middle.number, f" ({middle.interval})."

    def _column(self, role: str) -> str:
        return next(iter(self.columns.values())) if role == "n" else self.columns[role]


@dataclass(frozen=True)
class Contrast:
    """A compared quantity of two laws."""

    where: str
    """What they have in common; empty where that is nothing."""
    arms: str
    """``shift against none``."""
    quantity: Estimated
    sentence: str
    p_value_adjusted: float | None
    """Holm's, over all tests of the question; None where nothing is tested."""
    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class LawAnswer:
    """All laws of one question, and how they differ."""

    name: str
    question: str | None
    fixed: Mapping[str, float]
    """Parameters that the study takes for known."""
    laws: tuple[FoundLaw, ...]
    contrasts: tuple[Contrast, ...]
    scores: tuple[LawAnswer, ...] = ()
    """Maps from the outcome to scores, an answer for each score."""

    @property
    def chance(self) -> float | None:
        """What guessing scores, where that was said."""
        return self.fixed.get("chance") if self.laws[0].is_map else None

    @property
    def told_by(self) -> str:
        """Of a map: the outcome that tells the score."""
        return quantity(self.laws[0].columns["loss"]).noun

    @property
    def noun(self) -> str:
        """The outcome in its stored unit, which is that of the parameters."""
        of = quantity(self.laws[0].outcome)
        return f"{of.noun}, {of.level_unit}" if of.scale == 1 and of.level_unit else of.noun

    @property
    def is_log(self) -> bool:
        """Whether all forms that were released compare outcomes by their logarithms."""
        return all(not law.is_map and form_named(law.form).is_log for law in self.laws if law.is_released)

    @property
    def names(self) -> list[str]:
        """Of all their parameters, in the order of the formulas."""
        return list(dict.fromkeys(parameter.name for law in self.laws for parameter in law.parameters))

    @property
    def contrasts_said(self) -> str:
        """How many differences there are; empty where none is tested."""
        tested = [one for one in self.contrasts if is_number(one.p_value_adjusted)]
        sure = [one for one in tested if one.verdict == "released" and float(one.p_value_adjusted or 0.0) <= SURE]
        if not tested:
            return ""
        return (
            f"{counted(len(tested), 'test')} of a difference; {len(sure) or 'none'} can be told from zero after Holm’s correction"
            " over all of them."
        )

    @property
    def forms(self) -> list[str]:
        """Name and equation of each form."""
        return list(dict.fromkeys(f"{law.form}: {law.formula}" for law in self.laws if law.formula))

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What to keep in mind, once, with the laws that it belongs to; without what withholds them."""
        told: dict[str, list[FoundLaw]] = {}
        for law in self.laws:
            for warning in (*law.warnings, *([law.choice] if law.choice else [])):
                if warning not in law.reasons and law not in told.setdefault(warning, []):
                    told[warning].append(law)
        return [
            (warning, "all" if len(found) == len(self.laws) else "; ".join(law.where for law in found))
            for warning, found in told.items()
            if found
        ]


def law_answers(data: StudyData) -> tuple[LawAnswer, ...]:
    """What was found to each question about a law, in the order of the study; empty before anything was fitted."""
    found = []
    for question in data.spec.get("laws", ()):
        own = [row for row in data.laws if row["law"] == question["name"]]
        plain = [row for row in own if row["compared_with"] is None]
        laws = _sorted(data, _laws([row for row in plain if row["outcome"] == question["outcome"]]))
        contrasts = [row for row in own if row["compared_with"] is not None]
        contrasts.sort(
            key=lambda row: (_order(data, _levels(row["subgroup"])), _order(data, _levels(row["compared_with"])), _quantity(row))
        )
        if own:
            fixed = question.get("fix") or {}
            scores = tuple(_score_answers(data, question, plain))
            found.append(LawAnswer(question["name"], question.get("question"), fixed, laws, tuple(map(_contrast, contrasts)), scores))
    return tuple(found)


def _score_answers(data: StudyData, question: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[LawAnswer]:
    for score in question.get("scores", ()):
        known = {name: float(score[name]) for name in ("chance", "ceiling") if score[name] is not None}
        maps = _laws([row for row in rows if row["outcome"] == score["outcome"]])
        if laws := _sorted(data, (replace(one, known=known) for one in maps)):
            fixed = {name: value for name, value in known.items() if name == "chance"}  # the formula has the ceiling
            yield LawAnswer(f"{question['name']}_{score['outcome']}", None, fixed, laws, ())


def _sorted(data: StudyData, laws: Iterable[FoundLaw]) -> tuple[FoundLaw, ...]:
    """In the order of the study's levels."""
    return tuple(sorted(laws, key=lambda law: _order(data, law.subgroup)))


def where_text(levels: Mapping[str, Any]) -> str:
    """Levels as words; a number says what it is a level of, and so does what could be any factor's level."""
    return ", ".join(
        f"{words(factor)} {level_name(level)}" if as_number(level) is not None or level in ("none", "yes", "no") else words(str(level))
        for factor, level in levels.items()
    )


def _laws(rows: Sequence[Row]) -> Iterator[FoundLaw]:
    groups: dict[str | None, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["subgroup"], []).append(row)
    for group in groups.values():
        row = group[0]
        parameters = [_estimated(one) for one in group if one["quantity"] != "none"]
        yield FoundLaw(
            law=row["law"],
            outcome=row["outcome"],
            columns=json.loads(row["columns"]),
            subgroup=_levels(row["subgroup"]),
            data_id=row["data_id"],
            form=row["form"],
            formula=row["formula"],
            parameters=tuple(sorted(parameters, key=lambda one: _place_in(row["form"], one.name))),
            trials=row["trials"],
            loss=row["objective"],
            verdict=row["verdict"],
            reasons=tuple(json.loads(row["reasons"] or "[]")),
            warnings=tuple(json.loads(row["warnings"] or "[]")),
            choice=json.loads(row["choice"])["sentence"] if row["choice"] else None,
        )


def _contrast(row: Row) -> Contrast:
    own, other = _levels(row["subgroup"]), _levels(row["compared_with"])
    return Contrast(
        where=where_text({factor: level for factor, level in own.items() if other.get(factor) == level}),
        arms=joined(
            [f"{where_text({factor: own[factor]})} against {words(str(other[factor]))}" for factor in own if own[factor] != other[factor]]
        ),
        quantity=_estimated(row),
        sentence=row["sentence"] or "",
        p_value_adjusted=row["p_value_adjusted"],
        verdict=row["verdict"],
        reasons=tuple(json.loads(row["reasons"] or "[]")),
    )


def _quantity(row: Row) -> tuple[int, str]:
    """Differences of exponents, then of E, the ratio, the crossing."""
    name = str(row["quantity"])
    return next((place for place, known in enumerate(("difference of E", "ratio above E", "crossing"), 1) if name == known), 0), name


def _estimated(row: Row) -> Estimated:
    return Estimated(row["quantity"], row["estimate"], row["ci_low"], row["ci_high"], bool(row["is_identified"]))


def _levels(text: str | None) -> dict[str, Any]:
    levels: dict[str, Any] = json.loads(text) if text else {}
    return levels


def _place_in(form: str, name: str) -> int:
    """The parameter's place in its form; last where the form is not known any more."""
    names = FORMS[form].names if form in FORMS else ()
    return names.index(name) if name in names else len(names)


def _order(data: StudyData, levels: Mapping[str, Any]) -> list[tuple[int, float, str]]:
    """Names as the study lists them, numbers by size."""
    order = []
    for factor, level in levels.items():
        levels_of = data.spec["hardware_classes"] if factor == HARDWARE_CLASS else (data.factors.get(factor) or {"levels": ()})["levels"]
        listed = [str(one) for one in levels_of]
        place = listed.index(str(level)) if str(level) in listed else len(listed)
        order.append((place, as_number(level) or 0.0, str(level)))
    return order


def _floor(floor: Estimated | None) -> str:
    if floor is None or not floor.is_identified or not is_number(floor.high):
        return ""
    if not floor.low:
        return f", towards 0 or at most {short(floor.high)}"
    return f", towards {floor.text}"
