"""Networks that are trained together come to what each comes to alone."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.trialhouse.learning.test_engine import RECIPE, blobs
from trialhouse.learning.data import TensorData
from trialhouse.learning.engine import DivergedError, TimedOutError, Trained, train
from trialhouse.learning.recipe import Recipe
from trialhouse.learning.together import Pupil, can_train_together, train_together

CPU = torch.device("cpu")


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3)).double()


def both_ways(recipe: Recipe, count: int = 3) -> tuple[list[Any], list[Any], list[nn.Module], list[nn.Module]]:
    """What came of it and the networks: alone and together, in double precision, where rounding does not grow into differences."""
    alone_notes: list[list[Any]] = [[] for _ in range(count)]
    notes: list[list[Any]] = [[] for _ in range(count)]
    data = [TensorData(one.inputs.double(), one.targets) for one in (blobs(100, seed) for seed in range(count))]
    held = TensorData(blobs(80, 9).inputs.double(), blobs(80, 9).targets)
    alone, together = [network(seed) for seed in range(count)], [network(seed) for seed in range(count)]
    ended_alone = []
    for index, made in enumerate(alone):
        note = alone_notes[index].append
        ended_alone.append(train(made, data[index], held, recipe, seed=index, note=lambda *point, note=note: note(point)))
    pupils = [
        Pupil(made, data[index], held, index, lambda *point, note=notes[index].append: note(point)) for index, made in enumerate(together)
    ]
    ended = train_together(pupils, recipe, device=CPU)
    return [*zip(ended_alone, alone_notes, strict=True)], [*zip(ended, notes, strict=True)], alone, together


@pytest.mark.parametrize(
    "change", [{}, {"optimiser": "sgd"}, {"optimiser": "adamw", "weight_decay": 0.1}, {"clip": 0.05}, {"schedule": "constant"}], ids=str
)
def test_weights_scores_and_curves_are_those_of_each_alone(change: dict[str, Any]) -> None:
    alone, together, networks, others = both_ways(replace(RECIPE, **change))
    for one, other in zip(networks, others, strict=True):
        for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)  # cross-entropy itself is taken in single precision alone
    for (ended, noted), (also, also_noted) in zip(alone, together, strict=True):
        assert isinstance(also, Trained)
        assert also.validation.loss == pytest.approx(ended.validation.loss, rel=1e-3)
        assert also.train.accuracy == pytest.approx(ended.train.accuracy)
        assert [step for step, _ in noted] == [step for step, _ in also_noted]
        for (_, values), (_, others_values) in zip(noted, also_noted, strict=True):
            assert others_values == pytest.approx(values, rel=1e-3)


def test_one_that_diverges_does_not_stop_the_others() -> None:
    good, bad = network(0), copy.deepcopy(network(1))
    with torch.no_grad():
        next(bad.parameters()).fill_(float("nan"))
    data = TensorData(blobs(50).inputs.double(), blobs(50).targets)
    pupils = [Pupil(made, data, data, 0, lambda step, values: None) for made in (good, bad)]
    fine, diverged = train_together(pupils, RECIPE, device=CPU)
    assert isinstance(fine, Trained)
    assert fine.validation.accuracy > 0.9
    assert isinstance(diverged, DivergedError)
    assert diverged.step == 1


def test_time_that_is_over_ends_all() -> None:
    pupil = Pupil(network(0), TensorData(blobs(50).inputs.double(), blobs(50).targets), blobs(50), 0, lambda step, values: None)
    with pytest.raises(TimedOutError):
        train_together([pupil], RECIPE, device=CPU, points=(60,), timeout_s=0.0)


def test_what_depends_on_more_than_weights_and_batch_is_trained_alone() -> None:
    assert can_train_together(network(0), RECIPE)
    assert not can_train_together(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), RECIPE)
    assert not can_train_together(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), RECIPE)
    assert not can_train_together(network(0), replace(RECIPE, patience=2))
