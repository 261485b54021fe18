"""The layers of a network that can be pruned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trialhouse.workloads.layout import is_channels_last

if TYPE_CHECKING:
    import torch
    from torch import nn


def prunable_layers(network: torch.nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Name -> layer, in the order of the network; the last one gives the class scores and stays whole."""
    return dict(list(weight_layers(network).items())[:-1])


def weight_layers(network: torch.nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Name -> convolutional or linear layer, in the order of the network."""
    from torch import nn

    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


@contextmanager
def layout_kept(network: torch.nn.Module) -> Iterator[None]:
    """Pruning leaves weights in the default layout; in another one than before, the network would be slower and round differently."""
    import torch

    channels_last = [layer for layer in weight_layers(network).values() if is_channels_last(layer.weight)]
    yield
    for layer in channels_last:
        layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
