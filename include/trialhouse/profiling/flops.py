"""Arithmetic of one forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def count_flops(network: torch.nn.Module, example: torch.Tensor) -> int:
    """Floating-point operations of classifying one example, a multiply-add counted as two; the sum of `flops_by_operator`."""
    return sum(flops_by_operator(network, example).values())


def flops_by_operator(network: torch.nn.Module, example: torch.Tensor) -> dict[str, int]:
    """Operator -> floating-point operations of classifying one example, a multiply-add counted as two.

    Convolutions and matrix products, as PyTorch's own counter sees them run (`convolution`, `addmm`, ...); masked weights
    are multiplied like others.

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
    counts = counter.get_flop_counts().get("Global", {})
    return {str(operator).removeprefix("aten."): int(count) for operator, count in counts.items()}
