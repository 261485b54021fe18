"""Effects by modifiers, by any recipe that tells them, and what each of them estimates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from trialhouse.causal.recipes import forests, heterogeneity, meta_learners
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.sample import Sample
from trialhouse.errors import EstimationError

if TYPE_CHECKING:
    import pandas as pd

RECIPES: dict[str, Callable[..., Fit]] = {
    "linear_dr": heterogeneity.linear_dr,
    "group_effects": heterogeneity.group_effects,
    "linear_dml": heterogeneity.linear_dml,
    "causal_forest": forests.causal_forest,
    **{f"{kind}_learner": partial(meta_learners.meta_learner, kind=kind) for kind in meta_learners.KINDS},
}
"""Name -> `recipe(sample, modifiers, *, name, seed, family, settings, at) -> Fit`; the average effect is its `inference`."""

ESTIMANDS: dict[str, str] = {
    **heterogeneity.ESTIMANDS,
    "causal_forest": forests.ESTIMAND,
    **{f"{kind}_learner": meta_learners.ESTIMAND for kind in meta_learners.KINDS},
}
"""What each recipe's effects are, where the truth has another shape than the recipe."""

ONLY_ARMS = tuple(name for name in RECIPES if name not in ("linear_dml", "causal_forest"))
"""Recipes that need a treatment with two arms."""


def effects_by(
    sample: Sample, modifiers: Sequence[str], recipe: str = "linear_dr", at: pd.DataFrame | None = None, seed: int = 0
) -> pd.DataFrame:
    """Effects of one unit of treatment, or of the other arm, by what modifies them.

    Parameters
    ----------
    modifiers
        Columns that come before the treatment.
    recipe
        One of `RECIPES`.
    at
        Values of the modifiers, one row each; see `trialhouse.causal.recipes.modifiers.modifiers_of`.

    Returns
    -------
    pandas.DataFrame
        A column per modifier, `effect`, `ci_low`, `ci_high`, `p_value` and `n`, the trials of that level or fifth.

    Raises
    ------
    EstimationError
        If the recipe or a modifier is unknown, or the data cannot carry the recipe.
    """
    if recipe not in RECIPES:
        raise EstimationError(f"recipe must be one of {list(RECIPES)}", repr(recipe), "choose one of these")
    fit = RECIPES[recipe](sample, modifiers, seed=seed, at=at)
    if fit.effects is None:
        raise EstimationError(f"{recipe} must be able to tell effects", str(fit.inference.note), "choose another recipe, or get more data")
    return fit.effects
