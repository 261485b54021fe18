"""The engine: what a recipe does to a small network on data in memory."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from trialhouse.learning.data import Shifted, TensorData
from trialhouse.learning.engine import DivergedError, TimedOutError, Trained, batches, evaluate, evaluation_batch, train
from trialhouse.learning.recipe import Recipe, log_spaced

RECIPE = Recipe(steps=60, batch_size=16, learning_rate=0.02)


def blobs(count: int, seed: int = 0) -> TensorData:
    """Three classes of points in a plane, well apart."""
    chance = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (count,), generator=chance)
    centres = torch.tensor([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]])
    return TensorData(centres[targets] + 0.5 * torch.randn(count, 2, generator=chance), targets)


def network(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def fit(recipe: Recipe = RECIPE, made: nn.Module | None = None, **options: Any) -> tuple[Trained, list[tuple[int, dict[Any, float]]]]:
    noted: list[tuple[int, dict[Any, float]]] = []
    made = made or network()
    settings = {"seed": 1, "note": lambda step, values: noted.append((step, dict(values)))}
    return train(made, blobs(100), blobs(80, seed=1), recipe, **{**settings, **options}), noted


def test_it_learns_and_notes_its_curve_at_powers_of_two() -> None:
    done, noted = fit()
    assert [step for step, _ in noted] == [1, 2, 4, 8, 16, 32, 60]
    assert noted[-1][1]["validation", "loss"] < 0.5 * noted[0][1]["validation", "loss"]
    assert done.validation.accuracy > 0.95
    assert noted[-1][1]["validation", "loss"] == done.validation.loss


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_optimiser_and_precision_learns(optimiser: Any, precision: Any) -> None:
    assert fit(replace(RECIPE, optimiser=optimiser, precision=precision, clip=1.0))[0].validation.accuracy > 0.9


def test_it_comes_to_the_same_bits_whatever_chance_the_process_has_used_up() -> None:
    first, second = network(0.2), network(0.2)
    fit(made=first)
    torch.rand(7)
    before = torch.random.get_rng_state()
    fit(made=second)
    assert torch.equal(before, torch.random.get_rng_state())  # nor does it use up any
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_every_example_is_seen_once_an_epoch_and_batches_are_whole() -> None:
    found = list(batches(10, Recipe(steps=5, batch_size=4, learning_rate=1.0), seed=0))
    assert [len(batch) for batch in found] == [4] * 5
    seen = torch.cat(found).tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert [len(batch) for batch in batches(3, Recipe(steps=2, batch_size=8, learning_rate=1.0), seed=0)] == [8, 8]


def test_a_loss_that_is_no_number_ends_it() -> None:
    with pytest.raises(DivergedError, match="loss is not finite at step 1"):
        fit(replace(RECIPE, optimiser="sgd", learning_rate=1e30, schedule="constant"))


def test_time_that_is_over_ends_it() -> None:
    with pytest.raises(TimedOutError, match="not done within 0 s, at step 1"):
        fit(timeout_s=0.0)


def test_patience_ends_it_when_nothing_gets_better() -> None:
    still = replace(RECIPE, learning_rate=1e-12, optimiser="sgd", patience=3, schedule="constant")
    done, noted = fit(still)
    assert done.is_stopped_early
    assert done.steps < 20
    assert noted[-1][0] == done.steps
    assert not fit(replace(RECIPE, patience=20))[0].is_stopped_early


def test_evaluation_is_the_mean_over_examples_not_over_batches() -> None:
    made, data = network(), blobs(251)
    scores = made(data.inputs)
    found = evaluate(made, data)
    assert found.loss == pytest.approx(nn.functional.cross_entropy(scores, data.targets).item(), rel=1e-5)
    assert found.accuracy == pytest.approx((scores.argmax(1) == data.targets).float().mean().item())


@pytest.mark.parametrize(("width", "batch"), [(16, 250), (50_000, 32), (4_000_000, 1)])
def test_wide_layers_are_evaluated_in_batches_that_the_cache_holds(width: int, batch: int) -> None:
    with torch.inference_mode():
        assert evaluation_batch(nn.Sequential(nn.Linear(2, width, bias=False), nn.ReLU()), blobs(3)) == batch


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", {0: 1.0, 50: 1.0, 99: 1.0}),
        ("one_cycle", {0: 0.015, 33: 1.0, 99: 0.0}),
        ("cosine", {0: 0.05, 10: 1.0, 99: 0.1}),
        ("warmup_stable_decay", {0: 0.05, 10: 1.0, 79: 1.0, 90: 0.475, 99: 0.025}),
    ],
)
def test_schedules_rise_and_fall_as_they_say(schedule: Any, rates: dict[int, float]) -> None:
    recipe = Recipe(steps=100, batch_size=1, learning_rate=1.0, schedule=schedule, warmup=0.1, decay=0.2)
    for step, rate in rates.items():
        assert recipe.learning_rate_at(step) == pytest.approx(rate, abs=2e-3)
    assert all(0 < recipe.learning_rate_at(step) <= 1 for step in range(100))


def test_points_are_log_spaced_and_hold_the_last_step() -> None:
    assert log_spaced(1) == (1,)
    assert log_spaced(8) == (1, 2, 4, 8)
    assert log_spaced(9) == (1, 2, 4, 8, 9)


def test_shifted_images_move_by_whole_pixels_and_no_further() -> None:
    image = torch.arange(1.0, 26.0).reshape(1, 1, 5, 5)
    data = Shifted(TensorData(image, torch.tensor([0])), most=1, empty=-9.0, generator=torch.Generator().manual_seed(0))
    padded = nn.functional.pad(image, [1] * 4, value=-9.0)[0, 0]
    allowed = [padded[row : row + 5, column : column + 5] for row in range(3) for column in range(3)]
    moved = [data.batch(torch.tensor([0]))[0][0, 0] for _ in range(60)]
    assert all(any(torch.equal(one, other) for other in allowed) for one in moved)
    assert all(any(torch.equal(one, other) for one in moved) for other in allowed)  # 60 draws of 9: each is missed once in 1,200
    assert not math.isnan(float(torch.stack(moved).sum()))
