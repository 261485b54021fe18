"""Pictures of the report as files that fit into a paper: an SVG, and a PNG for where that is not taken."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trialhouse.reporting.files import write_whole
from trialhouse.reporting.plots import FAINT, INK, OPACITY, PALETTE, RADIUS, SOFT, Band, Dots, Layer, Line, Plot, as_file, mark_text, marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = "figures"
DPI = 300
_INCH = 96.0
"""Units of a plot's size per inch."""
_POINT = 0.75
"""Points per such unit."""
_CHARACTER = 10
"""Such units that a character of a title takes, at most."""


def export(plots: Sequence[Plot], report: Path) -> None:
    """Write `figures/<name>.svg` and `.png` beside a report; what an older report left there goes."""
    folder = report.parent / FOLDER
    wanted = {f"{plot.name}{suffix}" for plot in plots for suffix in (".svg", ".png")}
    if folder.is_dir():
        for old in folder.iterdir():
            if old.suffix in (".svg", ".png") and old.name not in wanted:
                old.unlink()
    if plots:
        folder.mkdir(exist_ok=True)
    for plot in plots:
        write_whole(folder / f"{plot.name}.svg", as_file(plot).encode())
        write_whole(folder / f"{plot.name}.png", png(plot))


def png(plot: Plot) -> bytes:
    """The picture by Matplotlib, 300 dots per inch; the same plot gives the same bytes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    with rc_context({"text.parse_math": False}):  # a name may have a dollar sign
        figure = Figure(figsize=(plot.width / _INCH, plot.full_height / _INCH), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        ranges = plot.ranges()
        for axis, (low, high), name, most in ((plot.x, ranges[0], "x", max(3, plot.width // 60)), (plot.y, ranges[1], "y", 6)):
            found = marks(low, high, is_log=axis.is_log, most=most)
            axes.set(**{f"{name}scale": "log" if axis.is_log else "linear", f"{name}lim": (low, high)})
            axes.set(**{f"{name}ticks": found, f"{name}ticklabels": [mark_text(value, found, is_log=axis.is_log) for value in found]})
            getattr(axes, f"{name}axis").set_minor_locator(NullLocator())
        title = textwrap.fill(plot.title, plot.width // _CHARACTER)
        figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize=13 * _POINT, fontweight="bold")
        axes.set_xlabel(plot.x.label, fontsize=11 * _POINT)
        axes.set_ylabel(plot.y.label, fontsize=11 * _POINT)
        axes.tick_params(labelsize=11 * _POINT, colors=SOFT, length=0)
        axes.grid(visible=True, color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        for layer in plot.layers:
            _draw(axes, layer)
        if plot.reference == "diagonal":
            axes.plot(ranges[0], ranges[0], color=INK, linewidth=0.8, linestyle=":")
        elif plot.reference is not None:
            axes.axhline(plot.reference, color=INK, linewidth=0.8, linestyle=":")
        if plot.labels:
            from matplotlib.lines import Line2D

            keys = [Line2D([], [], color=PALETTE[label.style], linewidth=2, label=label.text) for label in plot.labels]
            anchor = (0.0, -0.2) if plot.is_keyed_below else (1.0, 1.0)
            axes.legend(handles=keys, fontsize=10.5 * _POINT, frameon=False, loc="upper left", bbox_to_anchor=anchor, handlelength=1.2)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI, facecolor="white", metadata={"Software": None, "Description": plot.alt})
        return content.getvalue()


def _draw(axes: Axes, layer: Layer) -> None:
    colour = PALETTE[layer.style]
    if isinstance(layer, Band):
        axes.fill_between(layer.xs, layer.lows, layer.highs, color=colour, alpha=OPACITY["band"], linewidth=0)
    elif isinstance(layer, Line):
        axes.plot(layer.xs, layer.ys, color=colour, linewidth=1.3, linestyle=(0, (4, 2.5)) if layer.is_dashed else "-")
    elif isinstance(layer, Dots):
        if layer.kind == "left-out":
            axes.plot(layer.xs, layer.ys, "x", color=colour, markersize=4, markeredgewidth=0.9)
        else:
            size = 2 * RADIUS[layer.kind] * _POINT
            axes.plot(layer.xs, layer.ys, "o", color=colour, markersize=size, alpha=OPACITY.get(layer.kind, 1.0), markeredgewidth=0)
    else:
        axes.hlines(layer.ys, layer.lows, layer.highs, color=colour, linewidth=0.9)
