"""Step 3, estimate: three recipes, each a DoWhy estimator, so that DoWhy's refuters can drive them.

`naive` is the difference of means. `adjusted_linear`, the primary one, is least squares on the treatment and the
covariates. `double_ml` partials both out by cross-fitted lasso regressions on second-degree terms (EconML's LinearDML)
and takes the median over repeated splits. All three share the errors of `trialhouse.causal.inference`.

Importing this module imports DoWhy, which takes seconds.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from dowhy.causal_estimator import CausalEstimate, CausalEstimator, estimate_effect
from numpy.typing import NDArray

from trialhouse.causal.identify import Identification
from trialhouse.causal.inference import (
    Array,
    Inference,
    coefficient,
    is_degenerate,
    least_squares,
    score_interval,
    with_interval,
)
from trialhouse.causal.sample import Sample

FOLDS = 5
MIN_ROWS = 10
REPEATS = 5
"""Cross-fitting splits the rows at random; the median over repeats takes that chance out (Chernozhukov et al. 2018)."""


class LeastSquares(CausalEstimator):  # type: ignore[misc]
    """Least squares on the treatment and whatever the estimand's adjustment set names; all columns are numbers.

    DoWhy's own linear regression gives the same slope, but fits a statsmodels model for each of the hundreds of
    simulations of a refuter (20-40 ms instead of 1).
    """

    def __init__(self, identified_estimand: Any, clusters: NDArray[np.int64] | None = None, **_: Any) -> None:
        super().__init__(identified_estimand)
        self.clusters = clusters
        self.draws: set[int] = set()
        self._effect_modifier_names: list[str] = []
        self._target_units = "ate"

    def get_new_estimator_object(self, identified_estimand: Any, *_: Any, **__: Any) -> Self:
        """A fresh estimator for a simulation; it counts its data among this one's `draws`."""
        new = type(self)(identified_estimand)
        new.draws = self.draws
        return new

    def fit(self, data: pd.DataFrame, effect_modifier_names: list[str] | None = None, **_: Any) -> Self:
        """Read the columns that the estimand names."""
        names = [*self._target_estimand.treatment_variable, *self._target_estimand.outcome_variable, *self._covariates()]
        columns = data[names].to_numpy(dtype=float)
        self.treatment, self.outcome, self.covariates = columns[:, 0], columns[:, 1], columns[:, 2:]
        self.draws.add(hash((columns.tobytes(), data.index.to_numpy().tobytes())))
        return self

    def estimate_effect(
        self, data: pd.DataFrame, treatment_value: Any = 1, control_value: Any = 0, target_units: Any = "ate", **_: Any
    ) -> CausalEstimate:
        """The effect of going from the control value to the treatment value."""
        value = coefficient(self.treatment, self.outcome, self.covariates) * (treatment_value - control_value)
        return self._as_estimate(data, value, treatment_value, control_value)

    def infer(self) -> Inference:
        """The effect of one unit of treatment with its error, for the data that were fitted."""
        return least_squares(self.treatment, self.outcome, self.covariates, self.clusters)

    def _covariates(self) -> list[str]:
        return list(self._target_estimand.get_adjustment_set())

    def _as_estimate(self, data: pd.DataFrame, value: float, treatment_value: Any, control_value: Any) -> CausalEstimate:
        result = CausalEstimate(
            data=data,
            treatment_name=self._target_estimand.treatment_variable,
            outcome_name=self._target_estimand.outcome_variable,
            estimate=value,
            target_estimand=self._target_estimand,
            realized_estimand_expr=f"{type(self).__name__}({', '.join(self._covariates())})",
            control_value=control_value,
            treatment_value=treatment_value,
        )
        result.add_estimator(self)
        return result


class DifferenceInMeans(LeastSquares):
    """The same without covariates."""

    def _covariates(self) -> list[str]:
        return []


class DoubleMachineLearning(LeastSquares):
    """EconML's LinearDML with lasso nuisances, repeated; folds never split a repeated unit.

    Where the covariates include the repeated units, these are taken out first, as differences from each unit's mean
    (Clarke & Polselli 2025): a fold has no rows of a unit that it predicts.
    """

    def __init__(self, identified_estimand: Any, clusters: NDArray[np.int64] | None = None, seed: int = 0, **_: Any) -> None:
        super().__init__(identified_estimand, clusters)
        self.seed = seed

    def fit(self, data: pd.DataFrame, effect_modifier_names: list[str] | None = None, **_: Any) -> Self:
        """Cross-fit; `repeats` has one result per split."""
        super().fit(data)
        self.repeats = _cross_fit(self.treatment, self.outcome, self.covariates, self.clusters, self.seed)
        return self

    def estimate_effect(
        self, data: pd.DataFrame, treatment_value: Any = 1, control_value: Any = 0, target_units: Any = "ate", **_: Any
    ) -> CausalEstimate:
        """The median effect of going from the control value to the treatment value."""
        return self._as_estimate(data, self.infer().estimate * (treatment_value - control_value), treatment_value, control_value)

    def infer(self) -> Inference:
        """Median over repeats; the error adds how far each repeat lies from it."""
        estimates = np.array([repeat.estimate for repeat in self.repeats])
        if np.isnan(estimates).any():
            return self.repeats[int(np.argmax(np.isnan(estimates)))]
        centre = float(np.median(estimates))
        errors = np.array([repeat.standard_error for repeat in self.repeats])
        error = float(np.median(np.sqrt(errors**2 + (estimates - centre) ** 2)))
        return with_interval(replace(self.repeats[0], estimate=centre, standard_error=error))


@dataclass(frozen=True)
class Estimate:
    """What one recipe says about one contrast."""

    method: str
    inference: Inference
    caveats: tuple[str, ...]
    dowhy_estimate: CausalEstimate


_RECIPES: dict[str, type[LeastSquares]] = {
    "naive": DifferenceInMeans,
    "adjusted_linear": LeastSquares,
    "double_ml": DoubleMachineLearning,
}


def estimate(sample: Sample, identification: Identification, method: str, *, span: float = 1.0, seed: int = 0) -> Estimate:
    """Estimate the identified effect with one recipe, through DoWhy.

    Parameters
    ----------
    method
        `naive`, `adjusted_linear` or `double_ml`.
    span
        Units of treatment between the two levels of the contrast; 1 for two arms.
    seed
        Of the splits of `double_ml`.
    """
    estimand = _about_numbers(identification.estimand, sample)
    estimator = _RECIPES[method](estimand, clusters=sample.clusters, seed=seed)
    found = estimate_effect(
        sample.numbers,
        sample.treatment,
        sample.outcome,
        "backdoor",
        estimator,
        control_value=0,
        treatment_value=span,
        method_params={},  # DoWhy 0.14 fails on its own default
    )
    inference = estimator.infer().scaled(span)
    caveats: tuple[str, ...] = ()
    if is_degenerate(inference, sample.values):
        inference, caveats = _determined(sample, inference)
    elif inference.note:
        caveats = (f"no interval: {inference.note}",)
    return Estimate(method, inference, caveats, found)


def _about_numbers(estimand: Any, sample: Sample) -> Any:
    """The estimand with the encoded columns in place of the covariates that they encode."""
    import copy

    result = copy.deepcopy(estimand)
    result.set_identifier_method("backdoor")
    if result.estimands.get("backdoor") is None:  # not identified: the number is computed all the same, and withheld
        result.estimands["backdoor"] = {"estimand": None, "assumptions": {}}
        result.backdoor_variables = {**(result.backdoor_variables or {})}
        result.default_backdoor_id = "backdoor"
    result.set_adjustment_set(list(sample.encoded.columns), "backdoor")
    return result


def _determined(sample: Sample, inference: Inference) -> tuple[Inference, tuple[str, ...]]:
    """An honest interval where all trials of an arm agree, or every repeated unit says the same."""
    blank = replace(inference, standard_error=math.nan, ci_low=math.nan, ci_high=math.nan, p_value=math.nan, degrees_of_freedom=math.nan)
    is_share = sample.is_binary and set(np.unique(sample.values)) <= {0.0, 1.0}
    if not is_share:
        return blank, ("no interval: treatment and covariates determine the outcome, so there is no error to estimate",)
    trials = tuple(int((sample.arms == arm).sum()) for arm in (0, 1))
    events = tuple(int(sample.values[sample.arms == arm].sum()) for arm in (0, 1))
    low, high, p_value = score_interval(events, trials)  # type: ignore[arg-type]
    low, high = min(low, inference.estimate), max(high, inference.estimate)
    seen = f"{events[0]} of {trials[0]} control and {events[1]} of {trials[1]} treated trials"
    units = "" if sample.clusters is None else f" (from {len(np.unique(sample.clusters))} repeated units)"
    if sum(events) in (0, sum(trials)):
        which = "no trial" if sum(events) == 0 else "every trial"
        possible = min(1.0, 3 / min(trials))
        sentence = (
            f"{which} has {sample.outcome} = 1: {seen}{units}; the effect seen is exactly 0, and the interval is what so many independent"
            f" trials can exclude (Newcombe's score interval; rule of three: a share of {possible:.2g} in an arm stays possible)"
        )
    else:
        sentence = (
            f"every repeated unit shows the same: {seen}{units}; that leaves no error to estimate, so the interval is that of independent"
            " trials (Newcombe's score interval, Fisher's exact p-value)"
        )
    return replace(blank, ci_low=low, ci_high=high, p_value=p_value), (sentence,)


def _cross_fit(treatment: Array, outcome: Array, covariates: Array, clusters: NDArray[np.int64] | None, seed: int) -> list[Inference]:
    from econml.dml import LinearDML
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import GroupKFold, KFold

    plain = least_squares(treatment, outcome, covariates, clusters)
    if plain.note is not None:  # what one regression cannot tell, many cannot tell either
        return [Inference(math.nan, note=plain.note)]
    features = second_degree(covariates)
    if clusters is not None and _stands_for_units(covariates, clusters):
        treatment, outcome, features = (_within(column, clusters) for column in (treatment, outcome, features))
    features = features[:, features.std(axis=0) > 1e-9]
    features = features / features.std(axis=0) if features.shape[1] else np.zeros((len(treatment), 1))
    if len(outcome) < MIN_ROWS:
        return [Inference(math.nan, note=f"cross-fitting needs at least {MIN_ROWS} trials")]
    scale = float(outcome.std()) or 1.0
    results = []
    for repeat in range(REPEATS):
        state = (seed + repeat) % 2**32
        if clusters is None:
            splits = list(KFold(min(FOLDS, len(outcome)), shuffle=True, random_state=state).split(features))
        else:
            folds = min(FOLDS, len(np.unique(clusters)))
            splits = list(GroupKFold(folds, shuffle=True, random_state=state).split(features, groups=clusters))
        lasso = LassoCV(alphas=20, max_iter=2_000)
        learner = LinearDML(model_y=lasso, model_t=lasso, cv=splits, random_state=state)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lasso paths that stop early choose a slightly larger penalty
            learner.fit(outcome / scale, treatment, X=None, W=features, cache_values=True, inference=None)
        left_outcome, left_treatment, _, _ = learner.residuals_
        left_outcome, left_treatment = left_outcome.ravel() * scale, left_treatment.ravel()
        results.append(_final_stage(left_treatment, left_outcome, clusters))
    return results


def _final_stage(treatment: Array, outcome: Array, clusters: NDArray[np.int64] | None) -> Inference:
    """LinearDML's last regression (no constant) with the errors that the design asks for; its own are HC1 and normal."""
    weight = float(treatment @ treatment)
    if weight <= 1e-12:
        return Inference(math.nan, note="lasso regressions predict the treatment")
    slope = float(treatment @ outcome) / weight
    errors = outcome - slope * treatment
    if clusters is None:
        leverage = np.minimum(treatment**2 / weight, 1 - 1e-8)
        error = float(np.sqrt(((treatment * errors / (1 - leverage)) ** 2).sum())) / weight
        return with_interval(Inference(slope, error, degrees_of_freedom=len(outcome) - 1))
    count = len(np.unique(clusters))
    weights = weight - np.bincount(clusters, weights=treatment**2)
    products = float(treatment @ outcome) - np.bincount(clusters, weights=treatment * outcome)
    informative = int((np.bincount(clusters, weights=treatment**2) > 1e-9 * weight).sum())
    if informative < 2 or (weights <= 1e-9 * weight).any():
        return Inference(slope, clusters=count, note="too few repeated units carry the contrast")
    error = math.sqrt((count - 1) / count * float(((products / weights - slope) ** 2).sum()))
    return with_interval(Inference(slope, error, degrees_of_freedom=informative - 1, clusters=count))


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


def _stands_for_units(covariates: Array, clusters: NDArray[np.int64]) -> bool:
    """Whether the covariates include a dummy per repeated unit, under whatever name."""
    units = len(np.unique(clusters))
    if covariates.shape[1] < units - 1:
        return False
    dummies = (clusters[:, None] == np.unique(clusters)).astype(float)
    design = np.column_stack([np.ones(len(clusters)), covariates])
    left = dummies - design @ np.linalg.lstsq(design, dummies, rcond=None)[0]
    return bool(np.abs(left).max() < 1e-8)


def _within(columns: Array, clusters: NDArray[np.int64]) -> Array:
    counts = np.bincount(clusters)
    if columns.ndim == 1:
        return columns - (np.bincount(clusters, weights=columns) / counts)[clusters]
    return np.column_stack([_within(column, clusters) for column in columns.T]) if columns.shape[1] else columns
