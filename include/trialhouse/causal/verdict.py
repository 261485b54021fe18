"""From checks to a verdict, by fixed rules.

A check is `passed`, `failed`, `inconclusive` or `not_applicable`, with a sentence. An estimate is `failed` when a rule of
the graph is broken or a test rejects after Holm's correction over all tests of that estimate; `withheld` when it is not
identified, overlap is poor, recipes that ought to agree differ by more than two standard errors, or a refuter had too few
simulations; else `released`, with its caveats. Caveats (power, robustness value, survivorship, small samples) never withhold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

CheckVerdict = Literal["passed", "failed", "inconclusive", "not_applicable"]
EstimateVerdict = Literal["released", "withheld", "failed"]

ALPHA = 0.05


@dataclass(frozen=True)
class Check:
    """One attempt to refute an estimate.

    Parameters
    ----------
    name
        Of the refuter or diagnostic.
    verdict
        Its word; for a test (`is_test`) the word before Holm's correction.
    reason
        A sentence.
    statistic, p_value, simulations
        As far as it has them.
    is_test
        Whether its p-value counts in Holm's correction and decides.
    consequence
        What a `failed` means for the estimate; with `withheld`, an `inconclusive` means the same.
    has_power
        Whether it is known to catch a violation that matters.
    details
        The rows that the sentence sums up, each column -> value; numbers in units of the outcome.
    """

    name: str
    verdict: CheckVerdict
    reason: str
    statistic: float | None = None
    p_value: float | None = None
    simulations: int | None = None
    is_test: bool = False
    consequence: Literal["failed", "withheld", "none"] = "failed"
    has_power: bool = False
    details: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The word for an estimate, why, what remains to be said, and its checks with their final words."""

    word: EstimateVerdict
    reasons: tuple[str, ...]
    caveats: tuple[str, ...]
    checks: tuple[Check, ...]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values, in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def decide(checks: Sequence[Check], caveats: Sequence[str] = (), *, is_random: bool = False) -> Verdict:
    """The verdict that the checks of one estimate add up to.

    Parameters
    ----------
    checks
        All checks of the estimate.
    caveats
        What is known besides.
    is_random
        Whether the treatment was assigned at random: then the design, not the checks, is the warrant.
    """
    final = _after_holm(checks)
    failed = [check.reason for check in final if check.verdict == "failed" and check.consequence == "failed"]
    withheld = [check.reason for check in final if check.verdict in ("failed", "inconclusive") and check.consequence == "withheld"]
    told = list(caveats)
    told += [check.reason for check in final if check.consequence == "none" and check.verdict in ("failed", "inconclusive")]
    stood_up = any(check.has_power and check.verdict in ("passed", "failed") for check in final)
    if not stood_up and not is_random:
        told.append("not refuted, and not much attacked: none of the checks that could run is known to catch a violation that matters")
    if failed:
        return Verdict("failed", tuple(failed + withheld), tuple(told), final)
    if withheld:
        return Verdict("withheld", tuple(withheld), tuple(told), final)
    return Verdict("released", (), tuple(told), final)


def _after_holm(checks: Sequence[Check]) -> tuple[Check, ...]:
    tests = [index for index, check in enumerate(checks) if check.is_test and check.p_value is not None]
    adjusted = dict(zip(tests, holm([checks[index].p_value or 0.0 for index in tests]), strict=True))
    final = list(checks)
    for index, p_value in adjusted.items():
        check = final[index]
        if p_value < ALPHA:
            reason = f"{check.reason} (p = {p_value:.2g} after Holm over {len(tests)} tests)"
            final[index] = replace(check, verdict="failed", reason=reason, consequence="failed")
    return tuple(final)
