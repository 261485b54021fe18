from __future__ import annotations

import random
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from trialhouse.reporting import figures
from trialhouse.reporting.graph_drawing import Arrows, arrows_of, draw


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-14.2, 3.9), (93.1, 97.3), (0, 1e9), (-1e-7, 2e-7), (0, 112)])
def test_ticks_are_round_few_and_within(low, high):
    marks = figures.ticks(low, high)
    assert 2 <= len(marks) <= 6
    assert all(low - 1e-9 * abs(low) <= mark <= high + 1e-9 * abs(high) for mark in marks)
    step = marks[1] - marks[0]
    assert float(f"{step:e}".split("e")[0]) == pytest.approx(round(float(f"{step:e}".split("e")[0])))


def test_lines_draw_every_point_its_interval_and_its_name():
    series = [
        figures.Series(
            "a & b", [figures.Point(0.0, 0.0), figures.Point(0.5, 3.0, 2.0, 4.0), figures.Point(0.9, 5.0, 1.0, 9.0, is_flagged=True)]
        ),
        figures.Series("c", [figures.Point(0.0, 0.0), figures.Point(0.9, 5.1)]),
    ]
    svg = ElementTree.fromstring(
        figures.lines("Title", figures.Axis("dose"), figures.Axis("response", "%"), series, reference=(0.0, "zero"))
    )
    classes = [element.get("class", "") for element in svg.iter()]
    assert sum(name.startswith("point") for name in classes) == 5
    assert sum(name.startswith("interval") for name in classes) == 2
    assert sum("flagged" in name for name in classes) == 1
    texts = [element.text for element in svg.iter("text")]
    assert "a & b" in texts
    assert "zero" in texts


def test_an_interval_that_leaves_the_axis_is_cut_at_the_panels_edge():
    series = [figures.Series("a", [figures.Point(0.0, 100.0), figures.Point(0.5, 80.0, 20.0, 4000.0)])]
    svg = ElementTree.fromstring(figures.lines("Title", figures.Axis("dose"), figures.Axis("response", maximum=200.0), series))
    (interval,) = [element for element in svg.iter("line") if element.get("class", "").startswith("interval")]
    points = [float(element.get("cy")) for element in svg.iter("circle")]
    assert 0 < float(interval.get("y2")) < min(points) < max(points) < float(interval.get("y1")) < figures.HEIGHT
    assert max(points) - min(points) > 10, "the points can still be told apart"


def test_names_at_the_ends_of_lines_do_not_overlap():
    series = [figures.Series(f"line {index}", [figures.Point(0, 1.0), figures.Point(1, 1.0 + index / 1000)]) for index in range(5)]
    svg = ElementTree.fromstring(figures.lines("t", figures.Axis("x"), figures.Axis("y"), series))
    heights = sorted(float(element.get("y")) for element in svg.iter("text") if (element.get("class") or "").startswith("direct"))
    assert len(heights) == 5
    assert min(two - one for one, two in pairwise(heights)) >= 12


def test_flat_single_and_missing_data_still_make_a_panel():
    flat = [figures.Series("s", [figures.Point("none", 2.0)])]
    ElementTree.fromstring(figures.lines("t", figures.Axis("x"), figures.Axis("y"), flat))
    ElementTree.fromstring(figures.bars("t", figures.Axis("x"), figures.Axis("y"), [("64", 0, 0)]))
    ElementTree.fromstring(figures.strips("t", figures.Axis("x"), figures.Axis("y"), [("64", [], 3)], (100.0, "limit")))
    ElementTree.fromstring(figures.strip((None, None, None), figures.domain_of([None]), "other"))


def test_a_strip_puts_the_interval_where_its_numbers_are():
    svg = figures.strip((-1.0, 0.0, 1.0), (-2.0, 2.0), "other")
    assert 'class="interval" x1="25.00" x2="75.00"' in svg
    assert 'class="zero" x1="50.00"' in svg


@pytest.mark.parametrize("seed", range(8))
def test_no_box_of_any_graph_covers_another_or_is_crossed_by_the_columns_of_an_arrow(seed):
    rng = random.Random(seed)
    names = [f"variable_{index}" for index in range(rng.randint(2, 16))]
    edges = [(one, two) for place, one in enumerate(names) for two in names[place + 1 :] if rng.random() < 0.3]
    drawing = ElementTree.fromstring(draw(Arrows(tuple(names), tuple(edges)), {}, "graph"))
    boxes = [tuple(float(rect.get(key)) for key in ("x", "y", "width", "height")) for rect in drawing.iter("rect")]
    assert len(boxes) == len(names)
    for place, (x, y, width, height) in enumerate(boxes):
        assert x >= -2
        assert y >= -2
        for other_x, other_y, other_width, other_height in boxes[:place]:
            apart = x + width <= other_x or other_x + other_width <= x or y + height <= other_y or other_y + other_height <= y
            assert apart
    paths = [path.get("d") for path in drawing.iter("path") if "edge" in (path.get("class") or "")]
    assert len(paths) == len(edges)
    for path in paths:
        for start_x, start_y, end_x in re.findall(r"([\d.-]+) ([\d.-]+)H([\d.-]+)", path):
            for x, y, width, height in boxes:
                meets = float(start_x) < x + width and x < float(end_x) and y < float(start_y) < y + height
                assert not meets


def test_a_graph_file_is_read_in_every_format_that_studies_use():
    dot = arrows_of("digraph { a -> b -> c; }", "g.dot")
    yaml = arrows_of("edges: [a -> b, b -> c]", "g.yaml")
    assert set(dot.edges) == set(yaml.edges) == {("a", "b"), ("b", "c")}
