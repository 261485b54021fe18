"""An allocation as a picture for a paper: curves of equal cost, the trials, and the frontier with the intervals of its optima."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from trialhouse.reporting import figures
from trialhouse.scaling_laws.allocate import Allocation

WIDTH, HEIGHT = 720, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 410
AROUND = 1.2
"""Factors of ten to either side of its lowest point that a curve of equal cost is drawn for."""
SHADES = ("#9ecae1", "#6baed6", "#3182bd", "#08519c")
Scale = Callable[[float], float]


def frontier_svg(found: Allocation) -> str:
    """A self-contained SVG: the outcome over the first factor, both on logarithmic axes.

    Parameters
    ----------
    found
        Of a law of two factors; of more there are no curves of equal cost, and only frontier and trials are drawn.
    """
    law = found.law
    role, column = next(iter(law.sample.columns.items()))
    curves = [(row["budget"], *_around(row[column], row["outcome"])) for row in found.isoflops]
    optima = [(row["best"][column], row["outcome"]["mean"]) for row in found.frontier]
    trials = list(zip(np.exp(law.sample.points[role]).tolist(), law.sample.outcome.tolist(), strict=True))
    across = (
        [value for _, xs, _ in curves for value in xs]
        + [value for value, _ in trials]
        + [end for one, _ in optima for end in one["interval"]]
    )
    upright = [value for _, _, ys in curves for value in ys] + [value for _, value in trials] + [value for _, value in optima]
    x, y = _scale(across, (LEFT, WIDTH - RIGHT)), _scale(upright, (BOTTOM, TOP))
    parts = [*_axes(column, law.sample.outcome_name, across, upright, x, y)]
    parts += [f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="2" fill="#bdbdbd"/>' for at, value in trials]
    for number, (budget, xs, ys) in enumerate(curves):
        shade = SHADES[number % len(SHADES)]
        parts.append(_line(xs, ys, x, y, f'stroke="{shade}" stroke-width="1.5"'))
        parts.append(_text(f"{budget:.2g} {found.cost.name}", x(xs[-1]) + 6, y(ys[-1]) + 4, fill=shade))
    parts.append(_line([one["value"] for one, _ in optima], [value for _, value in optima], x, y, 'stroke="#d94801" stroke-width="2"'))
    for one, value in optima:
        low, high = (x(end) for end in one["interval"])
        parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#d94801" stroke-width="1"/>')
        parts.append(f'<circle cx="{x(one["value"]):.1f}" cy="{y(value):.1f}" r="3.5" fill="#d94801"/>')
    exponent = found.exponents.get(column)
    said = "" if exponent is None else f": best {column} grows as C^{exponent[0]:.2f} ({exponent[1]:.2f} to {exponent[2]:.2f})"
    title = f"Frontier of {law.sample.outcome_name}, {law.form.name}{said}"
    label = f"{title}; curves of equal cost in blue, trials in grey, optima with 95% intervals in orange"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(label)}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f"{_text(title, LEFT, 20, size=13)}{''.join(parts)}</svg>\n"
    )


def _around(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    middle = math.log10(xs[int(np.argmin(ys))])
    kept = [(at, value) for at, value in zip(xs, ys, strict=True) if abs(math.log10(at) - middle) <= AROUND]
    return [at for at, _ in kept], [value for _, value in kept]


def _scale(values: Sequence[float], pixels: tuple[float, float]) -> Scale:
    low, high = math.log(min(values)), math.log(max(values))
    room = 0.03 * (high - low) or 0.1
    return lambda value: pixels[0] + (math.log(value) - low + room) / (high - low + 2 * room) * (pixels[1] - pixels[0])


def _axes(column: str, outcome: str, across: Sequence[float], upright: Sequence[float], x: Scale, y: Scale) -> list[str]:
    middle = (TOP + BOTTOM) / 2
    parts = [
        f'<polyline points="{LEFT},{TOP} {LEFT},{BOTTOM} {WIDTH - RIGHT},{BOTTOM}" fill="none" stroke="#525252"/>',
        _text(column, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, anchor="middle"),
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">{escape(outcome)}</text>',
    ]
    for value in _marks(across):
        parts.append(f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{BOTTOM}" y2="{BOTTOM + 4}" stroke="#525252"/>')
        parts.append(_text(f"{value:.3g}", x(value), BOTTOM + 18, anchor="middle"))
    for value in _marks(upright):
        parts.append(f'<line x1="{LEFT - 4}" x2="{LEFT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#525252"/>')
        parts.append(_text(f"{value:.3g}", LEFT - 8, y(value) + 4, anchor="end"))
    return parts


def _marks(values: Sequence[float]) -> list[float]:
    """Powers of ten, or finer where there are few of them."""
    low, high = min(values), max(values)
    for steps in ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        marks = [value for power in powers for step in steps if low <= (value := step * 10.0**power) <= high]
        if len(marks) >= 3:
            return marks[:: math.ceil(len(marks) / 8)]
    return figures.ticks(low, high)


def _line(xs: Sequence[float], ys: Sequence[float], x: Scale, y: Scale, style: str) -> str:
    points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in zip(xs, ys, strict=True))
    return f'<polyline points="{points}" fill="none" {style}/>'


def _text(text: str, x: float, y: float, *, anchor: str = "start", fill: str = "#252525", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}">{escape(text)}</text>'
