"""Can these measurements be trusted? What A/A comparisons, sentinel trials and negative controls say, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trialhouse.reporting.formats import counted, is_number, joined, number, words
from trialhouse.reporting.marts import Row, StudyData

ALPHA = 0.05


@dataclass(frozen=True)
class Trust:
    """One question to the measurements, with what was found."""

    question: str
    found: str
    verdict: Literal["passed", "failed"] | None
    """Whether it met its limit; None where it has none, or could not be asked."""


def trust_of(data: StudyData) -> list[Trust]:
    """The questions in their order; empty before anything was published about this study's measurements."""
    if not data.measurement_checks:
        return []
    if data.is_trained:
        return [_false_positives(data)]  # the others are about measuring what was trained
    return [
        _false_positives(data),
        Trust("How repeatable is it?", _repeatability(data), None),
        Trust("Does it drift?", _changes(data, "drift", "from the first sentinel to the last"), _gate(data, "drift_p_value")),
        Trust("Does it go with order or host?", _shares(data), None),
        Trust("Do weights keep their accuracy?", _agreement(data), _gate(data, "accuracy_agreement")),
        Trust(
            "What does sampling cost?", _changes(data, "sampling_overhead", "while the sampler looks"), _gate(data, "sampling_overhead_low")
        ),
    ]


def doubts_of(data: StudyData) -> tuple[str, ...]:
    """What is wrong with the measurements, one sentence each."""
    return tuple(f"{trust.question} {trust.found}" for trust in trust_of(data) if trust.verdict == "failed")


def _false_positives(data: StudyData) -> Trust:
    """Share of comparisons of equal treatments that find a difference, before any correction between outcomes.

    Comparisons of one outcome in one place share trials and labels: they are one, with Bonferroni's correction.
    """
    from trialhouse.causal.inference import exact_interval

    question = "Do equal treatments differ?"
    places = {row["estimate_id"]: (row["outcome"], row["subgroup_column"], row["subgroup"]) for row in data.estimates if row["is_primary"]}
    shared: dict[tuple[str, ...], list[float]] = {}
    for row in data.refutations:
        if row["refuter"] == "placebo_arms" and row["estimate_id"] in places and is_number(row["p_value"]):
            shared.setdefault(places[row["estimate_id"]], []).append(row["p_value"])
    p_values = [min(1.0, len(own) * min(own)) for own in shared.values()]
    if not p_values:
        return Trust(question, "Not asked: no estimate has arms that differ in a placebo label only.", None)
    hits = sum(p_value < ALPHA for p_value in p_values)
    low, high = exact_interval(hits, len(p_values))
    verb = "has" if len(p_values) == 1 else "have"
    found = (
        f"{hits} of {counted(len(p_values), 'A/A comparison')} {verb} p < {ALPHA:g}: {hits / len(p_values):.0%}"
        f" (95% interval {low:.0%} to {high:.0%}), where {ALPHA:.0%} are to be expected."
    )
    return Trust(question, found, "failed" if low > ALPHA else "passed")


def _repeatability(data: StudyData) -> str:
    texts = []
    for metric, noun in (("latency_ms", "latency"), ("peak_memory_bytes", "peak memory")):
        rows = _rows(data, "repeatability", metric)
        if rows:
            spreads = [f"{_percent(row['value'])} ({_where(row)})" for row in rows]
            texts.append(f"{noun} varies by {joined(spreads)}")
    if not texts:
        return _reason(data, "repeatability")
    trials = sorted({row["trials"] for row in _rows(data, "repeatability", "latency_ms")})
    many = f"{trials[0]} to {trials[-1]}" if len(trials) > 1 else f"{trials[0]}"
    return f"Between {many} sentinel trials of a class, all alike, {', and '.join(texts)} (standard deviation)."


def _changes(data: StudyData, check: str, when: str) -> str:
    rows = _rows(data, check, "latency_ms")
    if not rows:
        return _reason(data, check)
    texts = [f"{_percent(row['value'], is_signed=True)} on the {_where(row)} ({_interval(row)})" for row in rows]
    return f"Latency {when}: {joined(texts)}."


def _shares(data: StudyData) -> str:
    order = _rows(data, "order_share", "latency_ms")
    if not order:
        return _reason(data, "order_share")
    texts = [f"{row['value']:.0%} ({_where(row)})" for row in order]
    hosts = _rows(data, "host_share", "latency_ms")
    by_host = joined([f"{row['value']:.0%} ({_where(row)})" for row in hosts]) if hosts else "not asked: there was one host"
    return f"Share of the sentinels' variance that goes with their place in the run: {joined(texts)}; with the host: {by_host}."


def _agreement(data: StudyData) -> str:
    rows = _rows(data, "accuracy_agreement", "accuracy")
    if not rows:
        return _reason(data, "accuracy_agreement")
    trials, differing = sum(row["trials"] for row in rows), sum(row["differing"] or 0 for row in rows)
    largest = max(row["value"] for row in rows)
    text = f"Class, batch size and threads cannot change the accuracy of given weights: {differing} of {counted(trials, 'trial')} differ"
    return f"{text}, by at most {number(100 * largest, 2)} percentage points." if differing else f"{text}."


def _gate(data: StudyData, column: str) -> Literal["passed", "failed"] | None:
    """What the data gates said; their limits are in `expectations/fct_measurement_checks.json`."""
    rows = [row for row in data.validations if row["table_name"] == "fct_measurement_checks" and row["column_name"] == column]
    check = {"drift_p_value": "drift", "sampling_overhead_low": "sampling_overhead"}.get(column, column)
    if not rows or not any(row["check_name"] == check and is_number(row["value"]) for row in data.measurement_checks):
        return None
    return "passed" if all(row["is_success"] for row in rows) else "failed"


def _rows(data: StudyData, check: str, metric: str) -> Sequence[Row]:
    order = {name: place for place, name in enumerate(data.spec["hardware_classes"])}
    rows = [row for row in data.measurement_checks if row["check_name"] == check and row["metric"] == metric and is_number(row["value"])]
    return sorted(rows, key=lambda row: order.get(row["hardware_class"], len(order)))


def _reason(data: StudyData, check: str) -> str:
    reasons = dict.fromkeys(row["reason"] for row in data.measurement_checks if row["check_name"] == check and row["reason"])
    return f"Not known: {'; '.join(reasons)}."


def _interval(row: Row) -> str:
    from scipy.stats import t as student

    if not is_number(row["standard_error"]) or not row["degrees_of_freedom"]:
        return "no interval"
    half = float(student.ppf(0.975, row["degrees_of_freedom"])) * row["standard_error"]
    low, high = (_percent(row["value"] + sign * half, is_signed=True) for sign in (-1, 1))
    return f"{low} to {high}"


def _percent(log_ratio: float, *, is_signed: bool = False) -> str:
    return f"{number(100 * math.expm1(log_ratio), 1, is_signed=is_signed)}%"


def _where(row: Row) -> str:
    return words(row["hardware_class"])
