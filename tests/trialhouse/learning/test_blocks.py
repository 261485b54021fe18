"""Parts of networks that PyTorch lacks come to what PyTorch's own come to."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trialhouse.learning.blocks import HalvingPool


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(2, 2), (8, 8), (7, 9), (9, 6), (28, 28)])
def test_a_halving_pool_has_the_bits_of_pytorchs(size: tuple[int, int], layout: torch.memory_format, is_training: bool) -> None:
    images = torch.randn(3, 5, *size, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    images[0, 0, 0, 0] = math.nan
    found = HalvingPool().train(is_training)(images)
    assert torch.equal(found.nan_to_num(1e9), nn.MaxPool2d(2)(images).nan_to_num(1e9))
    assert found.is_contiguous(memory_format=layout)
