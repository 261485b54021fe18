"""Caveats of many effects, each said once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trialhouse.reporting.findings import Finding
from trialhouse.reporting.formats import words


def by_text(findings: Sequence[Finding]) -> tuple[tuple[str, str], ...]:
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
    return tuple((_merged([parts for parts, _ in said]), places_of([finding for _, finding in said], findings)) for said in kinds.values())


def places_of(findings: Sequence[Finding], every: Sequence[Finding]) -> str:
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


def _general(text: str, names: Mapping[str, str]) -> str:
    """The text with what each name stands for in its place."""
    return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), text)


def _merged(texts: Sequence[Sequence[str]]) -> str:
    """One text for several that differ in numbers only: where they differ, their range."""
    ranges = (sorted(set(parts), key=_value) for parts in zip(*texts, strict=True))
    return "".join(parts[0] if len(parts) == 1 else f"{parts[0]} to {parts[-1]}" for parts in ranges)


def _value(text: str) -> float:
    return float(text.replace(",", "").rstrip(".")) if text[:1].isdigit() else 0.0
