"""Power before anything is spent: the simulation agrees with theory where theory has an answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import nct
from scipy.stats import t as student

from tests.trialhouse.training.test_trained_trials import learning_study
from trialhouse.errors import SpecError
from trialhouse.power import GOAL, Noise, _simulated, pilot, power
from trialhouse.registration import graphs_of, plan
from trialhouse.settings import Settings
from trialhouse.studies.spec import Study

SEEDS = {"name": "seed", "kind": "ordinal", "assignment": "blocked"}
WIDTH = {"name": "width", "kind": "ordinal", "levels": [2, 8]}
DATA = {"name": "n_train", "kind": "ordinal", "levels": [100, 200]}


def blocks(count: int) -> Study:
    """In each block two trials of either width."""
    return learning_study(factors=(WIDTH, DATA)).with_overrides(changes=[f"seed={','.join(map(str, range(count)))}"])


def paired(effect: float, noise: Noise, count: int) -> float:
    """Power of the paired t-test over blocks: a block's difference of two means of two, and its own effect."""
    error = math.sqrt((2 * noise.sd**2 / 2 + noise.slope_sd**2) / count)
    critical = student.ppf(0.975, count - 1)
    return float(nct.sf(critical, count - 1, effect / error) + nct.cdf(-critical, count - 1, effect / error))


@pytest.mark.parametrize(("effect", "slope_sd"), [(0.02, 0.0), (0.02, 0.02), (1e-9, 0.0)])
def test_simulated_power_is_that_of_the_paired_t_test(home: Settings, effect: float, slope_sd: float) -> None:
    noise = Noise(0.02, block_sd=0.1, slope_sd=slope_sd)
    study = blocks(8)
    own = _simulated(study, study.estimands[0], graphs_of(study, home), effect, noise, simulations=600, seed=0, units=8)
    truth = paired(effect, noise, 8)
    assert own.analytic == pytest.approx(truth, abs=1e-6)
    assert abs(own.power - truth) < 4 * math.sqrt(truth * (1 - truth) / 600)
    assert (own.units, own.trials) == (8, 32)


def test_the_needed_size_is_the_smallest_that_suffices(home: Settings) -> None:
    noise = Noise(0.02)
    found = power(blocks(3), effect=0.03, noise=noise, simulations=150, settings=home)
    assert found.needed is not None
    assert found.needed.power >= GOAL
    # within the simulation's error of the size that theory asks for
    truth = next(count for count in range(2, 50) if paired(0.03, noise, count) >= GOAL)
    assert abs(found.needed.units - truth) <= 1
    assert found.needed.trials == 4 * found.needed.units
    assert paired(found.detectable, noise, 3) == pytest.approx(GOAL, abs=0.01)
    assert power(blocks(2), effect=1e-4, noise=noise, simulations=50, settings=home).needed is None


def test_without_blocks_there_are_more_points(home: Settings) -> None:
    factors: tuple[dict[str, Any], ...] = (
        {"name": "width", "kind": "continuous", "levels": [2.0, 8.0]},
        {"name": "n_train", "kind": "continuous", "levels": [100.0, 200.0]},
    )
    design = {"kind": "latin_hypercube", "seed": 0, "points": 24}
    study = Study.model_validate({**learning_study().content, "factors": factors, "design": design})
    found = _simulated(study, study.estimands[0], graphs_of(study, home), 0.03, Noise(0.02), simulations=400, seed=0, units=24)
    assert found.trials == 24
    # a slope over 24 points evenly from 2 to 8 (deviation 1.77), 21 degrees of freedom; HC3 is a little wider than its error
    distance = 0.03 / 6 * 1.77 * math.sqrt(24) / 0.02
    truth = float(nct.sf(student.ppf(0.975, 21), 21, distance))
    assert abs(found.analytic - truth) < 0.05, "the other factor takes a little"
    assert abs(found.power - found.analytic) < 4 * math.sqrt(truth * (1 - truth) / 400) + 0.02


def test_a_study_that_repeats_the_same_weights_has_nothing_to_add(home: Settings) -> None:
    content = learning_study().content
    fixed = {**SEEDS, "assignment": "fixed", "levels": [0]}
    study = Study.model_validate({**content, "factors": (fixed, WIDTH), "design": {"kind": "full_factorial", "seed": 0, "replicates": 12}})
    with pytest.raises(SpecError, match="must have independent units to add: a blocked factor, or a design with points, got neither"):
        power(study, effect=0.03, noise=Noise(0.02), settings=home)


def test_a_pilot_tells_the_noise_within_blocks_from_that_between(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    study = blocks(40)
    rng = np.random.default_rng(0)
    of_block = rng.normal(0, 0.05, 40)
    trials = plan(study, home).trials
    values = {t.trial_id: 0.01 * float(t.factors["width"]) + of_block[int(t.block)] + rng.normal(0, 0.02) for t in trials}
    monkeypatch.setattr("trialhouse.power._landed", lambda *_: values)
    noise = pilot(study, study.estimands[0], home)
    # standard errors of a deviation: sd / sqrt(2 degrees of freedom), with 160 - 42 and 39 of them
    assert abs(noise.sd - 0.02) < 4 * 0.02 / math.sqrt(2 * 118)
    assert abs(noise.block_sd - 0.05) < 4 * 0.05 / math.sqrt(2 * 39)
    assert noise.source == "pilot of 160 landed trials"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "a pilot needs landed trials of study 'learning' with error, got none; state --sd"),
        ({"effect": 0.0}, "effect must be a number other than 0"),
        ({"estimand": "colour"}, "estimand must be one of ['effect'], got 'colour'"),
        ({"noise": Noise(0.0)}, "standard deviations must be positive"),
        ({"simulations": 3}, "simulations must be at least 50, got 3"),
    ],
)
def test_what_cannot_be_asked_is_one_line(home: Settings, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        power(blocks(2), **{"effect": 0.01, "settings": home, **asked})
    assert message in str(error.value)
