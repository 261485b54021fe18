"""Pictures on logarithmic axes: what is drawn is where its numbers are, on the page and in files."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from trialhouse.reporting.exported import export, png
from trialhouse.reporting.plots import PALETTE, Axis, Band, Dots, Label, Line, Plot, Spans, as_file, mark_text, marks, on_page
from trialhouse.reporting.report import TEMPLATES

XS = [100.0, 1000.0, 10000.0]
PLOT = Plot(
    name="a_picture",
    title="Loss & size",
    alt='loss over "size"',
    x=Axis("size"),
    y=Axis("loss"),
    layers=[
        Band(XS, [0.0, 0.08, 0.009], [1.2, 0.12, float("inf")], "arm0"),
        Line(XS, [1.0, 0.1, 0.01], "arm0"),
        Line([1e4, 1e5], [0.01, 0.001], "arm0", is_dashed=True),
        Dots(XS, [1.0, 0.1, 0.01], "arm1"),
        Dots([100.0], [2.0], "arm1", "left-out"),
        Spans([90.0], [200.0], [1.0], "frontier"),
    ],
    labels=[Label("$a_b$ < c", "arm0", 0.001), Label("d", "arm1", 0.001)],
)


@pytest.mark.parametrize("draw", [on_page, as_file])
def test_equal_ratios_are_equal_distances(draw):
    root = ElementTree.fromstring(draw(PLOT))
    places = [element for element in root.iter() if element.tag.endswith("circle")]
    xs, ys = ([float(place.get(name)) for place in places] for name in ("cx", "cy"))
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.2)
    assert ys[0] < ys[2], "a larger loss is higher up"
    assert root.get("aria-label") == PLOT.alt


def test_a_band_is_cut_at_the_panels_edge_and_does_not_widen_it():
    (_, _), (low, high) = PLOT.ranges()
    assert (low, high) == pytest.approx((0.001 / 2000**0.05, 2 * 2000**0.05))
    root = ElementTree.fromstring(on_page(PLOT))
    (band,) = (element for element in root.iter() if element.tag == "polygon")
    heights = [float(text) for text in re.findall(r",([\d.]+)", band.get("points"))]
    assert 0 < min(heights) < max(heights) < PLOT.height


def test_names_do_not_overlap_and_long_ones_stand_below():
    root = ElementTree.fromstring(on_page(PLOT))
    heights = [float(element.get("y")) for element in root.iter("text") if element.get("class").startswith("direct")]
    assert all(abs(one - two) >= 12 for one, two in pairwise(heights))
    below = replace(PLOT, labels=[Label("the product of all factors only", "arm0"), Label("the law", "arm1")])
    assert below.full_height > below.height == PLOT.full_height
    root = ElementTree.fromstring(on_page(below))
    assert all(float(element.get("y")) > below.height for element in root.iter("text") if element.get("class").startswith("direct"))
    assert root.get("viewBox") == f"0 0 340 {below.full_height}"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (80, 2e4, ["100", "1,000", "10,000"]),
        (2e-10, 2e-3, ["10⁻⁹", "10⁻⁷", "10⁻⁵", "0.001"]),
        (0.09, 3.5, ["0.1", "0.3", "1", "3"]),
        (2.7, 4.2, ["3", "3.5", "4"]),
        (0.118, 0.152, ["0.12", "0.13", "0.14", "0.15"]),
        (5e6, 2e8, ["10⁷", "3×10⁷", "10⁸"]),
    ],
)
def test_marks_of_a_logarithmic_axis_are_few_and_round(low, high, said):
    found = marks(low, high, is_log=True)
    assert [mark_text(value, found, is_log=True) for value in found] == said


def test_marks_of_a_plain_axis_have_the_digits_that_tell_them_apart():
    found = marks(-0.013, 0.008, is_log=False)
    assert [mark_text(value, found, is_log=False) for value in found] == ["−0.010", "−0.005", "0.000", "0.005"]


def test_one_level_one_point_and_none_still_make_a_picture():
    for layers in ([], [Dots([5.0], [5.0], "arm0")], [Dots([5.0, 5.0], [1.0, 2.0], "arm0")]):
        for reference in (None, 0.0, "diagonal"):
            plot = replace(PLOT, layers=layers, y=Axis("residual", is_log=False), labels=(), reference=reference)
            ElementTree.fromstring(on_page(plot))


def test_files_are_the_same_for_the_same_picture_and_whole(tmp_path: Path):
    export([PLOT], tmp_path / "index.html")
    svg, bitmap = (tmp_path / "figures" / f"a_picture{suffix}" for suffix in (".svg", ".png"))
    assert svg.read_text() == as_file(PLOT)
    assert bitmap.read_bytes() == png(PLOT)
    assert bitmap.read_bytes().startswith(b"\x89PNG")
    assert sorted(file.name for file in svg.parent.iterdir()) == ["a_picture.png", "a_picture.svg"]


def test_a_long_title_is_not_cut_off_in_a_bitmap():
    from matplotlib.image import imread

    picture = imread(io.BytesIO(png(replace(PLOT, title="Best non_embedding_parameters " * 4))))
    assert (picture[: len(picture) // 4, -4:, :3] == 1).all()


def test_the_page_has_a_colour_for_every_style_of_paper():
    sheet = (TEMPLATES / "report.css").read_text()
    assert all(f"svg .{style} {{ --c: var(--" in sheet for style in PALETTE)
