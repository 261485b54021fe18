"""Step 1, model: the causal graph in a file, checked, with the roles of its nodes and how the treatment was assigned.

Three formats say the same. In DOT and GML a role is an attribute of a node (`z [role="instrument"]`) and the assignment
one of the graph (`assignment="randomised"`); YAML has a key for each::

    assignment: observational
    edges:
      - size -> latency_ms
      - [size, accuracy]
    roles:
      instrument: [assigned_size]

Roles: an `instrument` moves the treatment and reaches the outcome by no other way; a `negative_control` is what the treatment
cannot cause, or what cannot cause the outcome (its place in the graph tells which); an `effect_modifier` is what effects are
told apart by.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx

from trialhouse.errors import EstimationError

if TYPE_CHECKING:
    import pandas as pd

Assignment = Literal["randomised", "observational"]

ASSIGNMENTS: tuple[Assignment, ...] = ("randomised", "observational")
ROLES = ("instrument", "negative_control", "effect_modifier")
FORMATS = (".dot", ".gml", ".yaml")

_YAML_KEYS = ("assignment", "nodes", "edges", "roles")


@dataclass(frozen=True)
class CausalGraph:
    """A directed acyclic graph of claims: an arrow says "may cause", a missing arrow says "does not".

    Parameters
    ----------
    digraph
        The graph; a node without a column in the data is unobserved.
    assignment
        How the treatment came about, where the file says so.
    roles
        Role -> nodes, as far as the file names any.
    name
        For messages.
    """

    digraph: nx.DiGraph
    assignment: Assignment | None = None
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    name: str = "graph"

    def descendants(self, node: str) -> frozenset[str]:
        """Everything that the node causes, directly or not."""
        return frozenset(nx.descendants(self.digraph, node)) if node in self.digraph else frozenset()

    def require(self, *nodes: str) -> None:
        """Raise an `EstimationError` unless all these nodes are in the graph."""
        for node in nodes:
            if node not in self.digraph:
                raise EstimationError(f"{self.name} must name {node!r}", f"the nodes {sorted(self.digraph)}", "draw it or fix the name")

    def require_path(self, treatment: str, outcome: str) -> None:
        """Raise an `EstimationError` unless both are in the graph and arrows lead from the treatment to the outcome."""
        self.require(treatment, outcome)
        if not nx.has_path(self.digraph, treatment, outcome):
            remedy = "draw what the treatment may cause, or ask another question"
            raise EstimationError(f"{self.name} must draw a path from {treatment!r} to {outcome!r}", "none", remedy)

    def with_treatment(self, treatment: str, factor: str) -> CausalGraph:
        """The graph with `treatment`, made from `factor`, in the factor's place (unless it is drawn already)."""
        if treatment in self.digraph or factor not in self.digraph:
            return self
        return self._with(nx.relabel_nodes(self.digraph, {factor: treatment}, copy=True))

    def with_outcome(self, outcome: str, column: str) -> CausalGraph:
        """The graph with `outcome`, computed from `column`, as its effect (unless it is drawn already)."""
        if outcome in self.digraph or column not in self.digraph:
            return self
        digraph = self.digraph.copy()
        digraph.add_edge(column, outcome)
        return self._with(digraph)

    def modifiers(self, treatment: str, frame: pd.DataFrame) -> tuple[str, ...]:
        """Columns that the graph names as effect modifiers and that vary.

        Raises
        ------
        EstimationError
            If one is an effect of the treatment: what the treatment changes cannot say for whom it works.
        """
        named = [node for node in self.roles.get("effect_modifier", ()) if node in frame and node != treatment]
        for node in named:
            if node in self.descendants(treatment):
                raise EstimationError(f"an effect modifier must come before {treatment!r}", f"{node!r}, its effect", f"fix {self.name}")
        return tuple(node for node in named if frame[node].nunique() > 1)

    def separates(self, treatment: str, other: str) -> bool:
        """Whether no back door of the treatment leads to another node while nothing is adjusted for."""
        without = self.digraph.copy()
        without.remove_edges_from(list(self.digraph.out_edges(treatment)))
        return bool(nx.is_d_separator(without, {treatment}, {other}, set()))

    def without_causes(self, nodes: Collection[str]) -> CausalGraph:
        """The graph where these nodes are drawn by lot: no arrow leads into them (Pearl 2009, 3.2.1)."""
        digraph = self.digraph.copy()
        digraph.remove_edges_from([edge for edge in self.digraph.edges if edge[1] in nodes])
        return self._with(digraph)

    def _with(self, digraph: nx.DiGraph) -> CausalGraph:
        return CausalGraph(digraph, self.assignment, self.roles, self.name)


def read_graph(text: str, name: str) -> CausalGraph:
    """The graph in a text; the ending of `name` says in which format.

    Raises
    ------
    EstimationError
        If the format is unknown, the text is not of that format, the graph is not directed or has a cycle, or a role or
        assignment is not one of those known.
    """
    readers = {".dot": _read_dot, ".gml": _read_gml, ".yaml": _read_yaml, ".yml": _read_yaml}
    reader = readers.get(Path(name).suffix)
    if reader is None:
        raise EstimationError(f"a causal graph's file must end in one of {list(FORMATS)}", repr(name), "rename or convert it")
    digraph, assignment, roles = reader(text, name)
    if digraph.number_of_nodes() == 0:
        raise EstimationError(f"{name} must draw at least one arrow", "an empty graph", "add edges")
    if not nx.is_directed_acyclic_graph(digraph):
        cycle = [edge[0] for edge in nx.find_cycle(digraph)]
        raise EstimationError(f"{name} must have no cycle", " -> ".join([*cycle, cycle[0]]), "remove one of these arrows")
    if assignment is not None and assignment not in ASSIGNMENTS:
        raise EstimationError(f"assignment must be one of {list(ASSIGNMENTS)}", repr(assignment), f"fix {name}")
    for role, nodes in roles.items():
        if role not in ROLES:
            raise EstimationError(f"a role must be one of {list(ROLES)}", repr(role), f"fix {name}")
        for node in nodes:
            if node not in digraph:
                raise EstimationError(f"role {role!r} must name a node of the graph", repr(node), f"draw it or fix {name}")
    return CausalGraph(digraph, assignment, {role: tuple(sorted(nodes)) for role, nodes in roles.items()}, name)


def read_graph_file(path_or_text: str | Path) -> CausalGraph:
    """The graph in a file, or in a text that is DOT, GML or YAML itself; see `read_graph`."""
    text = str(path_or_text)
    if "\n" not in text and Path(text).suffix in (*FORMATS, ".yml"):
        try:
            return read_graph(Path(text).read_text(encoding="utf-8"), Path(text).name)
        except (OSError, UnicodeDecodeError) as error:
            raise EstimationError(f"graph file {text} must be readable", error, "check the path") from error
    bare = re.sub(r"//[^\n]*|#[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL).lstrip()
    if re.match(r"(strict\s+)?(di)?graph\b[^\[:]*\{", bare):
        return read_graph(text, "graph.dot")
    return read_graph(text, "graph.gml" if re.match(r"(\w+\s+\S+\s+)*graph\s*\[", bare) else "graph.yaml")


def causal_model(frame: pd.DataFrame, graph: CausalGraph, treatment: str, outcome: str) -> Any:
    """DoWhy's model of a question: these columns, this graph. Nodes without a column are unobserved to it."""
    from dowhy import CausalModel

    graph.require(treatment, outcome)
    observed = [column for column in frame.columns if column in graph.digraph]
    return CausalModel(data=frame[observed], treatment=treatment, outcome=outcome, graph=graph.digraph)


def _read_dot(text: str, name: str) -> tuple[nx.DiGraph, Any, dict[str, list[str]]]:
    import contextlib
    import io
    import warnings

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its parser, about itself
        import pydot

        graphs = pydot.graph_from_dot_data(text)  # it prints its syntax errors
    if not graphs:
        first = next((line for line in said.getvalue().splitlines() if "Expected" in line), "a syntax error")
        raise EstimationError(f"{name} must be a DOT graph", first, "fix the syntax")
    drawn = graphs[0]
    if drawn.get_type() != "digraph":
        raise EstimationError(f"{name} must be directed", f"a {drawn.get_type()}", "write digraph and ->")
    multigraph = nx.nx_pydot.from_pydot(drawn)
    digraph = nx.DiGraph()
    digraph.add_nodes_from(_unquoted(node) for node in multigraph if _unquoted(node) != "\\n")
    digraph.add_edges_from((_unquoted(cause), _unquoted(effect)) for cause, effect in multigraph.edges())
    roles: dict[str, list[str]] = {}
    for node, attributes in multigraph.nodes(data=True):
        if "role" in attributes:
            roles.setdefault(_unquoted(attributes["role"]), []).append(_unquoted(node))
    stated = {**dict(drawn.get_attributes()), **{key: value for item in drawn.get_graph_defaults() for key, value in item.items()}}
    return digraph, _unquoted(stated["assignment"]) if "assignment" in stated else None, roles


def _unquoted(text: object) -> str:
    return str(text).strip().strip('"')


def _read_gml(text: str, name: str) -> tuple[nx.DiGraph, Any, dict[str, list[str]]]:
    try:
        parsed = nx.parse_gml(text)
    except (nx.NetworkXError, ValueError) as error:
        raise EstimationError(f"{name} must be a GML graph", error, "fix the syntax") from error
    if not parsed.is_directed():
        raise EstimationError(f"{name} must be directed", "an undirected graph", "write directed 1")
    roles: dict[str, list[str]] = {}
    for node, attributes in parsed.nodes(data=True):
        if "role" in attributes:
            roles.setdefault(str(attributes["role"]), []).append(str(node))
    digraph = nx.DiGraph()
    digraph.add_nodes_from(map(str, parsed.nodes))
    digraph.add_edges_from((str(cause), str(effect)) for cause, effect in parsed.edges())
    return digraph, parsed.graph.get("assignment"), roles


def _read_yaml(text: str, name: str) -> tuple[nx.DiGraph, Any, dict[str, list[str]]]:
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EstimationError(f"{name} must be valid YAML", error, "fix the syntax") from error
    if not isinstance(content, dict):
        raise EstimationError(f"{name} must be a mapping with the keys {list(_YAML_KEYS)}", type(content).__name__, "write it so")
    unknown = sorted(set(map(str, content)) - set(_YAML_KEYS))
    if unknown:
        raise EstimationError(f"{name} must have no other keys than {list(_YAML_KEYS)}", repr(unknown[0]), "remove or rename it")
    digraph = nx.DiGraph()
    digraph.add_nodes_from(_names(content.get("nodes") or [], "nodes", name))
    edges = content.get("edges") or []
    if not isinstance(edges, list):
        raise EstimationError(f"{name}: edges must be a list", type(edges).__name__, "write - cause -> effect")
    for edge in edges:
        chain = [part.strip() for part in edge.split("->")] if isinstance(edge, str) else _names(edge, "an edge", name)
        if len(chain) < 2 or not all(chain):
            raise EstimationError(f"{name}: an edge must be 'cause -> effect' or [cause, effect]", repr(edge), "fix it")
        nx.add_path(digraph, chain)
    roles = content.get("roles") or {}
    if not isinstance(roles, dict):
        raise EstimationError(f"{name}: roles must map a role to nodes", type(roles).__name__, "write instrument: [z]")
    named = {str(role): [nodes] if isinstance(nodes, str) else _names(nodes, "a role's nodes", name) for role, nodes in roles.items()}
    return digraph, content.get("assignment"), named


def _names(items: object, what: str, name: str) -> list[str]:
    if not isinstance(items, Iterable) or isinstance(items, str | Mapping) or not all(isinstance(item, str) for item in items):
        raise EstimationError(f"{name}: {what} must be a list of names", repr(items), "fix it")
    return list(items)
