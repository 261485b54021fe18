"""How each node of a causal graph comes about from its causes: a graphical causal model (DoWhy's `gcm`), fitted to a study's rows.

A node that nothing in the model causes has its empirical distribution. Every other one is `g(f(causes) + noise)` (a
post-nonlinear model, so that what is noise in one row can be worked out from that row): `f` is a ridge regression on a
column per level and, if that predicts better, on products of two causes; `g` is the identity or, for positive outcomes
whose noise is a factor rather than an amount, the exponential. An outcome of 0 and 1 has a logistic regression for its
chance.

Importing this module imports DoWhy, which takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from dowhy import gcm
from dowhy.gcm.ml.regression import InvertibleExponentialFunction, InvertibleIdentityFunction
from dowhy.graph import get_ordered_predecessors
from numpy.typing import NDArray

from trialhouse.causal.gcm.projection import LeftOut, observed
from trialhouse.causal.gcm.regression import Form, Regression, choose
from trialhouse.causal.inference import Array
from trialhouse.causal.model import CausalGraph
from trialhouse.causal.sample import is_number, label, require_columns
from trialhouse.errors import EstimationError

MIN_ROWS = 10
MAX_GROUPS = 12
"""Groups of repeated units that are left out in turn for the errors; with fewer units, each of them."""

_DETERMINED = 0.01
"""Noise of less than this share of a node's spread counts as none: what there is of it is told with the outcome's own."""


@dataclass(frozen=True)
class Mechanisms:
    """A fitted graphical causal model of one outcome.

    Parameters
    ----------
    target
        The outcome.
    is_share
        Whether it is 0 or 1, so that its expected value is a chance.
    rows
        The n rows used, with all their columns, index 0..n-1.
    values
        n x nodes: the nodes' columns as floats; a text is the place of its label in `labels`.
    labels
        Node -> its texts in order, for nodes that are texts.
    levels
        Node -> its distinct values, for nodes that are categories or come in few levels; others are quantities.
    digraph
        The causes of the outcome that are in the model.
    forms
        Node -> the shape of its mechanism, for nodes that have causes.
    groups
        Length n: which of the groups that are left out in turn a row belongs to.
    scm
        The fitted `dowhy.gcm.InvertibleStructuralCausalModel`.
    left_out
        Causes of the outcome, by the graph, that the model does without.
    caveats
        What that costs, as sentences.
    """

    target: str
    is_share: bool
    rows: pd.DataFrame
    values: pd.DataFrame
    labels: Mapping[str, tuple[str, ...]]
    levels: Mapping[str, Array]
    digraph: nx.DiGraph
    forms: Mapping[str, Form]
    groups: NDArray[np.int64]
    scm: Any
    left_out: tuple[LeftOut, ...]
    caveats: tuple[str, ...]

    @property
    def roots(self) -> tuple[str, ...]:
        """Nodes that nothing in the model causes, in the order of the columns."""
        return tuple(str(node) for node in self.values if self.digraph.in_degree(node) == 0)

    def causes(self, node: str) -> list[str]:
        """A node's direct causes, in the order that its mechanism has them."""
        return list(get_ordered_predecessors(self.scm.graph, node))

    def level(self, node: str, value: float) -> str:
        """A node's value as text."""
        return self.labels[node][int(value)] if node in self.labels else label(value)

    def noise(self, values: pd.DataFrame) -> pd.DataFrame:
        """What each mechanism leaves of these rows (abduction); a root is its own noise."""
        return noise_of(self.scm, values)

    def outcome(self, noise: pd.DataFrame, do: Mapping[str, float] | None = None) -> Array:
        """The outcome that this noise makes, where `do` sets some of the nodes."""
        return outcome_of(self.scm, self.target, noise, do)

    def refitted(self, keep: NDArray[np.bool_]) -> Any:
        """The same shapes fitted to some of the rows: a structural causal model."""
        return _fitted(self.digraph, self.forms, self.levels, self.values[keep], self.target)

    def leave_outs(self, *needed: Mapping[str, float]) -> Iterator[tuple[Any, pd.DataFrame]]:
        """A model without each of the groups in turn, and the values of the rows that it is fitted to (delete-a-group jackknife).

        Skipped are groups without which no trial has one of the levels in `needed`: such a model knows nothing of them.
        """
        wanted = [(node, level) for levels in needed for node, level in levels.items() if node in self.levels]
        for group in range(int(self.groups.max()) + 1):
            keep = self.groups != group
            if all((self.values[node][keep] == level).any() for node, level in wanted):
                yield self.refitted(keep), self.values[keep]

    def root_levels(self, row: int) -> dict[str, float]:
        """What a row has of the nodes that nothing in the model causes."""
        return {root: float(self.values[root].iloc[row]) for root in self.roots}


def fit_mechanisms(
    frame: pd.DataFrame,
    graph: CausalGraph,
    target: str,
    *,
    categorical: Collection[str] = (),
    cluster: str | None = None,
    seed: int = 0,
) -> Mechanisms:
    """Fit a graphical causal model of everything that causes an outcome, as far as it has columns.

    A cause without a usable column is projected out: its own causes point at its effects instead (latent projection,
    Verma & Pearl 1990). The shape of each mechanism is the one with the highest out-of-fold likelihood of normal noise, so that the
    scale is one on which noise adds up; folds never split a repeated unit.

    Parameters
    ----------
    frame
        One row per trial. Rows without the outcome are left out: the model speaks of trials that have one.
    graph
        What causes what.
    target
        The outcome: a number, or 0 and 1.
    categorical
        Columns whose values are levels though they are numbers. Texts always are.
    cluster
        Column of the repeated units; without it rows are independent.
    seed
        Of folds and groups.

    Raises
    ------
    EstimationError
        If the graph or the frame lacks the outcome, it does not vary or is no number, or nothing that causes it was measured.
    """
    graph.require(target)
    require_columns(frame, target, *([] if cluster is None else [cluster]))
    rows = frame[frame[target].notna()].reset_index(drop=True)
    if not is_number(rows[target]) and not pd.api.types.is_bool_dtype(rows[target]):
        raise EstimationError(f"the outcome {target!r} must be a number, or 0 and 1", "texts", "ask about another outcome")
    if len(rows) < MIN_ROWS or rows[target].nunique() < 2:
        found = f"{len(rows)} with {rows[target].nunique()} different values"
        raise EstimationError(f"at least {MIN_ROWS} trials must have {target!r}, and differ in it", found, "ask about another outcome")
    digraph, left_out, caveats = observed(graph, rows, target, categorical)
    if digraph.in_degree(target) == 0:
        raise EstimationError(f"something that causes {target!r} by {graph.name} must have been measured", "nothing", "draw its causes")
    nodes = [str(name) for name in rows if name in digraph and name != target] + [target]
    rows = rows[rows[nodes].notna().all(axis=1)].reset_index(drop=True)
    is_share = set(rows[target].unique()) <= {0, 1}
    labels = {node: tuple(sorted(rows[node].astype(str).unique())) for node in nodes if not is_number(rows[node]) and node != target}
    coded = {node: rows[node].astype(str).map(labels[node].index) if node in labels else rows[node] for node in nodes}
    values = pd.DataFrame({node: column.astype(float) for node, column in coded.items()})
    levels = {node: np.unique(values[node]) for node in nodes if node in labels or (node in categorical and node != target)}
    clusters = np.arange(len(rows)) if cluster is None else np.unique(rows[cluster].astype(str), return_inverse=True)[1]
    with calm(seed):
        forms = {
            node: choose(values, list(digraph.predecessors(node)), node, levels, clusters, seed, is_share=is_share and node == target)
            for node in nodes
            if digraph.in_degree(node) > 0
        }
        ordered = nx.DiGraph()
        ordered.add_nodes_from(nodes)
        ordered.add_edges_from(digraph.edges)
        scm = _fitted(ordered, forms, levels, values, target)
        forms = {node: replace(form, is_determined=_is_determined(scm, values, node, form)) for node, form in forms.items()}
    return Mechanisms(
        target=target,
        is_share=is_share,
        rows=rows,
        values=values,
        labels=labels,
        levels=levels,
        digraph=ordered,
        forms=forms,
        groups=_groups(clusters, seed),
        scm=scm,
        left_out=left_out,
        caveats=caveats,
    )


def noise_of(scm: Any, values: pd.DataFrame) -> pd.DataFrame:
    """Abduction with any fitted model; see `Mechanisms.noise`."""
    noise = values.copy()
    for node in scm.graph.nodes:
        causes = get_ordered_predecessors(scm.graph, node)
        if causes:
            mechanism = scm.causal_mechanism(node)
            noise[node] = np.ravel(mechanism.estimate_noise(values[node].to_numpy(), values[causes].to_numpy()))
    return noise


def outcome_of(scm: Any, target: str, noise: pd.DataFrame, do: Mapping[str, float] | None = None) -> Array:
    """Action and prediction with any fitted model; see `Mechanisms.outcome`."""
    interventions = {node: (lambda _, value=value: value) for node, value in (do or {}).items()}
    found: Array = gcm.counterfactual_samples(scm, interventions, noise_data=noise)[target].to_numpy(dtype=float)
    return found


@contextmanager
def calm(seed: int) -> Iterator[None]:
    """Fixed seed, one thread (the same bits whatever runs beside) and no progress bars; all of it put back afterwards."""
    from dowhy.gcm import config
    from sklearn import config_context
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    shown, state = config.show_progress_bars, np.random.get_state()  # gcm draws from it
    config.disable_progress_bars()
    np.random.seed(seed % 2**32)
    try:
        with threadpool_limits(1), config_context(assume_finite=True, skip_parameter_validation=True):
            yield
    finally:
        np.random.set_state(state)
        config.show_progress_bars = shown


def jackknife(estimate: Array, leave_outs: Sequence[Array]) -> tuple[Array, Array]:
    """95% limits of estimates (any shape) from those without each of G groups, with a t reference of G - 1.

    With as few repeated units as studies have, percentiles of a bootstrap over them are too narrow: of 120 simulated
    counterfactuals each they covered 79-82% in six or eight units and 86% where twelve units are treated as a whole, these limits
    94-95% and 91%. It is the reference of the engine's own errors
    (see `trialhouse.causal.inference.least_squares`).
    """
    from scipy.stats import t as student

    count = len(leave_outs)
    if count < 2:
        return estimate * math.nan, estimate * math.nan
    spread = sum((np.asarray(without) - estimate) ** 2 for without in leave_outs)
    half = float(student.ppf(0.975, count - 1)) * np.sqrt((count - 1) / count * spread)
    return estimate - half, estimate + half


def _fitted(digraph: nx.DiGraph, forms: Mapping[str, Form], levels: Mapping[str, Array], values: pd.DataFrame, target: str) -> Any:
    scm = gcm.InvertibleStructuralCausalModel(nx.DiGraph(digraph.edges))
    for node in nx.topological_sort(scm.graph):
        causes = get_ordered_predecessors(scm.graph, node)
        if not causes:
            scm.set_causal_mechanism(node, gcm.EmpiricalDistribution())
        else:
            function = InvertibleExponentialFunction() if forms[node].scale == "log" else InvertibleIdentityFunction()
            regression = Regression(forms[node], [levels.get(cause) for cause in causes])
            scm.set_causal_mechanism(node, gcm.PostNonlinearModel(regression, gcm.EmpiricalDistribution(), function))
    gcm.fit(scm, values)
    return scm


def _groups(clusters: NDArray[Any], seed: int) -> NDArray[np.int64]:
    units = np.unique(clusters)
    of_unit = np.random.default_rng(seed).permutation(len(units)) % min(MAX_GROUPS, len(units))
    return np.asarray(of_unit[np.searchsorted(units, clusters)], dtype=np.int64)


def _is_determined(scm: Any, values: pd.DataFrame, node: str, form: Form) -> bool:
    if form.scale == "logit":
        return False
    column = np.log(values[node]) if form.scale == "log" else values[node]
    return bool(noise_of(scm, values)[node].std() < _DETERMINED * column.std())
