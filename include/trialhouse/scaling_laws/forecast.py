"""What an intervention on one or several factors does to the outcome, by a law, and what a passive observer would have said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trialhouse.errors import ForecastError
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Points
from trialhouse.scaling_laws.held_out import HeldOut
from trialhouse.scaling_laws.intervals import LEVEL
from trialhouse.scaling_laws.observer import Observer, observers
from trialhouse.scaling_laws.prediction import Prediction, interval, levels_at, predict
from trialhouse.scaling_laws.support import (
    FARTHEST,
    Change,
    Place,
    Reach,
    in_words,
    largest_trial,
    points_at,
    require_near,
    require_released,
    rounded,
)

Assignment = Literal["randomised", "consequence", "observational", "unknown"]
VERBS = {"within": "changes", "beyond": "should change", "far beyond": "might change"}


@dataclass(frozen=True)
class Effect:
    """The outcome before and after, and what lies between.

    Parameters
    ----------
    before, after
        Predictions at the start and under the intervention.
    form
        Of the law that says so.
    difference, ratio
        After less before and after over before: value, lower and upper end of the 95% interval. Both come from the same
        draws, so that what is uncertain about both ends alike cancels. The ratio is None for a score, which may be zero.
    """

    before: Prediction
    after: Prediction
    form: str
    difference: tuple[float, float, float]
    ratio: tuple[float, float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "difference": self.difference[0],
            "difference_interval": list(self.difference[1:]),
            "ratio": None if self.ratio is None else self.ratio[0],
            "ratio_interval": None if self.ratio is None else list(self.ratio[1:]),
        }


@dataclass(frozen=True)
class Forecast:
    """An answer to "what if we intervene?".

    Parameters
    ----------
    law
        What it rests on.
    start, end
        Column -> value, before and under the intervention.
    start_is
        Where the start is from, in words.
    effect
        By the law.
    reach, start_reach
        How far the two places are from the trials.
    passive
        What is looked at -> the same question to a law of that alone.
    assignment
        How the factors of the trials came about: by a design, as a consequence of what one assigned, otherwise, or unknown.
    caveats
        What to keep in mind.
    """

    law: Law
    start: Place
    end: Place
    start_is: str
    effect: Effect
    reach: Reach
    start_reach: Reach
    passive: Mapping[str, Effect]
    assignment: Assignment
    caveats: tuple[str, ...] = ()
    check: HeldOut | None = None
    """How well laws of this form, and observers, forecast trials that they had not seen, where that was asked."""

    @property
    def changed(self) -> list[str]:
        """Columns that the intervention changes."""
        return [column for column in self.end if self.end[column] != self.start[column]]

    @property
    def sentence(self) -> str:
        """The answer in one sentence, in weaker words the farther it reaches."""
        moves = " and ".join(
            f"{'increase' if self.end[column] > self.start[column] else 'lower'} {column} "
            f"from {in_words(self.start[column])} to {in_words(self.end[column])}"
            for column in self.changed
        )
        held = " and ".join(f"{column} at {in_words(value)}" for column, value in self.start.items() if column not in self.changed)
        difference, low, high = self.effect.difference
        as_change, as_level = _formats(high - low)
        verb = VERBS[self._farther.word]
        return (
            f"If we intervene to {moves}{f', holding {held}' if held else ''}, {self.law.sample.outcome_name} {verb} by "
            f"{difference:{as_change}} (95% interval {low:{as_change}} to {high:{as_change}}), "
            f"from {self.effect.before.mean:{as_level}} to {self.effect.after.mean:{as_level}}"
        )

    @property
    def rests_on(self) -> dict[str, str]:
        """What each of the two kinds of forecast assumes."""
        return assumptions(self.law, self.assignment)

    @property
    def _farther(self) -> Reach:
        return max(self.reach, self.start_reach, key=lambda reach: reach.together)

    def to_dict(self) -> dict[str, Any]:
        """As `trialhouse forecast --json` prints it."""
        return {
            "sentence": self.sentence,
            "outcome": self.law.sample.outcome_name,
            "form": self.law.form.name,
            "start": self.start,
            "start_is": self.start_is,
            "end": self.end,
            "interval_level": LEVEL,
            **self.effect.to_dict(),
            "reach": self.reach.to_dict(),
            "start_reach": self.start_reach.to_dict(),
            "correlational": {name: effect.to_dict() for name, effect in self.passive.items()},
            "assignment": self.assignment,
            "rests_on": self.rests_on,
            "caveats": list(self.caveats),
            "held_out": None if self.check is None else self.check.to_dict(),
        }


def forecast(
    law: Law,
    do: Mapping[str, Change],
    *,
    at: Mapping[str, float] | None = None,
    assignment: Assignment = "unknown",
    farthest: float = FARTHEST,
    passive: Sequence[Observer] | None = None,
) -> Forecast:
    """Ask a law what an intervention does.

    Parameters
    ----------
    law
        Released.
    do
        Column -> what it is set to.
    at
        Column -> where it starts; those that are left out start at the largest trial (by the product of all factors).
    assignment
        Whether the trials' factors were assigned by a design; it changes no number, only what the numbers mean.
    farthest
        Factors of ten beyond the trials that are not to be exceeded.
    passive
        Observers that were fitted before; by default they are fitted.

    Raises
    ------
    ForecastError
        For a law that is withheld, a column that it has not, a place too far from its trials, or an intervention that changes nothing.
    """
    require_released(law)
    columns = list(law.sample.columns.values())
    for column in (*do, *(at or {})):
        if column not in columns:
            raise ForecastError(f"a factor must be one of the law's ({', '.join(columns)})", repr(column), "name one of them")
    largest = largest_trial(law)
    start = {column: float((at or {}).get(column, largest[column])) for column in columns}
    end = {column: rounded(do[column].applied(start[column])) if column in do else start[column] for column in columns}
    for column, value in (*start.items(), *end.items()):
        if not (np.isfinite(value) and value > 0):
            raise ForecastError(f"{column} must be a positive number", value, "correct it")
    if start == end:
        raise ForecastError("an intervention must change something", "values that are those of the start", "say --do data=10x, for example")
    start_reach, reach = (require_near(law, place, farthest) for place in (start, end))
    points = points_at(law, [start, end])
    seen = observers(law, [column for column in end if end[column] != start[column]]) if passive is None else passive
    return Forecast(
        law=law,
        start=start,
        end=end,
        start_is=_start_is(at or {}, columns),
        effect=effect_of(law, points),
        reach=reach,
        start_reach=start_reach,
        passive={one.looks_at: effect_of(one.law, one.points(points)) for one in seen},
        assignment=assignment,
        caveats=(*law.doubts_at(points), *_caveats(law, reach, start_reach)),
    )


def effect_of(law: Law, points: Points) -> Effect:
    """Predictions at the first and the last of two points, and the contrast between them."""
    before, after = predict(law, points)
    found = levels_at(law, points)
    ratio = None
    if law.form.is_log:
        change = interval(law, float(found.centre[1] - found.centre[0]), found.draws[:, 1] - found.draws[:, 0])
        ratio = after.mean / before.mean, float(np.exp(change[0])), float(np.exp(change[1]))
    draws = np.exp(found.draws) if law.form.is_log else found.draws
    difference = after.mean - before.mean
    return Effect(before, after, law.form.name, (difference, *interval(law, difference, draws[:, 1] - draws[:, 0])), ratio)


def assumptions(law: Law, assignment: Assignment) -> dict[str, str]:
    """What the causal and the correlational forecast assume, in words."""
    columns, outcome = " and ".join(law.sample.columns.values()), law.sample.outcome_name
    unless = f"the forecast is of an effect only if nothing else that goes with them moves {outcome}"
    causal = {
        "randomised": f"a design assigned {columns}, so that nothing else goes with them: the forecast is of an effect",
        "observational": f"nobody assigned {columns}: {unless}",
        "consequence": f"{columns} were assigned by a design, or follow from what it assigned: {unless}",
        "unknown": f"how {columns} came about was not said (--assignment): unless a design assigned them, {unless}",
    }[assignment]
    return {
        "causal": f"{causal}; and {law.supposed}",
        "correlational": "whatever goes with what it looks at in these trials will go with it again: it holds nothing, so it answers "
        "'what do we expect to see', not 'what if we intervene'",
    }


def _start_is(at: Mapping[str, float], columns: Sequence[str]) -> str:
    left = [column for column in columns if column not in at]
    if not left:
        return "as asked"
    return "the largest trial" if len(left) == len(columns) else f"as asked, and {' and '.join(left)} of the largest trial"


def _caveats(law: Law, reach: Reach, start_reach: Reach) -> tuple[str, ...]:
    found = []
    farther = max(reach, start_reach, key=lambda one: one.together)
    if farther.word != "within":
        which = "the end" if farther is reach else "the start"
        doubt = "" if farther.word == "beyond" else "speculation, for "
        found.append(f"{which} is {farther.sentence}: {doubt}the interval holds no doubt about the form")
    if law.choice is not None and len(law.choice.alike) > 1:
        found.append(law.choice.sentence)
    return (*found, *law.warnings)


def _formats(width: float) -> tuple[str, str]:
    """Of changes and of levels: decimals that show two digits of an interval's width, or powers of ten where these are too many."""
    decimals = 1 - math.floor(math.log10(width)) if 0 < width < math.inf else math.inf
    return (f"+.{max(decimals, 0)}f", f".{max(decimals, 0)}f") if -4 < decimals < 8 else ("+.3g", ".4g")
