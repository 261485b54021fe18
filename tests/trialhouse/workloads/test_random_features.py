"""Random features of real digits: the solution, the peak where features meet examples, and both limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from trialhouse.errors import WorkloadError
from trialhouse.studies.spec import Factor
from trialhouse.workloads import random_features
from trialhouse.workloads.random_features import RandomFeatures


def silent(*_: object) -> None: ...


def outcomes(settings: dict[str, Any], **factors: Any) -> Mapping[str, float]:
    return RandomFeatures(settings).learn(factors, silent, math.inf).outcomes


def test_the_error_has_its_peak_where_features_meet_examples_and_a_ridge_takes_it_away() -> None:
    noisy = {"n_train": 100, "label_noise": 0.2}
    counts = (10, 30, 100, 300, 1000)
    for seed in range(3):
        free, held = ([outcomes(noisy, seed=seed, features=count, ridge=ridge) for count in counts] for ridge in (0, 0.01))
        loss = [found["loss"] for found in free]
        assert loss.index(max(loss)) == 2
        assert loss[2] > 10 * max(loss[0], loss[4])
        assert [found["loss"] for found in held] == sorted((found["loss"] for found in held), reverse=True)
        assert [found["train_loss"] < 1e-12 for found in free if found["features_per_example"] != 1] == [False, False, True, True]
        assert free[2]["weights_norm"] > 10 * free[4]["weights_norm"]


@pytest.mark.parametrize("limit", ["features", "examples"])
def test_the_squared_distance_to_a_limit_falls_as_one_over_what_grows(limit: str) -> None:
    settings = {"n_train": 20, "features": 5, "limit": limit}
    # of the digits there are too few to be called unlimited
    more = {"dataset": "warped_digits"} if limit == "examples" else {}
    near, far = (
        np.array([outcomes({**settings, **more}, abundance=level, seed=seed)["log10_distance_to_limit"] for seed in range(6)])
        for level in (30, 300)
    )
    slopes = far - near
    error = slopes.std(ddof=1) / math.sqrt(len(slopes))
    assert error < 0.1
    assert slopes.mean() == pytest.approx(-1, abs=4 * error)


def test_features_approach_their_kernel() -> None:
    chance = np.random.default_rng(0)
    rows, layer = chance.standard_normal((4, 65)) / math.sqrt(65), chance.standard_normal((200_000, 65))
    found = random_features._features(rows, layer)
    products = 2 * np.maximum(rows @ layer.T, 0)[:, None] * np.maximum(rows @ layer.T, 0)[None]
    error = products.std(axis=2) / math.sqrt(len(layer))
    assert (np.abs(found @ found.T - random_features._kernel(rows, rows)) < 4 * error).all()


@pytest.mark.parametrize("features", [20, 200])
def test_a_ridge_has_one_solution_however_it_is_computed(features: int) -> None:
    chance = np.random.default_rng(0)
    inputs, targets = chance.standard_normal((60, features)), chance.standard_normal((60, 3))
    found = random_features._least_squares(inputs, targets, 0.1)
    gradient = inputs.T @ (inputs @ found - targets) / 60 + 0.1 * found
    assert np.abs(gradient).max() < 1e-10


def test_a_trial_is_a_function_of_its_factors_and_says_what_was_solved_for() -> None:
    learner = RandomFeatures({"n_train": 40, "abundance": 2})
    first, again = (learner.learn({"seed": 1, "abundance": 3}, silent, math.inf) for _ in range(2))
    assert {**first.outcomes, "training_s": 0} == {**again.outcomes, "training_s": 0}
    assert set(first.outcomes) == RandomFeatures.outcomes
    assert (first.outcomes["features_per_example"], first.outcomes["parameters"]) == (3, 1200)
    assert learner.plan({"limit": "examples", "features": 50, "n_train": 7}).realised == {
        "limit": "examples",
        "features": 50,
        "n_train": 100,
    }


def test_what_cannot_be_had_is_one_line() -> None:
    with pytest.raises(WorkloadError, match="n_train must be at most the 1,123 training examples that there are, got 5,000"):
        RandomFeatures({"limit": "examples", "features": 50}).plan({"abundance": 100})
    with pytest.raises(WorkloadError, match="factors of workload 'random_features' must be among its settings"):
        RandomFeatures({}).check([Factor(name="width", kind="ordinal", levels=(1, 2))])
