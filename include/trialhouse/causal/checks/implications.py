"""What the graph implies about the data and the effect rests on: independences that a wrong graph would break.

Not every missing arrow matters to an effect. One does if an arrow or a hidden common cause in its place would spoil the
adjustment, and then one of two independences breaks, for a column that no effect of the treatment is:

- it moves the treatment and must not go with the outcome given treatment and adjustment (as an instrument). If it does,
  treatment and outcome share a hidden cause, the arrow between them is reversed, or the column is a confounder itself;
- it moves the outcome and must not go with the treatment given the adjustment. If it does, it is a confounder that is not
  adjusted for, or the outcome causes the treatment.

Other implications (between covariates, of mediators, of effects of the outcome) may fail while the effect stands.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import networkx as nx
import numpy as np

from trialhouse.causal.checks.association import association, with_curves
from trialhouse.causal.inference import Array
from trialhouse.causal.model import CausalGraph
from trialhouse.causal.sample import Sample, encode
from trialhouse.causal.verdict import ALPHA, Check, holm

MAX_IMPLICATIONS = 12
"""Tests at most: Holm's correction over many leaves none of them any power."""


@dataclass(frozen=True)
class Implication:
    """A column that must not go with the treatment or the outcome.

    Parameters
    ----------
    column
        The column.
    side
        With which of the two it must not go.
    given
        Names of what is given; the treatment comes last where the side is the outcome.
    """

    column: str
    side: Literal["treatment", "outcome"]
    given: tuple[str, ...]


def implications(
    graph: CausalGraph,
    treatment: str,
    outcome: str,
    *,
    needed: Sequence[str],
    precision: Sequence[str],
    observed: Collection[str],
    is_random: bool = False,
) -> list[Implication]:
    """The independences that the effect rests on, those of the outcome first, by name.

    Parameters
    ----------
    needed, precision
        What is adjusted for because the graph asks for it, and besides.
    observed
        Columns.
    is_random
        Whether the treatment was assigned at random: then nothing but its assignment goes with it by design, however
        columns look in the rows of a contrast, and only those of the outcome are left.
    """
    adjusted = {*needed, *precision}
    undrawn = adjusted - set(graph.digraph)
    others = sorted(set(observed) & set(graph.digraph) - graph.descendants(treatment) - {treatment, outcome})
    base, full = set(needed) - undrawn, adjusted - undrawn
    found = [
        Implication(column, "outcome", (*sorted(adjusted), treatment))
        for column in others
        if column not in adjusted
        and nx.is_d_separator(graph.digraph, {column}, {outcome}, full | {treatment})
        and not nx.is_d_separator(graph.digraph, {column}, {treatment}, full)
    ]
    if not is_random:
        found += [
            Implication(column, "treatment", tuple(sorted(needed)))
            for column in others
            if column not in needed
            and nx.is_d_separator(graph.digraph, {column}, {treatment}, base)
            and not nx.is_d_separator(graph.digraph, {column}, {outcome}, base | {treatment})
        ]
    return found


def implied_independences(
    sample: Sample,
    graph: CausalGraph,
    *,
    needed: Sequence[str],
    precision: Sequence[str] = (),
    categorical: Collection[str] = (),
    is_random: bool = False,
    elsewhere: Collection[str] = (),
) -> Check:
    """Whether the data break an independence that the effect rests on. Holm over the independences.

    Parameters
    ----------
    sample
        Its covariates are `needed` and `precision`, as in `Identification`.
    categorical
        Columns that are categories though they may be numbers.
    elsewhere
        Columns that another check tests against the outcome (`durbin_wu_hausman` its instrument, say).

    Notes
    -----
    Independence is tested as absence of a slope given curves and products of what is given, as many as the rows carry
    (`association.with_curves`), with HC3 or CR3 errors.
    """
    name = "implied_independences"
    drawn = implications(
        graph,
        sample.treatment,
        sample.outcome,
        needed=needed,
        precision=precision,
        observed=[str(column) for column in sample.frame.columns],
        is_random=is_random,
    )
    wanted = [one for one in drawn if not (one.side == "outcome" and one.column in elsewhere)]
    found = dict(_tested(sample, wanted[:MAX_IMPLICATIONS], categorical))
    if not found:
        return Check(name, "not_applicable", "The graph implies no independence that the effect rests on and these columns could break.")
    adjusted = dict(zip(found, holm(list(found.values())), strict=True))
    broken = [one for one, p_value in adjusted.items() if p_value < ALPHA]
    if broken:
        reason = "; ".join(_broken(one, sample) for one in broken)
    else:
        more = f" ({len(wanted) - MAX_IMPLICATIONS} more were not tried)" if len(wanted) > MAX_IMPLICATIONS else ""
        told = "; ".join(_in_words(one, sample) for one in found)
        reason = f"The data agree with what the graph implies{more}: {told}."
    return Check(name, "passed", reason, float(len(broken)), min(adjusted.values()), is_test=True, has_power=True)


def _tested(sample: Sample, wanted: Sequence[Implication], categorical: Collection[str]) -> Iterator[tuple[Implication, float]]:
    for one in wanted:
        column = sample.frame[one.column]
        if column.isna().any() or column.nunique() < 2:
            continue
        given = [name for covariate in one.given if covariate != sample.treatment for name in sample.columns_of(covariate)]
        conditioning: Array = sample.encoded[given].to_numpy(dtype=float)
        target = sample.arms
        if one.side == "outcome":
            conditioning, target = np.column_stack([conditioning, sample.arms]), sample.values
        columns = encode(sample.frame, [one.column], categorical).to_numpy(dtype=float)
        p_value = association(columns, target, with_curves(conditioning), sample.clusters)
        if not math.isnan(p_value):
            yield one, p_value


def _in_words(one: Implication, sample: Sample) -> str:
    given = f" given {', '.join(one.given)}" if one.given else ""
    return f"{one.column} does not go with {getattr(sample, one.side)}{given}"


def _broken(one: Implication, sample: Sample) -> str:
    given = f" given {', '.join(one.given)}" if one.given else ""
    treatment, outcome = sample.treatment, sample.outcome
    if one.side == "outcome":
        meaning = f"{treatment} and {outcome} share a hidden cause, {outcome} causes {treatment}, or {one.column} is a common cause itself"
    else:
        meaning = f"{one.column} is a common cause that is not adjusted for, or {outcome} causes {treatment}"
    return f"{one.column} goes with {getattr(sample, one.side)}{given}, which the graph excludes: {meaning}"
