"""Parts of networks that PyTorch lacks come to what PyTorch's own come to."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from trialhouse.learning.blocks import HalvingPool, InBlocks


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(2, 2), (8, 8), (7, 9), (9, 6), (28, 28)])
def test_a_halving_pool_has_the_bits_of_pytorchs(size: tuple[int, int], layout: torch.memory_format, is_training: bool) -> None:
    images = torch.randn(3, 5, *size, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    images[0, 0, 0, 0] = math.nan
    found = HalvingPool().train(is_training)(images)
    assert torch.equal(found.nan_to_num(1e9), nn.MaxPool2d(2)(images).nan_to_num(1e9))
    assert found.is_contiguous(memory_format=layout)


def layers() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Conv2d(1, 16, 3, padding=1), HalvingPool(), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), HalvingPool(), nn.ReLU()]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN")
def test_layers_in_blocks_have_the_values_and_gradients_of_the_same_layers_as_ever() -> None:
    usual, blocked = nn.Sequential(*layers()), InBlocks(*layers())
    images = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    layouts: list[bool] = []
    blocked[1].register_forward_hook(lambda module, inputs, output: layouts.append(output.is_mkldnn))
    for is_training in (True, False):
        torch.testing.assert_close(blocked.train(is_training)(images), usual.train(is_training)(images), rtol=1e-4, atol=1e-5)
    assert layouts == [True, True]
    usual.train()(images).square().sum().backward()
    blocked.train()(images).square().sum().backward()
    for one, other in zip(blocked.parameters(), usual.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3)


def test_what_onednn_cannot_compute_in_blocks_is_computed_as_ever() -> None:
    usual, blocked = nn.Sequential(*layers()), InBlocks(*layers())
    images = torch.randn(3, 1, 28, 28)
    assert torch.equal(copy.deepcopy(blocked).double()(images.double()), copy.deepcopy(usual).double()(images.double()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(blocked(images), usual(images))
    mapped = torch.func.vmap(blocked)(images[:, None])
    torch.testing.assert_close(mapped[:, 0], usual(images), rtol=1e-4, atol=1e-5)
    with torch.device("meta"):
        assert InBlocks(*layers())(torch.empty(1, 1, 28, 28)).shape == (1, 32, 7, 7)
