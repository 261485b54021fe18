"""The answer of a study: each registered effect with its interval, its verdict, and what tried to refute it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from trialhouse.reporting.caveats import by_text, places_of
from trialhouse.reporting.confounding import first_line
from trialhouse.reporting.findings import Finding, findings_of, texts
from trialhouse.reporting.formats import (
    counted,
    is_number,
    joined,
    words,
)
from trialhouse.reporting.laws import law_answers
from trialhouse.reporting.marts import Row, StudyData, read_study
from trialhouse.reporting.responses import response_panels
from trialhouse.reporting.trust import doubts_of

State = Literal["running", "gates_failed", "not_estimated", "estimated"]
CHECK_VERDICTS = ("passed", "failed", "inconclusive", "not_applicable")


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
        return by_text(self.primary)

    @cached_property
    def strata(self) -> tuple[tuple[str, str], ...]:
        """Each restriction of primary estimates to some of the trials, with the estimates that it belongs to."""
        texts = dict.fromkeys(finding.headline.stratum for finding in self.primary if finding.headline.stratum)
        return tuple(
            (text, places_of([finding for finding in self.primary if finding.headline.stratum == text], self.primary)) for text in texts
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


def answer_of(data: StudyData) -> Answer:
    """The answer from rows that were already read."""
    gates, warnings = (
        tuple(
            Gate(row["table_name"], row["expectation"], row["severity"], row["sentence"], texts(row["failing_rows"]))
            for row in data.validations
            if not row["is_success"] and row["severity"] == severity
        )
        for severity in ("critical", "warning")
    )
    findings = () if gates else findings_of(data)
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
    for one in law_answers(data):
        yield from (LawLine(law.law, law.parts, law.verdict) for law in one.laws)
        yield from (LawLine(law.law, law.parts, law.verdict, "Score") for score in one.scores for law in score.laws)
    for panel in response_panels(data):
        yield LawLine(panel.name, panel.parts, "withheld" if panel.reasons else "released", "Response")


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


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return content if not isinstance(content, float) or is_number(content) else None
