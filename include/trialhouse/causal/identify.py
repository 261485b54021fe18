"""Step 2, identify: which columns the graph asks to adjust for, whether that suffices, and the estimand in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import networkx as nx

from trialhouse.causal.instruments import covariates_for_instruments
from trialhouse.causal.model import Assignment, CausalGraph


@dataclass(frozen=True)
class Identification:
    """What the graph says about a question.

    Parameters
    ----------
    estimand
        DoWhy's identified estimand.
    is_identified
        Whether observed columns close every back door.
    adjustment
        Columns that identification needs (or that were asked for).
    precision
        Columns adjusted for besides, because they explain the outcome; never effects of the treatment.
    violations
        Rules of the graph that the adjustment breaks, as sentences.
    unobserved
        Nodes without a column.
    notes
        What a reader should know about the graph, as sentences.
    instruments
        Observed nodes that the graph names as instruments.
    instrument_adjustment
        What they need to be adjusted for; None where the graph does not let them be instruments.
    """

    estimand: Any
    is_identified: bool
    adjustment: tuple[str, ...]
    precision: tuple[str, ...]
    violations: tuple[str, ...]
    unobserved: tuple[str, ...]
    notes: tuple[str, ...]
    instruments: tuple[str, ...] = ()
    instrument_adjustment: tuple[str, ...] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns adjusted for."""
        return (*self.adjustment, *self.precision)


def identify(
    model: Any,
    graph: CausalGraph,
    *,
    treatment: str,
    outcome: str,
    adjustment: Sequence[str] | str = "auto",
    precision: Sequence[str] | str = (),
) -> Identification:
    """Backdoor identification through DoWhy, and the rules of the graph for whatever is adjusted for.

    Parameters
    ----------
    model
        DoWhy's `CausalModel` of the question.
    graph
        The same graph.
    adjustment
        `auto`, or the columns asked for.
    precision
        With `auto`: columns that the design varied, adjusted for besides; or `efficient` for those that make the
        estimate most precise according to the graph (Rotnitzky & Smucler 2020).

    Raises
    ------
    EstimationError
        If the graph draws no path from the treatment to the outcome.
    """
    graph.require_path(treatment, outcome)
    estimand = model.identify_effect(proceed_when_unidentifiable=True)
    sets = {tuple(sorted(columns)) for columns in (estimand.backdoor_variables or {}).values() if columns is not None}
    is_identified = bool(sets)
    observed = set(model._data.columns)
    unobserved = tuple(sorted(set(graph.digraph) - observed))
    descendants = graph.descendants(treatment)
    notes: list[str] = []
    if adjustment == "auto":
        # Of equally small sets the first by name: DoWhy's own choice depends on the order of a set.
        needed = min(sets, key=lambda columns: (len(columns), columns)) if sets else _best_available(graph, treatment, outcome, observed)
        wanted = _efficient(model) if precision == "efficient" else precision
        extra = tuple(column for column in wanted if column not in needed and column not in descendants)
        if not opens_no_path(graph, treatment, outcome, (*needed, *extra)) and is_identified:
            extra = ()
        violations: tuple[str, ...] = ()
    else:
        needed, extra = tuple(adjustment), ()
        violations = rules_broken(graph, treatment, outcome, needed)
        is_identified = not violations
        undrawn = [column for column in needed if column not in graph.digraph]
        if undrawn:
            notes.append(f"the graph does not draw {', '.join(undrawn)}, so it cannot say whether adjusting for it is safe")
    instruments = tuple(node for node in graph.roles.get("instrument", ()) if node in observed and node != treatment)
    enough = covariates_for_instruments(graph, treatment, outcome, instruments, observed, (*needed, *extra)) if instruments else None
    if instruments and enough is None:
        notes.append(f"{', '.join(instruments)} cannot be an instrument in this graph: it reaches {outcome} by another way too")
    return Identification(estimand, is_identified, needed, extra, violations, unobserved, tuple(notes), instruments, enough)


def rules_broken(graph: CausalGraph, treatment: str, outcome: str, adjustment: Collection[str]) -> tuple[str, ...]:
    """The backdoor criterion (Pearl 2009, 3.3.1) for a set of columns: no effect of the treatment, no open back door."""
    descendants = graph.descendants(treatment)
    effects = sorted(set(adjustment) & descendants)
    if effects:
        return tuple(
            f"{column} is an effect of {treatment} in the graph: adjusting for it hides part of the effect or opens a path of its own"
            for column in effects
        )
    if not opens_no_path(graph, treatment, outcome, adjustment):
        given = ", ".join(sorted(adjustment)) or "nothing"
        return (f"adjusting for {given} leaves a path from {treatment} to {outcome} open that is not its effect",)
    return ()


def opens_no_path(graph: CausalGraph, treatment: str, outcome: str, adjustment: Collection[str]) -> bool:
    """Whether the set separates treatment and outcome once the treatment's own arrows are removed."""
    without = graph.digraph.copy()
    without.remove_edges_from(list(graph.digraph.out_edges(treatment)))
    given = {column for column in adjustment if column in without}
    return bool(nx.is_d_separator(without, {treatment}, {outcome}, given))


def by_instrument(identification: Identification) -> Identification:
    """The same question, answered by the instruments: what they need to be adjusted for, in place of what closes back doors."""
    return replace(
        identification,
        is_identified=True,
        adjustment=identification.instrument_adjustment or (),
        precision=(),
        violations=(),
    )


def in_words(
    identification: Identification,
    *,
    treatment: str,
    outcome: str,
    control: str,
    level: str,
    assignment: Assignment,
    is_binary: bool = True,
    within: str | None = None,
    averaged_over: Sequence[str] = (),
    meaning: str | None = None,
    is_instrumental: bool = False,
) -> str:
    """The estimand in symbols and words.

    Parameters
    ----------
    within
        The subgroup, `hardware_class = laptop`.
    averaged_over
        Factors that have no level of their own in one arm.
    meaning
        What a level of a derived treatment stands for.
    is_instrumental
        Whether the answer is the instruments'.
    """
    needed = ", ".join(identification.adjustment)
    if is_instrumental:
        named = ", ".join(identification.instruments)
        given = f" given {needed}" if needed else ""
        return (
            f"E[{outcome} | do({treatment} = {level})] - E[{outcome} | do({treatment} = {control})]"
            f" = ({level} - {control}) Cov({outcome}, {named}) / Cov({treatment}, {named}){given}."
            f" {named} reaches {outcome} only through {treatment}{given}, if the graph is right. Taken as linear in {treatment};"
            f" where effects differ between trials, their average over those that {named} moves, weighted by how far."
        )
    also = f", {within}" if within else ""
    given = f", {needed}{also}" if needed else also
    effect = f"E[{outcome} | do({treatment} = {level}){also}] - E[{outcome} | do({treatment} = {control}){also}]"
    observed = f"E[{outcome} | {treatment} = {level}{given}] - E[{outcome} | {treatment} = {control}{given}]"
    if needed:
        share = f"P({needed} | {within})" if within else f"P({needed})"
        observed = f"sum over {needed} of ({observed}) {share}"
    sentences = [f"{effect} = {observed}."]
    if not is_binary:
        sentences.append(f"Taken as linear in {treatment}.")
    if identification.violations:
        sentences.append("Not identified by this adjustment: " + "; ".join(identification.violations) + ".")
    elif not identification.is_identified:
        hidden = ", ".join(identification.unobserved)
        sentences.append(f"Not identified: no observed columns close every path that is not the effect (unobserved: {hidden}).")
    elif assignment == "randomised" and not needed:
        sentences.append(f"{treatment} was assigned by the design and nothing in the graph leads into it: identified without adjustment.")
    elif needed:
        sentences.append(f"Given {needed}, no path into {treatment} reaches {outcome} (backdoor criterion), if the graph is right.")
    else:
        sentences.append(f"No path into {treatment} reaches {outcome}: identified without adjustment, if the graph is right.")
    if identification.precision:
        sentences.append(f"Adjusted for precision only: {', '.join(identification.precision)}.")
    if averaged_over:
        sentences.append(f"Averaged over {', '.join(averaged_over)} as assigned.")
    if meaning:
        sentences.append(meaning)
    return " ".join(sentences)


def _efficient(model: Any) -> tuple[str, ...]:
    try:
        estimand = model.identify_effect(method_name="efficient-adjustment", proceed_when_unidentifiable=True)
    except ValueError:  # where nodes are unobserved it need not exist
        return ()
    return tuple(sorted(estimand.get_adjustment_set() or ()))


def _best_available(graph: CausalGraph, treatment: str, outcome: str, observed: Collection[str]) -> tuple[str, ...]:
    """Observed causes of the treatment or the outcome: what one would adjust for though it does not suffice."""
    causes = nx.ancestors(graph.digraph, treatment) | nx.ancestors(graph.digraph, outcome)
    return tuple(sorted((causes & set(observed)) - graph.descendants(treatment) - {treatment, outcome}))
