"""Findings: each registered contrast with the estimate that the answer rests on, in words and in numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trialhouse.reporting.formats import (
    MISSING,
    EffectText,
    Quantity,
    as_number,
    condition,
    decimals_for,
    effect_text,
    is_number,
    level_name,
    number,
    per_text,
    quantity,
    same_level,
    sentence,
    title,
    words,
)
from trialhouse.reporting.marts import Row, StudyData

SURVIVORS = "Compares survivors only"
"""How the engine begins its reason against a comparison of arms that lost different trials."""
BOUNDS = ("trimming_bounds", "worst_case_bounds")
"""Checks that tell between what an effect lies where outcomes were lost."""
_DETECTABLE = re.compile(r"(?<=an effect of less than )(\S+)(?: ms| MiB)?(?= would be missed)")
"""The number in the engine's caveat on power: in units of the outcome, bytes as MiB."""
_METHODS = (("naive", r"naive"), ("double ML", r"dml|double"), ("adjusted", r"linear|ols|adjust"))


@dataclass(frozen=True)
class Effect:
    """One row of `fct_estimates`, in the stored unit of its outcome."""

    estimate_id: str
    estimand: str
    treatment: str
    outcome: str
    subgroup_column: str | None
    subgroup: str | None
    contrast_from: str
    contrast_to: str
    per: str | None
    method: str
    method_estimand: str | None
    is_primary: bool
    estimate: float | None
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    trials: int
    clusters: int | None
    stratum: str | None
    adjustment: tuple[str, ...]
    estimand_expression: str | None
    verdict: str
    reasons: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def is_naive(self) -> bool:
        return method_kind(self.method) == "naive"

    @property
    def differs_from_zero(self) -> bool:
        """Whether the 95% interval leaves zero out."""
        return is_number(self.ci_low) and is_number(self.ci_high) and (self.ci_low > 0 or self.ci_high < 0)


@dataclass(frozen=True)
class Finding:
    """A registered contrast: the estimate that the answer rests on, and the other estimates of the same contrast beside it."""

    headline: Effect
    others: tuple[Effect, ...]
    quantity: Quantity
    change: str
    """The contrast in words: ``pruning ratio 0.6 instead of 0``."""
    control_level: float | None
    """Mean of the outcome over finished trials at the treatment's control level, nothing adjusted; None where the estimate
    speaks of some strata only."""
    is_primary: bool
    everywhere: str = "all classes"
    """What an effect without a subgroup speaks of."""
    bounds: tuple[str, ...] = ()
    """What the bounds say, which have a table of their own."""

    @property
    def naive(self) -> Effect | None:
        return next((effect for effect in self.others if effect.is_naive), None)

    @cached_property
    def caveats(self) -> tuple[str, ...]:
        """The headline's caveats without bounds, the smallest effect that would be seen in the unit that the outcome is written in."""
        return tuple(_DETECTABLE.sub(self._detectable, caveat) for caveat in self.headline.caveats if caveat not in self.bounds)

    def _detectable(self, found: re.Match[str]) -> str:
        value = as_number(found[1])
        if value is None:
            return found[0]
        scaled = value if self.headline.outcome.endswith("_bytes") else value * self.quantity.scale
        return f"{number(scaled, decimals_for([scaled]))} {self.quantity.unit}".strip()

    @property
    def is_released(self) -> bool:
        return self.headline.verdict == "released" and is_number(self.headline.estimate)

    @property
    def short_noun(self) -> str:
        """The outcome for a table's row: ``running out of memory``."""
        return re.sub(r" \(.*\)$", "", self.quantity.noun.removeprefix("the ").removeprefix("chance of "))

    @property
    def where(self) -> str:
        """The subgroup as words: ``laptop``, ``width 8``, or ``all classes``."""
        return where_text(self.headline, self.everywhere)

    def text(self, effect: Effect | None = None, *, is_long: bool = False) -> EffectText:
        """The estimate (of the headline, or of another method) in written form."""
        effect = effect or self.headline
        return effect_text(effect.estimate, effect.ci_low, effect.ci_high, self.quantity, is_long=is_long)

    @property
    def sentence(self) -> str:
        """What may be said, without the verdict word: a finding only where the estimate was released."""
        return "".join(self.parts)

    @cached_property
    def parts(self) -> tuple[str, str, str]:
        """The sentence in three: what comes before the number, the number (empty where none may be stated), what comes after."""
        effect, noun, text = self.headline, self.quantity.noun, self.text(is_long=True)
        among = f" It speaks only of the strata where both arms survive ({words(effect.stratum)})." if effect.stratum else ""
        if not self.is_released:
            return title(f"{self._place}{self._no_finding()}"), "", ""
        assert effect.estimate is not None
        if effect.estimate == 0 and effect.ci_low == effect.ci_high == 0:
            same = f"{self.change} made no difference to {noun}: it was the same in every trial of both arms."
            return title(f"{self._place}{same}{among}"), "", ""
        if effect.differs_from_zero:
            claim = f"{self.change} {'raises' if effect.estimate > 0 else 'lowers'} {noun}: "
        else:
            claim = f"no effect of {self.change} on {noun} can be told from zero: "
        interval = f"95% interval {text.interval}" if text.interval != MISSING else "no interval"
        return title(f"{self._place}{claim}"), text.with_unit, f" ({interval}).{among}"

    @property
    def survivors(self) -> str | None:
        """What all trials that finished seem to say, and why it is not the effect; None where they are alike."""
        naive = self.naive
        reason = next((reason for reason in naive.reasons if reason.startswith(SURVIVORS)), None) if naive else None
        if naive is None or reason is None or not is_number(naive.estimate):
            return None
        seen = self.text(naive, is_long=True).with_unit
        return f"Over all trials that finished the difference is {seen}, which {reason[:1].lower()}{reason[1:]}"

    def _no_finding(self) -> str:
        effect = self.headline
        verdict = {"withheld": "was withheld", "failed": "failed"}.get(effect.verdict, "has no value")
        why = f" {' '.join(map(sentence, effect.reasons))}" if effect.reasons else ""
        return f"no finding on {self.quantity.noun}: the estimate {verdict}.{why}"

    @property
    def _place(self) -> str:
        effect = self.headline
        if effect.subgroup is None:
            return ""
        if effect.subgroup_column in (None, "hardware_class"):
            return f"on the {words(effect.subgroup)}, "
        return f"where {words(str(effect.subgroup_column))} is {level_name(effect.subgroup)}, "


def effects(data: StudyData) -> list[Effect]:
    """All current estimates of a study as `Effect`, dose-response ones included."""
    lists = ("adjustment", "reasons", "caveats")

    def values(row: Row) -> dict[str, Any]:
        return {name: texts(row[name]) if name in lists else row[name] for name in Effect.__dataclass_fields__}

    return [Effect(**values(row)) for row in data.estimates]


def findings_of(data: StudyData) -> tuple[Finding, ...]:
    """One per registered estimand and subgroup, in the order in which they were registered."""
    groups: dict[tuple[str, str | None], list[Effect]] = {}
    for effect in effects(data):
        estimand = data.estimands.get(effect.estimand)
        if estimand is None or effect.subgroup_column != estimand["by"] or not _is_asked(effect, estimand):
            continue  # another level (dose-response) or a part of the treated arm (one method only)
        groups.setdefault((effect.estimand, effect.subgroup), []).append(effect)
    order = {name: place for place, name in enumerate(data.estimands)}
    keys = sorted(groups, key=lambda key: (order[key[0]], data.order(key[1])))
    found = []
    for key in keys:
        headline = min(groups[key], key=_rank)
        others = sorted(
            (effect for effect in groups[key] if effect is not headline), key=lambda effect: (not effect.is_naive, effect.method)
        )
        found.append(
            Finding(
                headline=headline,
                others=tuple(others),
                quantity=quantity(headline.outcome, data.indicators),
                change=_change(data, headline),
                control_level=_control_level(data, headline),
                is_primary=data.estimands[key[0]]["is_primary"],
                everywhere=data.everywhere,
                bounds=tuple(row["reason"] for row in data.checks_of(headline.estimate_id) if row["refuter"] in BOUNDS),
            )
        )
    return tuple(found)


def where_text(effect: Effect, everywhere: str) -> str:
    """Where an effect holds, as words; a number says what it is a level of."""
    if effect.subgroup is None:
        return everywhere
    name = level_name(effect.subgroup)
    return name if as_number(effect.subgroup) is None else f"{words(str(effect.subgroup_column))} {name}"


def method_kind(method: str) -> str:
    """Which of the report's columns a method belongs to: ``naive``, ``adjusted`` or ``double ML``."""
    return next((kind for kind, pattern in _METHODS if re.search(pattern, method)), words(method))


def method_name(method: str) -> str:
    """A method beside others: its short name, or all of its words where that would name several."""
    return {"adjusted_linear": "adjusted", "double_ml": "double ML"}.get(method, words(method))


def texts(value: str | None) -> tuple[str, ...]:
    """A JSON list as texts; a text that is no list is its only element."""
    if value is None or value == "":
        return ()
    try:
        content = json.loads(value)
    except ValueError:
        return (value,)
    if not isinstance(content, list):
        return (value,)
    return tuple(item if isinstance(item, str) else json.dumps(item, sort_keys=True) for item in content)


def _rank(effect: Effect) -> tuple[bool, int, str]:
    """The estimate that an answer rests on: the one marked primary, else the adjusted one."""
    preference = {"adjusted": 0, "double ML": 1, "naive": 3}
    return (not effect.is_primary, preference.get(method_kind(effect.method), 2), effect.method)


def _is_asked(effect: Effect, estimand: Mapping[str, Any]) -> bool:
    """Whether an estimate is of the registered contrast, or of the amount that the effect was asked for."""
    contrast = estimand["contrast"]
    if contrast is None:
        return effect.per is not None
    return level_name(effect.contrast_from) == level_name(contrast["from"]) and level_name(effect.contrast_to) == level_name(contrast["to"])


def _change(data: StudyData, effect: Effect) -> str:
    indicator = data.indicators.get(effect.treatment)
    if effect.per is not None:
        return per_text(effect.treatment, effect.per, (data.factors.get(effect.treatment) or {}).get("unit"))
    levels = level_name(effect.contrast_from), level_name(effect.contrast_to)
    if indicator is not None and levels == ("0", "1"):
        return f"{words(effect.treatment)} ({condition(indicator)})"
    return f"{words(effect.treatment)} {levels[1]} instead of {levels[0]}"


def _control_level(data: StudyData, effect: Effect) -> float | None:
    if effect.stratum is not None or effect.per is not None:
        return None
    values = [
        float(value)
        for trial in data.trials
        if (trial["is_measured"] if effect.outcome.startswith("is_") else trial["status"] == "ok")
        if effect.subgroup is None or str(trial.get(effect.subgroup_column or "hardware_class")) == effect.subgroup
        if same_level(data.value(trial, effect.treatment), effect.contrast_from)
        if (value := data.value(trial, effect.outcome)) is not None
    ]
    return sum(values) / len(values) if values else None
