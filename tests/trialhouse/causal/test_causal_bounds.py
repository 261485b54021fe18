"""Bounds on an effect whose treatment loses outcomes: by hand, and on data whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from trialhouse.causal.bounds import Bounds, interval, trimming_bounds, worst_case_bounds
from trialhouse.causal.inference import Array, least_squares
from trialhouse.errors import EstimationError

EFFECT = 0.5
"""On trials that finish in either arm."""


def draw(seed: int, rows: int = 60, size: int = 1) -> tuple[Array, Array, NDArray[np.int64]]:
    """70% finish in either arm, 20% only if treated, and those have the highest values: the truth is the lower bound.

    Units of `size` rows share their arm and a shock.
    """
    rng = np.random.default_rng(seed)
    units = np.repeat(np.arange(rows // size), size)
    arms = rng.permutation(np.arange(rows // size) % 2)[units].astype(float)
    luck = rng.random(rows)
    values = EFFECT * arms + 3 * (luck > 0.7) + 0.3 * rng.normal(size=rows) + 0.5 * (size > 1) * rng.normal(size=rows // size)[units]
    return arms, np.where(luck > np.where(arms == 1, 0.9, 0.7), np.nan, values), units


def test_trimming_by_hand() -> None:
    """Three of four controls and all four treated finish: a quarter of the treated is trimmed from either end."""
    arms = np.repeat([0.0, 1.0], 4)
    values = np.array([1.0, 2.0, 3.0, np.nan, 5.0, 6.0, 7.0, 12.0])
    found = trimming_bounds(arms, values)
    assert (found.low, found.high) == pytest.approx((6 - 2, 25 / 3 - 2))
    assert found.trimmed == pytest.approx(0.25)
    assert found.finished == (0.75, 1.0)
    other = trimming_bounds(1 - arms, values)  # the arm with fewer losses is the control arm now
    assert (other.low, other.high) == pytest.approx((2 - 25 / 3, 2 - 6))
    # Two of three: two thirds of the treated are left, so that of the middle one a part is counted.
    values = np.array([1.0, 2.0, np.nan, 5.0, 6.0, 7.0])
    partly = trimming_bounds(np.repeat([0.0, 1.0], 3), values)
    assert (partly.low, partly.high) == pytest.approx((5.5 - 1.5, 6.5 - 1.5))


@pytest.mark.parametrize("size", [1, 5])
def test_intervals_cover_the_effect_on_those_that_always_finish(size: int) -> None:
    found = []
    for seed in range(150):
        arms, values, units = draw(seed, size=size)
        found.append(trimming_bounds(arms, values, clusters=units if size > 1 else None, seed=seed))
    covered = np.mean([bounds.ci_low <= EFFECT <= bounds.ci_high for bounds in found])
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 150)
    informative = np.mean([bounds.ci_high - bounds.ci_low for bounds in found])
    assert informative < 3.5  # the outcome's own range is more than 4


def test_survivors_are_no_fair_comparison_and_bounds_say_so() -> None:
    arms, values, _ = draw(0, rows=6_000)
    finished = ~np.isnan(values)
    naive = values[finished & (arms == 1)].mean() - values[finished & (arms == 0)].mean()
    found = trimming_bounds(arms, values)
    assert naive > EFFECT + 0.4
    assert found.low == pytest.approx(EFFECT, abs=0.08)
    assert found.ci_low <= EFFECT <= naive <= found.high
    assert "if the treatment only ever makes fewer of them fail" in found.sentence("y")


def test_worst_case_by_hand_and_without_losses() -> None:
    arms = np.repeat([0.0, 1.0], 4)
    values = np.array([0.2, 0.4, 0.6, np.nan, 0.5, 0.7, np.nan, np.nan])
    found = worst_case_bounds(arms, values, (0.0, 1.0))
    assert (found.low, found.high) == pytest.approx((0.3 - 0.55, 0.8 - 0.3))
    assert found.finished == (0.75, 0.5)
    assert found.ci_low < found.low < found.high < found.ci_high
    values = np.array([0.2, 0.4, 0.6, 0.4, 0.5, 0.7, 0.8, 0.8])
    plain = least_squares(arms, values, np.empty((8, 0)))
    for whole in (worst_case_bounds(arms, values, (0.0, 1.0)), trimming_bounds(arms, values)):
        assert (whole.low, whole.high) == pytest.approx((plain.estimate, plain.estimate))
    whole = worst_case_bounds(arms, values, (0.0, 1.0))
    assert (whole.ci_low, whole.ci_high) == pytest.approx((plain.ci_low, plain.ci_high))
    with pytest.raises(EstimationError, match="must lie within its limits"):
        worst_case_bounds(arms, values, (0.0, 0.5))


def test_worst_case_intervals_cover_when_the_worst_is_true() -> None:
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        arms = rng.permutation(np.arange(40) % 2).astype(float)
        is_lost = rng.random(40) < np.where(arms == 1, 0.3, 0.1)
        values = np.where(is_lost, np.nan, 0.3 + 0.2 * arms + 0.4 * rng.random(40))
        truth = 0.7 * 0.7 - (0.9 * 0.5 + 0.1)  # lost treated trials at 0, lost control trials at 1
        found = worst_case_bounds(arms, values, (0.0, 1.0))
        covered += found.ci_low <= truth <= found.ci_high
    assert covered / 300 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 300))


def test_losses_in_both_directions_leave_no_trimming_bounds() -> None:
    rng = np.random.default_rng(0)
    arms, strata = np.tile([0.0, 1.0], 80), np.repeat([0, 1], 80)
    values = rng.normal(size=160)
    one_way = np.where((arms == 0) & (rng.random(160) < 0.4), np.nan, values)
    sound = trimming_bounds(arms, one_way, strata=strata)
    assert sound.is_monotone
    assert sound.note is None
    is_lost_there = (strata == 1) & (arms == 1) & (rng.random(160) < 0.4)
    both_ways = np.where(is_lost_there, np.nan, np.where(strata == 1, values, one_way))
    found = trimming_bounds(arms, both_ways, strata=strata)
    assert not found.is_monotone
    assert "in 1 of 2 strata trials are lost in the other direction" in found.sentence("y")
    by_chance = np.where(np.arange(160) < 3, np.nan, values)
    assert "not told from chance" in (trimming_bounds(arms, by_chance, strata=strata).note or "")


def test_monotone_losses_are_called_so() -> None:
    """No trial of any stratum is lost in the other direction: at most 5% of studies may say so; none does."""
    words = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        arms, strata = np.tile([0.0, 1.0], 60), np.repeat(np.arange(6), 20)
        is_lost = rng.random(120) < np.where(arms == 1, 0.2, 0.3) * (strata > 2)
        words.append(trimming_bounds(arms, np.where(is_lost, np.nan, 0.0), strata=strata).is_monotone)
    assert np.mean(words) >= 0.95


def test_interval_is_that_of_imbens_and_manski() -> None:
    low, high = interval((0.0, 0.0), (1.0, 1.0), 1e9)
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=0.001)
    low, high = interval((0.0, 50.0), (1.0, 2.0), 1e9)
    assert (low, high) == pytest.approx((-1.645, 50 + 2 * 1.645), abs=0.001)
    assert math.isnan(interval((0.0, 1.0), (0.0, 0.0), 10)[0])


def test_an_arm_without_survivors_has_no_bounds() -> None:
    arms = np.repeat([0.0, 1.0], 4)
    found = trimming_bounds(arms, np.where(arms == 1, 1.0, np.nan))
    assert math.isnan(found.low)
    assert "no trial of one arm finished" in found.sentence("y")


def test_bounds_stand_beside_an_estimate_as_a_check_that_never_decides() -> None:
    told = Bounds("trimming", 1.0, 2.0, 0.5, 2.5, (0.5, 0.75), trimmed=1 / 3)
    check = told.check("y")
    assert (check.name, check.verdict, check.consequence) == ("trimming_bounds", "passed", "none")
    assert check.details == (
        {"low": 1.0, "high": 2.0, "ci_low": 0.5, "ci_high": 2.5, "finished_control": 0.5, "finished_treated": 0.75, "trimmed": 1 / 3},
    )
    assert check.reason.startswith("Among trials that would finish in either arm")
    assert replace(told, ci_low=-0.5).check("y").verdict == "inconclusive"
    assert replace(told, is_monotone=False, note="they go both ways").check("y").verdict == "not_applicable"
    unknown = Bounds("worst_case", *[math.nan] * 4, (0.0, 1.0), note="no trial of one arm finished")
    assert (unknown.check("y").verdict, unknown.check("y").details) == ("not_applicable", ())


def test_sentences_name_units() -> None:
    found = Bounds("worst_case", -1.5, 2.0, -3.0, 4.0, (1.0, 0.8))
    expected = "the effect lies between -1.5 ms and 2 ms (95% interval -3 ms to 4 ms)"
    assert found.sentence("latency_ms") == f"over all trials, whatever the lost ones would have shown, {expected}"
