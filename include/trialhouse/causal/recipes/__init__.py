"""Step 3, estimate: the recipes, one file per family, and what each one estimates.

A recipe takes a `Sample` and hands back a `Fit`. Recipes that estimate the same thing ought to agree; the estimand of each
is said here, because where effects differ between units they need not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trialhouse.causal.recipes.fit import Fit, honest
from trialhouse.causal.sample import Sample
from trialhouse.errors import EstimationError

Nuisances = Mapping[str, Mapping[str, Any]]
"""Family of nuisance learners -> settings that differ from its defaults."""

WEIGHTED = "the average effect, weighted by the variance of the treatment given the covariates"
AVERAGE = "the average effect (ATE)"

PRIMARY = "adjusted_linear"
INSTRUMENTAL = "instrumental_variables"


@dataclass(frozen=True)
class Recipe:
    """A way to estimate one contrast.

    Parameters
    ----------
    name
        As in the column `method` of the estimates.
    estimand
        What it estimates where effects differ between units.
    fit
        Sample, seed and nuisances to a `Fit` of one unit of treatment.
    is_adjusted
        Whether it uses covariates.
    needs
        What a sample must have: a treatment with two arms, or instruments.
    has_effects
        Whether it tells effects by what modifies them, and so needs modifiers.
    """

    name: str
    estimand: str
    fit: Callable[[Sample, int, Nuisances], Fit]
    is_adjusted: bool = True
    needs: Literal["arms", "instruments"] | None = None
    has_effects: bool = False


def fit_recipe(name: str, sample: Sample, *, span: float = 1.0, seed: int = 0, nuisances: Nuisances | None = None) -> Fit:
    """Estimate one contrast with one recipe.

    Parameters
    ----------
    name
        One of `RECIPES`.
    span
        Units of treatment between the two levels of the contrast; 1 for two arms.
    seed
        Of whatever it draws.
    nuisances
        Settings of nuisance learners.
    """
    return honest(RECIPES[name].fit(sample, seed, nuisances or {}).scaled(span), sample)


def check_recipes(names: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Raise an `EstimationError` unless all these recipes are known."""
    for name in names:
        if name not in RECIPES:
            raise EstimationError(f"a recipe must be one of {list(RECIPES)}", repr(name), "fix recipes")


def _double_ml(name: str, family: str) -> Recipe:
    def fit(sample: Sample, seed: int, nuisances: Nuisances) -> Fit:
        from trialhouse.causal.recipes.double_ml import double_ml

        return double_ml(sample, name=name, seed=seed, family=family, settings=nuisances.get(family, {}))

    return Recipe(name, WEIGHTED, fit)


def _doubly_robust(name: str, family: str) -> Recipe:
    def fit(sample: Sample, seed: int, nuisances: Nuisances) -> Fit:
        from trialhouse.causal.recipes.doubly_robust import doubly_robust

        return doubly_robust(sample, name=name, seed=seed, family=family, settings=nuisances.get(family, {}))

    return Recipe(name, AVERAGE, fit, needs="arms")


def _of_propensity(name: str) -> Recipe:
    def fit(sample: Sample, seed: int, nuisances: Nuisances) -> Fit:
        from trialhouse.causal.recipes import matching, weighting

        makers: dict[str, Callable[..., Fit]] = {
            "weighting": weighting.weighting,
            "matching": matching.matching,
            "propensity_matching": matching.propensity_matching,
        }
        return makers[name](sample, name=name, seed=seed)

    return Recipe(name, AVERAGE, fit, needs="arms")


def _by_modifier(name: str, estimand: str, needs: Literal["arms"] | None) -> Recipe:
    def fit(sample: Sample, seed: int, nuisances: Nuisances) -> Fit:
        from trialhouse.causal.recipes import by_modifier

        family = next(iter(nuisances), "lasso")
        return by_modifier.RECIPES[name](sample, sample.modifiers, name=name, seed=seed, family=family, settings=nuisances.get(family, {}))

    return Recipe(name, estimand, fit, needs=needs, has_effects=True)


def _naive(sample: Sample, seed: int, nuisances: Nuisances) -> Fit:
    from trialhouse.causal.recipes.linear import naive

    return naive(sample)


def _adjusted_linear(sample: Sample, seed: int, nuisances: Nuisances) -> Fit:
    from trialhouse.causal.recipes.linear import adjusted_linear

    return adjusted_linear(sample)


def _instrumental(sample: Sample, seed: int, nuisances: Nuisances) -> Fit:
    from trialhouse.causal.instruments import instrumented

    found = instrumented(sample, sample.instruments, sample.categorical)
    return Fit(INSTRUMENTAL, found.inference, found.caveats, instrumented=found)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("naive", "the difference between those treated and those not, whatever its cause", _naive, is_adjusted=False),
        Recipe(PRIMARY, WEIGHTED, _adjusted_linear),
        Recipe(
            INSTRUMENTAL, "the average effect on trials that the instrument moves, weighted by how far", _instrumental, needs="instruments"
        ),
        _double_ml("double_ml", "lasso"),
        _double_ml("double_ml_boosting", "boosting"),
        _double_ml("double_ml_forest", "forest"),
        _doubly_robust("doubly_robust", "lasso"),
        _doubly_robust("doubly_robust_boosting", "boosting"),
        _of_propensity("weighting"),
        _of_propensity("matching"),
        _of_propensity("propensity_matching"),
        _by_modifier("linear_dr", f"a line in the modifiers; on average {AVERAGE}", "arms"),
        _by_modifier("group_effects", f"{AVERAGE} among the trials of each level or fifth", "arms"),
        _by_modifier("linear_dml", "a line in the modifiers, weighted by the variance of the treatment given the covariates", None),
        _by_modifier("causal_forest", "the effect near each value of the modifiers, for exploring", None),
        *(_by_modifier(f"{kind}_learner", "points without errors, for exploring", "arms") for kind in ("s", "t", "x", "dr")),
    )
}
