"""What a plain comparison says, what adjustment makes of it, and what is true: the first line of a study with randomised twins."""

from __future__ import annotations

from collections.abc import Sequence

from trialhouse.reporting.findings import Effect, Finding
from trialhouse.reporting.formats import MISSING, title, words
from trialhouse.studies.factors import TWINS


def first_line(findings: Sequence[Finding], twin: str | None) -> str | None:
    """Naive, adjusted and interventional effects of the first question that is asked in both halves; None where none is.

    Parameters
    ----------
    findings
        All of a study.
    twin
        Its twin factor, if it has one.
    """
    of_estimand: dict[str, dict[str | None, Finding]] = {}
    for finding in findings:
        if twin is not None and finding.headline.subgroup_column == twin:
            of_estimand.setdefault(finding.headline.estimand, {})[finding.headline.subgroup] = finding
    halves = next((halves for halves in of_estimand.values() if set(TWINS) <= set(halves)), None)
    if halves is None:
        return None
    confounded, randomised = (halves[half] for half in TWINS)
    parts = (
        ("naive", confounded, confounded.naive),
        ("adjusted", confounded, confounded.headline),
        ("interventional (the randomised twins)", randomised, randomised.headline),
    )
    said = ", ".join(f"{name} {_number(finding, effect)}" for name, finding, effect in parts)
    return f"{title(confounded.change)}, {words(confounded.headline.outcome)}: {said}."


def _number(finding: Finding, effect: Effect | None) -> str:
    if effect is None:
        return MISSING
    text = finding.text(effect, is_long=True)
    verdict = "" if effect.verdict == "released" or effect.is_naive else f", {effect.verdict}"
    return f"{text.with_unit} ({text.interval}{verdict})"
