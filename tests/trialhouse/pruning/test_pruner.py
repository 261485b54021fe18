"""What each method does to a network: structured pruning shrinks it, masks do not."""

from __future__ import annotations

import pytest
import torch

from trialhouse.profiling.flops import count_flops
from trialhouse.pruning.pruner import METHODS, make_permanent, prune
from trialhouse.training import fit
from trialhouse.workloads.protocol import Recipe
from trialhouse.workloads.registry import make_workload

WORKLOAD = make_workload("small_cnn", {"width": 80})
EXAMPLE = WORKLOAD.examples("test").inputs[:1]


def parameters(network: torch.nn.Module) -> int:
    return sum(tensor.numel() for tensor in network.parameters())


def pruned(method: str, ratio: float, seed: int = 0) -> torch.nn.Module:
    network = WORKLOAD.network({}, 1)
    prune(network, method, ratio, EXAMPLE, seed)
    return network


@pytest.mark.parametrize("method", METHODS)
def test_ratio_zero_changes_nothing(method: str) -> None:
    network, whole = pruned(method, 0), WORKLOAD.network({}, 1)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize("method", ["l1_structured", "random_structured"])
@pytest.mark.parametrize(("ratio", "wide", "narrow"), [(0.3, 56, 14), (0.6, 32, 8), (0.9, 8, 2)])
def test_structured_pruning_removes_channels_parameters_and_flops(method: str, ratio: float, wide: int, narrow: int) -> None:
    network = WORKLOAD.network({}, 1)
    assert prune(network, method, ratio, EXAMPLE, 0) == pytest.approx(ratio)
    assert (network.wide.out_channels, network.narrow.out_channels, network.classifier.out_features) == (wide, narrow, 10)
    assert parameters(network) == 9 * wide + 2 * wide + 9 * wide * narrow + 2 * narrow + 40 * narrow + 10
    assert count_flops(network, EXAMPLE) == 2 * (64 * 9 * wide + 16 * 9 * wide * narrow + 4 * narrow * 10)
    assert network(EXAMPLE).shape == (1, 10)


def test_masks_leave_shape_parameters_and_flops_alone() -> None:
    whole, network = WORKLOAD.network({}, 1), WORKLOAD.network({}, 1)
    assert prune(network, "l1_mask", 0.6, EXAMPLE, 0) == pytest.approx(0.6, abs=1e-3)
    make_permanent(network)
    assert parameters(network) == parameters(whole)
    assert count_flops(network, EXAMPLE) == count_flops(whole, EXAMPLE)
    assert [name for name, _ in network.named_parameters()] == [name for name, _ in whole.named_parameters()]
    zeros = {name: 1 - int(tensor.count_nonzero()) / tensor.numel() for name, tensor in network.named_parameters() if "norm" not in name}
    assert zeros["wide.weight"] == pytest.approx(0.6, abs=1e-3)
    assert zeros["narrow.weight"] == pytest.approx(0.6, abs=1e-3)
    assert zeros["classifier.weight"] == 0


def test_a_mask_keeps_the_largest_weights_and_holds_while_training() -> None:
    network, whole = pruned("l1_mask", 0.6), WORKLOAD.network({}, 1)
    kept = network.narrow.weight_mask.bool()
    assert whole.narrow.weight[kept].abs().min() >= whole.narrow.weight[~kept].abs().max()
    fit(network, WORKLOAD.examples("train"), WORKLOAD.examples("test"), Recipe(1, 0.01, 256), "finetuning", seed=0)
    make_permanent(network)
    assert torch.all(network.narrow.weight[~kept] == 0)
    assert not torch.equal(network.narrow.weight[kept], whole.narrow.weight[kept])


def test_l1_keeps_the_channels_that_weigh_most() -> None:
    network = WORKLOAD.network({}, 1)
    with torch.no_grad():
        network.wide.weight[20:] *= 1e-3
        network.narrow.weight[:, 20:] *= 1e-3
    heavy = network.wide.weight[:20].clone()
    prune(network, "l1_structured", 0.75, EXAMPLE, 0)
    assert torch.equal(network.wide.weight, heavy)


def test_random_channels_go_by_the_seed_and_not_by_weight() -> None:
    first, again, other = (pruned("random_structured", 0.6, seed) for seed in (1, 1, 2))
    assert torch.equal(first.wide.weight, again.wide.weight)
    assert not torch.equal(first.wide.weight, other.wide.weight)
    assert not torch.equal(first.wide.weight, pruned("l1_structured", 0.6).wide.weight)


def test_pruning_does_not_spoil_batch_norm_statistics() -> None:
    network = WORKLOAD.network({}, 1).train()
    network(WORKLOAD.examples("train").inputs[:50])
    mean = network.wide_norm.running_mean.clone()
    prune(network, "l1_structured", 0.6, EXAMPLE, 0)
    assert set(network.wide_norm.running_mean.tolist()) <= set(mean.tolist())
    assert not network.training
