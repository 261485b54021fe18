"""Errors of least squares, against statsmodels and against leaving one unit out at a time."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from trialhouse.causal.inference import coefficient, is_degenerate, least_squares, linear_basis, partial_r2, score_interval


def draw(rows: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    covariates = rng.normal(size=(rows, 3))
    treatment = (rng.random(rows) < 0.5).astype(float)
    outcome = 0.5 * treatment + covariates @ [1, -1, 0.5] + rng.normal(size=rows) * (1 + treatment)
    return treatment, outcome, covariates


def test_slope_and_hc3_are_those_of_statsmodels() -> None:
    treatment, outcome, covariates = draw()
    design = sm.add_constant(np.column_stack([treatment, covariates]))
    fitted = sm.OLS(outcome, design).fit(cov_type="HC3", use_t=True)
    ours = least_squares(treatment, outcome, covariates)
    assert ours.estimate == pytest.approx(fitted.params[1], rel=1e-9)
    assert ours.standard_error == pytest.approx(fitted.bse[1], rel=1e-9)
    assert (ours.ci_low, ours.ci_high) == pytest.approx(tuple(fitted.conf_int()[1]), rel=1e-9)
    assert ours.p_value == pytest.approx(fitted.pvalues[1], rel=1e-7)
    classical = sm.OLS(outcome, design).fit()
    assert ours.partial_r2 == pytest.approx(classical.tvalues[1] ** 2 / (classical.tvalues[1] ** 2 + classical.df_resid), rel=1e-9)


@pytest.mark.parametrize("with_unit_dummies", [False, True])
def test_cr3_is_the_jackknife_over_units(with_unit_dummies: bool) -> None:
    treatment, outcome, covariates = draw()
    units = np.repeat(np.arange(10), 6)
    outcome = outcome + np.random.default_rng(1).normal(size=10)[units]
    if with_unit_dummies:
        covariates = np.column_stack([covariates, units[:, None] == np.arange(1, 10)]).astype(float)
    ours = least_squares(treatment, outcome, covariates, units)
    slopes = [coefficient(treatment[units != unit], outcome[units != unit], covariates[units != unit]) for unit in range(10)]
    expected = np.sqrt(9 / 10 * sum((slope - ours.estimate) ** 2 for slope in slopes))
    assert ours.standard_error == pytest.approx(expected, rel=1e-6)
    assert (ours.clusters, ours.degrees_of_freedom) == (10, 9)


def test_units_that_carry_no_contrast_do_not_count() -> None:
    treatment, outcome, _ = draw()
    units = np.repeat(np.arange(10), 6)
    treatment[units >= 4] = 0
    dummies = (units[:, None] == np.arange(1, 10)).astype(float)
    assert least_squares(treatment, outcome, dummies, units).degrees_of_freedom == 3
    treatment[units >= 1] = 0
    alone = least_squares(treatment, outcome, dummies, units)
    assert np.isnan(alone.standard_error)
    assert alone.note == "too few repeated units carry the contrast"


def test_collinear_covariates_do_no_harm_and_a_determined_treatment_is_seen() -> None:
    treatment, outcome, covariates = draw()
    twice = np.column_stack([covariates, covariates])
    assert least_squares(treatment, outcome, twice).standard_error == pytest.approx(
        least_squares(treatment, outcome, covariates).standard_error, rel=1e-6
    )
    determined = least_squares(treatment, outcome, np.column_stack([covariates, 1 - treatment]))
    assert np.isnan(determined.estimate)
    assert determined.note == "the covariates determine the treatment"
    # A constant leaves rounding errors only.
    assert np.isnan(least_squares(np.full(60, -125000.1), outcome, covariates).estimate)


def test_clustered_intervals_cover_where_independent_ones_do_not() -> None:
    """12 units of 3 rows that share their treatment, intraclass correlation .5; 300 draws."""
    rng = np.random.default_rng(7)
    units = np.repeat(np.arange(12), 3)
    covered = {"clustered": 0, "independent": 0}
    for _ in range(300):
        treatment = rng.permutation(np.repeat([0.0, 1.0], 6))[units]
        outcome = rng.normal(size=12)[units] + rng.normal(size=36)
        for name, codes in (("clustered", units), ("independent", None)):
            found = least_squares(treatment, outcome, np.empty((36, 0)), codes)
            covered[name] += found.ci_low <= 0 <= found.ci_high
    margin = 2.6 * np.sqrt(0.95 * 0.05 / 300)
    assert covered["clustered"] / 300 > 0.95 - margin
    assert covered["independent"] / 300 < 0.90


def test_newcombe_interval_of_his_own_example() -> None:
    """Newcombe (1998), table II, example (a): 56/70 against 48/80, method 10."""
    low, high, _ = score_interval((48, 56), (80, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_no_events_leave_an_interval_of_the_rule_of_three() -> None:
    low, high, p_value = score_interval((0, 0), (18, 18))
    assert low == -high
    assert 3 / 18 < high < 1.2 * 3 / 18
    assert p_value == 1


def test_a_determined_outcome_is_degenerate_at_any_scale() -> None:
    treatment = np.tile([0.0, 1.0], 18)
    units = np.repeat(np.arange(6), 6)
    for scale in (1e-9, 1.0, 1e9):
        outcome = scale * (treatment + 3.1)
        assert is_degenerate(least_squares(treatment, outcome, np.empty((36, 0)), units), outcome)
        noisy = outcome + scale * 1e-3 * np.random.default_rng(0).normal(size=36)
        assert not is_degenerate(least_squares(treatment, noisy, np.empty((36, 0)), units), noisy)


def test_partial_r2_of_a_group_of_columns() -> None:
    treatment, outcome, covariates = draw()
    full = sm.OLS(outcome, sm.add_constant(np.column_stack([treatment, covariates]))).fit().ssr
    base = sm.OLS(outcome, sm.add_constant(np.column_stack([treatment, covariates[:, :1]]))).fit().ssr
    assert partial_r2(covariates[:, 1:], outcome, np.column_stack([treatment, covariates[:, :1]])) == pytest.approx(1 - full / base)


@pytest.mark.parametrize("scale", [1e-12, 1e9, 1e15])
def test_units_of_a_covariate_change_nothing(scale: float) -> None:
    """FLOPs beside a dummy: neither the dummy nor the constant may be taken for rounding errors."""
    rng = np.random.default_rng(0)
    w, dummy = 3 + rng.normal(size=100), (rng.random(100) < 0.5).astype(float)
    t = (w + rng.normal(size=100) > 3).astype(float)
    y = 0.5 * t + w + dummy + rng.normal(size=100)
    usual, scaled = (least_squares(t, y, np.column_stack([w * factor, dummy, np.full(100, 0.1)])) for factor in (1.0, scale))
    assert linear_basis(np.column_stack([w * scale, dummy, np.full(100, 0.1)])).shape[1] == 3
    assert scaled.estimate == pytest.approx(usual.estimate, rel=1e-9)
    assert scaled.standard_error == pytest.approx(usual.standard_error, rel=1e-9)
