"""How each node of a causal graph comes about from its causes: a graphical causal model (DoWhy's `gcm`), fitted to a study's rows.

A node that nothing in the model causes has its empirical distribution. Every other one is `g(f(causes) + noise)` (a
post-nonlinear model, so that what is noise in one row can be worked out from that row): `f` is a ridge regression on a
column per level and, if that predicts better, on products of two causes; `g` is the identity or, for positive outcomes
whose noise is a factor rather than an amount, the exponential. An outcome of 0 and 1 has a logistic regression for its
chance.

Importing this module imports DoWhy, which takes seconds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import networkx as nx
import numpy as np
import pandas as pd
from dowhy import gcm
from dowhy.gcm.ml import PredictionModel
from dowhy.gcm.ml.regression import InvertibleExponentialFunction, InvertibleIdentityFunction
from dowhy.graph import get_ordered_predecessors
from numpy.typing import NDArray

from trialhouse.causal.inference import Array
from trialhouse.causal.model import CausalGraph
from trialhouse.causal.sample import is_number, label, require_columns
from trialhouse.errors import EstimationError

MIN_ROWS = 10
MAX_MISSING = 0.05
"""Share of rows in which a cause may be missing; those rows are left out. A cause with more gaps is left out itself."""
FOLDS = 5
MAX_GROUPS = 12
"""Groups of repeated units that are left out in turn for the errors; with fewer units, each of them."""

_PENALTIES = (1e-8, 1e-4, 0.01, 0.1, 1.0, 10.0, 100.0)
_INVERSE_PENALTIES = (0.1, 1.0, 10.0, 100.0)
_DETERMINED = 0.01
"""Noise of less than this share of a node's spread counts as none: what there is of it is told with the outcome's own."""


@dataclass(frozen=True)
class Form:
    """The shape of one mechanism.

    Parameters
    ----------
    scale
        On which scale causes and noise add up: `identity`, `log`, or `logit` for a chance.
    degree
        1 for causes that add up, 2 for products of any two as well.
    penalty
        Inverse strength of the logistic regression's penalty; ridge regressions choose theirs by generalised
        cross-validation.
    explained
        Share of the variance, on that scale, that it predicts for repeated units which it was not fitted to.
    is_determined
        Whether its causes leave next to no noise.
    """

    scale: str
    degree: int
    penalty: float = math.nan
    explained: float = math.nan
    is_determined: bool = False


@dataclass(frozen=True)
class LeftOut:
    """A node of the graph that the model does without, and what that means."""

    node: str
    reason: str


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
    digraph, left_out, caveats = _observed(graph, rows, target, categorical)
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
            node: _choose(values, list(digraph.predecessors(node)), node, levels, clusters, seed, is_share=is_share and node == target)
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


class _Features:
    """Causes as regression columns: one per level; quantities standardised, with their logarithms where all are positive."""

    def __init__(self, levels: Sequence[Array | None], degree: int) -> None:
        self.levels, self.degree = levels, degree

    def fit(self, causes: Array) -> Self:
        self.least = causes.min(axis=0)
        self.centres, self.spreads = [], []
        for place, levels in enumerate(self.levels):
            columns = np.empty((len(causes), 0)) if levels is not None else self._quantity(causes, place)
            spread = columns.std(axis=0)
            self.centres.append(columns.mean(axis=0) if len(spread) else spread)
            self.spreads.append(np.where(spread > 0, spread, 1.0))
        return self

    def transform(self, causes: Array) -> Array:
        blocks = []
        for place, levels in enumerate(self.levels):
            if levels is not None:
                blocks.append((causes[:, [place]] == levels).astype(float))
            else:
                blocks.append((self._quantity(causes, place) - self.centres[place]) / self.spreads[place])
        products = itertools.combinations(blocks, 2) if self.degree > 1 else ()
        both = [(first[:, :, None] * second[:, None, :]).reshape(len(causes), -1) for first, second in products]
        return np.column_stack([*blocks, *both])

    def _quantity(self, causes: Array, place: int) -> Array:
        column = causes[:, [place]]
        least = float(self.least[place])
        # Mixing rows can make a cause smaller than any that was seen: there a logarithm would go to minus infinity.
        return np.column_stack([column, np.log(np.maximum(column, least))]) if least > 0 else column


class _Regression(PredictionModel):  # type: ignore[misc]
    """Ridge regression (logistic for a chance) on `_Features`, as `gcm` wants it."""

    def __init__(self, form: Form, levels: Sequence[Array | None]) -> None:
        self.form, self.levels = form, levels

    def fit(self, X: Array, Y: Array) -> None:
        from sklearn.linear_model import LogisticRegression, RidgeCV

        causes = np.asarray(X, dtype=float)
        self.features = _Features(self.levels, self.form.degree).fit(causes)
        columns, outcome = self.features.transform(causes), np.ravel(Y)
        self.constant: float | None = None
        if np.ptp(outcome) == 0:
            self.constant = float(outcome[0])
        elif self.form.scale == "logit":
            self.model = LogisticRegression(C=self.form.penalty, max_iter=2_000).fit(columns, outcome > 0.5)
        else:
            self.centre, self.spread = float(outcome.mean()), float(outcome.std())
            self.model = RidgeCV(alphas=_PENALTIES).fit(columns, (outcome - self.centre) / self.spread)

    def predict(self, X: Array) -> Array:
        columns = self.features.transform(np.asarray(X, dtype=float))
        if self.constant is not None:
            return np.full((len(columns), 1), self.constant)
        if self.form.scale == "logit":
            return np.asarray(self.model.predict_proba(columns)[:, [1]])
        return np.asarray(self.centre + self.spread * self.model.predict(columns)).reshape(-1, 1)

    def clone(self) -> _Regression:
        return _Regression(self.form, self.levels)


def _fitted(digraph: nx.DiGraph, forms: Mapping[str, Form], levels: Mapping[str, Array], values: pd.DataFrame, target: str) -> Any:
    scm = gcm.InvertibleStructuralCausalModel(nx.DiGraph(digraph.edges))
    for node in nx.topological_sort(scm.graph):
        causes = get_ordered_predecessors(scm.graph, node)
        if not causes:
            scm.set_causal_mechanism(node, gcm.EmpiricalDistribution())
        else:
            function = InvertibleExponentialFunction() if forms[node].scale == "log" else InvertibleIdentityFunction()
            regression = _Regression(forms[node], [levels.get(cause) for cause in causes])
            scm.set_causal_mechanism(node, gcm.PostNonlinearModel(regression, gcm.EmpiricalDistribution(), function))
    gcm.fit(scm, values)
    return scm


def _choose(
    values: pd.DataFrame, causes: list[str], node: str, levels: Mapping[str, Array], clusters: NDArray[Any], seed: int, *, is_share: bool
) -> Form:
    """The shape that makes rows of repeated units which it has not seen most likely; the simpler one where two are alike."""
    causes = sorted(causes)
    x, y = values[causes].to_numpy(), values[node].to_numpy()
    known = [levels.get(cause) for cause in causes]
    folds = _folds(clusters, seed)
    if is_share:
        candidates = [Form("logit", degree, penalty) for degree in (1, 2) for penalty in _INVERSE_PENALTIES]
    else:
        scales = ("identity", "log") if (y > 0).all() else ("identity",)
        candidates = [Form(scale, degree) for degree in (1, 2) for scale in scales]
    best, likelihood = candidates[0], -math.inf
    for form in candidates:
        goal: Array = np.log(y) if form.scale == "log" else y
        predicted = np.empty(len(y))
        for train, test in folds:
            regression = _Regression(form, known)
            regression.fit(x[train], goal[train])
            predicted[test] = regression.predict(x[test]).ravel()
        errors: Array = goal - predicted
        spread = float(goal.std())
        explained = 1 - float(errors @ errors) / (len(y) * spread**2)
        if is_share:
            chance = np.clip(predicted, 1e-6, 1 - 1e-6)
            found = float(np.log(np.where(y == 1, chance, 1 - chance)).sum())
        else:
            size = max(float(np.sqrt(np.mean(errors**2))), 1e-9 * spread)
            found = -len(y) * math.log(size) - (float(np.log(y).sum()) if form.scale == "log" else 0.0)
        if found > likelihood + 1e-6 * abs(likelihood if math.isfinite(likelihood) else 0.0):
            best, likelihood = replace(form, explained=explained), found
    return best


def _folds(clusters: NDArray[Any], seed: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    from sklearn.model_selection import GroupKFold

    folds = GroupKFold(min(FOLDS, len(np.unique(clusters))), shuffle=True, random_state=seed % 2**32)
    return list(folds.split(clusters, groups=clusters))


def _groups(clusters: NDArray[Any], seed: int) -> NDArray[np.int64]:
    units = np.unique(clusters)
    of_unit = np.random.default_rng(seed).permutation(len(units)) % min(MAX_GROUPS, len(units))
    return np.asarray(of_unit[np.searchsorted(units, clusters)], dtype=np.int64)


def _is_determined(scm: Any, values: pd.DataFrame, node: str, form: Form) -> bool:
    if form.scale == "logit":
        return False
    column = np.log(values[node]) if form.scale == "log" else values[node]
    return bool(noise_of(scm, values)[node].std() < _DETERMINED * column.std())


def _observed(
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


@contextmanager
def numpy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global state within the block and put it back."""
    state = np.random.get_state()  # DoWhy draws from it
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
