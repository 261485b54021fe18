"""The report's section on laws: curves with their bands, residuals and frontiers, beside what was found in words.

Curves are those of the numbers in `fct_scaling_laws`; a law that is withheld has points and no curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trialhouse.errors import ForecastError
from trialhouse.reporting.drawn_laws import (
    Drawn,
    Mask,
    add_curve,
    alt_of,
    axis_label,
    drawn_laws,
    drawn_maps,
    file_name,
    panels_of,
    reasons_of,
)
from trialhouse.reporting.formats import counted, joined, quantity, short, title, words
from trialhouse.reporting.frontier_drawing import compute_plot, frontier_plot
from trialhouse.reporting.held_out_panel import HeldOutRow, held_out_rows, held_out_said, held_out_scatter
from trialhouse.reporting.laws import LawAnswer, law_answers
from trialhouse.reporting.marts import StudyData
from trialhouse.reporting.plots import Axis, Dots, Label, Layer, Pictures, Plot, plain
from trialhouse.reporting.score_panels import map_notes, map_pictures
from trialhouse.scaling_laws.allocate import Allocation, allocate
from trialhouse.scaling_laws.asked import rows_of_law
from trialhouse.scaling_laws.cost import training_flops
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Array, Form
from trialhouse.studies.spec import Study

if TYPE_CHECKING:
    import pandas as pd

MOST_LEVELS = 5
"""Levels of a second factor that have a curve of their own."""
DODGE = 0.012
"""Share of an axis by which arms at the same level stand apart."""


@dataclass(frozen=True)
class LawSection:
    """All that the report says about one question."""

    answer: LawAnswer
    reasons: tuple[tuple[str, str], ...]
    """Why a law has no curve, and which."""
    curves: Pictures
    residuals: Pictures | None
    held_out: Pictures | None
    held_out_rows: tuple[HeldOutRow, ...]
    held_out_said: tuple[str, ...]
    """The errors of all laws together, and which laws have no such check."""
    frontiers: tuple[tuple[str, Pictures | None, tuple[str, ...]], ...]
    """Where, the pictures, and what is to be said of them; no pictures where the split is refused."""
    scores: tuple[LawSection, ...] = ()
    """Maps from the outcome to scores."""
    notes: tuple[str, ...] = ()
    """What else there is to say of a map."""

    @property
    def plots(self) -> list[Plot]:
        """All pictures that have files."""
        groups = [self.curves, self.residuals, self.held_out, *(found for _, found, _ in self.frontiers)]
        own = [plot for group in groups if group is not None for plot in group.plots]
        return own + [plot for score in self.scores for plot in score.plots]


def law_sections(data: StudyData) -> tuple[LawSection, ...]:
    """A section per question about a law; none before anything was fitted."""
    if data.frame is None or not data.laws:
        return ()
    study = Study.model_validate(data.spec)
    return tuple(_section(data, study, data.frame, answer) for answer in law_answers(data))


def _section(data: StudyData, study: Study, frame: pd.DataFrame, answer: LawAnswer) -> LawSection:
    laws = drawn_laws(study, frame, answer)
    panels = list(panels_of(laws))
    return LawSection(
        answer=answer,
        reasons=reasons_of(laws),
        curves=_curves(answer, panels),
        residuals=_residuals(answer, panels),
        **_held_out(data, answer),
        frontiers=tuple(_frontier(frame, answer, one) for one in laws if one.law is not None and len(one.found.columns) > 1),
        scores=tuple(_score_section(data, study, frame, answer, score) for score in answer.scores),
    )


def _score_section(data: StudyData, study: Study, frame: pd.DataFrame, answer: LawAnswer, score: LawAnswer) -> LawSection:
    maps = drawn_maps(study, frame, answer, score)
    return LawSection(
        answer=score,
        reasons=reasons_of(maps),
        curves=map_pictures(score, list(panels_of(maps))),
        residuals=None,
        **_held_out(data, score),
        frontiers=(),
        notes=tuple(map_notes(data.spec["name"], answer, score)),
    )


def _held_out(data: StudyData, answer: LawAnswer) -> dict[str, Any]:
    law = answer.laws[0]
    check = [row for row in data.held_out if (row["law"], row["outcome"]) == (law.law, law.outcome)]
    return {
        "held_out": held_out_scatter(answer, check),
        "held_out_rows": tuple(held_out_rows(answer, check)),
        "held_out_said": tuple(held_out_said(answer, check)),
    }


def _curves(answer: LawAnswer, panels: Sequence[tuple[str, list[Drawn]]]) -> Pictures:
    plots = tuple(
        _levels_plot(answer, place, group[0], number) if len(group[0].found.columns) > 1 else _curve_plot(answer, place, group, number)
        for number, (place, group) in enumerate(panels)
    )
    laws = [one for _, group in panels for one in group]
    note = (
        "Light points are single trials, full ones their means. A line is the law of the table, its band the 95% interval of the average"
        " trial, from the bootstrap; it is dashed where nothing was tried."
    )
    if any(not one.is_kept.all() for one in laws):
        note += " Crosses are trials that the law leaves out, because the curve is not yet that law’s."
    if any(one.law is None for one in laws):
        note += " Points without a line: the law is withheld."
    if any(len(one.found.columns) > 1 for one in laws):
        note += " Where there are more levels than curves, trials have the colour of the nearest."
    held = {text for _, group in panels if (text := _held_text(group[0]))}
    note += "".join(f" Curves hold {text}." for text in sorted(held))
    return Pictures(f"{title(quantity(answer.laws[0].outcome).noun)} and its law", note, plots)


def _curve_plot(answer: LawAnswer, place: str, group: Sequence[Drawn], number: int) -> Plot:
    """One factor: a curve for each law, over all its trials."""
    column = next(iter(group[0].found.columns.values()))
    back: list[Layer] = []
    front: list[Layer] = []
    labels = []
    for one in group:
        xs, ys, kept = one.values(column), one.values(one.found.outcome), one.is_kept
        front.append(Dots(xs[kept].tolist(), ys[kept].tolist(), one.style))
        if not kept.all():
            front.append(Dots(xs[~kept].tolist(), ys[~kept].tolist(), one.style, "left-out"))
        at, means = _means(xs[kept], ys[kept], one.form)
        front.append(Dots(at.tolist(), means.tolist(), one.style, "mean"))
        end = float(means[-1]) if len(means) else None
        if one.law is not None:
            low = float(np.log(xs).min()) if not kept.all() else None
            end = add_curve(back, one.law, one.style, "n", {}, low)
        if one.name:
            labels.append(Label(one.name + ("" if one.law is not None else " (withheld)"), one.style, end))
    outcome = answer.noun
    return Plot(
        name=file_name(answer, "curves", number, place),
        title=title(place or (f"by {words(next(iter(group[0].arm)))}" if group[0].arm else outcome)),
        alt=alt_of(f"{outcome} over {column}{f', {place}' if place else ''}, both on logarithmic axes", group),
        x=Axis(axis_label(column)),
        y=Axis(outcome, is_log=group[0].form.is_log),
        layers=[*back, *front],
        labels=labels,
    )


def _levels_plot(answer: LawAnswer, place: str, one: Drawn, number: int) -> Plot:
    """Two factors or more: over the first, a curve for each level of the second, the others held."""
    along, across = _along(one)
    xs, ys, level = one.values(one.found.columns[along]), one.values(one.found.outcome), np.log(one.values(one.found.columns[across]))
    shown = _at_held(one)
    chosen = _spread(np.unique(level.round(9)))
    nearest = np.abs(level[:, None] - chosen[None]).argmin(axis=1)
    layers: list[Layer] = []
    labels = []
    for k, value in enumerate(chosen):
        own = (nearest == k) & shown
        style = f"arm{k}"
        end = float(ys[own][xs[own].argmax()]) if own.any() else None
        if one.law is not None:
            end = add_curve(layers, one.law, style, along, {**_held(one), across: float(value)})
        layers.append(Dots(xs[own].tolist(), ys[own].tolist(), style))
        labels.append(Label(plain(float(np.exp(value))), style, end))
    outcome, column, other = answer.noun, one.found.columns[along], one.found.columns[across]
    return Plot(
        name=file_name(answer, "curves", number, place),
        title=title(f"{f'{place}: ' if place else ''}by {words(other)}"),
        alt=alt_of(f"{outcome} over {column}, a curve for each of {counted(len(chosen), 'level')} of {other}", [one]),
        x=Axis(axis_label(column)),
        y=Axis(outcome, is_log=one.form.is_log),
        layers=layers,
        labels=labels,
    )


def _along(one: Drawn) -> tuple[str, str]:
    """Roles on the x axis and of the curves."""
    roles = list(one.found.columns)
    along = "data" if "data" in roles else roles[0]
    return along, next(role for role in roles if role != along)


def _held(one: Drawn) -> dict[str, float]:
    """Role -> logarithm at which it is held: the level that most trials have, of those the middle one."""
    held = {}
    for role in one.found.columns:
        if role not in _along(one):
            levels, counts = np.unique(np.log(one.values(one.found.columns[role])).round(9), return_counts=True)
            most = levels[counts == counts.max()]
            held[role] = float(most[len(most) // 2])
    return held


def _at_held(one: Drawn) -> Mask:
    """Which trials are where the curves are."""
    shown = np.ones(len(one.group.rows), dtype=bool)
    for role, value in _held(one).items():
        shown &= np.abs(np.log(one.values(one.found.columns[role])) - value) < 1e-6
    return shown


def _held_text(one: Drawn) -> str:
    held = _held(one) if len(one.found.columns) > 2 else {}
    return joined([f"{words(one.found.columns[role])} at {short(math.exp(value))}" for role, value in held.items()])


def _spread(levels: Array) -> Array:
    """At most as many levels as curves can be told apart, the ends among them."""
    if len(levels) <= MOST_LEVELS:
        return levels
    return np.asarray(levels[np.linspace(0, len(levels) - 1, MOST_LEVELS).round().astype(int)])


def _means(xs: Array, ys: Array, form: Form) -> tuple[Array, Array]:
    """Places and, on the form's scale, the mean of the trials there: geometric for losses."""
    at, place, counts = np.unique(xs, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=form.on_scale(ys)) / counts
    return at, np.exp(means) if form.is_log else means


def _residuals(answer: LawAnswer, panels: Sequence[tuple[str, list[Drawn]]]) -> Pictures | None:
    plots: list[Plot] = []
    for place, group in panels:
        laws = [one for one in group if one.law is not None]
        if not laws:
            continue
        for against in (None, *laws[0].found.columns):
            plots.append(_residual_plot(answer, place, laws, against, len(plots)))
    if not plots:
        return None
    is_log = all(one.form.is_log for _, group in panels for one in group if one.law is not None)
    what = "the natural logarithm of observed over fitted: 0.1 is 10% above the curve" if is_log else "observed less fitted"
    note = (
        f"A residual is {what}. Without a pattern along the axes the form is that of the trials;"
        " a wider spread at one end means unequal noise."
    )
    if any(len(group) > 1 for _, group in panels):
        note += " Arms at one level are moved apart a little."
    return Pictures("What the curves leave", note, tuple(plots))


def _residual_plot(answer: LawAnswer, place: str, laws: Sequence[Drawn], against: str | None, number: int) -> Plot:
    """Residuals over the fitted value, or over a factor by its role."""
    layers: list[Layer] = []
    column = "fitted value" if against is None else laws[0].found.columns[against]
    for k, one in enumerate(laws):
        law = one.law
        assert law is not None
        level = law.form.curve(law.coordinates[None], law.sample.points)[0][0]
        role = "n" if law.form.roles == ("n",) else against
        fitted = np.exp(level) if law.form.is_log else level
        xs = fitted if against is None else np.exp(law.sample.points[str(role)])
        if against is not None and len(laws) > 1:
            spread = np.log(xs.max() / xs.min()) * DODGE * (k - (len(laws) - 1) / 2)
            xs = xs * np.exp(spread)
        layers.append(Dots(xs.tolist(), (law.form.on_scale(law.sample.outcome) - level).tolist(), one.style))
    is_log = laws[0].form.is_log
    return Plot(
        name=file_name(answer, "residuals", number, place),
        title=title(f"{f'{place}, ' if place else ''}over {words(column)}"),
        alt=f"Residuals of the law of {answer.noun} over {column}{f', {place}' if place else ''}, one point per trial",
        x=Axis(f"fitted {answer.noun}" if against is None else axis_label(column), is_log=against is not None or is_log),
        y=Axis("log residual" if is_log else "residual", is_log=False),
        layers=layers,
        labels=[Label(one.name, one.style) for one in laws if one.name],
        reference=0.0,
    )


def _frontier(frame: pd.DataFrame, answer: LawAnswer, one: Drawn) -> tuple[str, Pictures | None, tuple[str, ...]]:
    """Where the cost of a trial is known: the best split up to the dearest trial there was."""
    law = one.law
    assert law is not None
    where = one.found.where if one.found.subgroup else ""
    try:
        found = _allocated(frame, one, law)
    except ForecastError as error:
        return where, None, (title(f"no split of a budget: {error}."),)
    number = answer.laws.index(one.found)
    drawn = {"frontier": frontier_plot(found), "compute": compute_plot(found)}
    plots = tuple(replace(plot, name=file_name(answer, kind, number, where)) for kind, plot in drawn.items())
    growth = [
        f"Along the frontier {column} grows as C^{short(value)} (95% interval {short(low)} to {short(high)})."
        for column, (value, low, high) in found.exponents.items()
    ]
    note = (
        "Curves of equal cost, each lowest where the budget is split best; the frontier joins these places, bars are their 95%"
        " intervals. Below it the outcome over cost: trials, and the frontier with its 95% band. The budget is what the dearest trial cost."
    )
    cost = f"Cost: {found.cost.sentence.removeprefix('cost: ')}."
    said = (f"{found.sentence}.", cost, *growth, "Other budgets and limits: trialhouse allocate.")
    return where, Pictures(f"Where a budget goes{f': {where}' if where else ''}", note, plots), said


def _allocated(frame: pd.DataFrame, one: Drawn, law: Law) -> Allocation:
    rows = rows_of_law(frame, one.found.outcome, one.found.subgroup)
    cost = training_flops(law, rows)
    return allocate(law, float(np.exp(cost.log(law.sample.points)).max()), cost)
