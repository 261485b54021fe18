"""Parts of networks that PyTorch lacks. Imports PyTorch, which takes seconds: import this inside functions."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """A shortcut and a branch, added up.

    Parameters
    ----------
    branch
        What is learned on top of the shortcut.
    shortcut
        Default: the input itself.
    is_scaled
        Whether the branch is multiplied by one learned number that begins at zero, so that a network of any depth begins as its
        shortcuts and needs no normalisation (SkipInit: De & Smith 2020, section 4).
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None, *, is_scaled: bool = False) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut or nn.Identity()
        self.scale = nn.Parameter(torch.zeros(())) if is_scaled else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Same shape as the shortcut's output."""
        added = self.branch(inputs)
        return self.shortcut(inputs) + (added if self.scale is None else self.scale * added)  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Every position looks at every other one.

    Parameters
    ----------
    width
        Size of a position's vector.
    head_size
        Size of a head; there are `width / head_size` of them, rounded, and at least one.
    """

    def __init__(self, width: int, head_size: int) -> None:
        super().__init__()
        self.head_size, self.heads = head_size, max(1, round(width / head_size))
        self.projections = nn.Linear(width, 3 * self.heads * head_size)
        self.out = nn.Linear(self.heads * head_size, width)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(batch, positions, width) to the same."""
        batch, positions, _ = inputs.shape
        parts = self.projections(inputs).view(batch, positions, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        looked = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        return self.out(looked.transpose(1, 2).reshape(batch, positions, -1))  # type: ignore[no-any-return]


class Patches(nn.Module):
    """Cuts images into squares and tells each where it is, by sines and cosines of its row and column (Vaswani et al. 2017, in two
    dimensions as in Beyer et al. 2022): nothing to learn, so no parameters that a larger width would add for positions alone.

    Parameters
    ----------
    channels, height, width
        Size of an image.
    patch
        Side of a square; what is left at the right and the bottom is cut off.
    size
        Of a square's vector.
    """

    positions: torch.Tensor

    def __init__(self, channels: int, height: int, width: int, patch: int, size: int) -> None:
        super().__init__()
        self.patch, self.rows, self.columns = patch, height // patch, width // patch
        self.embedding = nn.Linear(channels * patch * patch, size)
        row, column = (part.flatten() for part in torch.meshgrid(torch.arange(self.rows), torch.arange(self.columns), indexing="ij"))
        frequencies = torch.exp(-math.log(100) * torch.arange(max(1, size // 4)) / max(1, size // 4))
        angles = torch.cat([row[:, None] * frequencies, column[:, None] * frequencies], dim=1)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        self.register_buffer("positions", functional.pad(waves, [0, max(0, size - waves.shape[1])])[:, :size])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels, height, width) to (batch, squares, size)."""
        batch, channels = images.shape[:2]
        images = images[:, :, : self.rows * self.patch, : self.columns * self.patch]
        squares = images.reshape(batch, channels, self.rows, self.patch, self.columns, self.patch).permute(0, 2, 4, 1, 3, 5)
        return self.embedding(squares.reshape(batch, self.rows * self.columns, -1)) + self.positions  # type: ignore[no-any-return]


class HalvingPool(nn.Module):
    """The largest of each square of 2 x 2; what is left at the right and the bottom is cut off.

    The same values as `nn.MaxPool2d(2)`. That one also notes, for the backward pass, where each came from; in evaluation
    mode this takes the larger rows and then the larger columns instead, in half the time while they are in the cache.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels, height, width) to (batch, channels, height // 2, width // 2)."""
        if self.training or images.is_mkldnn:  # that layout has no slices, and a fast pooling
            return functional.max_pool2d(images, 2, 2)
        height, width = images.shape[-2] // 2 * 2, images.shape[-1] // 2 * 2
        rows = torch.maximum(images[..., 0:height:2, :width], images[..., 1:height:2, :width])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


class InBlocks(nn.Sequential):
    """Layers on images, computed in oneDNN's own layout (`torch.Tensor.to_mkldnn`): the channels of a pixel in blocks of 16.

    Where there are blocks of channels to be filled, convolutions are as fast in it or faster than with channels last, and
    pooling notes the place of each largest number in a byte in place of eight. The same up to rounding; layers must not
    work in place. Whatever oneDNN cannot compute so (on a GPU, under `vmap` or autocast, in double precision) is computed as ever.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """What the layers make of the images, in the usual layout."""
        if not _fits_onednn(images):
            return super().forward(images)  # type: ignore[no-any-return, no-untyped-call]
        return super().forward(images.to_mkldnn()).to_dense()  # type: ignore[no-any-return, no-untyped-call]


def _fits_onednn(images: torch.Tensor) -> bool:
    is_plain = images.device.type == "cpu" and images.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    is_mapped = torch._C._functorch.is_functorch_wrapped_tensor(images)
    return is_plain and not is_mapped and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class MeanOverPositions(nn.Module):
    """(batch, positions, width) to (batch, width)."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The mean vector."""
        return inputs.mean(dim=1)
