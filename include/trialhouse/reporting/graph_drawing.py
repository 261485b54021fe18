"""A causal graph as a small SVG: causes on the left, effects on the right, no line through a box.

Layers by longest path, dummy nodes where an arrow skips a layer, order by barycentre sweeps (Sugiyama, Tagawa and Toda 1981).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from html import escape
from itertools import pairwise

from trialhouse.reporting.formats import short_name

Edge = tuple[str, str]
_BOX_HEIGHT, _CHARACTER, _PADDING = 30, 7.1, 22
_GAP, _LANE, _COLUMN_GAP = 18, 16, 74


@dataclass(frozen=True)
class Arrows:
    """What is drawn: nodes in their order, and arrows (cause, effect) without a cycle."""

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]


def arrows_of(text: str, name: str) -> Arrows:
    """Nodes and arrows of a registered graph file (DOT, GML or YAML).

    Raises
    ------
    EstimationError
        If it cannot be read.
    """
    from trialhouse.causal.model import read_graph

    digraph = read_graph(text, name).digraph
    return Arrows(tuple(map(str, digraph.nodes)), tuple((str(cause), str(effect)) for cause, effect in digraph.edges))


def draw(graph: Arrows, roles: Mapping[str, str], label: str) -> str:
    """The graph as SVG text; each box has the class `node <role>`, each arrow `edge` and the role of its cause.

    Parameters
    ----------
    graph
        A graph without cycles.
    roles
        Node -> treatment, outcome, assigned or covariate (the default).
    label
        Text for readers who cannot see it.
    """
    layers, chains = _layers(graph)
    _order(layers, chains)
    heights = _heights(layers, chains)
    widths = [max((_width(node) for node in layer if node in graph.nodes), default=0.0) for layer in layers]
    left = [sum(widths[:index]) + _COLUMN_GAP * index for index in range(len(layers))]
    place = {node: (left[index] + widths[index] / 2, heights[node]) for index, layer in enumerate(layers) for node in layer}
    half = {node: _width(node) / 2 if node in graph.nodes else widths[index] / 2 for index, layer in enumerate(layers) for node in layer}
    width, height = left[-1] + widths[-1] + 4, max(y for _, y in place.values()) + _BOX_HEIGHT / 2 + 4
    parts = [
        f'<svg class="graph" viewBox="-2 -2 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="{escape(label)}">',
        *(
            f'<marker id="arrow-{kind}" class="{kind}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0.8 8 4 0 7.2z"/></marker>'
            for kind in ("plain", "treatment")
        ),
    ]
    for (cause, _), chain in sorted(chains.items(), key=lambda item: roles.get(item[0][0]) == "treatment"):
        kind = "treatment" if roles.get(cause) == "treatment" else "plain"
        parts.append(f'<path class="edge {kind}" marker-end="url(#arrow-{kind})" d="{_curve(chain, place, half)}"/>')
    for node in graph.nodes:
        x, y = place[node]
        parts.append(
            f'<g class="node {roles.get(node, "covariate")}"><rect x="{x - half[node]:.1f}" y="{y - _BOX_HEIGHT / 2:.1f}" '
            f'width="{2 * half[node]:.1f}" height="{_BOX_HEIGHT}" rx="5"/>'
            f'<text x="{x:.1f}" y="{y + 4.2:.1f}">{escape(short_name(node))}</text></g>'
        )
    return "".join([*parts, "</svg>"])


def _causes(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, list[str]]:
    return {node: [cause for cause, effect in edges if effect == node] for node in nodes}


def _width(node: str) -> float:
    return len(short_name(node)) * _CHARACTER + _PADDING


def _layers(graph: Arrows) -> tuple[list[list[str]], dict[Edge, list[str]]]:
    """Nodes per layer with the dummies between them, and for each arrow its chain of nodes."""
    causes = _causes(graph.nodes, graph.edges)
    depth: dict[str, int] = {}
    for node in TopologicalSorter(causes).static_order():
        depth[node] = max((depth[cause] + 1 for cause in causes[node]), default=0)
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for node in graph.nodes:
        layers[depth[node]].append(node)
    chains: dict[Edge, list[str]] = {}
    for cause, effect in graph.edges:
        dummies = [f"{cause}\n{effect}\n{layer}" for layer in range(depth[cause] + 1, depth[effect])]
        for layer, dummy in enumerate(dummies, start=depth[cause] + 1):
            layers[layer].append(dummy)
        chains[cause, effect] = [cause, *dummies, effect]
    return layers, chains


def _neighbours(chains: Mapping[Edge, Sequence[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for chain in chains.values():
        for one, two in pairwise(chain):
            before.setdefault(two, []).append(one)
            after.setdefault(one, []).append(two)
    return before, after


def _order(layers: list[list[str]], chains: Mapping[Edge, Sequence[str]]) -> None:
    """Reorder each layer in place, keeping the order with the fewest crossings of all sweeps."""
    before, after = _neighbours(chains)
    best, fewest = [list(layer) for layer in layers], _crossings(layers, after)
    for sweep in range(24):
        is_forward = sweep % 2 == 0
        for index in range(1, len(layers)) if is_forward else range(len(layers) - 2, -1, -1):
            fixed = {node: place for place, node in enumerate(layers[index - 1 if is_forward else index + 1])}
            links = before if is_forward else after
            own = {node: float(place) for place, node in enumerate(layers[index])}
            centre = {node: _mean([fixed[other] for other in links.get(node, ())], own[node]) for node in layers[index]}
            layers[index].sort(key=lambda node: (centre[node], own[node]))
        crossings = _crossings(layers, after)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best


def _crossings(layers: Sequence[Sequence[str]], after: Mapping[str, Sequence[str]]) -> int:
    total = 0
    for one, two in pairwise(layers):
        place = {node: index for index, node in enumerate(two)}
        ends = [place[effect] for node in one for effect in sorted(after.get(node, ()), key=place.__getitem__)]
        total += sum(first > second for index, first in enumerate(ends) for second in ends[index + 1 :])
    return total


def _heights(layers: Sequence[Sequence[str]], chains: Mapping[Edge, Sequence[str]]) -> dict[str, float]:
    """The y of each node: near the mean of its neighbours, never closer than a gap to the next in its layer."""
    before, after = _neighbours(chains)

    def apart(one: str, two: str) -> float:
        size = [_LANE if "\n" in node else _BOX_HEIGHT + _GAP for node in (one, two)]
        return sum(size) / 2

    y: dict[str, float] = {}
    for layer in layers:
        at = 0.0
        for index, node in enumerate(layer):
            at += apart(layer[index - 1], node) if index else 0.0
            y[node] = at
    for sweep in range(40):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [_mean([y[other] for other in (*before.get(node, ()), *after.get(node, ()))], y[node]) for node in layer]
            # Push down to keep the gaps, then up again: the mean of both stays centred.
            down, up = list(wanted), list(wanted)
            for index in range(1, len(layer)):
                down[index] = max(down[index], down[index - 1] + apart(layer[index - 1], layer[index]))
            for index in range(len(layer) - 2, -1, -1):
                up[index] = min(up[index], up[index + 1] - apart(layer[index], layer[index + 1]))
            y.update({node: (low + high) / 2 for node, low, high in zip(layer, down, up, strict=True)})
    top = min(y.values()) - _BOX_HEIGHT / 2
    return {node: value - top for node, value in y.items()}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _curve(chain: Sequence[str], place: Mapping[str, tuple[float, float]], half: Mapping[str, float]) -> str:
    """A smooth line from the right of the first box to the left of the last, level through each column that it passes."""
    first, last = chain[0], chain[-1]
    stops = [(place[first][0] + half[first], place[first][1])]
    for node in chain[1:-1]:
        x, y = place[node]
        stops += [(x - half[node], y), (x + half[node], y)]
    stops.append((place[last][0] - half[last] - 1, place[last][1]))
    path = f"M{stops[0][0]:.1f} {stops[0][1]:.1f}"
    for index, ((x0, y0), (x1, y1)) in enumerate(pairwise(stops)):
        middle = (x0 + x1) / 2
        path += f"H{x1:.1f}" if index % 2 else f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
    return path
