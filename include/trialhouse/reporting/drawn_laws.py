"""Laws as the report draws them: each with its trials, and the curve of the numbers that landed, where there is one to draw."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trialhouse.errors import LawError
from trialhouse.reporting.formats import words
from trialhouse.reporting.laws import FoundLaw, LawAnswer, where_text
from trialhouse.reporting.plots import ARMS, Band, Layer, Line
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Array, Form, Points
from trialhouse.scaling_laws.prediction import predict
from trialhouse.scaling_laws.registry import form_named
from trialhouse.scaling_laws.restored import restored, restored_map
from trialhouse.scaling_laws.study import LawRows, rows_by_law
from trialhouse.studies.laws import ScoreQuestion
from trialhouse.studies.spec import Study

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]
BEYOND = 0.5
"""Factors of ten beyond the trials that a curve is drawn for, at most half of the range that they cover."""
STEPS = 60


@dataclass(frozen=True)
class Drawn:
    """One law with its trials, and the curve where there is one to draw."""

    found: FoundLaw
    group: LawRows
    law: Law | None
    refusal: str | None
    arm: Mapping[str, Any] = field(default_factory=dict)
    """The level that tells it from the others of its panel."""
    style: str = "arm0"

    @property
    def name(self) -> str:
        """Of the arm."""
        return where_text(self.arm)

    @property
    def form(self) -> Form:
        """On whose scale means are taken; where it is not known, that of losses."""
        return self.law.form if self.law is not None else form_named("power_law" if self.found.form == "auto" else self.found.form)

    def values(self, column: str) -> Array:
        """Of its trials."""
        return np.asarray(self.group.rows[column].to_numpy(dtype=float))

    def has(self, column: str) -> Mask:
        """Which of its trials have a value."""
        return np.asarray(np.isfinite(self.values(column)))

    @property
    def is_kept(self) -> Mask:
        """Whether the law was fitted to the trial."""
        kept = np.ones(len(self.group.rows), dtype=bool)
        if self.law is not None:
            kept[[row for rows in self.law.sample.left_out.values() for row in rows]] = False
        return kept


def drawn_laws(study: Study, frame: pd.DataFrame, answer: LawAnswer) -> list[Drawn]:
    """All laws of an answer, with the curves of those that are released."""
    return [_drawn(found, group, None, partial(_restored, found, group)) for found, group in _with_trials(study, frame, answer)]


def drawn_maps(study: Study, frame: pd.DataFrame, answer: LawAnswer, score: LawAnswer) -> list[Drawn]:
    """The maps from the outcome of these laws to one of their scores."""
    question = next(one for one in study.laws if one.name == answer.name)
    asked = next(one for one in question.scores if one.outcome == score.laws[0].outcome)
    forms = {law.where: law.form for law in answer.laws}
    return [
        _drawn(found, group, asked, partial(restored_map, group, asked, form=forms[found.where]))
        for found, group in _with_trials(study, frame, score)
    ]


def _with_trials(study: Study, frame: pd.DataFrame, answer: LawAnswer) -> Iterator[tuple[FoundLaw, LawRows]]:
    question = next(one for one in study.laws if one.name == answer.laws[0].law)
    groups = list(rows_by_law(study, question, frame))
    for found in answer.laws:
        group = next((one for one in groups if dict(one.subgroup) == dict(found.subgroup)), None)
        if group is not None:
            yield found, group


def _drawn(found: FoundLaw, group: LawRows, score: ScoreQuestion | None, law: Callable[..., Law]) -> Drawn:
    """With its curve, if what landed is of these trials; `law` gives it, whose summed loss was that."""
    if not found.is_released or found.loss is None:
        return Drawn(found, group, None, None)
    if group.data_id(score) != found.data_id:
        return Drawn(found, group, None, "its trials are others than when it was fitted: run the study again to see its curve")
    try:
        return Drawn(found, group, law(loss=found.loss), None)
    except LawError:
        return Drawn(found, group, None, "it was fitted by other code: run the study again to see its curve")


def _restored(found: FoundLaw, group: LawRows, loss: float) -> Law:
    parameters = {one.name: float(one.value) for one in found.parameters if one.value is not None}
    return restored(group, form=found.form, parameters=parameters, loss=loss, warnings=found.warnings)


def reasons_of(laws: Sequence[Drawn]) -> tuple[tuple[str, str], ...]:
    """Why laws have no curve, and which."""
    reasons: dict[str, list[str]] = {}
    for one in laws:
        for reason in one.found.reasons or ([one.refusal] if one.refusal else ()):
            reasons.setdefault(reason, []).append(one.found.where)
    return tuple((reason, "; ".join(places)) for reason, places in reasons.items())


def panels_of(laws: Sequence[Drawn]) -> Iterator[tuple[str, list[Drawn]]]:
    """Laws that share a panel, each with a name and a colour: those that differ in the factor that is compared, or in the last one."""
    if not laws:
        return
    question = laws[0].group.question
    arm = next(iter((*question.compare, *reversed(question.by))), None)
    levels = list(dict.fromkeys(str(one.found.subgroup.get(arm)) for one in laws)) if arm else []
    if arm is None or len(levels) > ARMS or len(laws[0].found.columns) > 1:
        yield from ((where_text(one.found.subgroup), [one]) for one in laws)
        return

    def rest(one: Drawn) -> str:
        return where_text({factor: level for factor, level in one.found.subgroup.items() if factor != arm})

    panels: dict[str, list[Drawn]] = {}
    for one in laws:
        level = one.found.subgroup[arm]
        panels.setdefault(rest(one), []).append(replace(one, arm={arm: level}, style=f"arm{levels.index(str(level))}"))
    yield from panels.items()


def add_curve(
    layers: list[Layer],
    law: Law,
    style: str,
    role: str,
    others: Mapping[str, float],
    low: float | None = None,
    *,
    is_downwards: bool = False,
) -> float:
    """Band and line along one factor, the others held, and beyond the trials; returns the height of the line's end.

    Parameters
    ----------
    low
        Logarithm at which it begins, where that is below the trials of the law.
    is_downwards
        Whether it goes on below the trials, where losses are better, and ends with them above.
    """
    logs = law.sample.points[role]
    start, end = float(logs.min()), float(logs.max())
    reach = min(BEYOND * math.log(10), 0.5 * (end - start))
    span = (start - reach, end) if is_downwards else (start if low is None else low, end + reach)
    grid = np.unique(np.concatenate([np.linspace(*span, STEPS), [start, end]]))
    points: Points = {name: grid if name == role else np.full(len(grid), others[name]) for name in law.sample.points}
    told = predict(law, points)
    xs = np.exp(grid)
    layers.append(Band(xs.tolist(), [one.low for one in told], [one.high for one in told], style))
    line = np.array([one.mean for one in told])
    for part, is_dashed in ((grid <= start, True), ((grid >= start) & (grid <= end), False), (grid >= end, True)):
        if part.sum() > 1:
            layers.append(Line(xs[part].tolist(), line[part].tolist(), style, is_dashed))
    return float(line[-1])


def file_name(answer: LawAnswer, kind: str, number: int, place: str) -> str:
    """Letters, digits and underscores, whatever levels are called; the number keeps names apart."""
    return "_".join(re.findall(r"[a-z0-9]+", f"{answer.name} {kind} {number + 1} {place}".lower()))


def axis_label(column: str) -> str:
    """A column as an axis is called."""
    return column if words(column) == column else f"{words(column)} ({column})" if column == "n_train" else words(column)


def alt_of(what: str, group: Sequence[Drawn]) -> str:
    """What is seen, and each law in words."""
    return f"{what}. {' '.join(one.found.sentence for one in group)}"
