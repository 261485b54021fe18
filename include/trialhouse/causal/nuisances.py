"""Nuisance learners: families of regressions that predict treatment and outcome from the covariates.

Recipes that rest on different families ought to agree; where they do not, the effect depends on how confounding is modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from trialhouse.causal.inference import Array
from trialhouse.errors import EstimationError

FAMILIES: dict[str, dict[str, Any]] = {
    "lasso": {"alphas": 20, "max_iter": 2_000},
    "boosting": {"max_iter": 50, "learning_rate": 0.2, "max_leaf_nodes": 8, "min_samples_leaf": 10, "early_stopping": False},
    "forest": {"n_estimators": 100, "min_samples_leaf": 5},
}
"""Family -> settings of its learner: scikit-learn's LassoCV on second-degree terms, its histogram boosting and its random forest.

Not LightGBM, which is two to three times as fast on few rows: it needs an OpenMP library of the system, which a bare machine has not.
"""


def learner(family: str, settings: Mapping[str, Any], seed: int) -> Any:
    """An unfitted regressor with scikit-learn's interface.

    Parameters
    ----------
    family
        One of `FAMILIES`.
    settings
        Of the learner, besides those in `FAMILIES`.
    seed
        Of what it draws.
    """
    chosen = {**FAMILIES[family], **settings}
    if family == "lasso":
        from sklearn.linear_model import LassoCV

        return LassoCV(**chosen)
    if family == "boosting":
        from sklearn.ensemble import HistGradientBoostingRegressor

        return AfterLinear(HistGradientBoostingRegressor(**chosen, random_state=seed))
    from sklearn.ensemble import RandomForestRegressor

    return AfterLinear(RandomForestRegressor(**chosen, random_state=seed, n_jobs=1))


def features(family: str, covariates: Array) -> Array:
    """What a family's learner sees: second-degree terms for the lasso, the covariates for trees."""
    return second_degree(covariates) if family == "lasso" else covariates


class AfterLinear(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor on what least squares leaves: trees need not spend their few leaves on straight lines.

    In samples of 36 to 500 trees alone predict a linear confounder so badly that the effect keeps much of its bias.
    """

    def __init__(self, rest: Any) -> None:
        self.rest = rest

    def fit(self, features: Array, target: Array, sample_weight: Array | None = None) -> Self:
        """Fit the line, then the rest."""
        from sklearn.base import clone
        from sklearn.linear_model import LinearRegression

        self.line_ = LinearRegression().fit(features, target, sample_weight)
        self.rest_ = clone(self.rest).fit(features, target - self.line_.predict(features), sample_weight)
        return self

    def predict(self, features: Array) -> Array:
        """Their sum."""
        result: Array = self.line_.predict(features) + self.rest_.predict(features)
        return result


def second_degree(covariates: Array) -> Array:
    """The covariates, their squares and products, without constant and repeated columns."""
    from sklearn.preprocessing import PolynomialFeatures

    if covariates.shape[1] == 0:
        return covariates
    spread = covariates.std(axis=0)
    standard = (covariates - covariates.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    is_dummy = np.array([set(np.unique(column)) <= {0.0, 1.0} for column in covariates.T])
    standard = np.where(is_dummy, covariates, standard)
    terms = PolynomialFeatures(2, include_bias=False).fit_transform(standard)
    terms = terms[:, terms.std(axis=0) > 1e-9]
    result: Array = terms[:, np.sort(np.unique(terms.round(9), axis=1, return_index=True)[1])]
    return result


def check_families(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise an `EstimationError` unless all these families, and the settings of their learners, are known."""
    for family, given in settings.items():
        if family not in FAMILIES:
            raise EstimationError(f"a nuisance family must be one of {list(FAMILIES)}", repr(family), "fix nuisances")
        made = learner(family, {}, 0)
        known = (made.rest if isinstance(made, AfterLinear) else made).get_params()
        for name in given:
            if name not in known:
                raise EstimationError(f"a setting of {family} must be one of {sorted(known)}", repr(name), "fix nuisances")
