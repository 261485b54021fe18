"""A trunk and its branches: bit for bit what each length comes to alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.trialhouse.learning.test_engine import blobs, network
from trialhouse.learning.data import Shifted, TensorData
from trialhouse.learning.engine import DivergedError, TimedOutError, train
from trialhouse.learning.recipe import Recipe, log_spaced
from trialhouse.learning.trunk import Branch, Leaf, train_branches

LONGEST = Recipe(
    steps=40, batch_size=16, learning_rate=0.02, schedule="warmup_stable_decay", warmup=0.1, decay=0.25, trunk_steps=40, weight_decay=0.1
)
RECIPES = (LONGEST, replace(LONGEST, steps=12), replace(LONGEST, steps=24, decay=0.5))


def pictures() -> Shifted:
    """Images that are moved anew each time: what draws by chance must be copied with the rest."""
    points = blobs(60)
    inputs = points.inputs.repeat(1, 8).reshape(60, 1, 4, 4)
    return Shifted(TensorData(inputs, points.targets), 1, 0.0, torch.Generator().manual_seed(3))


def deep(dropout: float = 0.2) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(8, 3)
    )


def together(recipes: tuple[Recipe, ...], **options: Any) -> tuple[list[Any], list[dict[int, Any]]]:
    curves: list[dict[int, Any]] = [{} for _ in recipes]

    def noting(curve: dict[int, Any]) -> Any:
        return lambda step, values: curve.update({step: dict(values)})

    branches = [Branch(recipe, log_spaced(recipe.steps), noting(curve)) for recipe, curve in zip(recipes, curves, strict=True)]
    made, before = deep(), torch.random.get_rng_state()
    found = train_branches(made, pictures(), pictures().data, branches, seed=1, **options)
    assert torch.equal(before, torch.random.get_rng_state())
    return found, curves


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_every_branch_comes_to_the_bits_that_it_comes_to_alone(optimiser: Any) -> None:
    recipes = tuple(replace(recipe, optimiser=optimiser) for recipe in RECIPES)
    found, curves = together(recipes)
    for recipe, leaf, curve in zip(recipes, found, curves, strict=True):
        made, alone = deep(), {}
        trained = train(
            made, pictures(), pictures().data, recipe, seed=1, note=lambda step, values, to=alone: to.update({step: dict(values)})
        )
        assert isinstance(leaf, Leaf)
        assert all(torch.equal(one, other) for one, other in zip(made.parameters(), leaf.network.parameters(), strict=True))
        assert curve == alone
        assert leaf.trained == trained


def test_rates_are_the_same_until_a_branch_decays_to_nothing() -> None:
    short, long = replace(LONGEST, steps=12), LONGEST
    assert (short.branch_step, long.branch_step) == (9, 30)
    assert [short.learning_rate_at(step) for step in range(9)] == [long.learning_rate_at(step) for step in range(9)]
    assert short.learning_rate_at(0) == pytest.approx(0.02 * 0.5 / 4)  # a tenth of 40 steps is the warm-up of all
    assert short.learning_rate_at(11) < 0.2 * 0.02
    assert long.learning_rate_at(11) == 0.02


def test_the_trunk_is_trained_once() -> None:
    steps = 0

    class Counted(TensorData):
        def batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal steps
            steps += 1
            return super().batch(chosen)

    data = blobs(100)
    branches = [Branch(recipe, (recipe.steps,), lambda *_: None) for recipe in RECIPES]
    train_branches(network(), Counted(data.inputs, data.targets), blobs(30), branches, seed=1)
    assert steps == 30 + 10 + 3 + 12  # the level part and three decays; alone: 76


def test_what_stops_a_branch_stops_no_other_and_what_stops_the_trunk_stops_all_that_follow() -> None:
    wild = replace(LONGEST, learning_rate=1e30, optimiser="sgd")
    found, _ = together(tuple(replace(wild, steps=steps) for steps in (40, 12)))
    assert [type(one) for one in found] == [DivergedError, DivergedError]
    assert len({one.step for one in found}) == 1
    out, _ = together(RECIPES, timeout_s=0.0)
    assert [type(one) for one in out] == [TimedOutError] * 3
