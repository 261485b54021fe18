"""Intervals of what a law says, against their formulas: a simulation of few studies sees no interval that is twice too wide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.scaling_laws import Law
from trialhouse.scaling_laws.fit import DELTA, plain_law
from trialhouse.scaling_laws.forecast import effect_of
from trialhouse.scaling_laws.prediction import interval, levels_at, noise, predict
from trialhouse.scaling_laws.sample import make_sample

ONE = PLANTED["power_law"]
POINTS = {"n": np.log([1e3, 1e5])}


@pytest.fixture(scope="module")
def law() -> Law:
    form = ONE.family
    return plain_law(form, make_sample(ONE.table(0), form, outcome="y", columns={"data": "data"}), DELTA, draws=200)


@pytest.fixture(scope="module")
def of_runs(law: Law) -> Law:
    """The same 36 rows, said to be of 9 runs."""
    return replace(law, sample=replace(law.sample, clusters=np.repeat(np.arange(9), 4)))


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_an_interval_has_the_draws_distances_from_the_centre_widened(law: Law, of_runs: Law, level: float) -> None:
    """Of 36 rows and three parameters by sqrt(36 / 33) and t(33), of 9 runs by sqrt(9 / 8) and t(8); each side has its own."""
    draws = np.concatenate([np.linspace(-1, 0, 1001), np.linspace(0, 3, 1001)])
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    for one, count, df in ((law, 36, 33), (of_runs, 9, 8)):
        scale = np.sqrt(count / df) * t.ppf((1 + level) / 2, df) / norm.ppf((1 + level) / 2)
        assert interval(one, 0.5, draws, level) == pytest.approx((0.5 - scale * (0.5 - low), 0.5 + scale * (high - 0.5)))


def test_a_new_trial_scatters_around_the_mean(law: Law) -> None:
    """Both variances add up; the scatter is that of the residuals, with the parameters' degrees of freedom taken off."""
    residuals = np.log(law.sample.outcome / law.form.predict(law.coordinates, law.sample.points)[0])
    assert noise(law) == pytest.approx(np.sqrt(residuals @ residuals / 33))
    found, drawn = predict(law, POINTS), levels_at(law, POINTS)
    for k, one in enumerate(found):
        low, high = interval(law, float(drawn.centre[k]), drawn.draws[:, k])
        assert np.log([one.mean, one.low, one.high]) == pytest.approx([drawn.centre[k], low, high])
        scatter = t.ppf(0.975, 33) * noise(law)
        assert np.log(one.mean / one.new_low) == pytest.approx(np.hypot(drawn.centre[k] - low, scatter))
        assert np.log(one.new_high / one.mean) == pytest.approx(np.hypot(high - drawn.centre[k], scatter))


def test_an_effect_is_of_the_same_draws_at_both_ends(law: Law) -> None:
    drawn = levels_at(law, POINTS)
    before, after = np.exp(drawn.draws).T
    change = float(np.diff(np.exp(drawn.centre))[0])
    effect = effect_of(law, POINTS)
    assert effect.difference == pytest.approx((change, *interval(law, change, after - before)))
    assert effect.ratio == pytest.approx(
        tuple(np.exp([np.diff(drawn.centre)[0], *interval(law, np.diff(drawn.centre)[0], np.log(after / before))]))
    )
