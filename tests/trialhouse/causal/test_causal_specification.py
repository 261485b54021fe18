"""The shape of a regression: the test keeps its size where F tests do not, and sees the violations that matter."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from trialhouse.causal.checks import specification as module
from trialhouse.causal.checks.specification import specification
from trialhouse.causal.inference import Array
from trialhouse.causal.sample import Sample, make_sample
from trialhouse.causal.verdict import decide

SHAPES = ("square", "tanh", "max_and_bump", "sin_and_step")


def sample_of(treatment: Array, outcome: Array, covariates: Array, units: Array | None = None, *, is_binary: bool = True) -> Sample:
    names = [f"w{number}" for number in range(covariates.shape[1])]
    frame = pd.DataFrame(covariates, columns=names).assign(t=treatment, y=outcome, unit=0 if units is None else units)
    cluster = None if units is None else "unit"
    return make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=names, cluster=cluster, is_binary=is_binary)


def linear(rows: int, seed: int) -> Sample:
    """Right shape; the spread of the errors follows a covariate."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(rows, 2))
    t = (w[:, 0] + rng.normal(size=rows) > 0).astype(float)
    return sample_of(t, 0.5 * t + w @ [1.0, 0.5] + (0.2 + np.abs(w[:, 0])) * rng.normal(size=rows), w)


def confounded(shape: str, rows: int, seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(rows, 2))
    common = {
        "square": w[:, 0] ** 2 - 1,
        "tanh": 2 * np.tanh(2 * w[:, 0]),
        "max_and_bump": 2 * (np.maximum(w[:, 0], 0) + np.exp(-(w[:, 1] ** 2)) - 1),
        "sin_and_step": 2 * (np.sin(2 * w.sum(axis=1)) + (w[:, 0] > 0) - 0.5),
    }[shape]
    t = (common / (1 if shape == "square" else 2) + rng.normal(size=rows) > 0).astype(float)
    return sample_of(t, 0.5 * t + common + rng.normal(size=rows), w)


def clustered(seed: int, groups: int, size: int) -> tuple[Sample, Sample]:
    """Right shape, treatment and covariates of whole units; with and without telling who belongs together."""
    rng = np.random.default_rng(seed)
    units = np.repeat(np.arange(groups), size)
    w, shock = rng.normal(size=(groups, 2))[units], rng.normal(size=groups)[units]
    t = rng.permutation(np.arange(groups) % 2)[units].astype(float)
    y = 0.5 * t + w[:, 0] + shock + rng.normal(size=len(units))
    return sample_of(t, y, w, units), sample_of(t, y, w)


def rejects(sample: Sample, seed: int) -> bool:
    return (specification(sample, seed=seed, draws=99).p_value or 1.0) <= 0.05


@pytest.mark.parametrize("rows", [36, 100])
def test_size_with_errors_of_unequal_spread(rows: int) -> None:
    share = np.mean([rejects(linear(rows, seed), seed) for seed in range(200)])
    assert share == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 200))


def test_size_with_repeated_units_and_without_telling_them() -> None:
    words = [tuple(rejects(sample, seed) for sample in clustered(seed, 10, 4)) for seed in range(100)]
    told, untold = np.mean(words, axis=0)
    assert told <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)
    assert untold > 0.25  # the test can fail


@pytest.mark.parametrize("shape", SHAPES)
def test_confounding_of_another_shape_is_seen(shape: str) -> None:
    assert np.mean([rejects(confounded(shape, 500, seed), seed) for seed in range(20)]) >= 0.85
    check = specification(confounded(shape, 500, 0), seed=0)
    assert decide([check]).word == "failed"
    assert "so its shape is wrong" in check.reason
    assert check.has_power
    assert not specification(confounded(shape, 36, 0), seed=0).has_power


def test_effects_that_differ_and_slopes_that_bend_are_seen() -> None:
    rng = np.random.default_rng(0)
    w, t = rng.normal(size=(300, 1)), np.tile([0.0, 1.0], 150)
    differing = sample_of(t, t * w[:, 0] + rng.normal(size=300), w)
    assert "t*w0 matters most" in specification(differing, seed=0).reason
    assert specification(differing, seed=0).p_value == 0.002  # the least of 499 draws
    assert "t*w0" not in specification(differing, seed=0, interactions=False).reason
    dose = rng.normal(size=300)
    bent = sample_of(dose, dose**2 + w[:, 0] + rng.normal(size=300), w, is_binary=False)
    assert "t^2 matters most" in specification(bent, seed=0).reason


def test_it_repeats_bit_by_bit() -> None:
    whole = specification(linear(100, 0), seed=1)
    assert specification(linear(100, 0), seed=1) == whole
    assert specification(linear(100, 0), seed=2).p_value != whole.p_value


def test_many_units_take_normal_scores_with_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways to the same p-value: each has a standard error of at most .022 with 499 draws."""
    samples = [linear(1_000, 0), clustered(1, 150, 4)[0]]
    from_residuals = [specification(sample, seed=1).p_value or 0.0 for sample in samples]
    monkeypatch.setattr(module, "MANY_UNITS", 100)
    normal = [specification(sample, seed=1).p_value or 0.0 for sample in samples]
    assert normal != from_residuals
    assert normal == pytest.approx(from_residuals, abs=4 * 0.022 * math.sqrt(2))
    assert specification(confounded("square", 500, 0), seed=0).p_value == 0.002


def test_what_has_no_shape_is_not_tested() -> None:
    rng = np.random.default_rng(0)
    t = np.tile([0.0, 1.0], 20)
    assert specification(sample_of(t, rng.normal(size=40), np.empty((40, 0))), seed=0).verdict == "not_applicable"
    w = rng.normal(size=(40, 1))
    assert specification(sample_of(t, t + w[:, 0], w), seed=0).verdict == "not_applicable"
    few = sample_of(t[:8], rng.normal(size=8), w[:8])
    assert specification(few, seed=0).verdict == "not_applicable"
