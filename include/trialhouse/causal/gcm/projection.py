"""The part of a causal graph that a study's rows can tell of: causes of an outcome that have a usable column."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import pandas as pd

from trialhouse.causal.model import CausalGraph
from trialhouse.causal.sample import is_number, label

MAX_MISSING = 0.05
"""Share of rows in which a cause may be missing; those rows are left out. A cause with more gaps is left out itself."""


@dataclass(frozen=True)
class LeftOut:
    """A node of the graph that the model does without, and what that means."""

    node: str
    reason: str


def observed(
    graph: CausalGraph, rows: pd.DataFrame, target: str, categorical: Collection[str]
) -> tuple[nx.DiGraph, tuple[LeftOut, ...], tuple[str, ...]]:
    """The graph above the outcome without the nodes that cannot be modelled."""
    digraph = nx.DiGraph(graph.digraph.subgraph({target, *nx.ancestors(graph.digraph, target)}))
    left_out: list[LeftOut] = []
    for node in list(nx.topological_sort(digraph)):
        if node == target or node not in digraph:
            continue
        if node in rows and rows[node].nunique() == 1 and not _has_gaps(rows, node):
            digraph.remove_node(node)  # what does not vary passes nothing on
            value = label(rows[node].iloc[0])
            left_out.append(LeftOut(node, f"it is {value} in every trial that has {target}: the answer speaks of such trials only"))
    shared: dict[str, list[str]] = {}
    for node in list(nx.topological_sort(digraph)):
        reason = None if node == target else _unusable(digraph, rows, node, categorical)
        if reason is None:
            continue
        causes, effects = list(digraph.predecessors(node)), list(digraph.successors(node))
        digraph.remove_node(node)
        digraph.add_edges_from(itertools.product(causes, effects))
        instead = f"; its causes ({', '.join(sorted(causes))}) stand for it" if causes else "; what it does is not explained here"
        left_out.append(LeftOut(node, reason + instead))
        shared[node] = effects
    digraph = nx.DiGraph(digraph.subgraph({target, *nx.ancestors(digraph, target)}))
    return digraph, tuple(left_out), tuple(_hidden_causes(digraph, shared))


def _hidden_causes(digraph: nx.DiGraph, shared: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What it costs that some nodes cannot be seen that move several others."""
    for node, effects in shared.items():
        moved = sorted(effect for effect in effects if effect in digraph)
        if len(moved) < 2:
            continue
        if all(digraph.in_degree(effect) == 0 for effect in moved):
            yield f"{', '.join(moved)} went together in these trials ({node} moves them all): here each is set while the others stay"
        else:
            yield f"{node} is not seen and moves {', '.join(moved)}: what it does may be put down to one of them"


def _unusable(digraph: nx.DiGraph, rows: pd.DataFrame, node: str, categorical: Collection[str]) -> str | None:
    if node not in rows:
        return "it has no column"
    if _has_gaps(rows, node):
        return f"it is missing in {int(rows[node].isna().sum())} of the {len(rows)} trials"
    is_category = node in categorical or not is_number(rows[node]) or set(rows[node].dropna().unique()) <= {0, 1}
    if is_category and digraph.in_degree(node) > 0:
        return "it is a category with causes of its own, whose noise no row tells"
    return None


def _has_gaps(rows: pd.DataFrame, node: str) -> bool:
    return bool(rows[node].isna().mean() > MAX_MISSING)
