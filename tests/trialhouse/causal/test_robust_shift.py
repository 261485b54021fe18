"""Outliers that carry an estimate are seen; heavy tails, skew and unequal spread are not taken for them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trialhouse.causal.checks.robust_shift import robust_shift
from trialhouse.causal.inference import coefficient
from trialhouse.causal.partial import Partialled
from trialhouse.causal.verdict import decide


def draw(rows: int, seed: int, errors: str = "normal", *, outliers: float = 0.0) -> Partialled:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(rows, 2))
    t = (w[:, 0] + rng.normal(size=rows) > 0).astype(float)
    noise = {
        "normal": lambda: rng.normal(size=rows),
        "unequal": lambda: (0.3 + t) * rng.normal(size=rows),
        "heavy": lambda: rng.standard_t(3, size=rows),
        "skewed": lambda: 2 * np.exp(0.5 * rng.normal(size=rows)),
    }[errors]()
    treated = np.flatnonzero(t)
    noise[rng.choice(treated, round(outliers * rows), replace=False)] += 15
    y = 0.5 * t + w[:, 0] + noise
    basis = np.linalg.qr(np.column_stack([np.ones(rows), w]))[0]
    left = [column - basis @ (basis.T @ column) for column in (t, y)]
    return Partialled(left[0], left[1], basis)


@pytest.mark.parametrize("errors", ["normal", "unequal", "heavy", "skewed"])
def test_sound_data_are_left_alone(errors: str) -> None:
    words = [robust_shift(draw(36, seed, errors), "y").verdict for seed in range(30)]
    words += [robust_shift(draw(200, seed, errors), "y").verdict for seed in range(10)]
    # Measured at most 2%; 40 draws allow for three standard errors above that.
    assert np.mean([word == "failed" for word in words]) <= 0.02 + 3 * math.sqrt(0.02 * 0.98 / 40)


def test_outliers_that_carry_the_estimate_withhold_it() -> None:
    checks = [robust_shift(draw(300, seed, outliers=0.05), "latency_ms") for seed in range(15)]
    assert {check.verdict for check in checks} == {"failed"}
    assert decide(checks[:1]).word == "withheld"
    assert "Without 15 of 300 trials more than 8 robust standard deviations off" in checks[0].reason
    assert " ms" in checks[0].reason
    assert checks[0].has_power
    assert not robust_shift(draw(36, 0), "y").has_power


def test_the_shift_is_that_of_leaving_the_outlier_out() -> None:
    sound = draw(60, 1)
    outcome = sound.outcome.copy()
    place = int(np.argmax(sound.treatment))
    outcome[place] += 40
    check = robust_shift(Partialled(sound.treatment, outcome, sound.basis), "y", span=2.0)
    kept = np.arange(60) != place
    without = coefficient(sound.treatment[kept], outcome[kept], sound.basis[kept])
    assert f"the estimate is {2 * without:.3g} instead of" in check.reason
    assert check.verdict == "failed"


def test_where_there_is_nothing_to_tell_outliers_by() -> None:
    treatment = np.tile([-0.5, 0.5], 10)
    constant = np.full((20, 1), 20**-0.5)
    assert robust_shift(Partialled(treatment, 2 * treatment, constant), "y").verdict == "not_applicable"
    assert robust_shift(Partialled(treatment[:4], treatment[:4], constant[:4]), "y").verdict == "not_applicable"
