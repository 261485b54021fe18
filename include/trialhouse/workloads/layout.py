"""The order in memory of a tensor of images or kernels: rows of channels ("channels last") or planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def is_channels_last(tensor: torch.Tensor) -> bool:
    """Whether the strides are those of channels last.

    A kernel of 1 x 1 is contiguous in either order; convolutions go by its strides, and so does this.
    """
    import torch

    if tensor.dim() != 4:
        return False
    return tensor.stride() == torch.empty(tensor.shape, memory_format=torch.channels_last, device="meta").stride()
