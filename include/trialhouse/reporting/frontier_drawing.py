"""An allocation as pictures for a paper: curves of equal cost, the trials, and the frontier with the intervals of its optima."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trialhouse.reporting.formats import short
from trialhouse.reporting.plots import Axis, Band, Dots, Label, Layer, Line, Plot, Spans, as_file
from trialhouse.scaling_laws.allocate import Allocation

WIDTH, HEIGHT = 720, 460
AROUND = 1.2
"""Factors of ten to either side of its lowest point that a curve of equal cost is drawn for."""


def frontier_svg(found: Allocation) -> str:
    """A self-contained SVG of `frontier_plot`."""
    return as_file(frontier_plot(found))


def frontier_plot(found: Allocation) -> Plot:
    """The outcome over the first factor, both on logarithmic axes.

    Parameters
    ----------
    found
        Of a law of two factors; of more there are no curves of equal cost, and only frontier and trials are drawn.
    """
    law = found.law
    role, column = next(iter(law.sample.columns.items()))
    optima = [(row["best"][column], row["outcome"]["mean"]) for row in found.frontier]
    layers: list[Layer] = [Dots(np.exp(law.sample.points[role]).tolist(), law.sample.outcome.tolist(), "grey")]
    labels = []
    for number, row in enumerate(found.isoflops):
        xs, ys = _around(row[column], row["outcome"])
        style = f"iso{number % 4}"
        layers.append(Line(xs, ys, style))
        labels.append(Label(f"{short(row['budget'], 2)} {found.cost.name}", style, ys[-1]))
    places, values = [one["value"] for one, _ in optima], [value for _, value in optima]
    layers.append(Line(places, values, "frontier"))
    layers.append(Spans([one["interval"][0] for one, _ in optima], [one["interval"][1] for one, _ in optima], values, "frontier"))
    layers.append(Dots(places, values, "frontier", "mean"))
    exponent = found.exponents.get(column)
    said = "" if exponent is None else f": best {column} grows as C^{exponent[0]:.2f} ({exponent[1]:.2f} to {exponent[2]:.2f})"
    title = f"Frontier of {law.sample.outcome_name}, {law.form.name}{said}"
    return Plot(
        name="frontier",
        title=title,
        alt=f"{title}; curves of equal cost in blue, trials in grey, optima with 95% intervals in orange",
        x=Axis(column),
        y=Axis(law.sample.outcome_name),
        layers=layers,
        labels=labels,
        width=WIDTH,
        height=HEIGHT,
    )


def compute_plot(found: Allocation) -> Plot:
    """The outcome over cost: the trials, and what a budget buys where it is split best."""
    law = found.law
    budgets = [row["budget"] for row in found.frontier]
    outcomes = [row["outcome"] for row in found.frontier]
    lows, highs = ([one["interval"][end] for one in outcomes] for end in (0, 1))
    title = f"{law.sample.outcome_name} over {found.cost.name}, and the frontier"
    return Plot(
        name="compute",
        title=title,
        alt=f"{title}: trials in grey, in orange the outcome where a budget is split best, with its 95% band",
        x=Axis(found.cost.name),
        y=Axis(law.sample.outcome_name),
        layers=[
            Dots(np.exp(found.cost.log(law.sample.points)).tolist(), law.sample.outcome.tolist(), "grey"),
            Band(budgets, lows, highs, "frontier"),
            Line(budgets, [one["mean"] for one in outcomes], "frontier"),
        ],
        width=WIDTH,
        height=HEIGHT,
    )


def _around(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    middle = math.log10(xs[int(np.argmin(ys))])
    kept = [(at, value) for at, value in zip(xs, ys, strict=True) if abs(math.log10(at) - middle) <= AROUND]
    return [at for at, _ in kept], [value for _, value in kept]
