"""The controls beside fine-tuning: fresh weights in the pruned shape, and batch-norm statistics alone."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.trialhouse.pruning.networks import examples
from tests.trialhouse.pruning.networks import network as torchvision_network
from trialhouse.pruning.pruner import prune
from trialhouse.pruning.recovery import draw_anew, recalibrate_batch_norm
from trialhouse.workloads.registry import make_workload

WORKLOAD = make_workload("small_cnn", {"width": 80})
TRAIN = WORKLOAD.examples("train")


def pruned(method: str, ratio: float = 0.6) -> torch.nn.Module:
    network = WORKLOAD.network({}, 1)
    network.train()(TRAIN.inputs[:200])
    prune(network, method, ratio, TRAIN.inputs[:1], 0, TRAIN)
    return network


@pytest.mark.parametrize("method", ["l1_structured", "taylor", "l1_mask"])
def test_fresh_weights_have_the_shape_and_mask_and_nothing_else_of_the_pruned(method: str) -> None:
    network = pruned(method)
    before = copy.deepcopy(network.state_dict())
    draw_anew(network, WORKLOAD.network({}, 2))
    after = network.state_dict()
    assert {name: tensor.shape for name, tensor in after.items()} == {name: tensor.shape for name, tensor in before.items()}
    for name, tensor in after.items():
        if name.endswith("weight_mask"):
            assert torch.equal(tensor, before[name])
        elif "norm" not in name:
            assert not torch.any(tensor == before[name])
    assert torch.all(network.wide_norm.running_mean == 0)
    assert int(network.wide_norm.num_batches_tracked) == 0


def test_fresh_weights_are_as_large_as_the_initialisation_makes_them_in_a_network_of_that_shape() -> None:
    network = pruned("l1_structured", 0.75)
    draw_anew(network, WORKLOAD.network({}, 2))
    # PyTorch draws weights and biases from +-1/sqrt(inputs)
    for layer in (network.narrow, network.classifier):
        bound = layer.weight[0].numel() ** -0.5
        assert 0.95 * bound < layer.weight.abs().max() <= bound * (1 + 1e-6)
    assert network.classifier.bias.abs().max() <= network.classifier.weight[0].numel() ** -0.5 * (1 + 1e-6)


def test_masked_inputs_do_not_count() -> None:
    network = pruned("l1_mask", 0.75)
    fresh = WORKLOAD.network({}, 2)
    draw_anew(network, fresh)
    torch.testing.assert_close(network.narrow.weight_orig, 2 * fresh.narrow.weight)
    assert torch.equal(network.classifier.weight, fresh.classifier.weight)


def test_drawing_anew_fits_residual_and_parallel_branches() -> None:
    inputs = examples().inputs
    for name in ("resnet18", "googlenet"):
        network = torchvision_network(name)
        prune(network, "random_structured", 0.7, inputs[:1], 0, examples())
        draw_anew(network, torchvision_network(name, seed=1))
        assert network(inputs[:1]).shape == (1, 10)


def test_recalibration_changes_statistics_and_nothing_else() -> None:
    network = pruned("l1_structured")
    before = copy.deepcopy(network.state_dict())
    momentum = network.wide_norm.momentum
    recalibrate_batch_norm(network, TRAIN.inputs, seed=0)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {
        f"{norm}.{name}" for norm in ("wide_norm", "narrow_norm") for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert not any(module.training for module in network.modules())
    assert network.wide_norm.momentum == momentum
    again = pruned("l1_structured")
    recalibrate_batch_norm(again, TRAIN.inputs, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True))


def test_recalibrated_statistics_are_those_of_the_data() -> None:
    network, inputs = pruned("l1_structured"), TRAIN.inputs[:500]
    recalibrate_batch_norm(network, inputs, seed=0)
    with torch.no_grad():
        outputs = network.wide(inputs)
    torch.testing.assert_close(network.wide_norm.running_mean, outputs.mean((0, 2, 3)))
    # the mean of two batches' variances leaves out how far their means are apart
    torch.testing.assert_close(network.wide_norm.running_var, outputs.var((0, 2, 3)), rtol=0.02, atol=1e-4)


def test_without_batch_norm_there_is_nothing_to_recalibrate() -> None:
    network = torchvision_network("vgg16")
    before = copy.deepcopy(network.state_dict())
    recalibrate_batch_norm(network, examples().inputs, seed=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
