"""What looking at survivors alone would say of accuracy: trials that ran out of memory have none, and are not missing at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialhouse.reporting import formats
from trialhouse.reporting.answer import Answer
from trialhouse.reporting.dose_response import mean_interval
from trialhouse.reporting.formats import effect_text, quantity, same_level
from trialhouse.reporting.marts import Row, StudyData
from trialhouse.studies.spec import HARDWARE_CLASS


@dataclass(frozen=True)
class Comparison:
    """One contrast of accuracy in one place, by whom is counted: each in percentage points with its interval."""

    where: str
    change: str
    lost: str
    survivors: str
    both_finish: str
    all_weights: str


def comparisons(data: StudyData, found: Answer) -> list[Comparison]:
    """The primary contrasts of accuracy where a trial of either arm ran out of memory.

    `survivors` is the plain difference over the trials that finished; `both_finish` the estimate that the answer rests on,
    over strata in which both arms finish; `all_weights` the difference in the accuracy of the weights, which are evaluated
    whether or not a class can hold them: mean over blocks of the difference between arms, with Student's interval.
    """
    of = quantity("accuracy")
    result = []
    for finding in found.primary:
        effect = finding.headline
        if effect.outcome != "accuracy" or effect.treatment not in (*data.factors, HARDWARE_CLASS):
            continue
        arms = [
            _arm(data, effect.treatment, level, effect.subgroup_column, effect.subgroup)
            for level in (effect.contrast_from, effect.contrast_to)
        ]
        lost = [sum(bool(trial["is_oom"]) for trial in arm) for arm in arms]
        if not any(lost):
            continue
        naive = finding.text(finding.naive) if finding.naive else None
        weights = effect_text(*_of_weights(arms), of)
        headline = finding.text()
        result.append(
            Comparison(
                where=finding.where,
                change=finding.change,
                lost=f"{lost[0]} of {len(arms[0])} and {lost[1]} of {len(arms[1])}",
                survivors=_written(naive),
                both_finish=_written(headline) if finding.is_released else f"({_written(headline)}), {effect.verdict}",
                all_weights=_written(weights),
            )
        )
    return result


def _written(text: formats.EffectText | None) -> str:
    if text is None:
        return formats.MISSING
    return text.with_unit if text.interval == formats.MISSING else f"{text.with_unit} ({text.interval})"


def _arm(data: StudyData, treatment: str, level: Any, column: str | None, subgroup: str | None) -> list[Row]:
    """Measured trials of one level of the treatment, in the subgroup where there is one."""
    return [
        trial
        for trial in data.trials
        if trial["is_measured"] and same_level(trial[treatment], level) and (column is None or str(data.value(trial, column)) == subgroup)
    ]


def _of_weights(arms: Sequence[Sequence[Row]]) -> tuple[float | None, float | None, float | None]:
    blocks = [_by_block(arm) for arm in arms]
    both = sorted(set(blocks[0]) & set(blocks[1]))
    return mean_interval([blocks[1][block] - blocks[0][block] for block in both]) if both else (None, None, None)


def _by_block(trials: Sequence[Row]) -> Mapping[str, float]:
    """Mean accuracy of each block's weights, every set of weights counted once."""
    weights: dict[str, dict[str, float]] = {}
    for trial in trials:
        if formats.is_number(trial["weights_accuracy"]):
            weights.setdefault(trial["block"], {})[trial["weights_id"]] = trial["weights_accuracy"]
    return {block: sum(values.values()) / len(values) for block, values in weights.items()}
