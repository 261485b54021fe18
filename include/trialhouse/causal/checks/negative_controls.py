"""Negative controls: what cannot be an effect must not look like one (Lipsitch, Tchetgen Tchetgen & Cohen 2010).

A negative-control outcome shares the outcome's causes but cannot be caused by the treatment; a negative-control treatment
shares the treatment's causes but cannot cause the outcome. If one goes with the treatment (or the outcome) given what is
adjusted for, so may a hidden common cause of treatment and outcome (Shi, Miao & Tchetgen Tchetgen 2020).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from trialhouse.causal.checks.association import association, with_curves
from trialhouse.causal.inference import Array
from trialhouse.causal.model import CausalGraph
from trialhouse.causal.sample import Sample, encode
from trialhouse.causal.verdict import ALPHA, Check, holm


@dataclass(frozen=True)
class Controls:
    """Negative controls by the use that their place in the graph allows.

    Parameters
    ----------
    outcomes, treatments
        Nodes.
    unusable
        A sentence for each of the others.
    """

    outcomes: tuple[str, ...]
    treatments: tuple[str, ...]
    unusable: tuple[str, ...]


def place_controls(graph: CausalGraph, treatment: str, outcome: str, given: Collection[str], controls: Sequence[str]) -> Controls:
    """Tell negative-control outcomes from negative-control treatments by where they are drawn.

    A control that the graph separates from the treatment, given what is adjusted for, is a negative-control outcome. One
    that goes with the treatment, but is separated from the outcome once the treatment is given too, is a negative-control
    treatment. What the graph separates from neither is useless: it would go with them even if the graph is right.
    """
    outcomes, treatments, unusable = [], [], []
    drawn = {column for column in given if column in graph.digraph}
    for node in controls:
        others = drawn - {node}
        if node in (treatment, outcome):
            unusable.append(f"{node} is what the question is about")
        elif node not in drawn and nx.is_d_separator(graph.digraph, {node}, {treatment}, others):
            outcomes.append(node)
        elif nx.is_d_separator(graph.digraph, {node}, {outcome}, others | {treatment}):
            treatments.append(node)
        else:
            unusable.append(f"the graph itself draws a path from {node} to {treatment} and one to {outcome}")
    return Controls(tuple(outcomes), tuple(treatments), tuple(unusable))


def negative_control_outcome(sample: Sample, controls: Sequence[str], categorical: Collection[str] = ()) -> Check:
    """Whether the treatment seems to move what it cannot move, given what is adjusted for. Holm over the controls."""
    found = {
        column: association(columns, sample.arms, with_curves(_without(sample, column)), sample.clusters)
        for column, columns in _varying(sample, controls, categorical)
    }
    return _check("negative_control_outcome", found, f"goes with {sample.treatment}, which cannot cause it", controls)


def negative_control_treatment(sample: Sample, controls: Sequence[str], categorical: Collection[str] = ()) -> Check:
    """Whether what cannot move the outcome seems to, given the treatment and what is adjusted for. Holm over the controls."""
    found = {}
    for column, columns in _varying(sample, controls, categorical):
        given = with_curves(np.column_stack([_without(sample, column), sample.arms]))
        found[column] = association(columns, sample.values, given, sample.clusters)
    return _check("negative_control_treatment", found, f"goes with {sample.outcome}, which it cannot cause", controls)


def _without(sample: Sample, column: str) -> Array:
    """What is adjusted for, except the column itself."""
    result: Array = sample.encoded.drop(columns=sample.columns_of(column)).to_numpy(dtype=float)
    return result


def _varying(sample: Sample, controls: Sequence[str], categorical: Collection[str]) -> list[tuple[str, Array]]:
    usable = [name for name in controls if name in sample.frame and sample.frame[name].notna().all() and sample.frame[name].nunique() > 1]
    return [(name, encode(sample.frame, [name], categorical).to_numpy(dtype=float)) for name in usable]


def _check(name: str, found: dict[str, float], what: str, controls: Sequence[str]) -> Check:
    known = {column: p_value for column, p_value in found.items() if p_value == p_value}
    if not known:
        named = f"{', '.join(controls)} cannot be tested: it does not vary, has gaps or is determined" if controls else "None is named"
        return Check(name, "not_applicable", f"{named}.")
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    guilty = [column for column, p_value in adjusted.items() if p_value < ALPHA]
    failing = f"{', '.join(guilty)} {what}: a common cause is not adjusted for"
    reason = failing if guilty else f"None of {', '.join(known)} {what}."
    return Check(name, "passed", reason, float(len(guilty)), min(adjusted.values()), is_test=True, has_power=True)
