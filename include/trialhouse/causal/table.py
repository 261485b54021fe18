"""The same engine for any table: no study, only rows, a treatment, an outcome and a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from trialhouse.causal.answer import answer_all
from trialhouse.causal.checks.always import REFUTERS, check_refuters
from trialhouse.causal.model import CausalGraph, read_graph_file
from trialhouse.causal.nuisances import check_families
from trialhouse.causal.question import Comparison, Question
from trialhouse.causal.recipes import RECIPES, check_recipes
from trialhouse.causal.results import Results, adjust_for_multiplicity
from trialhouse.causal.sample import is_number, label, require_columns
from trialhouse.causal.scale import Scale, read_scale
from trialhouse.errors import EstimationError
from trialhouse.identity import content_id


def estimate_table(
    frame: pd.DataFrame,
    *,
    treatment: str,
    outcome: str,
    graph: str | Path | CausalGraph,
    cluster: str | None = None,
    contrast: tuple[Any, Any] | None = None,
    per: str | float | None = None,
    adjustment: Sequence[str] | str = "auto",
    mediators: Sequence[str] = (),
    recipes: Sequence[str] = (),
    nuisances: Mapping[str, Mapping[str, Any]] | None = None,
    refuters: Sequence[str] = REFUTERS,
    simulations: int = 100,
    seed: int = 0,
    name: str | None = None,
) -> Results:
    """Estimate one effect from the rows of a table, and try to refute it.

    Parameters
    ----------
    frame
        One row per trial; no missing values in the columns that are used.
    treatment, outcome
        Columns. A treatment with two values has two arms; one with more numbers enters as a quantity, and the effect is
        that of one unit more, unless `contrast` says otherwise.
    graph
        A file (DOT, GML, YAML), its text, or a graph that was read. It also says how the treatment was assigned
        (`observational` if it does not) and which roles nodes have.
    cluster
        Column of the repeated units, if rows are not independent trials.
    contrast
        Two values of the treatment, the one compared with first. Values of a treatment with few levels are taken as
        arms, and rows with other levels are left out; any two numbers do for a quantity with more than ten values.
    per
        `doubling`, or a number of units, for the effect of a doubling or of so many units of a treatment of numbers. Per
        doubling is another question than per unit: the treatment then enters by its logarithm.
    adjustment
        Columns to adjust for; by default those that the graph asks for and those that it says add precision.
    mediators
        Nodes between treatment and outcome: the direct effect, other than through them, is told as well.
    recipes
        Recipes to estimate with, beside those that go with the assignment.
    nuisances
        Family of nuisance learners -> settings that differ from the defaults.
    refuters, simulations, seed
        Of the attempts to refute.
    name
        Of the estimand; by default `<treatment>_on_<outcome>`.

    Returns
    -------
    Results
        One primary estimate (`adjusted_linear`) between others, and its checks.

    Raises
    ------
    EstimationError
        One line for an unknown column, missing values, a treatment that does not vary, a single repeated unit, a text as
        outcome, or a graph that cannot be used.
    """
    check_refuters(refuters)
    check_recipes(tuple(recipes))
    check_families(nuisances or {})
    drawn = graph if isinstance(graph, CausalGraph) else read_graph_file(graph)
    wanted = [*([] if isinstance(adjustment, str) else adjustment), *mediators]
    require_columns(frame, treatment, outcome, *([cluster] if cluster else []), *wanted)
    drawn.require(treatment, outcome)
    _refuse_missing(frame, [treatment, outcome, *([cluster] if cluster else []), *(column for column in frame if column in drawn.digraph)])
    if not is_number(frame[outcome]) and not pd.api.types.is_bool_dtype(frame[outcome]):
        raise EstimationError(
            f"outcome {outcome!r} must be numbers or truth values", str(frame[outcome].dtype), "convert it or choose another"
        )
    if cluster is not None and frame[cluster].nunique() < 2:
        raise EstimationError(f"cluster {cluster!r} must name at least two repeated units", "one", "choose another column or leave it out")
    scale = None if per is None else read_scale(per) if isinstance(per, str) else Scale(per)
    column = frame[treatment] if scale is None else scale.column(frame[treatment])
    if scale is not None and contrast is not None:
        raise EstimationError("either per or contrast must be given", "both", "leave one out")
    control, level, is_quantity = _levels(column, treatment, contrast)
    if scale is not None:
        control, level, is_quantity = 0, 1, True
    data = frame.assign(**{treatment: column, outcome: frame[outcome].astype(float)}).reset_index(drop=True)
    for recipe in recipes:
        if (needed := _lacking(recipe, drawn, is_quantity)) is not None:
            raise EstimationError(f"recipe {recipe!r} needs {needed}", "none", "name it in the graph, or leave the recipe out")
    question_name = name or f"{treatment}_on_{outcome}"
    question = Question(
        study_id=content_id("table", {"name": question_name, "columns": [str(column) for column in frame.columns], "rows": len(frame)}),
        name=question_name,
        frame=data,
        treatment=treatment,
        outcome=outcome,
        comparisons=(Comparison(control, level, is_primary=True, is_refuted=True),),
        graph=drawn,
        assignment=drawn.assignment or "observational",
        adjustment="auto" if adjustment == "auto" else tuple(adjustment),
        precision="efficient",
        cluster=cluster,
        mediators=tuple(mediators),
        recipes=tuple(recipes),
        nuisances=nuisances or {},
        refuters=tuple(refuters),
        simulations=simulations,
        seed=seed,
        left_out=tuple(str(column) for column in frame if column not in drawn.digraph and column not in (treatment, outcome, cluster)),
        is_quantity=is_quantity,
        meaning=None if scale is None else f"Effect {scale.words(treatment)}.",
        per=None if scale is None else str(scale),
        caveats=tuple(_caveats(drawn, frame)),
    )
    results = answer_all([question], datetime.now(UTC))
    adjust_for_multiplicity(results)
    return results


def _lacking(recipe: str, graph: CausalGraph, is_quantity: bool) -> str | None:
    """What a recipe that was asked for needs and does not have."""
    made = RECIPES[recipe]
    if made.has_effects and "effect_modifier" not in graph.roles:
        return "a node with the role effect_modifier"
    if made.needs == "instruments" and "instrument" not in graph.roles:
        return "a node with the role instrument"
    return "a treatment with two arms, or a contrast of two of its levels" if made.needs == "arms" and is_quantity else None


def _refuse_missing(frame: pd.DataFrame, columns: Sequence[Any]) -> None:
    for column in columns:
        missing = int(frame[column].isna().sum())
        if missing:
            actual = f"{missing} of {len(frame)} rows without"
            raise EstimationError(f"column {column!r} must have no missing values", actual, "drop or fill those rows")


def _levels(column: pd.Series[Any], treatment: str, contrast: tuple[Any, Any] | None) -> tuple[Any, Any, bool]:
    """The two levels compared, and whether the treatment is a quantity with a slope."""
    values = sorted(column.unique())
    if len(values) < 2:
        only = f"only {label(values[0])}" if values else "no rows"
        raise EstimationError(f"treatment {treatment!r} must vary", only, "choose another treatment")
    has_slope = is_number(column) and len(values) > 2
    if contrast is not None:
        known = [label(value) for value in values]
        if all(label(level) in known for level in contrast) and len(values) <= 10:
            return contrast[0], contrast[1], False
        if has_slope and all(isinstance(level, int | float) for level in contrast) and contrast[0] != contrast[1]:
            return contrast[0], contrast[1], True
        levels = ", ".join(known[:10])
        raise EstimationError(f"contrast must name two levels of {treatment!r} ({levels})", repr(contrast), "fix the contrast")
    if len(values) == 2:
        return values[0], values[1], False
    if has_slope:
        return 0, 1, True
    expected = f"treatment {treatment!r} has {len(values)} levels, so a contrast must be given"
    raise EstimationError(expected, "none", "name the two levels to compare")


def _caveats(graph: CausalGraph, frame: pd.DataFrame) -> list[str]:
    caveats: list[str] = []
    unobserved = sorted(set(graph.digraph) - set(frame.columns))
    if unobserved:
        caveats.append(f"the graph's nodes without a column are taken as unobserved: {', '.join(unobserved)}")
    if graph.assignment is None:
        caveats.append("the graph does not say how the treatment was assigned: taken as observational")
    return caveats
