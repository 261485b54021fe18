"""Training that goes on with other data or another recipe: the same bits until then, what it says from then on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from tests.trialhouse.learning.test_engine import RECIPE, blobs, fit, network
from trialhouse.learning.data import TensorData
from trialhouse.learning.engine import Switch, batches
from trialhouse.studies.switches import GRID, evenly_spaced

POINTS = evenly_spaced(60)


def wrong(count: int = 100) -> TensorData:
    """The same points with labels that tell nothing."""
    data = blobs(count)
    return TensorData(data.inputs, data.targets[torch.randperm(count, generator=torch.Generator().manual_seed(7))])


def curve(switch: Switch | None, made: nn.Module | None = None) -> dict[int, float]:
    return {step: values["validation", "loss"] for step, values in fit(made=made, points=POINTS, switch=switch)[1]}


def test_until_the_switch_it_is_the_run_that_never_switches_bit_for_bit() -> None:
    stays, switches = curve(None), curve(Switch(30, wrong(), RECIPE))
    before = [step for step in stays if step <= 30]
    assert before
    assert [switches[step] for step in before] == [stays[step] for step in before]
    assert switches[60] > 2 * stays[60]  # it unlearned


def test_a_switch_to_what_it_has_changes_nothing() -> None:
    first, second = network(0.2), network(0.2)
    assert curve(None, first) == curve(Switch(30, blobs(100), RECIPE), second)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))


def test_as_many_new_examples_come_in_the_old_order_and_others_in_an_epoch_of_their_own() -> None:
    old = list(batches(100, RECIPE, seed=3))
    same = list(batches(100, RECIPE, 3, Switch(30, blobs(100), RECIPE)))
    assert all(torch.equal(one, other) for one, other in zip(old, same, strict=True))
    more = list(batches(100, RECIPE, 3, Switch(30, blobs(400), replace(RECIPE, batch_size=8))))
    assert all(torch.equal(one, other) for one, other in zip(old[:30], more[:30], strict=True))
    assert [len(batch) for batch in more[30:]] == [8] * 30
    assert len(torch.unique(torch.cat(more[30:]))) == 240  # none twice within the new epoch
    assert torch.cat(more[30:]).max() >= 100


def test_from_the_switch_on_the_new_recipe_counts() -> None:
    frozen = network()
    kept = [parameter.detach().clone() for parameter in frozen.parameters()]
    fit(replace(RECIPE, learning_rate=1e-12, optimiser="sgd"), frozen, switch=Switch(30, blobs(100), replace(RECIPE, learning_rate=0.5)))
    moved = [float((one - other.detach()).abs().max()) for one, other in zip(kept, frozen.parameters(), strict=True)]
    assert max(moved) > 0.1


def test_there_is_a_point_at_even_distances_and_one_at_the_end() -> None:
    assert evenly_spaced(80) == tuple(range(2, 81, 2))
    assert evenly_spaced(5) == (1, 2, 3, 4, 5)
    assert len(evenly_spaced(601)) == GRID
    assert evenly_spaced(601)[-1] == 601
