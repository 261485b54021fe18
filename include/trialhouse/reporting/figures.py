"""Small SVG figures, drawn by hand so that they follow the page's colours (light, dark, print) and cost nothing to import.

Every panel is a figure of its own, about 340 units wide: side by side on a desk, one below the other on a phone, with
text of the same size on both. Series carry the classes `s0`, `s1`, ...; the style sheet gives them colour and dash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from trialhouse.reporting.formats import as_number, is_number, level_name, number

WIDTH, HEIGHT = 340, 218
_TOP, _BOTTOM, _LEFT, _CHARACTER = 30, 36, 46, 6.8
_SERIES = 5


@dataclass(frozen=True)
class Point:
    """A value at a level of the treatment, in written units, with its interval where it has one."""

    level: float | str
    value: float
    low: float | None = None
    high: float | None = None
    is_flagged: bool = False


@dataclass(frozen=True)
class Series:
    """One line: a class or a method."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Axis:
    """What an axis shows and how its ticks are written."""

    label: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    is_signed: bool = False
    covers: Sequence[float] = ()
    """Values that the axis must hold beside those drawn, so that panels side by side share their range."""


@dataclass
class _Panel:
    title: str
    label: str
    right: int = 8
    left: int = _LEFT
    below: int = _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT
    style: str = "panel"
    parts: list[str] = field(default_factory=list)

    @property
    def x_range(self) -> tuple[float, float]:
        return self.left, self.width - self.right

    @property
    def y_range(self) -> tuple[float, float]:
        return self.height - self.below, _TOP

    def add(self, element: str, text: str | None = None, **attributes: object) -> None:
        written = " ".join(f'{name.rstrip("_").replace("_", "-")}="{_value(value)}"' for name, value in attributes.items())
        self.parts.append(f"<{element} {written}/>" if text is None else f"<{element} {written}>{escape(text)}</{element}>")

    def svg(self) -> str:
        return (
            f'<svg class="{self.style}" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self.label)}">'
            f'<text class="panel-title" x="0" y="12">{escape(self.title)}</text>{"".join(self.parts)}</svg>'
        )


def lines(
    title: str,
    x_axis: Axis,
    y_axis: Axis,
    series: Sequence[Series],
    *,
    reference: tuple[float, str] | None = None,
    marks: Sequence[float | str] | None = None,
) -> str:
    """Lines over the levels of a treatment, one per series, with 95% intervals and names at their ends.

    Parameters
    ----------
    title
        Stands above the panel, with the y axis' unit.
    x_axis, y_axis
        The treatment and the outcome, in written units.
    series
        At most five are told apart by colour and dash.
    reference
        A level that means something (no effect, the class's limit), and its name.
    marks
        The levels that the x axis names; default: all of them.
    """
    names = [one.name if len(one.name) <= 18 else f"{one.name[:17]}…" for one in series]
    label = f"{title}: {y_axis.label} over {x_axis.label}, one line for each of {', '.join(names)}"
    panel = _Panel(title, label, right=16 + round(_CHARACTER * max(map(len, names), default=0)))
    levels = sorted({point.level for one in series for point in one.points}, key=lambda level: (isinstance(level, str), level))
    x = _x_scale(levels, panel)
    y = _y_axis(panel, y_axis, [value for one in series for point in one.points for value in _values(point)], reference)
    bottom, top = panel.y_range
    _x_axis(panel, x_axis, [(x(level), level_name(level)) for level in (levels if marks is None else marks)])
    ends = []
    has_intervals = any(is_number(point.low) for one in series for point in one.points)
    for index, one in enumerate(series):
        shift = 5.0 * (index - (len(series) - 1) / 2) if has_intervals else 0.0
        style = f"s{index % _SERIES}"
        points = [(x(point.level) + shift, point) for point in one.points]
        if len(points) > 1:
            panel.add("polyline", class_=f"line {style}", points=" ".join(f"{at:.1f},{y(point.value):.1f}" for at, point in points))
        for at, point in points:
            if is_number(point.low) and is_number(point.high):
                panel.add("line", class_=f"interval {style}", x1=at, x2=at, y1=min(y(point.low), bottom), y2=max(y(point.high), top))
            panel.add("circle", class_=f"point {style}{' flagged' if point.is_flagged else ''}", cx=at, cy=y(point.value), r=3.2)
        if points:
            ends.append((y(points[-1][1].value), names[index], style))
    for at, (_, name, style) in zip(spread([end[0] for end in ends], 14, panel.y_range), ends, strict=True):
        panel.add("text", name, class_=f"direct {style}", x=panel.x_range[1] + 10, y=at + 4)
    return panel.svg()


def bars(title: str, x_axis: Axis, y_axis: Axis, counts: Sequence[tuple[str, int, int]]) -> str:
    """Shares as bars with their counts written on them: each of `counts` is (name, how many, of how many)."""
    panel = _Panel(title, f"{title}: " + ", ".join(f"{name}: {count} of {of}" for name, count, of in counts))
    y = _y_axis(panel, y_axis, [0.0, 100.0], None)
    left, right = panel.x_range
    step = (right - left) / max(len(counts), 1)
    for index, (_, count, of) in enumerate(counts):
        middle, share = left + step * (index + 0.5), 100 * count / of if of else 0.0
        if count:
            panel.add("rect", class_="bar", x=middle - step * 0.3, width=step * 0.6, y=y(share), height=y(0) - y(share))
        panel.add("text", f"{count} of {of}" if of else "none", class_="direct middle", x=middle, y=y(share) - 6)
    _x_axis(panel, x_axis, [(left + step * (index + 0.5), name) for index, (name, _, _) in enumerate(counts)])
    return panel.svg()


def strips(title: str, x_axis: Axis, y_axis: Axis, groups: Sequence[tuple[str, Sequence[float], int]], limit: tuple[float, str]) -> str:
    """Every value as a dot, the median as a tick: each of `groups` is (name, values, number of them marked as over the limit)."""
    panel = _Panel(title, f"{title}: {y_axis.label} by {x_axis.label}, one dot per trial")
    y = _y_axis(panel, y_axis, [0.0, limit[0] * 1.08, *(value for _, values, _ in groups for value in values)], limit)
    left, right = panel.x_range
    step = (right - left) / max(len(groups), 1)
    for index, (_, values, over) in enumerate(groups):
        middle = left + step * (index + 0.5)
        for place, value in enumerate(sorted(values)):
            spread = ((place * 0.618034) % 1 - 0.5) * step * 0.44  # golden-ratio steps: even without chance
            panel.add("circle", class_="dot", cx=middle + spread, cy=y(value), r=2.3)
        if values:
            median = _median(values)
            panel.add("line", class_="median", x1=middle - step * 0.26, x2=middle + step * 0.26, y1=y(median), y2=y(median))
            panel.add(
                "text", "< 1%" if 0 < median < 0.5 else f"{number(median, 0)}%", class_="direct", x=middle + step * 0.29, y=y(median) + 4
            )
        if over:
            panel.add("text", f"{over} ran out", class_="direct middle accent", x=middle, y=y(limit[0]) - 6)
    _x_axis(panel, x_axis, [(left + step * (index + 0.5), name) for index, (name, _, _) in enumerate(groups)])
    return panel.svg()


def scatter(title: str, x_axis: Axis, y_axis: Axis, points: Sequence[tuple[float, float, bool]]) -> str:
    """Dots over a logarithmic axis: each of `points` is (x > 0, y, whether it is on the front); a line joins the front."""
    front = sorted((x, y) for x, y, is_on_front in points if is_on_front)
    label = f"{title}: {y_axis.label} over {x_axis.label}, {len(points)} configurations, {len(front)} of them on the front"
    panel = _Panel(title, label)
    y = _y_axis(panel, y_axis, [value for _, value, _ in points], None)
    low, high = (math.log10(end([at for at, _, _ in points])) for end in (min, max))
    left, right = panel.x_range
    margin = 0.04 * (high - low) or 0.1

    def x(at: float) -> float:
        return left + (math.log10(at) - low + margin) / (high - low + 2 * margin) * (right - left)

    for at, value, is_on_front in sorted(points):
        if not is_on_front:
            panel.add("circle", class_="dot off", cx=x(at), cy=y(value), r=2.6)
    if len(front) > 1:
        panel.add("polyline", class_="line s0", points=" ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in front))
    for at, value in front:
        panel.add("circle", class_="point s0", cx=x(at), cy=y(value), r=3.2)
    powers = [10.0**power * step for power in range(math.floor(low) - 1, math.ceil(high) + 1) for step in (1, 3)]
    marks = [mark for mark in powers if low - margin <= math.log10(mark) <= high + margin]
    _x_axis(panel, x_axis, [(x(mark), level_name(mark)) for mark in marks])
    return panel.svg()


def grid(title: str, x_axis: Axis, y_axis: Axis, counts: Mapping[tuple[float, float], tuple[int, int]]) -> str:
    """Shares as shaded cells with their counts: (column level, row level) -> (how many, of how many)."""
    columns, rows = (sorted({key[place] for key in counts}) for place in (0, 1))
    said = "; ".join(f"{level_name(column)}, {level_name(row)}: {count} of {of}" for (column, row), (count, of) in sorted(counts.items()))
    panel = _Panel(title, f"{title}: {y_axis.label} by {x_axis.label}: {said}")
    (left, right), (bottom, top) = panel.x_range, panel.y_range
    width, height = (right - left) / len(columns), (bottom - top) / len(rows)
    for (column, row), (count, of) in sorted(counts.items()):
        at, up = left + columns.index(column) * width, bottom - (rows.index(row) + 1) * height
        share = count / of if of else 0.0
        panel.add("rect", class_="cell", x=at + 1, y=up + 1, width=width - 2, height=height - 2, fill_opacity=f"{share:.2f}")
        dark = " over" if share > 0.55 else ""
        panel.add("text", f"{count} of {of}", class_=f"direct middle{dark}", x=at + width / 2, y=up + height / 2 + 4)
    for index, row in enumerate(rows):
        panel.add("text", level_name(row), class_="tick end", x=left - 6, y=bottom - (index + 0.5) * height + 4)
    panel.add("text", y_axis.label, class_="axis-label", x=0, y=_TOP - 4)
    _x_axis(panel, x_axis, [(left + (index + 0.5) * width, level_name(column)) for index, column in enumerate(columns)])
    return panel.svg()


def curve(
    title: str,
    y_axis: Axis,
    choices: Sequence[Point],
    marks: Mapping[str, Sequence[bool]],
    *,
    reported: float | None = None,
) -> str:
    """A specification curve: one estimate per choice side by side, and below it what each of them chose.

    Parameters
    ----------
    title, y_axis
        As for `lines`.
    choices
        In the order in which they are drawn; their `level` is not looked at, and a flagged one is drawn hollow.
    marks
        What could be chosen -> whether each choice did.
    reported
        A level to compare with.
    """
    below = 16 + 17 * len(marks)
    label = f"{title}: {len(choices)} estimates in ascending order with 95% intervals, and what each of them chose"
    panel = _Panel(title, label, right=8, left=190, below=below, width=760, height=_TOP + 170 + below, style="panel broad")
    y = _y_axis(panel, y_axis, [0.0, *(value for point in choices for value in _values(point))], None)
    (left, right), (bottom, top) = panel.x_range, panel.y_range
    step = (right - left) / max(len(choices), 1)
    places = [left + step * (index + 0.5) for index in range(len(choices))]
    panel.add("line", class_="zero", x1=left, x2=right, y1=y(0), y2=y(0))
    if reported is not None and is_number(reported):
        panel.add("line", class_="reference", x1=left, x2=right, y1=y(reported), y2=y(reported))
    for at, point in zip(places, choices, strict=True):
        if is_number(point.low) and is_number(point.high):
            panel.add("line", class_="interval s0", x1=at, x2=at, y1=min(y(point.low), bottom), y2=max(y(point.high), top))
        panel.add("circle", class_=f"point s0{' flagged' if point.is_flagged else ''}", cx=at, cy=y(point.value), r=min(3.2, step / 3))
    for row, (name, chosen) in enumerate(marks.items()):
        middle = bottom + 20 + 17 * row
        panel.add("line", class_="grid", x1=left, x2=right, y1=middle, y2=middle)
        panel.add("text", name if len(name) <= 30 else f"{name[:29]}…", class_="tick end", x=left - 6, y=middle + 4)
        for at, is_chosen in zip(places, chosen, strict=True):
            if is_chosen:
                panel.add("circle", class_="mark", cx=at, cy=middle, r=min(3.2, step / 3))
    return panel.svg()


def strip(effect: tuple[float | None, float | None, float | None], domain: tuple[float, float], style: str) -> str:
    """One row of a forest plot: a stretchable strip with zero, the interval and the estimate (low, value and high in `domain`'s units)."""
    low, value, high = effect

    def x(at: float) -> str:
        return f"{100 * (at - domain[0]) / (domain[1] - domain[0]):.2f}"

    parts = [f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="0" y2="10"/>']
    if is_number(low) and is_number(high):
        parts.append(f'<line class="interval" x1="{x(low)}" x2="{x(high)}" y1="5" y2="5"/>')
    if is_number(value):
        # A line without length has round ends that stay round however the strip is stretched.
        parts.append(f'<line class="dot" x1="{x(value)}" x2="{x(value)}" y1="5" y2="5"/>')
    return f'<svg class="strip {escape(style)}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'


def domain_of(values: Iterable[float | None]) -> tuple[float, float]:
    """A range that holds zero and all values, with a margin."""
    known = [0.0, *(value for value in values if is_number(value))]
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within a range, at most `most` of them."""
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / (most - 1)))
    steps = [power * factor for factor in (1, 2, 5, 10, 20)]
    step = next(step for step in steps if math.floor(high / step) - math.ceil(low / step) < most)
    return [round(index * step, 12) for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _y_axis(panel: _Panel, axis: Axis, values: Sequence[float], reference: tuple[float, str] | None) -> Callable[[float], float]:
    known = [value for value in (*values, *axis.covers) if is_number(value)]
    if reference is not None:
        known.append(reference[0])
    least, most = (-math.inf if axis.minimum is None else axis.minimum), (math.inf if axis.maximum is None else axis.maximum)
    known = [min(max(value, least), most) for value in known]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    margin = 0.08 * (high - low) or max(abs(high) * 0.05, 0.5)
    low = low - margin if axis.minimum is None else max(axis.minimum, low - margin)
    high = high + margin if axis.maximum is None else min(axis.maximum, high + margin)
    bottom, top = panel.y_range

    def y(value: float) -> float:
        return bottom + (value - low) / (high - low) * (top - bottom)

    marks = ticks(low, high)
    decimals = max((max(0, -math.floor(math.log10(abs(two - one)) + 1e-9)) for one, two in pairwise(marks)), default=0)
    left, right = panel.x_range
    for mark in marks:
        panel.add("line", class_="grid", x1=left, x2=right, y1=y(mark), y2=y(mark))
        panel.add("text", f"{number(mark, decimals, is_signed=axis.is_signed)}{axis.unit}", class_="tick end", x=left - 6, y=y(mark) + 4)
    if reference is not None:
        panel.add("line", class_="reference", x1=left, x2=right, y1=y(reference[0]), y2=y(reference[0]))
        if reference[1]:
            panel.add("text", reference[1], class_="tick", x=left + 2, y=y(reference[0]) - 6)
    return y


def _x_axis(panel: _Panel, axis: Axis, marks: Sequence[tuple[float, str]]) -> None:
    left, right = panel.x_range
    for at, name in marks:
        panel.add("text", name, class_="tick middle", x=at, y=HEIGHT - _BOTTOM + 16)
    label = f"{axis.label}, {axis.unit}" if axis.unit else axis.label
    panel.add("text", label, class_="axis-label middle", x=(left + right) / 2, y=HEIGHT - 4)


_LOGARITHMIC = 4.0
"""Ratio of the largest to the smallest level from which on ratios are drawn in proportion, not differences."""


def _x_scale(levels: Sequence[float | str], panel: _Panel) -> Callable[[float | str], float]:
    """Numbers in proportion (over a wide range their logarithms), names at equal distances."""
    left, right = panel.x_range[0] + 12, panel.x_range[1] - 6
    numbers = [as_number(level) for level in levels]
    places: Mapping[float | str, float]
    if None not in numbers and len(levels) > 1:
        if min(numbers) > 0 and max(numbers) >= _LOGARITHMIC * min(numbers) and len(numbers) > 2:  # type: ignore[type-var,operator]
            numbers = [math.log(value) for value in numbers]  # type: ignore[arg-type]
        low, high = min(numbers), max(numbers)  # type: ignore[type-var]
        places = {level: (value - low) / (high - low) for level, value in zip(levels, numbers, strict=True)}  # type: ignore[operator]
    else:
        places = {level: (index + 0.5) / len(levels) for index, level in enumerate(levels)}
    return lambda level: left + places[level] * (right - left)


def _values(point: Point) -> list[float]:
    return [value for value in (point.value, point.low, point.high) if is_number(value)]


def spread(wanted: Sequence[float], gap: float, limits: tuple[float, float]) -> list[float]:
    """Places at least `gap` apart, near the wanted ones, in their order, and above the lower limit of the panel."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [wanted[index] for index in order]
    for _ in range(50):
        for index in range(1, len(placed)):
            short = gap - (placed[index] - placed[index - 1])
            if short > 0:
                placed[index - 1] -= short / 2
                placed[index] += short / 2
    excess = max(0.0, placed[-1] - limits[0]) if placed else 0.0
    result = [0.0] * len(wanted)
    for index, at in zip(order, placed, strict=True):
        result[index] = at - excess
    return result


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _value(value: object) -> str:
    return escape(f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value))
