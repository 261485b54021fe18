"""The held-out check: what is held out, who forecasts it better, and honest words where the causal law does not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks.planted_laws import PLANTED, crossed
from tests.trialhouse.scaling_laws.test_forecast import BOTH, confounded
from trialhouse.errors import ForecastError
from trialhouse.scaling_laws import FORMS, Law
from trialhouse.scaling_laws.fit import DELTA, plain_law
from trialhouse.scaling_laws.held_out import CAUSAL, HeldOut, held_out, split
from trialhouse.scaling_laws.observer import PRODUCT
from trialhouse.scaling_laws.sample import make_sample

PAIR = PLANTED["chinchilla"]


def plain(frame: pd.DataFrame, form: str = "chinchilla") -> Law:
    columns = {name: name for name in BOTH if name in frame}
    return plain_law(FORMS[form], make_sample(frame, FORMS[form], outcome="y", columns=columns), DELTA, draws=100)


def rmse(found: HeldOut, basis: str, kind: str) -> float:
    score = found.score(basis, kind)  # type: ignore[arg-type]
    assert score is not None
    return score.rmse


def test_whole_configurations_are_held_out_the_dearest_and_some_between_the_rest() -> None:
    frame = pd.concat([PAIR.table(seed) for seed in range(3)], ignore_index=True)
    parts = split(plain(frame).sample)
    assert (parts.fit.astype(int) + parts.interpolation + parts.extrapolation == 1).all()
    compute = frame["size"] * frame["data"]
    assert compute[parts.extrapolation].min() > compute[~parts.extrapolation].max()
    between = frame[parts.interpolation]
    assert between["size"].between(2e7, 9e9).all()
    assert between["data"].between(2e9, 9e11).all()
    for part in (parts.interpolation, parts.extrapolation):
        held = {tuple(row) for row in frame.loc[part, ["size", "data"]].to_numpy()}
        assert len(held) * 3 == part.sum()
    assert 0.1 < parts.interpolation.mean() < 0.25


def test_the_split_is_the_same_each_time_and_of_one_factor_takes_its_top() -> None:
    law = plain(PLANTED["power_law"].table(0), "power_law")
    first, second = split(law.sample), split(law.sample)
    assert (first.interpolation == second.interpolation).all()
    assert law.sample.points["n"][first.extrapolation].min() > law.sample.points["n"][first.fit].max()


def test_the_causal_law_beats_every_observer_where_factors_vary_apart() -> None:
    found = held_out(plain(PAIR.table(0)))
    for kind in ("interpolation", "extrapolation"):
        assert all(rmse(found, CAUSAL, kind) < 0.5 * rmse(found, basis, kind) for basis in ("size", "data", PRODUCT))
        assert found.sentences[kind].endswith("the causal forecast is better")  # type: ignore[index]


def test_intervals_of_new_trials_cover_held_out_ones() -> None:
    """5 studies of 13 held-out trials; fewer than 55 of 65 has a chance of 1 in 1,000 at 95%."""
    inside = total = 0.0
    for seed in range(5):
        for score in held_out(plain(PAIR.table(seed))).scores:
            if score.basis == CAUSAL:
                inside, total = inside + score.coverage * score.trials, total + score.trials
    assert total >= 60
    assert inside / total >= 55 / 65


def test_where_a_passive_observer_is_as_good_it_says_so_and_why() -> None:
    """Factors that go together to 98%: who sees their product sees all that there is."""
    rng = np.random.default_rng(0)
    log_n = rng.uniform(np.log(1e7), np.log(1e10), 60)
    log_d = 3 + log_n + rng.normal(0, 0.25, 60)
    level = np.log(1.8 + 480 * np.exp(-0.35 * log_n) + 2100 * np.exp(-0.37 * log_d))
    frame = pd.DataFrame({"size": np.exp(log_n), "data": np.exp(log_d), "y": np.exp(level + rng.normal(0, 0.02, 60))})
    said = held_out(plain(frame)).sentences
    assert "no better: the two cannot be told apart, since" in said["interpolation"]
    assert "as trials scatter" in said["interpolation"] or "go together" in said["interpolation"]


def test_a_form_that_does_not_go_on_is_named() -> None:
    """A law without an irreducible loss, fitted where there is one, forecasts too low beyond the trials."""
    frame = crossed(size=np.geomspace(1e6, 1e10, 9), data=np.geomspace(1e8, 1e12, 9))()
    level = 3 + 480 / frame["size"] ** 0.45 + 2100 / frame["data"] ** 0.45
    frame = frame.assign(y=level * np.exp(np.random.default_rng(0).normal(0, 0.003, len(frame))))
    found = held_out(plain(frame, "pure_coupled"))
    assert "nearly all its forecasts are too low: the form pure_coupled does not go on" in found.sentences["extrapolation"]
    score = found.score(CAUSAL, "extrapolation")
    assert score is not None
    assert score.bias < 0


def test_one_factor_has_no_observer_to_beat() -> None:
    found = held_out(plain(PLANTED["power_law"].table(0), "power_law"))
    assert {score.basis for score in found.scores} == {CAUSAL}
    assert "a passive observer has the same law" in found.sentences["extrapolation"]


def test_every_held_out_configuration_has_its_forecast_and_its_outcomes() -> None:
    frame = confounded(1)
    found = held_out(plain(frame))
    own = [one for one in found.forecasts if one.basis == CAUSAL]
    assert sum(len(one.outcomes) for one in own) == len(frame) - found.fitted
    assert all(one.prediction.new_low < one.prediction.mean < one.prediction.new_high for one in own)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["fitted_trials"] == found.fitted


def test_too_few_trials_are_refused() -> None:
    frame = crossed(size=np.array([1e7, 1e8]), data=np.array([1e9, 1e10, 1e11]))()
    frame = pd.concat([frame.assign(y=1.8 + 480 / frame["size"] ** 0.35 + 2100 / frame["data"] ** 0.37)] * 2, ignore_index=True)
    with pytest.raises(ForecastError, match="held-out check of chinchilla needs trials at more than 5 places, got"):
        held_out(plain(frame))


def test_one_configuration_is_not_several() -> None:
    frame = crossed(size=np.geomspace(1e6, 1e8, 3), data=np.geomspace(1e8, 1e10, 3))()
    chance = np.random.default_rng(0)
    frame = pd.concat([frame] * 4).assign(y=lambda f: 1e4 / f["size"] ** 0.3 / f["data"] ** 0.2 * np.exp(chance.normal(0, 0.1, len(f))))
    said = held_out(plain(frame, "multiplicative")).sentences
    assert "misses 4 trials of 1 configuration by" in said["extrapolation"]
