"""Pictures on logarithmic axes that are wanted twice: on the page, in its colours, and as files that fit into a paper.

A `Plot` says what is to be seen, in data units. `on_page` draws it with classes that the style sheet colours (light, dark,
print), `as_file` as an SVG that needs nothing beside itself; `trialhouse.reporting.exported` makes the PNG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

import numpy as np

from trialhouse.reporting import figures
from trialhouse.reporting.formats import is_number, number, short

ARMS = 6
PALETTE = {
    "arm0": "#0a6c74",
    "arm1": "#c2570c",
    "arm2": "#5b4b9e",
    "arm3": "#77730a",
    "arm4": "#b0306a",
    "arm5": "#4a5560",
    "iso0": "#9ecae1",
    "iso1": "#6baed6",
    "iso2": "#3182bd",
    "iso3": "#08519c",
    "frontier": "#d94801",
    "grey": "#9aa1a7",
}
"""Style -> its colour on paper; the page has its own, of the same names."""
INK, SOFT, FAINT = "#1b1f23", "#5d666f", "#dcdfe0"
OPACITY = {"trial": 0.38, "band": 0.16}
RADIUS = {"trial": 2.0, "mean": 3.2}
WIDTH, HEIGHT = 340, 236
LONG = 16
"""Letters of a name from which on it stands below the panel."""
_TOP, _BOTTOM, _CHARACTER, _LINE = 26, 40, 6.4, 14
Kind = Literal["trial", "mean", "left-out"]
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Axis:
    """What an axis shows, and whether its values are all positive and compared by ratios."""

    label: str
    is_log: bool = True


@dataclass(frozen=True)
class Dots:
    """Points: single trials, their means, or trials that the law leaves out (crosses)."""

    xs: Sequence[float]
    ys: Sequence[float]
    style: str
    kind: Kind = "trial"


@dataclass(frozen=True)
class Line:
    """A curve; dashed where nothing was tried."""

    xs: Sequence[float]
    ys: Sequence[float]
    style: str
    is_dashed: bool = False


@dataclass(frozen=True)
class Band:
    """What lies between two curves; it does not widen the axes."""

    xs: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    style: str


@dataclass(frozen=True)
class Spans:
    """Intervals along the x axis."""

    lows: Sequence[float]
    highs: Sequence[float]
    ys: Sequence[float]
    style: str


@dataclass(frozen=True)
class Label:
    """A name in the colour of what it names: at a height to the right of the panel, or in a list where it has none."""

    text: str
    style: str
    y: float | None = None


Layer = Dots | Line | Band | Spans


@dataclass(frozen=True)
class Plot:
    """A picture.

    Parameters
    ----------
    name
        Of its files.
    title, alt
        Above it; and in words, for those who cannot see it.
    x, y
        Axes.
    layers
        What is drawn, from the back to the front.
    labels
        Names beside it.
    reference
        A level of y that means something (no residual); or `diagonal`, where x and y are the same.
    """

    name: str
    title: str
    alt: str
    x: Axis
    y: Axis
    layers: Sequence[Layer]
    labels: Sequence[Label] = ()
    reference: float | Literal["diagonal"] | None = None
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def is_keyed_below(self) -> bool:
        """Whether names stand below the panel: those without a height that would leave it no room."""
        return any(label.y is None and len(label.text) > LONG for label in self.labels)

    @property
    def full_height(self) -> int:
        """With the names below."""
        return self.height + (_LINE * len(self.labels) + 6 if self.is_keyed_below else 0)

    def ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Lowest and highest value of each axis, with a margin; one and the same for both where they are compared."""
        across = [value for layer in self.layers for value in _across(layer)]
        upright = [value for layer in self.layers for value in _upright(layer)]
        if self.reference == "diagonal":
            across = upright = [*across, *upright]
        elif self.reference is not None:
            upright = [*upright, self.reference]
        return _range(across, self.x), _range(upright, self.y)


@dataclass(frozen=True)
class Pictures:
    """Panels that stand together, with one heading and one note."""

    title: str
    note: str
    plots: tuple[Plot, ...]

    @property
    def layout(self) -> str:
        """Class of the style sheet: how many stand in a row."""
        if any(plot.width > WIDTH for plot in self.plots):
            return "one"
        are_pairs = len(self.plots) % 2 == 0 and self.plots[0].x.label != self.plots[1].x.label
        return "two" if are_pairs or len(self.plots) in (1, 2, 4) else ""


def on_page(plot: Plot) -> str:
    """An SVG for the report, which its style sheet colours."""
    return _svg(plot, is_file=False)


def as_file(plot: Plot) -> str:
    """An SVG that needs nothing beside itself, on white."""
    return _svg(plot, is_file=True)


def marks(low: float, high: float, *, is_log: bool, most: int = 6) -> list[float]:
    """Values that an axis names: powers of ten where there are enough of them, else finer ones."""
    if not is_log:
        return figures.ticks(low, high, most)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)):
        found = [value for power in powers for step in steps if low <= (value := step * 10.0**power) <= high]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / most)]
    return [value for value in figures.ticks(low, high, most) if value > 0]


def mark_text(value: float, all_marks: Sequence[float], *, is_log: bool) -> str:
    """A mark as it is written: with as many digits as tell it from its neighbours."""
    if is_log:
        return plain(value)
    step = min((abs(b - a) for a, b in pairwise(all_marks)), default=1.0)
    return number(value, max(0, -math.floor(math.log10(step) + 1e-9)))


def plain(value: float) -> str:
    """A level in three digits at most: ``10⁷``, ``3.16×10⁷``, ``0.5``."""
    return _without_zeros(short(value))


def _without_zeros(text: str) -> str:
    mantissa, times, power = text.partition("×")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return power if times and mantissa == "1" else f"{mantissa}{times}{power}"


def _across(layer: Layer) -> Iterable[float]:
    return [*layer.lows, *layer.highs] if isinstance(layer, Spans) else layer.xs


def _upright(layer: Layer) -> Iterable[float]:
    return () if isinstance(layer, Band) else layer.ys


def _range(values: Iterable[float], axis: Axis) -> tuple[float, float]:
    known = [value for value in values if is_number(value) and (value > 0 or not axis.is_log)]
    low, high = (min(known), max(known)) if known else (1.0, 10.0)
    if axis.is_log:
        room = (high / low) ** 0.05 if high > low else 1.3
        return low / room, high * room
    room = 0.06 * (high - low) or max(abs(high) * 0.05, 0.5)
    return low - room, high + room


@dataclass
class _Canvas:
    """Elements with classes for the page, or with their colours for a file."""

    is_file: bool
    parts: list[str]

    def add(self, element: str, kind: str, style: str = "", text: str | None = None, **attributes: object) -> None:
        paint: dict[str, object] = _paint(kind, style) if self.is_file else {"class": f"{kind} {style}".strip()}
        written = " ".join(f'{name.replace("_", "-")}="{_value(value)}"' for name, value in (paint | attributes).items())
        self.parts.append(f"<{element} {written}/>" if text is None else f"<{element} {written}>{escape(text)}</{element}>")


def _paint(kind: str, style: str) -> dict[str, object]:
    colour = PALETTE.get(style, INK)
    texts = {"panel-title": (INK, 13), "axis-label": (SOFT, 11), "tick": (SOFT, 11), "direct": (colour, 11.5)}
    name, *rest = kind.split()
    if name in texts:
        anchor = {"middle": "middle", "end": "end"}.get(rest[0] if rest else "", "start")
        return {"fill": texts[name][0], "font-size": texts[name][1], "text-anchor": anchor}
    if name in ("trial", "mean", "band"):
        return {"fill": colour, "fill-opacity": OPACITY.get(name, 1.0)}
    if name == "grid":
        return {"stroke": FAINT, "stroke-width": 0.8}
    if name == "reference":
        return {"stroke": INK, "stroke-dasharray": "1.5 3"}
    dash = {"stroke-dasharray": "5 3.5"} if "beyond" in rest else {}
    return {"fill": "none", "stroke": colour, "stroke-width": 1.2 if name in ("left-out", "span") else 1.7, **dash}


def _svg(plot: Plot, *, is_file: bool) -> str:
    (x_low, x_high), (y_low, y_high) = plot.ranges()
    upright = marks(y_low, y_high, is_log=plot.y.is_log)
    written = [mark_text(value, upright, is_log=plot.y.is_log) for value in upright]
    longest = 0 if plot.is_keyed_below else max((len(label.text) for label in plot.labels), default=0)
    left, right = (
        26 + round(_CHARACTER * max(map(len, written), default=0)),
        plot.width - (12 + round(_CHARACTER * longest) if longest else 8),
    )
    top, bottom = _TOP, plot.height - _BOTTOM
    x, y = _scale((x_low, x_high), (left, right), is_log=plot.x.is_log), _scale((y_low, y_high), (bottom, top), is_log=plot.y.is_log)
    canvas = _Canvas(is_file, [])
    across = marks(x_low, x_high, is_log=plot.x.is_log, most=max(3, (right - left) // 44))
    for value in across:
        canvas.add("line", "grid", x1=x(value), x2=x(value), y1=top, y2=bottom)
        canvas.add("text", "tick middle", text=mark_text(value, across, is_log=plot.x.is_log), x=x(value), y=bottom + 15)
    for value, text in zip(upright, written, strict=True):
        canvas.add("line", "grid", x1=left, x2=right, y1=y(value), y2=y(value))
        canvas.add("text", "tick end", text=text, x=left - 6, y=y(value) + 4)
    canvas.add("text", "axis-label middle", text=plot.x.label, x=(left + right) / 2, y=plot.height - 6)
    middle = (top + bottom) / 2
    canvas.add("text", "axis-label middle", text=plot.y.label, x=11, y=middle, transform=f"rotate(-90 11 {middle:g})")
    if plot.reference == "diagonal":
        canvas.add("line", "reference", x1=left, x2=right, y1=bottom, y2=top)
    elif plot.reference is not None:
        canvas.add("line", "reference", x1=left, x2=right, y1=y(plot.reference), y2=y(plot.reference))
    for layer in plot.layers:
        _draw(canvas, layer, x, y)
    if plot.is_keyed_below:
        _key(canvas, plot, left)
    else:
        _name(canvas, plot, right + 7, (top, bottom), y)
    role = f'viewBox="0 0 {plot.width} {plot.full_height}" role="img" aria-label="{escape(plot.alt)}"'
    content = "".join(canvas.parts)
    if not is_file:
        style = "panel" if plot.width <= WIDTH else "panel broad"
        return f'<svg class="{style}" {role}><text class="panel-title" x="0" y="12">{escape(plot.title)}</text>{content}</svg>'
    title = f'<text x="{left}" y="14" fill="{INK}" font-size="13" font-weight="600">{escape(plot.title)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{plot.width}" height="{plot.full_height}" {role} font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="white"/>{title}{content}</svg>\n'
    )


def _draw(canvas: _Canvas, layer: Layer, x: Scale, y: Scale) -> None:
    if isinstance(layer, Band):
        there = [*zip(layer.xs, layer.highs, strict=True), *reversed(list(zip(layer.xs, layer.lows, strict=True)))]
        canvas.add("polygon", "band", layer.style, points=_points(there, x, y))
    elif isinstance(layer, Line):
        canvas.add(
            "polyline",
            f"curve{' beyond' if layer.is_dashed else ''}",
            layer.style,
            points=_points(list(zip(layer.xs, layer.ys, strict=True)), x, y),
        )
    elif isinstance(layer, Spans):
        for low, high, value in zip(layer.lows, layer.highs, layer.ys, strict=True):
            canvas.add("line", "span", layer.style, x1=x(low), x2=x(high), y1=y(value), y2=y(value))
    elif layer.kind == "left-out":
        for at, value in zip(layer.xs, layer.ys, strict=True):
            left, up = x(at) - 3, y(value) - 3
            canvas.add("path", "left-out", layer.style, d=f"M{left:.1f} {up:.1f}l6 6m0 -6l-6 6")
    else:
        for at, value in zip(layer.xs, layer.ys, strict=True):
            canvas.add("circle", layer.kind, layer.style, cx=x(at), cy=y(value), r=RADIUS[layer.kind])


def _name(canvas: _Canvas, plot: Plot, left: float, ends: tuple[float, float], y: Scale) -> None:
    """Names at their heights, none over another; those without one in a list from the top."""
    top, bottom = ends
    wanted = [top + 6 + _LINE * place if label.y is None else y(label.y) for place, label in enumerate(plot.labels)]
    for label, at in zip(plot.labels, figures.spread(wanted, _LINE, (bottom, top)), strict=True):
        canvas.add("text", "direct", label.style, text=label.text, x=left, y=at + 4)


def _key(canvas: _Canvas, plot: Plot, left: float) -> None:
    for place, label in enumerate(plot.labels):
        at = plot.height + _LINE * place + 6
        canvas.add("circle", "mean", label.style, cx=left + 4, cy=at, r=RADIUS["mean"])
        canvas.add("text", "direct", label.style, text=label.text, x=left + 12, y=at + 4)


def _points(places: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    return " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in places)


def _scale(values: tuple[float, float], pixels: tuple[float, float], *, is_log: bool) -> Scale:
    """Data to pixels; what lies beyond the axis is put at its end."""
    low, high = (math.log(value) if is_log else value for value in values)

    def place(value: float) -> float:
        at = math.log(max(value, 1e-300)) if is_log else value
        share = float(np.clip((at - low) / (high - low), 0.0, 1.0)) if math.isfinite(at) else float(at > 0)
        return pixels[0] + share * (pixels[1] - pixels[0])

    return place


def _value(value: object) -> str:
    return escape(f"{value:.1f}".removesuffix(".0") if isinstance(value, float) and abs(value) >= 2 else f"{value}")
