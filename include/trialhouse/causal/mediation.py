"""Total against direct effect: how much of what a treatment does is left while mediators are held (Pearl 2001).

The controlled direct effect E[y | do(t = 1, m)] - E[y | do(t = 0, m)] is the effect of setting treatment and mediators
together. It needs its own adjustment: causes of mediator and outcome must be closed too, and a hidden one refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

from trialhouse.causal.checks.association import association
from trialhouse.causal.inference import Array, Inference, least_squares
from trialhouse.causal.model import CausalGraph
from trialhouse.causal.sample import Sample, amount, encode
from trialhouse.causal.verdict import ALPHA, Check
from trialhouse.errors import EstimationError


@dataclass(frozen=True)
class DirectEffect:
    """The effect of one unit of treatment with mediators held, beside the total effect.

    Parameters
    ----------
    total, direct
        In units of the outcome per unit of treatment, on the same rows.
    mediators, adjustment
        What is held, and what is adjusted for besides.
    expression
        The estimand in symbols and words.
    checks
        `mediator_interaction`: whether the direct effect depends on where the mediators are held.
    """

    total: Inference
    direct: Inference
    mediators: tuple[str, ...]
    adjustment: tuple[str, ...]
    expression: str
    checks: tuple[Check, ...]


def joint_adjustment(
    graph: CausalGraph,
    treatment: str,
    outcome: str,
    mediators: Sequence[str],
    observed: Collection[str],
    precision: Sequence[str] = (),
) -> tuple[str, ...]:
    """What to adjust for so that treatment and mediators can be set together.

    Parameters
    ----------
    observed
        Columns that may be adjusted for.
    precision
        Adjusted for besides, if that opens no path.

    Notes
    -----
    The generalised adjustment criterion for several treatments (Perkovic, Textor, Kalisch & Maathuis 2018, van der Zander,
    Liskiewicz & Textor 2014): no node on a proper causal path (one that meets treatment and mediators only at its start)
    nor an effect of one, and every other path from them to the outcome is closed.

    Raises
    ------
    EstimationError
        If a mediator is not one in the graph, or no observed columns close every path: then it names what is hidden.
    """
    digraph = graph.digraph
    graph.require_path(treatment, outcome)
    graph.require(*mediators)
    between = set(nx.descendants(digraph, treatment)) & set(nx.ancestors(digraph, outcome))
    for node in mediators:
        if node not in between:
            between_text = f"one of {sorted(between)}" if between else "nothing: none is drawn"
            raise EstimationError(f"a mediator of {treatment} and {outcome} must be {between_text}", repr(node), "name another or draw it")
    held = {treatment, *mediators}
    on_path = _proper_causal_nodes(digraph, held, outcome)
    forbidden = on_path.union(*(nx.descendants(digraph, node) for node in on_path)) if on_path else set()
    without = digraph.copy()
    without.remove_edges_from([(cause, effect) for cause, effect in digraph.edges if cause in held and effect in on_path])
    allowed = set(observed) & set(digraph) - forbidden - held - {outcome}
    found = nx.find_minimal_d_separator(without, held, {outcome}, restricted=allowed)
    if found is None:
        hidden = sorted(set(digraph) - set(observed) - {outcome})
        causes = [node for node in hidden if nx.has_path(digraph, node, outcome)]
        named = f"hidden: {', '.join(causes)}" if causes else "the columns that would close them are effects of what is held"
        raise EstimationError(
            f"every path from {', '.join(sorted(held))} to {outcome} that is no effect must be closed by observed columns",
            f"one that stays open ({named})",
            "measure it, or ask for the total effect",
        )
    extra = {name for name in precision if name in allowed or (name in observed and name not in digraph)}
    if nx.is_d_separator(without, held, {outcome}, found | (extra & allowed)):
        found = found | extra
    return tuple(sorted(found))


def direct_effect(
    sample: Sample,
    graph: CausalGraph,
    mediators: Sequence[str],
    *,
    observed: Collection[str] | None = None,
    categorical: Collection[str] = (),
) -> DirectEffect:
    """The controlled direct effect by the adjusted linear recipe, beside the total effect that the sample is about.

    Parameters
    ----------
    sample
        Of the total effect: its covariates are those of the total effect, and are kept where that is safe.
    mediators
        Nodes of the graph, columns of the sample's frame.
    observed
        Columns that may be adjusted for; by default all of the frame's without gaps.
    categorical
        Columns that are categories though they may be numbers.

    Raises
    ------
    EstimationError
        If the graph does not identify it, or a mediator has gaps.
    """
    for node in mediators:
        if node not in sample.frame or sample.frame[node].isna().any():
            raise EstimationError(f"mediator {node!r} must be a column without gaps", "it is not", "measure it, or choose another")
    whole = [str(name) for name in sample.frame.columns if sample.frame[name].notna().all()] if observed is None else list(observed)
    adjustment = joint_adjustment(graph, sample.treatment, sample.outcome, mediators, whole, sample.covariates)
    given: Array = encode(sample.frame, _varying(sample, adjustment), categorical).to_numpy(dtype=float)
    held: Array = encode(sample.frame, _varying(sample, mediators), categorical).to_numpy(dtype=float)
    spread = held.std(axis=0)
    held = (held - held.mean(axis=0)) / np.where(spread > 0, spread, 1.0)  # bytes squared would drown all else
    products = held * (sample.arms - sample.arms.mean())[:, None]
    total = least_squares(sample.arms, sample.values, sample.matrix, sample.clusters)
    direct = least_squares(sample.arms, sample.values, np.column_stack([given, held, products]), sample.clusters)
    if math.isnan(direct.estimate):  # without interactions less is asked of the data, and the check says that they are assumed away
        direct = least_squares(sample.arms, sample.values, np.column_stack([given, held]), sample.clusters)
    if math.isnan(direct.estimate):
        note = f"{', '.join((*mediators, *adjustment))} determine {sample.treatment}: with them held it cannot be another"
        direct = replace(direct, note=note)
    return DirectEffect(
        total,
        direct,
        tuple(mediators),
        adjustment,
        _expression(sample, mediators, adjustment),
        (_interaction(sample, mediators, given, held, products),),
    )


def _proper_causal_nodes(digraph: nx.DiGraph, held: set[str], outcome: str) -> set[str]:
    """Nodes other than those held on causal paths to the outcome that meet them only at the start."""
    no_way_in = digraph.copy()
    no_way_in.remove_edges_from([edge for edge in digraph.edges if edge[1] in held])
    no_way_out = digraph.copy()
    no_way_out.remove_edges_from([edge for edge in digraph.edges if edge[0] in held])
    after = set().union(*(nx.descendants(no_way_in, node) for node in held)) - held
    return after & (set(nx.ancestors(no_way_out, outcome)) | {outcome})


def _varying(sample: Sample, columns: Sequence[str]) -> list[str]:
    return [name for name in columns if sample.frame[name].nunique() > 1]


def _interaction(sample: Sample, mediators: Sequence[str], given: Array, held: Array, products: Array) -> Check:
    """Whether treatment and mediators multiply, or the mediators' own part bends: then there is not one direct effect."""
    name = "mediator_interaction"
    named = ", ".join(mediators)
    squares = np.column_stack([column**2 for column in held.T if len(np.unique(column)) > 2] or [np.empty((len(held), 0))])
    base = np.column_stack([given, held, sample.arms])
    interaction = association(products, sample.values, np.column_stack([base, squares]), sample.clusters)
    bend = association(squares, sample.values, np.column_stack([base, products]), sample.clusters) if squares.shape[1] else math.nan
    known = {what: p_value for what, p_value in (("interaction", interaction), ("bend", bend)) if not math.isnan(p_value)}
    if not known:
        reason = f"Too little varies to see whether the direct effect depends on where {named} is held: taken as the same everywhere."
        return Check(name, "inconclusive", reason, consequence="none")
    p_value = min(1.0, len(known) * min(known.values()))
    if p_value < ALPHA and min(known, key=lambda what: known[what]) == "interaction":
        low, high = (amount(value, sample.outcome) for value in _at_ends(sample, held, base, products))
        reason = (
            f"The direct effect depends on where {named} is held (p = {p_value:.2g}): from {low} to {high} over the values seen;"
            " the one reported is that at the mean."
        )
        return Check(name, "inconclusive", reason, p_value=p_value, consequence="none", has_power=True)
    if p_value < ALPHA:
        reason = (
            f"{sample.outcome} bends in {named} (p = {p_value:.2g}): a straight line in it leaves part of its effect to {sample.treatment}."
        )
        return Check(name, "inconclusive", reason, p_value=p_value, consequence="withheld", has_power=True)
    reason = f"No sign that the direct effect depends on where {named} is held (p = {p_value:.2g})."
    return Check(name, "passed", reason, p_value=p_value, consequence="none", has_power=True)


def _at_ends(sample: Sample, held: Array, base: Array, products: Array) -> tuple[float, float]:
    """Smallest and largest direct effect over the values of the mediators seen, linear with interactions."""
    design = np.column_stack([np.ones(len(base)), base[:, :-1], sample.arms, products])
    slopes = np.linalg.lstsq(design, sample.values, rcond=None)[0]
    own = slopes[design.shape[1] - products.shape[1] - 1]
    effects = own + held @ slopes[-products.shape[1] :]
    return float(effects.min()), float(effects.max())


def _expression(sample: Sample, mediators: Sequence[str], adjustment: Sequence[str]) -> str:
    held = ", ".join(f"{node} = m" if len(mediators) == 1 else f"{node} = m_{node}" for node in mediators)
    unit = f"{sample.treatment} = 1" if sample.is_binary else f"{sample.treatment} + 1"
    zero = f"{sample.treatment} = 0" if sample.is_binary else sample.treatment
    named = ", ".join(mediators)
    given = f" Adjusted for {', '.join(adjustment)}." if adjustment else ""
    return (
        f"Controlled direct effect: E[{sample.outcome} | do({unit}, {held})] - E[{sample.outcome} | do({zero}, {held})]: what"
        f" {sample.treatment} does other than through {named}, which is held at its mean. Identified if no hidden cause is shared by"
        f" {sample.outcome} and {sample.treatment} or {named}.{given}"
    )
