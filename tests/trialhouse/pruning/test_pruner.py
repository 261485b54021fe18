"""What each method does to a network: structured pruning shrinks it, masks do not."""

from __future__ import annotations

import copy
from importlib.metadata import EntryPoint

import pytest
import torch

from tests.trialhouse.pruning.networks import TORCHVISION, examples
from tests.trialhouse.pruning.networks import network as torchvision_network
from trialhouse.errors import PruningError
from trialhouse.profiling.flops import count_flops
from trialhouse.pruning import channels, importance
from trialhouse.pruning.channels import score_channels
from trialhouse.pruning.importance import load_importance
from trialhouse.pruning.layers import prunable_layers
from trialhouse.pruning.masks import MASKS, make_permanent
from trialhouse.pruning.pruner import FLOPS_TOLERANCE, prune, prune_to_flops
from trialhouse.training.weights import fit
from trialhouse.workloads.factors import MASK_METHODS, pruning_methods, structured_methods
from trialhouse.workloads.protocol import Recipe
from trialhouse.workloads.registry import make_workload
from trialhouse.workloads.weights import take_shapes

WORKLOAD = make_workload("small_cnn", {"width": 80})
TRAIN = WORKLOAD.examples("train")
EXAMPLE = WORKLOAD.examples("test").inputs[:1]
GLOBAL = ("batch_norm_scale", "lamp", "taylor")


def parameters(network: torch.nn.Module) -> int:
    return sum(tensor.numel() for tensor in network.parameters())


def trained(seed: int = 1) -> torch.nn.Module:
    """With batch-norm scales and gradients of its own."""
    network = WORKLOAD.network({}, seed)
    fit(network, TRAIN, WORKLOAD.examples("test"), Recipe(1, 0.01, 64), "pretraining", seed=0)
    return network


TRAINED = trained()


def pruned(method: str, ratio: float, seed: int = 0) -> torch.nn.Module:
    network = copy.deepcopy(TRAINED)
    prune(network, method, ratio, EXAMPLE, seed, TRAIN)
    return network


def widths(network: torch.nn.Module) -> tuple[int, int]:
    return network.wide.out_channels, network.narrow.out_channels


def test_every_method_that_a_study_can_name_exists() -> None:
    assert set(MASK_METHODS) == set(MASKS)
    assert set(structured_methods()) == {"random_structured", "l1_structured", "l2_structured", *GLOBAL}
    assert {name for name in structured_methods() if load_importance(name).is_global} == set(GLOBAL)
    with pytest.raises(PruningError, match=r"a method that removes channels must be one of \['batch_norm_scale', .*, got 'l1_mask'"):
        load_importance("l1_mask")


@pytest.mark.parametrize("method", pruning_methods())
def test_ratio_zero_changes_nothing(method: str) -> None:
    network = pruned(method, 0)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), TRAINED.parameters(), strict=True))


@pytest.mark.parametrize("method", ["l1_structured", "l2_structured", "random_structured"])
@pytest.mark.parametrize(("ratio", "wide", "narrow"), [(0.3, 56, 14), (0.6, 32, 8), (0.9, 8, 2), (0.99, 1, 1)])
def test_local_methods_take_the_same_share_of_every_layer(method: str, ratio: float, wide: int, narrow: int) -> None:
    network = copy.deepcopy(TRAINED)
    assert prune(network, method, ratio, EXAMPLE, 0, TRAIN) == pytest.approx(1 - (wide + narrow) / 100)
    assert (*widths(network), network.classifier.out_features) == (wide, narrow, 10)
    assert parameters(network) == 9 * wide + 2 * wide + 9 * wide * narrow + 2 * narrow + 40 * narrow + 10
    assert count_flops(network, EXAMPLE) == 2 * (64 * 9 * wide + 16 * 9 * wide * narrow + 4 * narrow * 10)
    assert network(EXAMPLE).shape == (1, 10)


@pytest.mark.parametrize("method", GLOBAL)
def test_global_methods_take_one_share_of_all_layers_together(method: str) -> None:
    network = copy.deepcopy(TRAINED)
    assert prune(network, method, 0.5, EXAMPLE, 0, TRAIN) == pytest.approx(0.5)
    assert sum(widths(network)) == 50
    assert widths(network) != (40, 10)
    assert parameters(network) < parameters(TRAINED)
    assert count_flops(network, EXAMPLE) < count_flops(TRAINED, EXAMPLE)
    assert widths(pruned(method, 0.9999)) == (1, 1)


@pytest.mark.parametrize("method", MASK_METHODS)
def test_masks_leave_shape_parameters_and_flops_alone(method: str) -> None:
    network = copy.deepcopy(TRAINED)
    assert prune(network, method, 0.6, EXAMPLE, 0, TRAIN) == pytest.approx(0.6, abs=1e-3)
    make_permanent(network)
    assert parameters(network) == parameters(TRAINED)
    assert count_flops(network, EXAMPLE) == count_flops(TRAINED, EXAMPLE)
    assert [name for name, _ in network.named_parameters()] == [name for name, _ in TRAINED.named_parameters()]
    zeros = {name: 1 - int(tensor.count_nonzero()) / tensor.numel() for name, tensor in network.named_parameters() if "norm" not in name}
    is_local = zeros["wide.weight"] == pytest.approx(0.6, abs=1e-3) and zeros["narrow.weight"] == pytest.approx(0.6, abs=1e-3)
    assert is_local == (method != "global_l1_mask")
    assert zeros["classifier.weight"] == 0


@pytest.mark.parametrize("method", MASK_METHODS)
def test_a_mask_never_zeroes_a_whole_layer(method: str) -> None:
    network = pruned(method, 0.99999)
    assert [int(layer.weight_mask.count_nonzero()) for layer in prunable_layers(network).values()] == [1, 1]


def test_a_mask_keeps_the_largest_weights_and_holds_while_training() -> None:
    network = pruned("l1_mask", 0.6)
    kept = network.narrow.weight_mask.bool()
    assert TRAINED.narrow.weight[kept].abs().min() >= TRAINED.narrow.weight[~kept].abs().max()
    fit(network, TRAIN, WORKLOAD.examples("test"), Recipe(1, 0.01, 256), "finetuning", seed=0)
    make_permanent(network)
    assert torch.all(network.narrow.weight[~kept] == 0)
    assert not torch.equal(network.narrow.weight[kept], TRAINED.narrow.weight[kept])


def test_a_global_mask_has_one_threshold() -> None:
    layers = prunable_layers(pruned("global_l1_mask", 0.6)).values()
    smallest_kept = min(float(layer.weight_orig.detach()[layer.weight_mask.bool()].abs().min()) for layer in layers)
    assert smallest_kept >= max(float(layer.weight_orig.detach()[~layer.weight_mask.bool()].abs().max()) for layer in layers)


@pytest.mark.parametrize("method", ["l1_structured", "l2_structured"])
def test_magnitude_keeps_the_channels_that_weigh_most(method: str) -> None:
    network = WORKLOAD.network({}, 1)
    with torch.no_grad():
        network.wide.weight[20:] *= 1e-3
        network.narrow.weight[:, 20:] *= 1e-3
    heavy = network.wide.weight[:20].clone()
    prune(network, method, 0.75, EXAMPLE, 0, TRAIN)
    assert torch.equal(network.wide.weight, heavy)


def test_batch_norm_scale_compares_scales_over_layers_as_they_are() -> None:
    network = copy.deepcopy(TRAINED)
    with torch.no_grad():
        network.wide_norm.weight.copy_(torch.linspace(1, 2, 80))
        network.narrow_norm.weight.copy_(torch.linspace(-5, -4, 20))
    prune(network, "batch_norm_scale", 0.3, EXAMPLE, 0, TRAIN)
    assert widths(network) == (50, 20)
    assert torch.equal(network.wide_norm.weight, torch.linspace(1, 2, 80)[30:])


def test_taylor_scores_are_squared_weights_times_squared_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "GRADIENT_BATCH", 200)
    monkeypatch.setattr(channels, "GRADIENT_BATCHES", 2)
    network = copy.deepcopy(TRAINED)
    scores = score_channels(network, "taylor", EXAMPLE, 3, TRAIN)
    assert all(parameter.grad is None for parameter in network.parameters())
    order = torch.randperm(len(TRAIN.targets), generator=torch.Generator().manual_seed(3))
    network.eval()
    expected = torch.zeros(20)
    for chosen in (order[:200], order[200:400]):
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(TRAIN.inputs[chosen]), TRAIN.targets[chosen]).backward()
        with torch.no_grad():
            expected += (network.narrow.weight * network.narrow.weight.grad).square().sum((1, 2, 3)) / 2
            expected += (network.narrow_norm.weight * network.narrow_norm.weight.grad).square() / 2
            inputs = (network.classifier.weight * network.classifier.weight.grad).square().sum(0)
            expected += inputs.reshape(20, 4).sum(1) / 2
    torch.testing.assert_close(scores["narrow"], expected)


def test_random_goes_by_the_seed_and_not_by_weight() -> None:
    for method, by_weight in (("random_structured", "l1_structured"), ("random_mask", "l1_mask")):
        first, again, other = (pruned(method, 0.6, seed).wide.weight for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first, pruned(by_weight, 0.6).wide.weight)


@pytest.mark.parametrize("method", structured_methods())
def test_pruning_does_not_spoil_batch_norm_statistics(method: str) -> None:
    network = pruned(method, 0.6)
    assert set(network.wide_norm.running_mean.tolist()) <= set(TRAINED.wide_norm.running_mean.tolist())
    assert int(network.wide_norm.num_batches_tracked) == int(TRAINED.wide_norm.num_batches_tracked)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("method", structured_methods())
@pytest.mark.parametrize("target", [0.25, 0.6])
def test_a_target_of_flops_is_reached_whatever_the_method(method: str, target: float) -> None:
    network = copy.deepcopy(TRAINED)
    ratio = prune_to_flops(network, method, target, EXAMPLE, 0, TRAIN)
    share = count_flops(network, EXAMPLE) / count_flops(TRAINED, EXAMPLE)
    assert share == pytest.approx(target, abs=FLOPS_TOLERANCE)
    channels_left = sum(widths(network))
    assert ratio == pytest.approx(1 - channels_left / 100)


def test_the_nearest_ratio_is_taken() -> None:
    whole, flops = count_flops(TRAINED, EXAMPLE), {}
    for ratio in torch.linspace(0.2, 0.8, 61).tolist():
        flops[ratio] = count_flops(pruned("l1_structured", ratio), EXAMPLE) / whole
    network = copy.deepcopy(TRAINED)
    prune_to_flops(network, "l1_structured", 0.4, EXAMPLE, 0, TRAIN)
    nearest = min(abs(share - 0.4) for share in flops.values())
    assert abs(count_flops(network, EXAMPLE) / whole - 0.4) <= nearest


def test_a_target_of_all_flops_prunes_nothing_and_one_out_of_reach_is_one_line() -> None:
    network = copy.deepcopy(TRAINED)
    assert prune_to_flops(network, "lamp", 1, EXAMPLE, 0, TRAIN) == 0
    small = make_workload("small_cnn", {"width": 4}).network({}, 0)
    before = count_flops(small, EXAMPLE)
    with pytest.raises(PruningError, match=r"^l1_structured must come within 0.05 of target_flops 0.1, got 0.2\d\d at the nearest; choose"):
        prune_to_flops(small, "l1_structured", 0.1, EXAMPLE, 0, TRAIN)
    assert count_flops(small, EXAMPLE) == before


def test_a_network_without_anything_to_rank_is_one_line() -> None:
    with pytest.raises(PruningError, match=r"^batch_norm_scale must find channels that it can rank, got none in this network; choose"):
        prune(torchvision_network("vgg16"), "batch_norm_scale", 0.5, examples().inputs[:1], 0, examples())


def test_another_package_can_bring_an_importance(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("first_channels", "tests.trialhouse.pruning.test_pruner:FIRST_CHANNELS", importance.IMPORTANCE_GROUP)
    monkeypatch.setattr(importance, "entry_points", lambda group: [entry] if group == "trialhouse.importance" else [])
    network = pruned("first_channels", 0.75)
    assert torch.equal(network.wide.weight, TRAINED.wide.weight[:20])


FIRST_CHANNELS = importance.Importance(lambda: lambda group: -torch.arange(len(group[0].idxs), dtype=torch.float32), is_global=False)


@pytest.mark.parametrize(
    ("name", "method", "is_channels_last"),
    [
        *((name, "taylor", False) for name in TORCHVISION),
        ("vgg16", "l1_structured", True),
        ("googlenet", "lamp", False),
        ("googlenet", "l1_structured", True),
        ("resnet18", "batch_norm_scale", False),
        ("resnet18", "l1_structured", True),
    ],
)
def test_torchvision_networks_are_pruned_and_come_back_as_they_were(name: str, method: str, is_channels_last: bool) -> None:
    layout = torch.channels_last if is_channels_last else torch.contiguous_format
    whole, inputs = torchvision_network(name).to(memory_format=layout), examples().inputs[:2]
    network = copy.deepcopy(whole)
    assert prune(network, method, 0.6, inputs[:1], 0, examples()) == pytest.approx(0.6, abs=0.05)
    assert count_flops(network, inputs[:1]) < 0.6 * count_flops(whole, inputs[:1])
    rebuilt = torchvision_network(name, seed=1).to(memory_format=layout)
    take_shapes(rebuilt, network.state_dict())
    rebuilt.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert torch.equal(rebuilt.eval()(inputs), network(inputs))
    assert [tensor.stride() for tensor in rebuilt.parameters()] == [tensor.stride() for tensor in network.parameters()]


@pytest.mark.parametrize("name", ["vgg16_bn", "resnet18"])
def test_no_ratio_breaks_a_network(name: str) -> None:
    for method in ("random_structured", "batch_norm_scale"):
        network = torchvision_network(name)
        prune(network, method, 0.9999, examples().inputs[:1], 0, examples())
        assert network(examples().inputs[:1]).shape == (1, 10)
        assert min(len(layer.weight) for layer in prunable_layers(network).values()) == 1
