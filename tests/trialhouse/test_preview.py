"""What is known before anything is spent: cost, balance and what interventions hold."""

from __future__ import annotations

import json

import pytest

from tests.trialhouse.training.test_trained_trials import learn, learning_study
from trialhouse.preview import preview
from trialhouse.registration import plan
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study
from trialhouse.workloads.registry import load_learner


def test_minutes_are_those_of_the_busiest_worker_and_only_for_what_did_not_land(home: Settings) -> None:
    study = learning_study()
    planned = plan(study, home)
    prices = [load_learner(study).plan(trial.factors).training_flops for trial in planned.trials]
    unknown = preview(planned, watts=60, settings=home).cost
    assert (unknown.minutes, unknown.kwh, unknown.rate_from) == (None, None, None)
    assert unknown.training_flops == unknown.left_flops == sum(prices)
    two = home.model_copy(update={"workers": 2})
    stated = preview(planned, flops_per_s=1e9, watts=60, settings=two).cost
    assert stated.minutes == pytest.approx(max(prices) / 1e9 / 60)
    assert stated.kwh == pytest.approx(60 * max(prices) / 1e9 / 3.6e6)
    learn(study, home)
    measured = preview(planned, settings=home).cost
    assert (measured.landed, measured.left_flops, measured.minutes, measured.rate_from) == (2, 0, 0, "2 landed trials")
    other = preview(plan(learning_study({"epochs": 3}), home), settings=home).cost
    assert other.minutes is not None
    assert other.minutes > 0


def test_what_goes_together_is_told_by_half(home: Settings) -> None:
    found = preview(plan(load_study("confounded_vs_randomised", home), home), settings=home)
    told = {(item.first, item.second, item.half): item.value for item in found.associations}
    # 90 trials in each half: standard error .1 of a rank correlation that is 0
    assert told["width", "n_train", "observational"] > told["width", "n_train", "randomised"]
    assert all(abs(value) < 4 * 0.106 for (_, _, half), value in told.items() if half == "randomised")
    assert sum(found.levels["width"].values()) == 180
    assert json.loads(json.dumps(found.to_dict()))["interventions"][0]["sentence"].startswith("do(width = 32) instead of 8 holds ")


def test_a_workload_that_plans_no_arithmetic_says_so(home: Settings) -> None:
    found = preview(plan(load_study("pruning_digits", home), home), settings=home)
    assert found.cost.training_flops is None
    assert "training FLOPs, minutes and energy: not known, this workload does not plan them" in found.lines()
    told = {(item.first, item.second): (item.measure, item.value) for item in found.associations}
    assert told["pruning_ratio", "batch_size"] == ("rank correlation", 0.0)
    assert told["pruning_ratio", "pruning_method"][0] == "Cramer's V"
