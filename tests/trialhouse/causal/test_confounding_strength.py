"""E-values and bounds on omitted-variable bias: published numbers, least squares, and hidden causes that are known."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from trialhouse.causal.checks.confounding_strength import (
    bias_scale,
    e_value,
    e_values_of_means,
    e_values_of_shares,
    largest_bias,
    robustness_value,
    robustness_values,
    shifted,
)
from trialhouse.causal.checks.sensitivity import bias, sensitivity
from trialhouse.causal.inference import Array, least_squares
from trialhouse.causal.partial import Partialled
from trialhouse.causal.sample import make_sample


def partial_out(treatment: Array, outcome: Array, covariates: Array, clusters: Array | None = None) -> Partialled:
    basis = np.linalg.qr(np.column_stack([np.ones(len(treatment)), covariates]))[0]
    left = [column - basis @ (basis.T @ column) for column in (treatment, outcome)]
    return Partialled(left[0], left[1], basis, None if clusters is None else clusters.astype(np.int64))


def draw(rows: int = 300, seed: int = 0, hidden: float = 0.8) -> tuple[Array, Array, Array, Array]:
    """Treatment, outcome, an observed covariate and a hidden cause; the effect is .5."""
    rng = np.random.default_rng(seed)
    x, u = rng.normal(size=(2, rows))
    treatment = x + hidden * u + rng.normal(size=rows)
    return treatment, 0.5 * treatment + x + hidden * u + rng.normal(size=rows), x[:, None], u[:, None]


def test_e_values_of_the_paper() -> None:
    """VanderWeele & Ding (2017): a risk ratio of 3.9 (95% CI 1.8 to 8.7) has E-values 7.26 and 3.0."""
    assert e_value(3.9) == pytest.approx(7.26, abs=0.005)
    assert e_value(1.8) == pytest.approx(3.0, abs=0.005)
    assert e_value(1 / 3.9) == pytest.approx(e_value(3.9))
    assert e_value(1.0) == 1.0
    assert math.isinf(e_value(0.0))


def test_e_values_of_differences() -> None:
    shares = e_values_of_shares(0.1, 0.29, 0.08, 0.77)  # risk ratios 3.9 (1.8 to 8.7)
    assert (shares.estimate, shares.limit) == pytest.approx((e_value(3.9), e_value(1.8)))
    fewer = e_values_of_shares(0.5, -0.25, -0.4, -0.1)  # 0.5 (0.2 to 0.8)
    assert (fewer.estimate, fewer.limit) == pytest.approx((e_value(2), e_value(1.25)))
    assert e_values_of_shares(0.5, 0.1, -0.1, 0.3).limit == 1.0
    means = e_values_of_means(1.0, 0.5, 1.5, 2.0)
    assert (means.estimate, means.limit) == pytest.approx((e_value(math.exp(0.455)), e_value(math.exp(0.2275))))
    assert e_values_of_means(-1.0, -1.5, -0.5, 2.0) == pytest.approx(means)
    assert math.isnan(e_values_of_means(1.0, 0.5, 1.5, 0.0).estimate)


def test_robustness_values_of_the_darfur_example() -> None:
    """Cinelli & Hazlett (2020), table 1: estimate .097, error .023, 783 degrees of freedom: RV 13.9%, RV at 5% 7.6%."""
    estimate, error, freedom = 0.09731582, 0.02325654, 783
    value, at_level = robustness_values(estimate, error, freedom, error * math.sqrt(freedom))
    assert value == pytest.approx(0.1387764, abs=1e-6)
    assert at_level == pytest.approx(0.0762580, abs=1e-6)
    assert robustness_values(0.01, error, freedom, error * math.sqrt(freedom))[1] == 0.0


def test_partially_linear_bounds_are_those_of_least_squares() -> None:
    treatment, outcome, x, _ = draw()
    left = partial_out(treatment, outcome, x)
    found = least_squares(treatment, outcome, x)
    freedom = found.residual_degrees_of_freedom
    classical = abs(found.estimate) * math.sqrt((1 - found.partial_r2) / found.partial_r2 / freedom)
    assert bias_scale(left) == pytest.approx(classical * math.sqrt(freedom))
    for outcome_r2, treatment_r2 in ((0.1, 0.2), (0.4, 0.05)):
        assert largest_bias(bias_scale(left), outcome_r2, treatment_r2) == pytest.approx(bias(treatment_r2, outcome_r2, classical, freedom))
    value, _ = robustness_values(found.estimate, classical, freedom, bias_scale(left))
    assert value == pytest.approx(robustness_value(found.partial_r2))
    assert largest_bias(bias_scale(left), value, value) == pytest.approx(abs(found.estimate))


def test_robustness_at_a_level_agrees_with_dowhy() -> None:
    from dowhy import CausalModel
    from dowhy.causal_refuters.linear_sensitivity_analyzer import LinearSensitivityAnalyzer

    treatment, outcome, x, _ = draw(60)
    frame = pd.DataFrame({"t": treatment, "y": outcome, "x": x[:, 0]})
    model = CausalModel(frame, "t", "y", common_causes=["x"])
    estimand = model.identify_effect(proceed_when_unidentifiable=True)
    found = model.estimate_effect(estimand, "backdoor.linear_regression")
    analyzer = LinearSensitivityAnalyzer(
        estimator=found.estimator,
        data=frame,
        treatment_name=["t"],
        benchmark_common_causes=["x"],
        frac_strength_treatment=[1],
        frac_strength_outcome=[1],
        common_causes_order=["x"],
    )
    analyzer.check_sensitivity(plot=False)
    ours = least_squares(treatment, outcome, x)
    freedom = ours.residual_degrees_of_freedom
    classical = abs(ours.estimate) * math.sqrt((1 - ours.partial_r2) / ours.partial_r2 / freedom)
    value, at_level = robustness_values(ours.estimate, classical, freedom, classical * math.sqrt(freedom))
    assert value == pytest.approx(float(analyzer.stats["robustness_value"]))
    assert at_level == pytest.approx(float(analyzer.stats["robustness_value_alpha"]))


def test_a_hidden_cause_of_known_strength_stays_within_its_bounds() -> None:
    """Its partial R2 are .39 with either; intervals at that strength must cover the truth, those without must not."""
    covered, naive = 0, 0
    for seed in range(200):
        treatment, outcome, x, _ = draw(200, seed)
        left = partial_out(treatment, outcome, x)
        found = shifted(left, 0.39, 0.39)
        plain = shifted(left, 0.0, 0.0)
        covered += found.ci_low <= 0.5 <= found.ci_high
        naive += plain.ci_low <= 0.5 <= plain.ci_high
    assert covered / 200 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200)
    assert naive / 200 < 0.1


def test_without_confounding_bounds_have_the_usual_interval() -> None:
    treatment, outcome, x, _ = draw(400, hidden=0.0)
    units = np.repeat(np.arange(40), 10)
    for clusters in (None, units):
        found = shifted(partial_out(treatment, outcome, x, clusters), 0.0, 0.0)
        usual = least_squares(treatment, outcome, x, clusters)
        assert found.low == found.high == pytest.approx(usual.estimate)
        assert (found.ci_low, found.ci_high) == pytest.approx((usual.ci_low, usual.ci_high), abs=0.01)


def test_sensitivity_tells_what_brings_0_into_the_interval_and_the_e_value() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=200)
    arms = (w + rng.normal(size=200) > 0).astype(float)
    frame = pd.DataFrame({"w": w, "t": arms, "y": 1.5 * arms + 0.5 * w + rng.normal(size=200)})
    sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=("w",))
    check = sensitivity(sample, least_squares(sample.arms, sample.values, sample.matrix), is_random=False)
    assert check.verdict == "passed"
    assert "to bring 0 into the interval (E-value" in check.reason
    null = make_sample(frame.assign(y=rng.normal(size=200)), treatment="t", outcome="y", arms=frame["t"], covariates=("w",))
    check = sensitivity(null, least_squares(null.arms, null.values, null.matrix), is_random=False)
    assert check.verdict == "inconclusive"
    assert "E-value" not in check.reason


def test_sensitivity_tells_where_a_hidden_cause_like_each_column_could_bring_the_effect() -> None:
    rng = np.random.default_rng(1)
    strong, weak, treatment, noise = rng.normal(size=(4, 300))
    treatment = treatment + 0.5 * strong
    outcome = 0.5 * treatment + strong + noise
    frame = pd.DataFrame({"strong": strong, "weak": weak, "t": treatment, "y_ms": outcome})
    sample = make_sample(frame, treatment="t", outcome="y_ms", arms=frame["t"], covariates=("strong", "weak"), is_binary=False)
    found, left = least_squares(sample.arms, sample.values, sample.matrix), partial_out(treatment, outcome, sample.matrix)
    for span in (1.0, -2.0):
        check = sensitivity(sample, found.scaled(span), is_random=False, partialled=left, span=span)
        strong, weak = check.details
        assert (strong["column"], weak["column"]) == ("strong", "weak")
        assert strong["low"] == pytest.approx(found.estimate * span - strong["bias"])
        assert strong["high"] == pytest.approx(found.estimate * span + strong["bias"])
        assert strong["ci_low"] < strong["low"] < weak["low"] < weak["high"] < strong["high"] < strong["ci_high"]
        assert re.search(r"one as strong as strong would move it by \S+ ms, to between \S+ ms and \S+ ms \(95% interval", check.reason)
    assert sensitivity(sample, found, is_random=True, partialled=left).details == ()
