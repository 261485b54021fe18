"""From a place of a law to the nearest trial that a study's workload can run: which factor moves a column, and to which level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from trialhouse.errors import SpecError, WorkloadError
from trialhouse.studies.combinations import as_written
from trialhouse.studies.spec import Factor, Level, Study
from trialhouse.workloads.protocol import Learner, Plan

NEAR = 2.0
"""Largest ratio between what a column should come to and what it does at the nearest level."""
TRIED = 128
"""Whole numbers to either side among which a workload must take one (a width may have to be a multiple of a head's size)."""


class Levels:
    """The levels that a study's factors can take, and what columns come to there.

    Parameters
    ----------
    study, learner
        The study and its workload.
    columns
        Columns of a law: factors, or outcomes that the workload knows before it runs a trial.
    held
        Levels of factors that are not to move.

    Raises
    ------
    SpecError
        If a column follows from no factor or from several, or there is a factor of several levels that is neither moved nor held.
    """

    def __init__(self, study: Study, learner: Learner, columns: Sequence[str], held: Mapping[str, Level]) -> None:
        self._learner = learner
        real = [factor for factor in study.factors if not factor.is_label]
        self._first = {factor.name: as_written(factor, held.get(factor.name, factor.levels[0])) for factor in real}
        free = [f for f in real if f.assignment != "blocked" and f.name not in held and len(f.levels) > 1]
        self.moves = {column: self._mover(column, free) for column in columns}
        names = [factor.name for factor in self.moves.values()]
        for column, factor in self.moves.items():
            if names.count(factor.name) > 1:
                raise SpecError("each column of the law must follow from a factor of its own", f"{factor.name!r} twice, for {column}")
        left = [factor.name for factor in free if factor.name not in names]
        if left:
            expected = f"the law must be of one level of each factor that is not among its columns ({', '.join(columns)})"
            raise SpecError(expected, f"several levels of {left[0]!r}", "give such factors one level, or ask for a law 'by' them")

    @property
    def held(self) -> dict[str, Level]:
        """Level of every factor that does not move."""
        moved = {factor.name for factor in self.moves.values()}
        return {name: level for name, level in self._first.items() if name not in moved}

    def place(self, levels: Mapping[str, Level]) -> dict[str, float]:
        """What the columns come to at some levels; WorkloadError where no trial can have them."""
        return {column: self.value(column, levels) for column in self.moves}

    def knows(self, column: str) -> bool:
        """Whether the workload knows a column before it runs a trial."""
        return column in _known(self._learner.plan(self._first))

    def value(self, column: str, levels: Mapping[str, Level]) -> float:
        """What one column that is known comes to; WorkloadError where no trial can have these levels."""
        return float(_known(self._learner.plan({**self._first, **levels}))[column])

    def nearest(self, column: str, target: float, levels: Mapping[str, Level], factor: Factor | None = None) -> Level:
        """The level of a column's factor (or of another) that brings it nearest to a target (by ratio), others being at `levels`.

        Raises
        ------
        WorkloadError
            If there is none near.
        """
        factor = self.moves[column] if factor is None else factor

        def miss(level: Level) -> float:
            return abs(math.log(self.value(column, {**levels, factor.name: level}) / target))

        start = self._interpolated(column, factor, target, levels)
        found: list[tuple[float, Level]] = []
        refusal = WorkloadError(f"{factor.name} must lead to {column} {target:.4g}", "none that does")
        for side in self._tried(factor, start):
            for level in side:
                try:
                    found.append((miss(level), level))
                    break
                except WorkloadError as error:
                    refusal = error
        if not found:
            raise refusal
        off, best = min(found)
        if off > math.log(NEAR):
            came = self.value(column, {**levels, factor.name: best})
            raise WorkloadError(f"{factor.name} must lead to {column} {target:.4g}", f"{came:.4g} at {best}, the nearest that can be run")
        return best

    def _tried(self, factor: Factor, start: float) -> list[Iterable[Level]]:
        """Levels to try, the nearest first: one where it comes in any amount, whole numbers below and above where it does not."""
        if not all(isinstance(level, int) for level in factor.levels):
            return [[as_written(factor, float(f"{start:.6g}"))]]
        below = math.floor(start)
        return [range(below, max(below - TRIED, 0), -1), range(max(below + 1, 1), below + TRIED)]

    def _mover(self, column: str, free: Sequence[Factor]) -> Factor:
        """The factor that a column is, or that it follows from."""
        own = [factor for factor in free if factor.name == column] or [factor for factor in free if self._is_moved(column, factor)]
        numbers = [factor for factor in own if factor.kind != "categorical" and min(map(float, factor.levels)) > 0]
        if len(own) != 1 or own != numbers:
            expected = f"{column} must follow from one factor of positive numbers, as far as the workload knows before it runs a trial"
            raise SpecError(expected, ", ".join(repr(factor.name) for factor in own) or "none", "ask for a law in other columns")
        return own[0]

    def _is_moved(self, column: str, factor: Factor) -> bool:
        plans = [self._learner.plan({**self._first, factor.name: level}) for level in factor.levels]
        values = {_known(planned)[column] for planned in plans if column in _known(planned)}
        return len(values) > 1

    def _interpolated(self, column: str, factor: Factor, target: float, others: Mapping[str, Level]) -> float:
        """Between the study's own levels, beyond them by the last two, on logarithmic axes."""
        levels = sorted(map(float, factor.levels))
        values = np.log([self.value(column, {**others, factor.name: as_written(factor, level)}) for level in levels])
        if values[0] > values[-1]:  # a column can fall with its factor
            levels, values = levels[::-1], values[::-1]
        after = int(np.clip(np.searchsorted(values, math.log(target)), 1, len(levels) - 1))
        if values[after] == values[after - 1]:  # and level off
            return levels[after]
        share = (math.log(target) - values[after - 1]) / (values[after] - values[after - 1])
        return levels[after - 1] * float((levels[after] / levels[after - 1]) ** share)


def _known(planned: Plan) -> dict[str, Level]:
    return {**planned.quantities, **planned.outcomes, **planned.realised}
