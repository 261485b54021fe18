"""A split in memory: tensors, cut into batches without any Python per example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Data(Protocol):
    """What a network is trained or evaluated on."""

    def __len__(self) -> int:
        """Number of examples."""

    def batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of the examples with these numbers, int64 (batch,). Targets are int64: (batch,) or (batch, positions)."""


@dataclass(frozen=True)
class TensorData:
    """Examples as they are: `inputs` (examples, ...), `targets` int64 (examples,)."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Data`."""
        return self.inputs[chosen], self.targets[chosen]


@dataclass(frozen=True)
class Shifted:
    """Images that are moved by up to `most` pixels each way, anew each time they are seen; what comes in from outside is `empty`.

    Parameters
    ----------
    data
        Images (examples, channels, height, width).
    generator
        Of the moves.
    """

    data: TensorData
    most: int
    empty: float
    generator: torch.Generator

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Data`."""
        import torch
        from torch.nn import functional

        inputs, targets = self.data.batch(chosen)
        count, _, height, width = inputs.shape
        moves = torch.randint(0, 2 * self.most + 1, (2, count, 1), generator=self.generator)
        rows = (moves[0] + torch.arange(height))[:, :, None]
        columns = (moves[1] + torch.arange(width))[:, None, :]
        padded = functional.pad(inputs, [self.most] * 4, value=self.empty).permute(0, 2, 3, 1)
        return padded[torch.arange(count)[:, None, None], rows, columns].permute(0, 3, 1, 2), targets
