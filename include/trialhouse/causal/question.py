"""What is asked of the engine: a treatment's effect on an outcome, in which rows, on which assumptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from trialhouse.causal.identify import Identification, in_words
from trialhouse.causal.model import Assignment, CausalGraph
from trialhouse.causal.recipes import PRIMARY, RECIPES, Nuisances
from trialhouse.causal.results import Contrast
from trialhouse.causal.sample import arms_of, label

RECIPES_OF = {
    "randomised": ("naive", PRIMARY, "double_ml"),
    "observational": ("naive", PRIMARY, "double_ml", "double_ml_boosting", "doubly_robust"),
}
"""The recipes of a registered contrast. Without a lottery the effect rests on how confounding is modelled, so a family that
can bend as the first cannot has to agree: in simulations it differs from a wrong line in 100% of draws at n = 500."""

BY_MODIFIER = ("linear_dr", "linear_dml")
"""Recipes beside them where the graph names what modifies the effect: for two arms, and for quantities too."""


@dataclass(frozen=True)
class Comparison:
    """Two levels of a question's treatment.

    Parameters
    ----------
    control, level
        The two levels.
    recipes
        Names of recipes to estimate it with; none for those that go with the assignment.
    is_primary
        Whether the primary recipe's row is an answer.
    is_refuted
        Whether refuters attack it.
    only
        Column -> value that the treated arm is restricted to.
    """

    control: Any
    level: Any
    recipes: tuple[str, ...] = ()
    is_primary: bool = False
    is_refuted: bool = False
    only: tuple[str, Any] | None = None


@dataclass(frozen=True)
class Question:
    """What is asked, of which rows, on which assumptions. Plain data, so that it can go to another process.

    Parameters
    ----------
    study_id, name
        The study and its estimand.
    frame
        The rows of the subgroup, one per trial.
    treatment, outcome
        Columns; the outcome may be missing where a trial did not finish.
    comparisons
        Pairs of levels.
    graph, assignment
        What causes what, and how the treatment came about.
    adjustment, precision
        See `identify`.
    categorical
        Columns that are categories though they may be numbers.
    cluster
        Column of the repeated units.
    strata
        Other assigned factors, among whose combinations those are chosen in which both arms survive.
    lost_for
        Words of `status` that the treatment can cause.
    recipes
        Recipes besides those that go with the assignment.
    nuisances
        Settings of nuisance learners.
    refuters, simulations, seed
        Of the attempts to refute.
    left_out
        Columns that might be common causes although the graph leaves them out.
    mediators
        Nodes other than through which the direct effect is asked for as well.
    unaffecting
        Columns that cannot change the outcome, whatever the graph draws: negative-control treatments.
    placebo
        Column of a label that was drawn at random and changes nothing.
    ids
        Columns that tell rows apart, for the hash of the data.
    subgroup_column, subgroup
        Which rows these are.
    is_quantity
        Whether the treatment enters as a quantity with a slope instead of as two arms.
    averaged_over, meaning, per, caveats
        For the words of the answer; `per` says what one step from 0 to 1 is, where levels are those of a scale.
    """

    study_id: str
    name: str
    frame: pd.DataFrame
    treatment: str
    outcome: str
    comparisons: tuple[Comparison, ...]
    graph: CausalGraph
    assignment: Assignment
    adjustment: tuple[str, ...] | str = "auto"
    precision: tuple[str, ...] | str = ()
    categorical: tuple[str, ...] = ()
    cluster: str | None = None
    strata: tuple[str, ...] = ()
    lost_for: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    nuisances: Nuisances = field(default_factory=dict)
    refuters: tuple[str, ...] = ()
    simulations: int = 100
    seed: int = 0
    left_out: tuple[str, ...] = ()
    mediators: tuple[str, ...] = ()
    unaffecting: tuple[str, ...] = ()
    placebo: str | None = None
    ids: tuple[str, ...] = ()
    subgroup_column: str | None = None
    subgroup: str | None = None
    is_quantity: bool = False
    averaged_over: tuple[str, ...] = ()
    meaning: str | None = None
    per: str | None = None
    caveats: tuple[str, ...] = ()


def compared_arms(question: Question, comparison: Comparison) -> tuple[pd.Series[Any], float]:
    """Arm (0, 1 or missing) of each row, or the quantity's values; and how many units of it lie between the two levels."""
    column = question.frame[question.treatment]
    if question.is_quantity:
        return column.astype(float), float(comparison.level) - float(comparison.control)
    arms = arms_of(column, comparison.control, comparison.level)
    if comparison.only is not None:
        name, value = comparison.only
        arms = arms.mask((arms == 1) & (question.frame[name].astype(str) != str(value)))
    return arms, 1.0


def contrast_of(question: Question, comparison: Comparison) -> Contrast:
    """What a comparison's estimates are called."""
    columns = [question.subgroup_column] if question.subgroup_column else []
    values = [question.subgroup] if question.subgroup_column else []
    if comparison.only is not None:
        columns.append(comparison.only[0])
        values.append(label(comparison.only[1]))
    return Contrast(
        study_id=question.study_id,
        estimand=question.name,
        treatment=question.treatment,
        outcome=question.outcome,
        control=label(comparison.control),
        level=label(comparison.level),
        subgroup_column=", ".join(map(str, columns)) or None,
        subgroup=", ".join(map(str, values)) or None,
        per=question.per,
    )


def expression_of(question: Question, comparison: Comparison, identification: Identification, *, is_instrumental: bool) -> str:
    """The estimand of a comparison in words and symbols."""
    level = label(comparison.level)
    if comparison.only is not None:
        level += f", {comparison.only[0]} = {label(comparison.only[1])}"
    return in_words(
        identification,
        treatment=question.treatment,
        outcome=question.outcome,
        control=label(comparison.control),
        level=level,
        assignment=question.assignment,
        is_binary=not question.is_quantity,
        within=f"{question.subgroup_column} = {question.subgroup}" if question.subgroup_column else None,
        averaged_over=question.averaged_over if comparison.only is None else (),
        meaning=question.meaning,
        is_instrumental=is_instrumental,
    )


def applies(recipe: str, question: Question, modifiers: Sequence[str]) -> bool:
    """Whether there is what a recipe needs. Instruments are added where the graph lets them be such."""
    made = RECIPES[recipe]
    return not (made.needs == "instruments" or (made.needs == "arms" and question.is_quantity) or (made.has_effects and not modifiers))
