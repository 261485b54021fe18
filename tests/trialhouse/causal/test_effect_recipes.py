"""Doubly robust, weighting and matching: right where their assumptions hold, wrong where they do not."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit
from threadpoolctl import threadpool_limits

from trialhouse.causal.inference import least_squares
from trialhouse.causal.recipes import fit_recipe
from trialhouse.causal.recipes.doubly_robust import doubly_robust
from trialhouse.causal.recipes.final_stage import linear_fit, mean_of, median_of
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.recipes.matching import matching, propensity_matching
from trialhouse.causal.recipes.propensity import effective_sizes
from trialhouse.causal.recipes.weighting import propensity, standardised, weighted_difference, weighting
from trialhouse.causal.sample import Sample, make_sample

EFFECT = 0.5
ROWS = 1_500


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the engine."""
    with threadpool_limits(1):
        yield


def sample_of(frame: pd.DataFrame, *covariates: str, cluster: str | None = None, is_binary: bool = True) -> Sample:
    names = {"treatment": "t", "outcome": "y", "arms": frame["t"], "covariates": covariates}
    return make_sample(frame, **names, cluster=cluster, is_binary=is_binary)


def confounded(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(rows, 2))
    t = (rng.random(rows) < expit(w @ [0.6, 0.4])).astype(float)
    return pd.DataFrame({"a": w[:, 0], "b": w[:, 1], "t": t, "y": EFFECT * t + w @ [0.6, 0.4] + rng.normal(size=rows)})


def only_propensity_is_logistic(seed: int = 0) -> pd.DataFrame:
    """The outcome is a wave, which neither a line nor a parabola follows."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(-2, 2, ROWS)
    t = (rng.random(ROWS) < expit(2 * w)).astype(float)
    return pd.DataFrame({"w": w, "t": t, "y": EFFECT * t + 3 * np.sin(2 * w) + rng.normal(size=ROWS)})


def only_outcome_is_smooth(seed: int = 0) -> pd.DataFrame:
    """The propensity is high in the middle and low on both sides, which a logistic curve is not; the outcome is a parabola."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(-2, 2, ROWS)
    t = (rng.random(ROWS) < 0.2 + 0.6 * (np.abs(w) < 1)).astype(float)
    return pd.DataFrame({"w": w, "t": t, "y": EFFECT * t + 2 * w**2 + rng.normal(size=ROWS)})


def errors_off(estimate: float, error: float) -> float:
    return abs(estimate - EFFECT) / error


def test_doubly_robust_is_right_where_either_nuisance_is() -> None:
    """Four standard errors of one draw: by chance one in 16,000."""
    for make, is_line_wrong, is_weighting_wrong in ((only_propensity_is_logistic, True, False), (only_outcome_is_smooth, True, True)):
        sample = sample_of(make(), "w")
        naive = least_squares(sample.arms, sample.values, np.empty((ROWS, 0)))
        line = least_squares(sample.arms, sample.values, sample.matrix)
        weighted = weighting(sample, draws=25).inference
        both = doubly_robust(sample, repeats=1).inference
        assert errors_off(both.estimate, both.standard_error) < 4
        assert errors_off(naive.estimate, naive.standard_error) > 4
        assert (errors_off(line.estimate, line.standard_error) > 4) is is_line_wrong
        assert (errors_off(weighted.estimate, weighted.standard_error) > 4) is is_weighting_wrong


@pytest.mark.parametrize("family", ["lasso", "boosting"])
def test_doubly_robust_tells_nuisances_and_repeats_to_the_bit(family: str) -> None:
    sample = sample_of(confounded(), "a", "b")
    fit = doubly_robust(sample, family=family, seed=3, repeats=2)
    assert fit == doubly_robust(sample, family=family, seed=3, repeats=2)
    assert fit.inference.estimate != doubly_robust(sample, family=family, seed=4, repeats=2).inference.estimate
    assert errors_off(fit.inference.estimate, fit.inference.standard_error) < 4
    # In this scenario covariates explain 13% of the variance of the treatment; with it, 40% of the outcome's.
    assert 0 < fit.nuisance_r2[0] < 0.3
    assert 0.2 < fit.nuisance_r2[1] < 0.6


@pytest.mark.parametrize("recipe", ["double_ml_boosting", "doubly_robust_boosting"])
def test_boosting_needs_no_library_of_the_system(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LightGBM comes with EconML, but cannot be loaded where the system has no OpenMP: on a bare Debian, or on macOS."""
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    assert math.isfinite(fit_recipe(recipe, sample_of(confounded(60), "a", "b")).inference.estimate)


def test_copies_of_rows_are_no_new_trials() -> None:
    frame = confounded(80).assign(unit=np.arange(80).astype(str))
    many = pd.concat([frame] * 5, ignore_index=True)
    clustered = doubly_robust(sample_of(many, "a", "b", cluster="unit"), repeats=1).inference
    taken_for_new = doubly_robust(sample_of(many, "a", "b"), repeats=1).inference
    assert (clustered.clusters, clustered.degrees_of_freedom) == (80, 79)
    assert clustered.standard_error > 1.7 * taken_for_new.standard_error
    bootstrapped = weighting(sample_of(many, "a", "b", cluster="unit"), draws=60).inference
    # Of 60 draws an error is known to within a factor of 1 +- 1/sqrt(120); three of these.
    assert bootstrapped.standard_error == pytest.approx(weighting(sample_of(frame, "a", "b"), draws=60).inference.standard_error, rel=0.4)


def test_units_that_are_adjusted_for_need_equal_shares() -> None:
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(10), 8)
    level = 5 * rng.normal(size=10)[unit]
    t = np.tile([0.0, 1.0], 40)
    frame = pd.DataFrame({"unit": unit.astype(str), "t": t, "y": EFFECT * t + level + 0.1 * rng.normal(size=80)})
    fit = doubly_robust(sample_of(frame, "unit", cluster="unit"), repeats=2)
    assert errors_off(fit.inference.estimate, fit.inference.standard_error) < 5
    assert fit.inference.standard_error < 0.1  # the units' levels, with a standard deviation of 5, are out
    frame.loc[0, "t"] = 1.0
    assert "own propensities" in str(doubly_robust(sample_of(frame, "unit", cluster="unit")).inference.note)


def test_extreme_propensities_are_told() -> None:
    rng = np.random.default_rng(1)
    w = rng.normal(size=400)
    t = (rng.random(400) < expit(6 * w)).astype(float)
    frame = pd.DataFrame({"w": w, "t": t, "y": t + w + rng.normal(size=400)})
    for fit in (
        doubly_robust(sample_of(frame, "w"), repeats=1),
        weighting(sample_of(frame, "w"), draws=20),
        propensity_matching(sample_of(frame, "w")),
    ):
        assert any("propensity beyond 0.02-0.98" in caveat for caveat in fit.caveats)
    assert not weighting(sample_of(confounded(), "a", "b"), draws=20).caveats


@pytest.mark.parametrize("recipe", [doubly_robust, weighting, matching, propensity_matching])
def test_what_has_no_propensity_is_refused(recipe: Callable[[Sample], Fit]) -> None:
    quantity = confounded(60).assign(t=lambda frame: frame["t"] + frame["a"])
    assert "two arms" in str(recipe(sample_of(quantity, "a", is_binary=False)).inference.note)
    alone = confounded(60).assign(t=[1.0] + [0.0] * 59)
    found = recipe(sample_of(alone, "a"))
    assert "fewer than two trials" in str(found.inference.note)
    assert math.isnan(found.inference.estimate)


def test_weighting_is_dowhys_and_counts_what_weights_leave() -> None:
    sample = sample_of(confounded(), "a", "b")
    chances = propensity(standardised(sample.matrix), sample.arms)
    fit = weighting(sample, draws=30)
    assert fit.inference.estimate == pytest.approx(weighted_difference(sample.arms, sample.values, chances), rel=1e-9)
    assert errors_off(fit.inference.estimate, fit.inference.standard_error) < 4
    assert effective_sizes(np.array([0.0, 0, 1, 1]), np.full(4, 0.5)) == (2, 2)
    assert effective_sizes(np.array([0.0, 0, 1, 1]), np.array([0.5, 0.9, 0.5, 0.5]))[0] == pytest.approx((2 + 10) ** 2 / (4 + 100))


def test_weighting_without_covariates_is_the_difference_of_means() -> None:
    sample = sample_of(confounded())
    plain = least_squares(sample.arms, sample.values, np.empty((300, 0)))
    found = weighting(sample).inference
    assert found.estimate == pytest.approx(plain.estimate)
    # The bootstrap's error is known to within 3.5% (400 draws); three of these.
    assert found.standard_error == pytest.approx(plain.standard_error, rel=0.11)


def test_matching_finds_the_nearest_of_the_other_arm_and_its_error_by_hand() -> None:
    """Three treated and three control trials; Abadie and Imbens' variance with one match, term by term."""
    x = np.array([0.0, 1.0, 2.0, 0.1, 1.2, 5.0])
    y = np.array([1.0, 2.0, 4.0, 3.0, 5.0, 9.0])
    frame = pd.DataFrame({"x": x, "t": [0.0, 0, 0, 1, 1, 1], "y": y})
    found = matching(sample_of(frame, "x")).inference
    effects = np.array([3 - 1, 5 - 2, 5 - 4, 3 - 1, 5 - 2, 9 - 4], dtype=float)
    assert found.estimate == pytest.approx(effects.mean())
    used = np.array([1, 1, 1, 1, 2, 0])
    noise = np.array([(1 - 2) ** 2, (2 - 1) ** 2, (4 - 2) ** 2, (3 - 5) ** 2, (5 - 3) ** 2, (9 - 5) ** 2]) / 2
    expected = np.sqrt(((effects - effects.mean()) ** 2 + (used**2 + used) * noise).sum()) / 6
    assert found.standard_error == pytest.approx(expected)


@pytest.mark.parametrize("recipe", [matching, propensity_matching])
def test_matches_adjust_and_refuse_errors_for_units(recipe: Callable[..., Fit]) -> None:
    frame = confounded(400, seed=2).assign(y=lambda frame: frame["y"] + frame["a"])
    naive = least_squares(frame["t"].to_numpy(), frame["y"].to_numpy(), np.empty((400, 0)))
    found = recipe(sample_of(frame, "a", "b")).inference
    assert errors_off(naive.estimate, naive.standard_error) > 3
    assert errors_off(found.estimate, found.standard_error) < 3
    units = recipe(sample_of(frame.assign(unit=np.arange(400) // 4), "a", "b", cluster="unit")).inference
    assert units.estimate == found.estimate
    assert math.isnan(units.standard_error)
    assert "repeated units" in str(units.note)
    assert "nothing to match on" in str(recipe(sample_of(frame)).inference.note)


def test_the_last_regression_has_the_errors_of_statsmodels() -> None:
    rng = np.random.default_rng(5)
    design = np.column_stack([np.ones(50), rng.normal(size=(50, 2))])
    target = design @ [1, 2, 0] + rng.normal(size=50)
    fit, theirs = linear_fit(design, target), sm.OLS(target, design).fit(cov_type="HC3", use_t=True)
    assert fit.coefficients == pytest.approx(theirs.params)
    assert fit.covariance == pytest.approx(theirs.cov_params())
    row = np.array([[1.0, 0.5, -1.0]])
    interval = theirs.t_test(row).conf_int()[0]
    assert (fit.at(row)[0].ci_low, fit.at(row)[0].ci_high) == pytest.approx(tuple(interval))


def test_the_last_regression_leaves_units_out_one_by_one() -> None:
    rng = np.random.default_rng(6)
    units = np.repeat(np.arange(8), 5)
    design = np.column_stack([np.ones(40), rng.normal(size=40)])
    target = rng.normal(size=8)[units] + rng.normal(size=40)
    fit = linear_fit(design, target, units)
    left_out = [linear_fit(design[units != unit], target[units != unit]).coefficients[1] for unit in range(8)]
    assert fit.covariance[1, 1] == pytest.approx(7 / 8 * sum((slope - fit.coefficients[1]) ** 2 for slope in left_out))
    assert fit.at(np.eye(2))[1].degrees_of_freedom == 7
    groups = np.column_stack([units < 3, units >= 3]).astype(float)
    assert [row.degrees_of_freedom for row in linear_fit(groups, target, units).at(np.eye(2))] == [2, 4]
    alone = np.column_stack([units < 1, units >= 1]).astype(float)
    assert "too few repeated units" in str(linear_fit(alone, target, units).at(np.eye(2))[0].note)


def test_a_group_has_the_degrees_of_freedom_of_its_rows() -> None:
    groups = np.repeat(np.eye(2), [5, 45], axis=0)
    target = np.random.default_rng(7).normal(size=50)
    found = linear_fit(groups, target).at(np.eye(2))
    assert [row.degrees_of_freedom for row in found] == [4, 44]
    assert found[0].standard_error == pytest.approx(mean_of(target[:5]).standard_error)


def test_the_median_over_repeats_adds_how_far_they_lie_apart() -> None:
    repeats = [mean_of(np.array([0.0, 1.0, 2.0]) + shift) for shift in (0, 3, 9)]
    middle = median_of(repeats)
    error = repeats[0].standard_error
    assert middle.estimate == pytest.approx(4)
    assert middle.standard_error == pytest.approx(np.median([np.hypot(error, 3), error, np.hypot(error, 6)]))


def test_double_ml_is_right_in_a_design_that_is_balanced_over_the_units() -> None:
    """What a fold lacks of a combination, the others have with the other arm: six units, each with all sizes, two Latin squares."""
    rng = np.random.default_rng(0)
    runs = [
        {"unit": unit, "width": place // 2, "depth": place % 2, "data": (place + unit) % 3, "t": (place + place // 3 + unit) % 2}
        for unit in range(6)
        for place in range(8)
    ]
    frame = pd.DataFrame([{**run, "steps": steps} for run in runs for steps in range(5)])
    frame["y"] = EFFECT * frame["t"] - frame["width"] * (0.1 + 0.025 * frame["steps"] + 0.05 * frame["depth"]) - 0.15 * frame["steps"]
    frame["y"] += rng.normal(0, 0.02, len(frame))
    names = ("unit", "width", "depth", "data", "steps")
    sample = make_sample(
        frame, treatment="t", outcome="y", arms=frame["t"], covariates=names, categorical=names, cluster="unit", is_assigned=True
    )
    line, found = (fit_recipe(name, sample) for name in ("adjusted_linear", "double_ml"))
    # four standard errors of the line, .029; where the outcome is learned with the effect in it, it is .05 off
    assert abs(found.inference.estimate - EFFECT) < 4 * line.inference.standard_error < 0.03
    treatment, outcome = found.nuisance_r2
    assert treatment == pytest.approx(0, abs=1e-9)
    assert 0 < outcome < 1
