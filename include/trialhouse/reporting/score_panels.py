"""Scores by way of a loss, as the report draws them: trials by loss and score, the map with its band, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trialhouse.reporting.drawn_laws import Drawn, add_curve, alt_of, axis_label, file_name
from trialhouse.reporting.formats import counted, quantity, title, words
from trialhouse.reporting.laws import LawAnswer
from trialhouse.reporting.plots import Axis, Dots, Label, Layer, Pictures, Plot


def map_pictures(answer: LawAnswer, panels: Sequence[tuple[str, list[Drawn]]]) -> Pictures:
    """A panel for each group of subgroups, with a map for each of them."""
    note = (
        "Points are single trials. A line is the map of the table, its band the 95% interval of the average trial, from the bootstrap that"
        " the law’s band is from; it is dashed at losses that no trial had."
    )
    if answer.chance is not None:
        note += " The dotted line is what guessing scores."
    laws = [one for _, group in panels for one in group]
    if any((~one.is_kept & one.has(answer.laws[0].outcome)).any() for one in laws):
        note += " Crosses are trials that the law of the loss leaves out."
    if any(one.law is None for one in laws):
        note += " Points without a line: the map is withheld."
    plots = tuple(_map_plot(answer, place, group, number) for number, (place, group) in enumerate(panels))
    return Pictures(f"{title(answer.noun)} by {answer.told_by}", note, plots)


def map_notes(study: str, laws: LawAnswer, score: LawAnswer) -> Iterator[str]:
    """In which scores the study can be asked, and where it cannot because the law of the loss is withheld."""
    mapped = {law.where for law in score.laws if law.is_released}
    able = {law.where for law in laws.laws if law.is_released} & mapped
    if able:
        yield f"The law and this map together forecast it: trialhouse forecast {study} --score {score.laws[0].outcome}."
    if unable := [law.where for law in laws.laws if law.where in mapped - able]:
        yield f"Not forecast, because the law of {score.told_by} is withheld: {'; '.join(unable)}."


def _map_plot(answer: LawAnswer, place: str, group: Sequence[Drawn], number: int) -> Plot:
    loss, score = group[0].found.columns["loss"], group[0].found.outcome
    back: list[Layer] = []
    front: list[Layer] = []
    labels = []
    for one in group:
        has_score = one.has(score)
        xs, ys, kept = one.values(loss)[has_score], one.values(score)[has_score], one.is_kept[has_score]
        front.append(Dots(xs[kept].tolist(), ys[kept].tolist(), one.style))
        if not kept.all():
            front.append(Dots(xs[~kept].tolist(), ys[~kept].tolist(), one.style, "left-out"))
        if one.law is not None:
            add_curve(back, one.law, one.style, "n", {}, is_downwards=True)
        if one.name:
            labels.append(Label(one.name + ("" if one.law is not None else " (withheld)"), one.style))
    unit = quantity(loss).level_unit if quantity(loss).scale == 1 else ""
    trials = sum(int(one.has(score).sum()) for one in group)
    return Plot(
        name=file_name(answer, "map", number, place),
        title=title(place or (f"by {words(next(iter(group[0].arm)))}" if group[0].arm else "all trials")),
        alt=alt_of(f"{title(answer.noun)} over {loss} of {counted(trials, 'trial')}{f', {place}' if place else ''}", group),
        x=Axis(f"{axis_label(loss)}, {unit}" if unit else axis_label(loss), is_log=False),
        y=Axis(answer.noun, is_log=False),
        layers=[*back, *front],
        labels=labels,
        reference=answer.chance,
    )
