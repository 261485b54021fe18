"""Which of scored layers stays: within layers, over all of them, and never nothing."""

from __future__ import annotations

import pytest
import torch

from trialhouse.pruning.selection import removed_share, select

SCORES = {"low": torch.tensor([0.1, 0.4, 0.2, 0.3]), "high": torch.tensor([1.0, 4.0, 2.0, 3.0])}


def kept(ratio: float, *, is_global: bool) -> dict[str, list[int]]:
    return {name: stays.nonzero().flatten().tolist() for name, stays in select(SCORES, ratio, is_global=is_global).items()}


def test_each_layer_loses_the_share_or_all_together_do() -> None:
    assert kept(0.5, is_global=False) == {"low": [1, 3], "high": [1, 3]}
    assert kept(0.25, is_global=True) == {"low": [1, 3], "high": [0, 1, 2, 3]}


@pytest.mark.parametrize("ratio", [0.75, 0.9, 0.999, 1.0])
def test_every_layer_keeps_its_most_important_one(ratio: float) -> None:
    assert kept(ratio, is_global=False) == {"low": [1], "high": [1]}
    stays = kept(ratio, is_global=True)
    assert stays == {"low": [1], "high": [1]}
    assert removed_share(select(SCORES, ratio, is_global=True)) == 0.75


@pytest.mark.parametrize("is_global", [False, True])
def test_what_stays_at_a_ratio_stays_at_every_smaller_one(is_global: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    scores = {name: torch.rand(3, size, generator=draw).round(decimals=1) for name, size in (("a", 40), ("b", 7))}
    larger = select(scores, 0, is_global=is_global)
    assert all(stays.all() for stays in larger.values())
    for ratio in torch.linspace(0, 1, 30).tolist():
        smaller = select(scores, ratio, is_global=is_global)
        assert all(torch.all(larger[name] | ~smaller[name]) for name in scores)
        larger = smaller


def test_whole_numbers_are_not_lost_to_rounding() -> None:
    assert int(select({"a": torch.arange(80.0)}, 0.9, is_global=False)["a"].sum()) == 8


def test_ties_go_by_position() -> None:
    assert select({"a": torch.ones(4)}, 0.5, is_global=False)["a"].tolist() == [True, True, False, False]
