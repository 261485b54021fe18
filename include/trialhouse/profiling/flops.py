"""Arithmetic of one forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def count_flops(network: torch.nn.Module, example: torch.Tensor) -> int:
    """Floating-point operations of classifying one example, a multiply-add counted as two.

    Convolutions and matrix products, as PyTorch's own counter sees them run; masked weights are multiplied like others.

    Parameters
    ----------
    network
        In evaluation mode.
    example
        One input, shape (1, channels, height, width).
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(example)
    return int(counter.get_total_flops())
