"""The answer of a study: each registered effect with its interval, its verdict, and what tried to refute it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from trialhouse.reporting.confounding import first_line
from trialhouse.reporting.formats import (
    MISSING,
    EffectText,
    Quantity,
    as_number,
    condition,
    counted,
    decimals_for,
    effect_text,
    is_number,
    joined,
    level_name,
    number,
    per_text,
    quantity,
    same_level,
    sentence,
    title,
    words,
)
from trialhouse.reporting.laws import law_answers
from trialhouse.reporting.marts import Row, StudyData, read_study
from trialhouse.reporting.responses import response_panels
from trialhouse.reporting.trust import doubts_of

State = Literal["running", "gates_failed", "not_estimated", "estimated"]
SURVIVORS = "Compares survivors only"
"""How the engine begins its reason against a comparison of arms that lost different trials."""
_DETECTABLE = re.compile(r"(?<=an effect of less than )(\S+)(?: ms| MiB)?(?= would be missed)")
"""The number in the engine's caveat on power: in units of the outcome, bytes as MiB."""
BOUNDS = ("trimming_bounds", "worst_case_bounds")
"""Checks that tell between what an effect lies where outcomes were lost."""
CHECK_VERDICTS = ("passed", "failed", "inconclusive", "not_applicable")
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


@dataclass(frozen=True)
class LawLine:
    """A law or response of the study in one sentence: before its numbers, the numbers (empty where none may be stated), after them."""

    law: str
    parts: tuple[str, str, str]
    verdict: str
    kind: str = "Law"

    @property
    def sentence(self) -> str:
        """In one piece."""
        return "".join(self.parts)


@dataclass(frozen=True)
class Gate:
    """A failed expectation of the data."""

    table_name: str
    expectation: str
    severity: str
    sentence: str
    failing_rows: tuple[str, ...]


@dataclass(frozen=True)
class RefuterSummary:
    """Verdicts of one refuter over the primary estimates."""

    refuter: str
    verdicts: Mapping[str, int]
    smallest_p_value: float | None

    @property
    def sentence(self) -> str:
        """``passed 11, failed 1``, in the order of severity."""
        return ", ".join(f"{words(verdict)} {self.verdicts[verdict]}" for verdict in CHECK_VERDICTS if self.verdicts.get(verdict))


@dataclass(frozen=True)
class Answer:
    """All that may be said about a study now, and why not more."""

    study_id: str
    study_name: str
    title: str
    question: str
    state: State
    trials: Mapping[str, int]
    """Number of trials in all (`total`) and per status."""
    findings: tuple[Finding, ...]
    failed_gates: tuple[Gate, ...]
    """Critical ones."""
    warnings: tuple[Gate, ...]
    """Expectations that were not met and stop nothing."""
    refuters: tuple[RefuterSummary, ...]
    doubts: tuple[str, ...]
    """What is wrong with the measurements themselves."""
    twin: str | None = None
    """The label that tells confounded trials from their randomised twins."""
    laws: tuple[LawLine, ...] = ()
    """What was found of each law."""

    @property
    def primary(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.is_primary)

    @cached_property
    def summary(self) -> str:
        """What comes before everything else: one or two sentences, after the effects side by side where there are twins."""
        compared = first_line(self.findings, self.twin)
        return self._verdicts if compared is None else f"{compared} {self._verdicts}"

    @property
    def _verdicts(self) -> str:
        done = self.trials["total"] - self.trials.get("pending", 0)
        if self.state == "gates_failed":
            many = counted(len(self.failed_gates), "gate")
            return f"No effect was estimated: the data failed {many}. What failed, and in which rows, is listed with it."
        if self.state == "running":
            return f"No effect has been estimated yet: {done:,} of {counted(self.trials['total'], 'trial')} are done."
        if self.state == "not_estimated":
            many = counted(self.trials["total"], "trial")
            return f"No effect has been estimated yet: all {many} are done and await validation and estimation."
        verdicts = Counter(finding.headline.verdict for finding in self.primary)
        told = sum(finding.is_released and finding.headline.differs_from_zero for finding in self.primary)
        parts = [f"{verdicts[verdict]} {verdict}" for verdict in ("released", "withheld", "failed") if verdicts[verdict]]
        many = counted(len(self.primary), "registered effect")
        text = f"Of {many}, {joined(parts)}; {told} of the released can be told from zero."
        if verdicts["released"] == len(self.primary):
            text = f"All {many} were released; {told} of them can be told from zero."
        pending = self.trials.get("pending", 0)
        return f"{text} {counted(pending, 'trial')} are still to come." if pending else text

    @cached_property
    def twins(self) -> frozenset[str]:
        """Estimands that only their name tells from another: the same effect in the same place, on other assumptions."""
        asked = [(finding.headline.estimand, (finding.quantity.noun, finding.change, finding.where)) for finding in self.findings]
        counts = Counter(place for _, place in asked)
        return frozenset(name for name, place in asked if counts[place] > 1)

    @cached_property
    def caveats(self) -> tuple[tuple[str, str], ...]:
        """The first clause of each caveat of a primary estimate, once, with the estimates that it belongs to."""
        return _by_text(self.primary)

    @cached_property
    def strata(self) -> tuple[tuple[str, str], ...]:
        """Each restriction of primary estimates to some of the trials, with the estimates that it belongs to."""
        texts = dict.fromkeys(finding.headline.stratum for finding in self.primary if finding.headline.stratum)
        return tuple(
            (text, _places([finding for finding in self.primary if finding.headline.stratum == text], self.primary)) for text in texts
        )

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON types; numbers in the stored units, missing ones null."""
        content = asdict(self)
        content["summary"] = self.summary
        for finding, entry in zip(self.findings, content["findings"], strict=True):
            entry["sentence"] = finding.sentence
        content["laws"] = [{"law": law.law, "sentence": law.sentence, "verdict": law.verdict} for law in self.laws]
        clean: dict[str, Any] = json.loads(json.dumps(_without_nan(content), allow_nan=False))
        return clean


def answer(study_id: str, warehouse: Path) -> Answer:
    """The answer of one study version from the published warehouse.

    Raises
    ------
    WarehouseError
        If the warehouse is missing, lacks the marts, or does not know the study.
    """
    return answer_of(read_study(study_id, warehouse))


def where_text(effect: Effect, everywhere: str) -> str:
    """Where an effect holds, as words; a number says what it is a level of."""
    if effect.subgroup is None:
        return everywhere
    name = level_name(effect.subgroup)
    return name if as_number(effect.subgroup) is None else f"{words(str(effect.subgroup_column))} {name}"


def answer_of(data: StudyData) -> Answer:
    """The answer from rows that were already read."""
    gates, warnings = (
        tuple(
            Gate(row["table_name"], row["expectation"], row["severity"], row["sentence"], _texts(row["failing_rows"]))
            for row in data.validations
            if not row["is_success"] and row["severity"] == severity
        )
        for severity in ("critical", "warning")
    )
    findings = () if gates else _findings(data)
    statuses = Counter(trial["status"] for trial in data.trials)
    state: State = "gates_failed" if gates else "estimated" if findings else "running" if statuses["pending"] else "not_estimated"
    headlines = {finding.headline.estimate_id for finding in findings if finding.is_primary}
    return Answer(
        study_id=data.study["study_id"],
        study_name=data.study["study_name"],
        title=data.study["title"],
        question=data.study["question"],
        state=state,
        trials={"total": len(data.trials), **dict(sorted(statuses.items()))},
        findings=findings,
        failed_gates=gates,
        warnings=warnings,
        doubts=doubts_of(data),
        twin=next((name for name, factor in data.factors.items() if factor["assignment"] == "twin"), None),
        refuters=_refuters((row for row in data.refutations if row["estimate_id"] in headlines), data.spec["refuters"]),
        laws=() if gates else tuple(_law_lines(data)),
    )


def _law_lines(data: StudyData) -> Iterator[LawLine]:
    yield from (LawLine(law.law, law.parts, law.verdict) for one in law_answers(data) for law in one.laws)
    for panel in response_panels(data):
        yield LawLine(panel.name, panel.parts, "withheld" if panel.reasons else "released", "Response")


def method_kind(method: str) -> str:
    """Which of the report's columns a method belongs to: ``naive``, ``adjusted`` or ``double ML``."""
    return next((kind for kind, pattern in _METHODS if re.search(pattern, method)), words(method))


def method_name(method: str) -> str:
    """A method beside others: its short name, or all of its words where that would name several."""
    return {"adjusted_linear": "adjusted", "double_ml": "double ML"}.get(method, words(method))


def effects(data: StudyData) -> list[Effect]:
    """All current estimates of a study as `Effect`, dose-response ones included."""
    lists = ("adjustment", "reasons", "caveats")

    def values(row: Row) -> dict[str, Any]:
        return {name: _texts(row[name]) if name in lists else row[name] for name in Effect.__dataclass_fields__}

    return [Effect(**values(row)) for row in data.estimates]


def _findings(data: StudyData) -> tuple[Finding, ...]:
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


def _refuters(rows: Iterable[Row], registered: Sequence[str]) -> tuple[RefuterSummary, ...]:
    """The registered refuters in their order, then the checks that always run."""
    order = {name: place for place, name in enumerate(registered)}
    by_refuter: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (order.get(row["refuter"], len(order)), row["refuter"])):
        by_refuter.setdefault(row["refuter"], []).append(row)
    return tuple(
        RefuterSummary(
            refuter,
            Counter(row["verdict"] for row in group),
            min((row["p_value"] for row in group if is_number(row["p_value"])), default=None),
        )
        for refuter, group in by_refuter.items()
    )


def _by_text(findings: Sequence[Finding]) -> tuple[tuple[str, str], ...]:
    """Each caveat once, with what it belongs to: ``accuracy: server, laptop; latency: PC``, or ``all``.

    What differs from estimate to estimate only in its outcome's name or in numbers is one caveat, with the range of these.
    """
    kinds: dict[str, list[tuple[list[str], Finding]]] = {}
    for finding in findings:
        names = {finding.headline.outcome: "outcome", finding.headline.treatment: "treatment"}
        short = (_general(caveat.split(";")[0].strip(" ."), names) for caveat in finding.caveats)
        for text in dict.fromkeys(short):
            parts = re.split(r"(\d[\d.,]*(?:e[+-]?\d+)?)", text)  # every second one is a number
            # Amounts of one outcome have no range with those of another, even where neither has a unit.
            of = finding.headline.outcome if "an effect of less than" in text else ""
            kinds.setdefault(f"{of}: {'…'.join(parts[::2])}", []).append((parts, finding))
    return tuple((_merged([parts for parts, _ in said]), _places([finding for _, finding in said], findings)) for said in kinds.values())


def _general(text: str, names: Mapping[str, str]) -> str:
    """The text with what each name stands for in its place."""
    return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), text)


def _merged(texts: Sequence[Sequence[str]]) -> str:
    """One text for several that differ in numbers only: where they differ, their range."""
    ranges = (sorted(set(parts), key=_value) for parts in zip(*texts, strict=True))
    return "".join(parts[0] if len(parts) == 1 else f"{parts[0]} to {parts[-1]}" for parts in ranges)


def _value(text: str) -> float:
    return float(text.replace(",", "").rstrip(".")) if text[:1].isdigit() else 0.0


def _places(findings: Sequence[Finding], every: Sequence[Finding]) -> str:
    """`accuracy: server, PC`, and with the treatment where an outcome has effects of several: `width on error: observational`."""
    if len(findings) == len(every):
        return "all"
    treatments: dict[str, set[str]] = {}
    for finding in every:
        treatments.setdefault(finding.short_noun, set()).add(finding.headline.treatment)
    places: dict[str, list[str]] = {}
    for finding in findings:
        is_one = len(treatments[finding.short_noun]) == 1
        effect = finding.short_noun if is_one else f"{words(finding.headline.treatment)} on {finding.short_noun}"
        places.setdefault(effect, []).append("" if finding.where == "all trials" else finding.where)
    return "; ".join(f"{effect}: {', '.join(dict.fromkeys(where))}" if any(where) else effect for effect, where in places.items())


def _texts(value: str | None) -> tuple[str, ...]:
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


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return content if not isinstance(content, float) or is_number(content) else None
