"""How networks learnt: validation loss by step, one line per level of a treatment, everything else held."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from trialhouse.reporting import figures
from trialhouse.reporting.formats import joined, level_name, words
from trialhouse.reporting.marts import StudyData
from trialhouse.reporting.panels import Figure, by_level

MOST_LINES = 5
MOST_MARKS = 5


def learning_figure(data: StudyData) -> Figure | None:
    """A panel per treatment; the other factors are held at the levels whose curves are longest."""
    treatments = list(dict.fromkeys(item["treatment"] for item in data.estimands.values() if item["treatment"] in data.factors))
    if not data.curves or not treatments:
        return None
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for row in data.curves:
        curves[row["trial_id"]][row["step"]] = row["value"]
    trials = [trial for trial in data.trials if trial["trial_id"] in curves]
    varied = [name for name, factor in data.factors.items() if factor["assignment"] == "crossed" and len(factor["levels"]) > 1]
    longest = max(trials, key=lambda trial: (max(curves[trial["trial_id"]]), trial["trial_id"]), default=None)
    if longest is None:
        return None
    panels = []
    for treatment in treatments:
        others = [name for name in varied if name != treatment]
        mine = [trial for trial in trials if all(trial[name] == longest[name] for name in others)]
        levels = sorted({trial[treatment] for trial in mine}, key=by_level)
        series = [
            figures.Series(level_name(level), _points([curves[trial["trial_id"]] for trial in mine if trial[treatment] == level]))
            for level in _spread(levels)
        ]
        if len(series) > 1:
            axis = figures.Axis("validation loss", " nats", minimum=0.0)
            title = f"Validation loss by {words(treatment)}"
            panels.append(figures.lines(title, figures.Axis("steps"), axis, series, marks=_marks(series)))
    held = joined([f"{words(name)} {level_name(longest[name])}" for name in varied])
    drawn = joined([words(name) for name, factor in data.factors.items() if factor["assignment"] == "randomised"])
    note = (
        "Geometric mean over repeated trials; each panel varies one factor"
        + (f" and holds the others at {held}." if len(varied) > 1 else ".")
        + (f" What was drawn at random is not held: {drawn}." if drawn else "")
        + " Curves are in marts.fct_learning_curves."
    )
    return Figure("How the loss fell", note, panels) if panels else None


def _points(curves: Sequence[dict[int, float]]) -> list[figures.Point]:
    """The mean where every curve has a point: a mean over fewer and fewer would compare different trials."""
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    return [figures.Point(step, math.exp(sum(math.log(max(curve[step], 1e-12)) for curve in curves) / len(curves))) for step in steps]


def _marks(series: Sequence[figures.Series]) -> list[float]:
    """Steps that the axis names: powers of two, so few that they do not touch."""
    steps = sorted({int(point.level) for one in series for point in one.points})
    powers = [step for step in steps if step & (step - 1) == 0]
    return [float(step) for step in powers[:: max(1, math.ceil(len(powers) / MOST_MARKS))]]


def _spread(levels: Sequence[Any]) -> Sequence[Any]:
    """At most as many levels as lines can be told apart, the ends among them."""
    if len(levels) <= MOST_LINES:
        return levels
    return [levels[round(index * (len(levels) - 1) / (MOST_LINES - 1))] for index in range(MOST_LINES)]
