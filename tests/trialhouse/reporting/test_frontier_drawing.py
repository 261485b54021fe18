"""The picture of an allocation: whole, self-contained, and with what it says drawn where it is."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.reporting.frontier_drawing import compute_plot, frontier_svg
from trialhouse.scaling_laws import FORMS
from trialhouse.scaling_laws.allocate import Allocation, allocate
from trialhouse.scaling_laws.cost import Powers, flops
from trialhouse.scaling_laws.fit import DELTA, plain_law
from trialhouse.scaling_laws.sample import make_sample

SPACE = "{http://www.w3.org/2000/svg}"


def allocation(name: str) -> Allocation:
    planted = PLANTED[name]
    sample = make_sample(planted.table(1), FORMS[name], outcome="y", columns=planted.columns)
    law = plain_law(FORMS[name], sample, DELTA, draws=100)
    return (
        allocate(law, 1e21, flops(law, 6))
        if name == "chinchilla"
        else allocate(law, 1e17, Powers("FLOPs", 4.3, {"width": 2, "depth": 1, "data": 1}, ""))
    )


def test_curves_trials_and_optima_are_drawn_on_the_same_axes() -> None:
    found = allocation("chinchilla")
    root = ET.fromstring(frontier_svg(found))
    lines = root.findall(f"{SPACE}polyline")
    assert len(lines) == len(found.isoflops) + 1  # the frontier beside them
    dots = root.findall(f"{SPACE}circle")
    assert len(dots) == len(found.law.sample) + len(found.frontier)
    assert all(0 <= float(dot.attrib["cx"]) <= 720 and 0 <= float(dot.attrib["cy"]) <= 460 for dot in dots)
    # the last optimum is where the last curve is lowest: largest y on the page
    last = [tuple(map(float, point.split(","))) for point in lines[-2].attrib["points"].split()]
    lowest = max(last, key=lambda point: point[1])
    assert lowest == pytest.approx((float(dots[-1].attrib["cx"]), float(dots[-1].attrib["cy"])), abs=8)
    assert "best size grows as C^0.5" in root.attrib["aria-label"]
    assert np.all(["http" not in text for element in root.iter() for text in element.attrib.values()])


def test_three_factors_have_no_curves_of_equal_cost() -> None:
    found = allocation("width_depth")
    root = ET.fromstring(frontier_svg(found))
    assert found.isoflops == ()
    assert len(root.findall(f"{SPACE}polyline")) == 1


def test_over_cost_the_frontier_lies_below_the_trials() -> None:
    plot = compute_plot(allocation("chinchilla"))
    dots, band, line = plot.layers
    affordable = np.array(dots.xs) <= line.xs[-1]
    below = np.interp(np.log(dots.xs), np.log(line.xs), np.log(line.ys))
    assert affordable.sum() > 30
    assert (np.log(dots.ys) > below - 3 * PLANTED["chinchilla"].noise)[affordable].all()
    assert all(low <= value <= high for low, value, high in zip(band.lows, line.ys, band.highs, strict=True))
    assert plot.x.label == "FLOPs"
