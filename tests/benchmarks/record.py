"""How a benchmark's result is written down."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trialhouse.settings import get_settings


def record(
    name: str,
    value: float,
    unit: str,
    goal: str,
    is_met: bool,
    detail: Mapping[str, Any],
    packages: Sequence[str] = (),
) -> Path:
    """Write `$TRIALHOUSE_HOME/bench/<name>.json` and print its one line.

    Parameters
    ----------
    value, unit, goal, is_met
        The result, what it is measured in, what it should be, and whether it is.
    detail
        What it was made from: single runs, sizes.
    packages
        Distributions whose versions matter to the result.
    """
    folder = get_settings().bench_dir
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    content = {
        "name": name,
        "value": value,
        "unit": unit,
        "goal": goal,
        "is_met": is_met,
        "detail": dict(detail),
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "versions": {package: version(package) for package in ("trialhouse", *packages)},
        },
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: {value:.3g} {unit} (goal {goal}): {'met' if is_met else 'NOT MET'}")
    return path


def draw_costs(path: Path, places: Sequence[float], place: str, costs: Sequence[tuple[str, str, Sequence[float]]], title: str) -> Path:
    """Seconds against a size, both on log axes, as an SVG; each line of `costs` is its label, style and values."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for label, style, values in costs:
        axes.loglog(places, values, style, label=label)
    axes.set(xlabel=place, ylabel="seconds", title=title)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
    return path
