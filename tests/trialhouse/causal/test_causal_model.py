"""Graph files: three formats, one meaning; and one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from trialhouse.causal.model import read_graph, read_graph_file
from trialhouse.errors import EstimationError

DOT = """
// a comment
digraph g {
  assignment="observational";
  z [role="instrument"];
  z -> t; w -> t -> y; w -> y;
}
"""
GML = """graph [
  directed 1
  assignment "observational"
  node [ id 0 label "z" role "instrument" ]
  node [ id 1 label "t" ]
  node [ id 2 label "w" ]
  node [ id 3 label "y" ]
  edge [ source 0 target 1 ]
  edge [ source 2 target 1 ]
  edge [ source 1 target 3 ]
  edge [ source 2 target 3 ]
]
"""
YAML = """
assignment: observational
edges:
  - z -> t
  - w -> t -> y
  - [w, y]
roles:
  instrument: z
"""


@pytest.mark.parametrize(("name", "text"), [("g.dot", DOT), ("g.gml", GML), ("g.yaml", YAML)])
def test_formats_say_the_same(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    for graph in (read_graph(text, name), read_graph_file(path), read_graph_file(text)):
        assert set(graph.digraph.edges) == {("z", "t"), ("w", "t"), ("t", "y"), ("w", "y")}
        assert graph.assignment == "observational"
        assert graph.roles == {"instrument": ("z",)}


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("g.dot", "digraph { a -> b; b -> c; c -> a }", "g.dot must have no cycle, got a -> b -> c -> a; remove one of these arrows"),
        ("g.dot", "graph { a -- b }", "g.dot must be directed, got a graph; write digraph and ->"),
        ("g.dot", "digraph { a -> ", "g.dot must be a DOT graph"),
        ("g.dot", "digraph { }", "g.dot must draw at least one arrow"),
        ("g.gml", "graph [ node [ id 0 ", "g.gml must be a GML graph"),
        ("g.gml", "graph [ node [ id 0 label a ] ]", "g.gml must be directed, got an undirected graph; write directed 1"),
        ("g.yaml", "edges: [a -> b]\nroles: {moderator: b}", "a role must be one of ['instrument', 'negative_control', 'effect_modifier']"),
        ("g.yaml", "edges: [a -> b]\nroles: {instrument: z}", "role 'instrument' must name a node of the graph, got 'z'"),
        ("g.yaml", "edges: [a -> b]\nassignment: natural", "assignment must be one of ['randomised', 'observational'], got 'natural'"),
        ("g.yaml", "edges: [a - b]", "an edge must be 'cause -> effect' or [cause, effect], got 'a - b'"),
        ("g.yaml", "arrows: [a -> b]", "must have no other keys than"),
        ("g.yaml", "edges: [", "g.yaml must be valid YAML"),
        ("g.txt", "a -> b", "a causal graph's file must end in one of ['.dot', '.gml', '.yaml'], got 'g.txt'"),
    ],
)
def test_a_mistake_is_one_line(name: str, text: str, line: str) -> None:
    with pytest.raises(EstimationError) as caught:
        read_graph(text, name)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EstimationError, match="must be readable"):
        read_graph_file(tmp_path / "none.dot")


def test_indicators_take_their_places() -> None:
    graph = read_graph("digraph { ratio -> accuracy; ratio -> flops }", "g.dot")
    drawn = graph.with_treatment("high_ratio", "ratio").with_outcome("is_bad", "accuracy").digraph
    assert set(drawn.edges) == {("high_ratio", "accuracy"), ("high_ratio", "flops"), ("accuracy", "is_bad")}
    assert "ratio" in graph.digraph  # the graph itself is left as it was
