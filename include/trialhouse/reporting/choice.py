"""Which configuration for which class: the Pareto front, the choice within the study's limits, and the out-of-memory frontier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialhouse.reporting import figures, formats
from trialhouse.reporting.formats import counted, joined, level_name, level_text, quantity, words
from trialhouse.reporting.marts import Row, StudyData
from trialhouse.reporting.panels import Figure

WORTH_NAMING = 0.05
"""Share of draws from which on another configuration is named beside the best one."""

MOST_NAMED = 3


@dataclass(frozen=True)
class Candidate:
    """One configuration in written form."""

    name: str
    accuracy: str
    latency: str
    memory: str
    out_of_memory: str
    share: float | None


@dataclass(frozen=True)
class Choice:
    """The best configuration of a class and what stands beside it; `best` is None where nothing keeps the limits."""

    hardware_class: str
    limits: str
    best: Candidate | None
    held_out_accuracy: str
    others: Sequence[Candidate]


def choices(data: StudyData) -> list[Choice]:
    """The best configuration of each class within the study's limits; empty where the study sets none."""
    if not data.spec.get("limits"):
        return []
    found = []
    for hardware_class in data.spec["hardware_classes"]:
        rows = [row for row in data.configurations if row["hardware_class"] == hardware_class]
        best = next((row for row in rows if row["is_best"]), None)
        rivals = sorted((row for row in rows if not row["is_best"]), key=lambda row: -(row["best_share"] or 0.0))
        named = [_candidate(data, row) for row in rivals[:MOST_NAMED] if (row["best_share"] or 0.0) >= WORTH_NAMING]
        held_out = level_text(best["held_out_accuracy"], quantity("accuracy")) if best else formats.MISSING
        if rows:
            chosen = _candidate(data, best) if best else None
            found.append(Choice(hardware_class, _limits(data, hardware_class), chosen, held_out, named))
    return found


def pareto_figure(data: StudyData) -> Figure | None:
    """Accuracy over latency of every configuration, a panel per class, with the front that no other configuration beats."""
    panels = []
    for hardware_class in data.spec["hardware_classes"]:
        rows = [
            row
            for row in data.configurations
            if row["hardware_class"] == hardware_class and formats.is_number(row["latency_ms"]) and formats.is_number(row["accuracy"])
        ]
        if rows:
            points = [(row["latency_ms"], 100 * row["accuracy"], row["is_on_front"]) for row in rows]
            panels.append(figures.scatter(words(hardware_class), figures.Axis("latency", "ms"), figures.Axis("accuracy", "%"), points))
    note = (
        "One dot per configuration that finished: mean accuracy of its weights over blocks, geometric mean latency of one call"
        " (logarithmic scale). The line joins those that no other one beats in both; how sure each is of its place is in"
        " marts.fct_configurations (front_share)."
    )
    return Figure("Accuracy against latency, by class", note, panels) if panels else None


def frontier_figure(data: StudyData) -> Figure | None:
    """Share of trials that ran out of memory by pruning ratio and batch size, a panel per class and kind of network."""
    if not {"pruning_ratio", "batch_size"} <= set(data.factors):
        return None
    kinds = [name for name in ("model", "pruning_method") if name in data.factors]
    panels = []
    for hardware_class in data.spec["hardware_classes"]:
        trials = [trial for trial in data.trials if trial["hardware_class"] == hardware_class and trial["is_measured"]]
        if not any(trial["is_oom"] for trial in trials):
            continue
        for kind in _kinds(data, trials, kinds):
            counts: dict[tuple[Any, Any], tuple[int, int]] = {}
            for trial in trials:
                if all(_is_of(data, trial, name, level) for name, level in kind.items()):
                    key = trial["pruning_ratio"], trial["batch_size"]
                    lost, of = counts.get(key, (0, 0))
                    counts[key] = lost + bool(trial["is_oom"]), of + 1
            title = ", ".join([words(hardware_class), *(words(str(level)) for level in kind.values())])
            panels.append(figures.grid(title, figures.Axis("pruning ratio"), figures.Axis("batch size"), counts))
    note = (
        "Trials that ran out of memory, of those measured at each pruning ratio and batch size; the darker, the larger the share. "
        "Unpruned networks stand in every method’s column 0. Classes without such a trial are not drawn."
    )
    return Figure("Where memory runs out", note, panels) if panels else None


def _kinds(data: StudyData, trials: Sequence[Row], names: Sequence[str]) -> list[Mapping[str, Any]]:
    """Combinations of levels of the factors that tell networks apart, in the order of the spec."""
    kinds: list[Mapping[str, Any]] = [{}]
    for name in names:
        levels = [level for level in data.factors[name]["levels"] if any(trial[name] == level for trial in trials)]
        kinds = [{**kind, name: level} for kind in kinds for level in levels]
    return kinds


def _is_of(data: StudyData, trial: Row, name: str, level: Any) -> bool:
    """Whether a trial has the level, or the factor did not apply to it (an unpruned network is of every method)."""
    return bool(trial[name] == level or trial[name] == data.factors[name]["otherwise"])


def _candidate(data: StudyData, row: Row) -> Candidate:
    levels = json.loads(row["configuration"])
    absent = {name for name, level in levels.items() if level == data.factors[name]["otherwise"] and data.factors[name]["applies_when"]}
    oom = f"{row['out_of_memory']} of {row['trials']} ({row['oom_low']:.0%} to {row['oom_high']:.0%})"
    return Candidate(
        name=", ".join(_said(data, name, level) for name, level in levels.items() if name not in absent),
        accuracy=_with_interval(row, "accuracy", "accuracy_low", "accuracy_high"),
        latency=_with_interval(row, "latency_ms", "latency_low_ms", "latency_high_ms"),
        memory=_with_interval(row, "peak_memory_bytes", "peak_memory_low_bytes", "peak_memory_high_bytes"),
        out_of_memory=oom,
        share=row["best_share"],
    )


def _said(data: StudyData, name: str, level: Any) -> str:
    kind = data.factors[name]["kind"]
    return words(str(level)) if kind == "categorical" else f"{words(name)} {level_name(level)}"


def _with_interval(row: Row, value: str, low: str, high: str) -> str:
    of = quantity(value)
    text = level_text(row[value], of)
    if not (formats.is_number(row[low]) and formats.is_number(row[high])):
        return text
    scaled = [row[low] * of.scale, row[high] * of.scale]
    decimals = formats.decimals_for(scaled, (scaled[1] - scaled[0]) / 2)
    return f"{text} ({formats.number(scaled[0], decimals)} to {formats.number(scaled[1], decimals)})"


def _limits(data: StudyData, hardware_class: str) -> str:
    """The limits of a class in words."""
    mine = [limit for limit in data.spec["limits"] if limit["hardware_class"] in (None, hardware_class)]
    said = [f"{quantity(limit['outcome']).noun} at most {level_text(limit['at_most'], quantity(limit['outcome']))}" for limit in mine]
    return joined(said) if said else "no limit"


def summary(found: Sequence[Choice]) -> str:
    """How sure the choices are, in a sentence."""
    sure = [choice for choice in found if choice.best is not None and (choice.best.share or 0.0) >= 0.95]
    none = [words(choice.hardware_class) for choice in found if choice.best is None]
    text = f"The choice is clear (best in at least 95% of draws) in {len(sure)} of {counted(len(found), 'class', 'classes')}."
    return f"{text} Nothing that was measured keeps the limits on the {joined(none)}." if none else text
