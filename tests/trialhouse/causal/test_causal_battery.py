"""The battery gives the slopes of refitting, says what DoWhy's own loop says, and repeats bit by bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
from dowhy.causal_estimator import CausalEstimate, CausalEstimator
from dowhy.causal_refuters import (
    refute_bootstrap,
    refute_data_subset,
    refute_dummy_outcome,
    refute_placebo_treatment,
    refute_random_common_cause,
)
from dowhy.causal_refuters.placebo_treatment_refuter import PlaceboType

from trialhouse.causal.checks import battery
from trialhouse.causal.checks.battery import STOCK_REFUTERS, arrangements, expected_different, percentile_p_value, stock_refuter
from trialhouse.causal.identify import identify
from trialhouse.causal.inference import Array, coefficient
from trialhouse.causal.model import causal_model, read_graph
from trialhouse.causal.partial import Partialled
from trialhouse.causal.sample import Sample, make_sample
from trialhouse.causal.verdict import decide

GRAPH = read_graph("digraph { w -> t; w -> y; v -> y; v -> t; t -> y }", "g.dot")
DOWHYS: dict[str, Callable[..., Any]] = {
    "random_common_cause": refute_random_common_cause,
    "data_subset": refute_data_subset,
    "permuted_placebo": refute_placebo_treatment,
    "bootstrap": refute_bootstrap,
    "dummy_outcome": refute_dummy_outcome,
}


def basis_of(covariates: Array) -> Array:
    return np.linalg.qr(np.column_stack([np.ones(len(covariates)), covariates]))[0]


def partial_out(sample: Sample) -> Partialled:
    basis = basis_of(sample.matrix)
    left = [column - basis @ (basis.T @ column) for column in (sample.arms, sample.values)]
    return Partialled(left[0], left[1], basis, sample.clusters)


def draw(rows: int = 120, seed: int = 0, **columns: Array) -> Sample:
    rng = np.random.default_rng(seed)
    w, v = rng.normal(size=(2, rows))
    t = (rng.random(rows) < 1 / (1 + np.exp(-w - 0.5 * v))).astype(float)
    frame = pd.DataFrame({"w": w, "v": v, "t": t, "y": 0.5 * t + w + 0.3 * v + rng.normal(size=rows), **columns})
    cluster = "unit" if "unit" in columns else None
    return make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=("w", "v"), cluster=cluster)


class Driven(CausalEstimator):  # type: ignore[misc]
    """Any function of (treatment, outcome, covariates) as an estimator that DoWhy's refuters can drive."""

    def __init__(self, estimand: Any, effect: Callable[[Array, Array, Array], float]) -> None:
        super().__init__(estimand)
        self.effect = effect
        self._effect_modifier_names: list[str] = []
        self._target_units = "ate"

    def get_new_estimator_object(self, estimand: Any, *_: Any, **__: Any) -> Self:
        return type(self)(estimand, self.effect)

    def fit(self, data: pd.DataFrame, *_: Any, **__: Any) -> Self:
        return self

    def estimate_effect(self, data: pd.DataFrame, *_: Any, **__: Any) -> CausalEstimate:
        estimand = self._target_estimand
        names = [*estimand.treatment_variable, *estimand.outcome_variable, *estimand.get_adjustment_set()]
        columns = data[names].to_numpy(dtype=float)
        value = self.effect(columns[:, 0], columns[:, 1], columns[:, 2:])
        treatment, outcome = estimand.treatment_variable, estimand.outcome_variable
        found = CausalEstimate(data, treatment, outcome, value, estimand, "", 0, 1)
        found.add_estimator(self)
        return found


def dowhys(sample: Sample, effect: Callable[[Array, Array, Array], float], name: str, seed: int = 3) -> tuple[float, float]:
    """Mean and p-value of DoWhy's own refuter, 100 simulations one after the other."""
    frame = sample.numbers
    identification = identify(causal_model(frame, GRAPH, "t", "y"), GRAPH, treatment="t", outcome="y")
    estimand = identification.estimand
    estimand.set_identifier_method("backdoor")
    found = Driven(estimand, effect).estimate_effect(frame)
    special: dict[str, Any] = {}
    if name == "permuted_placebo":
        special = {"treatment_names": ["t"], "placebo_type": PlaceboType.PERMUTE}
    if name == "dummy_outcome":
        special = {"outcome_name": "y", "treatment_name": ["t"], "required_variables": True}
    np.random.seed(seed)
    result = DOWHYS[name](data=frame, target_estimand=estimand, estimate=found, num_simulations=100, **special)
    result = result[0] if isinstance(result, list) else result
    return float(np.squeeze(result.new_effect)), float(np.squeeze(result.refutation_result["p_value"]))


def slopes_of(name: str, sample: Sample, partialled: Partialled, simulations: int = 100, seed: int = 3) -> Array:
    return battery._REFUTERS[name](sample, partialled, simulations, np.random.default_rng(seed)).slopes


@pytest.mark.parametrize("name", STOCK_REFUTERS)
def test_least_squares_are_refuted_as_by_dowhy(name: str) -> None:
    sample = draw()
    check = stock_refuter(name, sample, partial_out(sample), seed=3)
    mean, p_value = dowhys(sample, coefficient, name)
    spread = slopes_of(name, sample, partial_out(sample)).std(ddof=1)
    if name == "dummy_outcome":  # its noise has the outcome's spread, DoWhy's the spread of one
        check = replace(check, statistic=(check.statistic or 0) / sample.values.std())
        spread /= sample.values.std()
    # Two means of 100 simulations each; DoWhy's bootstrap also adds noise to the covariates, which moves its mean by a
    # hundredth of the confounding bias (here below .02).
    tolerance = 4 * spread * math.sqrt(2 / 100) + (0.02 if name == "bootstrap" else 0)
    assert check.statistic == pytest.approx(mean, abs=tolerance)
    assert check.verdict == "passed"
    assert p_value > 0.05
    assert decide([check]).word == "released"


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("name", STOCK_REFUTERS)
def test_each_slope_is_that_of_the_whole_regression_again(name: str, clustered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    units = np.repeat(np.arange(24), 5)
    sample = draw(unit=units) if clustered else draw()
    drawn: list[Array] = []
    monkeypatch.setattr(battery, "_hashes", lambda rows: drawn.extend(rows) or set(range(len(drawn))))
    slopes = slopes_of(name, sample, partial_out(sample), simulations=4)
    for slope, vector in zip(slopes, drawn, strict=True):
        treatment, outcome, covariates = sample.arms, sample.values, sample.matrix
        if name == "random_common_cause":
            covariates = np.column_stack([covariates, vector])
        elif name == "permuted_placebo":
            treatment = vector
        elif name == "dummy_outcome":
            outcome = vector * sample.values.std()
        else:
            times = (vector if sample.clusters is None else vector[sample.clusters]).astype(int)
            assert times.max() == 1 or name == "bootstrap"
            treatment, outcome, covariates = (np.repeat(column, times, axis=0) for column in (treatment, outcome, covariates))
        assert slope == pytest.approx(coefficient(treatment, outcome, covariates), rel=1e-8)


@pytest.mark.parametrize("name", STOCK_REFUTERS)
def test_simulations_differ_from_each_other_and_repeat_bit_by_bit(name: str) -> None:
    sample = draw(80)
    partialled = partial_out(sample)
    before = np.random.get_state()[1].copy()
    first, second = (stock_refuter(name, sample, partialled, seed=3) for _ in range(2))
    assert first == second
    assert first != stock_refuter(name, sample, partialled, seed=4)
    assert len(np.unique(slopes_of(name, sample, partialled))) == 100
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("name", STOCK_REFUTERS)
def test_memory_is_bounded_without_changing_a_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = draw()
    whole = slopes_of(name, sample, partial_out(sample))
    monkeypatch.setattr(battery, "_CHUNK", 1_000)  # eight simulations at once, 40 rows of products
    assert slopes_of(name, sample, partial_out(sample)) == pytest.approx(whole, rel=1e-12)


def test_too_few_simulations_or_the_same_ones_again_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = draw()
    check = stock_refuter("bootstrap", sample, partial_out(sample), simulations=99)
    assert check.verdict == "inconclusive"
    assert decide([check]).word == "withheld"
    monkeypatch.setattr(battery, "_hashes", lambda rows: {0})
    assert stock_refuter("bootstrap", sample, partial_out(sample)).verdict == "inconclusive"


def test_an_estimator_that_makes_up_an_effect_fails_here_and_there() -> None:
    """A regression without a constant gives whatever is shuffled the product of the means."""
    rng = np.random.default_rng(1)
    frame = draw().numbers.assign(y=lambda data: data["y"] + 3 + rng.normal(size=120) * 0.1)
    sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=("w", "v"))
    basis = np.linalg.qr(sample.matrix)[0]
    left = [column - basis @ (basis.T @ column) for column in (sample.arms, sample.values)]
    faulty = Partialled(left[0], left[1], basis)

    def without_constant(treatment: Array, outcome: Array, covariates: Array) -> float:
        return float(np.linalg.lstsq(np.column_stack([treatment, covariates]), outcome, rcond=None)[0][0])

    for name in STOCK_REFUTERS:
        check = stock_refuter(name, sample, faulty, seed=3)
        mean, p_value = dowhys(sample, without_constant, name)
        is_refuted = name == "permuted_placebo"
        assert (decide([check]).word == "failed") == is_refuted
        assert (p_value < 0.05) == is_refuted
        if is_refuted:
            assert check.statistic == pytest.approx(mean, rel=0.05)


@pytest.mark.parametrize("is_faulty", [False, True])
def test_linear_dml_is_refuted_as_by_dowhy_and_econml(is_faulty: bool) -> None:
    """The fault: nuisances that leave the means in place, so that LinearDML's last regression needs a constant it lacks."""
    from econml.dml import LinearDML
    from sklearn.dummy import DummyRegressor
    from sklearn.linear_model import LinearRegression

    sample = draw(60)
    sample = replace(sample, values=sample.values + 3)
    nuisance = DummyRegressor(strategy="constant", constant=0.0) if is_faulty else LinearRegression()

    def fit(treatment: Array, outcome: Array, covariates: Array) -> LinearDML:
        learner = LinearDML(model_y=nuisance, model_t=nuisance, cv=2, random_state=0)
        return learner.fit(outcome, treatment, W=covariates, cache_values=True, inference=None)

    outcome, treatment = (left.ravel() for left in fit(sample.arms, sample.values, sample.matrix).residuals_[:2])
    constant = np.empty((60, 0)) if is_faulty else np.full((60, 1), 60**-0.5)
    check = stock_refuter("permuted_placebo", sample, Partialled(treatment, outcome, constant), seed=3)
    _, p_value = dowhys(sample, lambda *columns: float(fit(*columns).intercept_), "permuted_placebo")
    assert (decide([check]).word == "failed") == (p_value < 0.05) == is_faulty


def test_units_that_share_a_treatment_are_shuffled_whole_and_blocks_within() -> None:
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(8), 6)
    whole = np.repeat([0.0, 1.0], 4)[units]
    blocked = np.tile([0.0, 1.0], 24)
    skewed = np.where(units < 4, blocked, 0.0)
    constant = np.full((48, 1), 48**-0.5)
    for arms, shared, balanced, ways in (
        (whole, True, False, 70),
        (blocked, False, True, 20**8),
        (skewed, False, False, math.comb(48, 12)),
    ):
        shuffle, possible = battery._shuffle(arms, Partialled(arms - arms.mean(), rng.normal(size=48), constant, units))
        placebos = shuffle(50, rng).reshape(50, 8, 6)
        assert (np.ptp(placebos, axis=2) == 0).all() == shared
        assert (placebos.sum(axis=2) == 3).all() == balanced
        assert (placebos.sum(axis=(1, 2)) == arms.sum()).all()
        assert possible == pytest.approx(ways)


def test_units_are_resampled_whole() -> None:
    """Six units, five of them in a subset: six different subsets, each the slope without one unit."""
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(6), 4)
    sample = make_sample(
        pd.DataFrame({"t": np.tile([0.0, 1.0], 12), "y": rng.normal(size=24), "unit": units}),
        treatment="t",
        outcome="y",
        arms=pd.Series(np.tile([0.0, 1.0], 12)),
        covariates=(),
        cluster="unit",
    )
    slopes = slopes_of("data_subset", sample, partial_out(sample))
    without = [coefficient(sample.arms[units != unit], sample.values[units != unit], np.empty((20, 0))) for unit in range(6)]
    assert np.unique(slopes.round(9)) == pytest.approx(sorted(without))
    assert stock_refuter("data_subset", sample, partial_out(sample)).verdict == "passed"


def test_few_trials_have_few_shuffles_and_that_is_no_fault_of_the_estimate() -> None:
    """Six pairs: 924 shuffles, of which 100 draws hit about 95 different ones; in some every pair has one arm only."""
    rng = np.random.default_rng(0)
    arms = np.tile([0.0, 1.0], 6)
    frame = pd.DataFrame({"w": np.repeat([f"b{number}" for number in range(6)], 2), "t": arms, "y": arms + rng.normal(size=12)})
    sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=("w",))
    assert arrangements(arms) == pytest.approx(924)
    assert expected_different(100, 924) == pytest.approx(94.8, abs=0.1)
    words = {stock_refuter("permuted_placebo", sample, partial_out(sample), seed=seed).verdict for seed in range(40)}
    assert words == {"passed", "not_applicable"}


def test_number_of_different_bootstrap_samples() -> None:
    """By counting: two units give (2, 0), (1, 1), (0, 2) with probabilities 1/4, 1/2, 1/4."""
    assert battery._resamples(2) == pytest.approx(1 / (1 / 16 + 1 / 4 + 1 / 16))
    assert battery._resamples(1) == 1
    assert math.isinf(battery._resamples(21))


def test_what_is_determined_is_not_refuted_by_rounding_errors() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=50)
    arms = rng.permutation(np.repeat([0.0, 1.0], 25))
    for values in (2 * arms + w, w):  # an effect without error, and none at all
        frame = pd.DataFrame({"w": w, "t": arms, "y": values})
        sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=("w",))
        for name in ("random_common_cause", "data_subset", "bootstrap"):
            assert stock_refuter(name, sample, partial_out(sample), seed=1).p_value == 1.0
    frame = frame.assign(t=w)
    sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=("w",), is_binary=False)
    assert {stock_refuter(name, sample, partial_out(sample)).verdict for name in STOCK_REFUTERS} == {"not_applicable"}


def test_percentile_p_value_is_dowhys() -> None:
    from dowhy.causal_refuter import perform_bootstrap_test

    simulated = np.array([0.1, 0.2, 0.2, 0.4, 0.9])
    for value in (0.0, 0.1, 0.2, 0.3, 1.0):
        estimate = type("Estimate", (), {"value": value})
        assert percentile_p_value(value, simulated) == pytest.approx(perform_bootstrap_test(estimate, list(simulated)))


def test_resamples_of_few_units_repeat_by_chance_and_that_is_no_fault() -> None:
    """Six units: 462 resamples, far from equally likely, of which 100 draws hit 73 to 90 different ones."""
    generator = np.random.default_rng(0)
    for units in (4, 6, 10, 30):
        least = battery.fewest_different(100, battery._resamples(units))
        for _ in range(200):
            draws = generator.integers(0, units, (100, units))
            assert len({np.bincount(draw, minlength=units).tobytes() for draw in draws}) >= least
    assert battery.fewest_different(100, battery._resamples(6)) > 50  # a seed that repeats itself is still found
