"""What an estimate rests on: by hand, and where adjustment leaves few trials or unlike arms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trialhouse.causal.checks import diagnostics
from trialhouse.causal.checks.diagnostics import (
    arm_weights,
    balance,
    effective_size,
    effective_trials,
    implied_weights,
    propensity_summary,
    second_degree_terms,
    standardised_differences,
)
from trialhouse.causal.inference import Array, coefficient
from trialhouse.causal.partial import Partialled
from trialhouse.causal.sample import Sample, make_sample


def partial_out(sample: Sample) -> Partialled:
    basis = np.linalg.qr(np.column_stack([np.ones(len(sample.arms)), sample.matrix]))[0]
    left = [column - basis @ (basis.T @ column) for column in (sample.arms, sample.values)]
    return Partialled(left[0], left[1], basis, sample.clusters)


def sample_of(treatment: Array, *, is_binary: bool = True, **columns: Array) -> Sample:
    frame = pd.DataFrame({"t": treatment, "y": np.arange(len(treatment)) % 7, **columns})
    names = [name for name in columns if name != "unit"]
    cluster = "unit" if "unit" in columns else None
    return make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=names, cluster=cluster, is_binary=is_binary)


def draw(rows: int = 400, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=rows)
    return sample_of((w + rng.normal(size=rows) > 0).astype(float), w=w, v=rng.normal(size=rows))


def test_weights_give_the_estimate() -> None:
    sample = draw()
    left = partial_out(sample)
    assert implied_weights(left) @ sample.values == pytest.approx(coefficient(sample.arms, sample.values, sample.matrix))
    assert implied_weights(left)[sample.arms == 1].sum() == pytest.approx(1)


def test_differences_are_those_of_means_before_and_gone_after() -> None:
    sample = draw()
    found = standardised_differences(sample.encoded, sample, partial_out(sample))
    w, arms = sample.encoded["w"].to_numpy(), sample.arms
    spread = np.sqrt((w[arms == 1].var() + w[arms == 0].var()) / 2)
    assert found.loc["w", "before"] == pytest.approx((w[arms == 1].mean() - w[arms == 0].mean()) / spread)
    assert found.loc["w", "before"] > 1
    assert found["after"].abs().max() < 1e-9


def test_differences_of_a_quantity_are_correlations() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=200)
    dose = w + rng.normal(size=200)
    sample = sample_of(dose, is_binary=False, w=w)
    found = standardised_differences(sample.encoded, sample, partial_out(sample))
    assert found.loc["w", "before"] == pytest.approx(np.corrcoef(w, dose)[0, 1])


def test_balance_sees_what_a_linear_adjustment_leaves() -> None:
    """The treatment depends on a covariate's square: balanced means, unbalanced squares."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=400)
    curved = sample_of((w**2 - 1 + rng.normal(size=400) > 0).astype(float), w=w)
    check = balance(curved, partial_out(curved))
    assert check.verdict == "inconclusive"
    assert "w^2" in check.reason
    words = [balance(sample, partial_out(sample)).verdict for sample in (sample_of(np.tile([0.0, 1.0], 50), w=w[:100]), draw(60, 3))]
    assert words == ["passed", "passed"]
    assert balance(sample_of(np.tile([0.0, 1.0], 5)), partial_out(draw())).verdict == "not_applicable"


def test_balance_is_not_upset_by_chance() -> None:
    """Randomised, five covariates, 20 columns: beyond the limit in at most 5% of draws; three standard errors on top."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        columns = {name: rng.normal(size=60) for name in "abcde"}
        sample = sample_of(rng.permutation(np.tile([0.0, 1.0], 30)), **columns)
        found.append(balance(sample, partial_out(sample)).verdict == "inconclusive")
    assert np.mean(found) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


def test_effective_sizes() -> None:
    constant = np.full((40, 1), 40**-0.5)
    even = np.tile([-0.5, 0.5], 20)
    assert effective_size(Partialled(even, even, constant)) == pytest.approx(40)
    assert effective_size(Partialled(even, even, constant, np.repeat(np.arange(8), 5))) == pytest.approx(8)
    few = np.where(np.arange(40) < 4, even, 0.0)
    assert effective_size(Partialled(few, even, constant)) == pytest.approx(4)


def test_strata_in_which_all_share_an_arm_count_for_nothing() -> None:
    stratum = np.repeat([0.0, 1.0], 50)
    sample = sample_of(np.where(stratum == 1, 1.0, np.arange(100) % 2), stratum=stratum)
    check = effective_trials(sample, partial_out(sample))
    assert check.statistic == pytest.approx(50)
    assert check.verdict == "passed"
    strata = np.arange(100) // 2 % 10
    rare = sample_of(
        np.where(strata == 0, np.arange(100) % 2, strata > 5).astype(float), **{f"s{n}": (strata == n) * 1.0 for n in range(9)}
    )
    check = effective_trials(rare, partial_out(rare))
    assert check.statistic == pytest.approx(10)
    assert check.verdict == "inconclusive"


def test_extrapolating_weights_are_told() -> None:
    """Where one arm is far out in a covariate, a regression predicts treatments beyond 0 and 1 and weights turn negative."""
    w = np.linspace(0, 1, 100)
    randomised = sample_of(np.tile([0.0, 1.0], 50), w=w)
    assert max(arm.negative for arm in arm_weights(randomised.arms, partial_out(randomised))) == 0
    apart = sample_of(((w > 0.5) | (np.arange(100) % 10 == 0)).astype(float), w=w)
    left = partial_out(apart).treatment
    assert arm_weights(apart.arms, partial_out(apart))[1].negative == pytest.approx(
        -left[(apart.arms == 1) & (left < 0)].sum() / np.abs(left[apart.arms == 1]).sum()
    )
    assert "negative, which is extrapolation" in effective_trials(apart, partial_out(apart)).reason


def test_propensities() -> None:
    arms, even = np.repeat([0.0, 1.0], 5), np.full(10, 0.5)
    assert propensity_summary(arms, even) == (0.0, (5.0, 5.0), 0.2)
    found = propensity_summary(arms, np.where(np.arange(10) == 9, 0.01, 0.5))
    assert found.extreme == pytest.approx(0.1)
    assert found.largest == pytest.approx(100 / 108)
    assert found.effective[1] == pytest.approx(108**2 / (4 * 4 + 100**2))


def test_second_degree_terms_leave_out_squares_of_dummies_and_products_that_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"a": [0.0, 1.0, 0.0, 1.0, 1.0], "b": [1.0, 2.0, 3.0, 5.0, 4.0]})
    assert list(second_degree_terms(frame)) == ["a*b", "b^2"]
    monkeypatch.setattr(diagnostics, "MAX_NUMBERS", 14)
    assert list(second_degree_terms(frame)) == ["b^2"]
