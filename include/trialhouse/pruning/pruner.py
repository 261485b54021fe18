"""Pruning a network at a ratio: whole channels (the network shrinks) or single weights (a mask; it does not)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trialhouse.pruning.importance import STRUCTURED_METHODS, channel_importance

if TYPE_CHECKING:
    import torch
    from torch import nn

METHODS = ("none", *STRUCTURED_METHODS, "l1_mask")


def prune(network: torch.nn.Module, method: str, ratio: float, example: torch.Tensor, seed: int) -> float:
    """Prune a network in place, every layer but the last at the same ratio.

    Parameters
    ----------
    network
        Left in evaluation mode; a forward pass in training mode would spoil its batch-norm statistics.
    method
        One of `METHODS`. `l1_mask` zeroes single weights (torch.nn.utils.prune) and keeps them zero while training, until
        `make_permanent`; the structured ones remove channels (Torch-Pruning).
    ratio
        Share of channels or weights to remove, in [0, 1).
    example
        One input (1, channels, height, width), from which dependencies between layers are traced.
    seed
        For `random_structured`.

    Returns
    -------
    float
        The ratio that was realised: channels and weights are whole numbers.
    """
    network.eval()
    if method == "none" or ratio == 0:
        return 0.0
    with _layout_kept(network):
        return _mask(network, ratio) if method == "l1_mask" else _remove_channels(network, method, ratio, example, seed)


def make_permanent(network: torch.nn.Module) -> None:
    """Turn masks into plain zeros, so that the network is stored and served as any other."""
    from torch.nn.utils import prune as masks

    for layer in _layers(network):
        if hasattr(layer, "weight_mask"):
            masks.remove(layer, "weight")  # type: ignore[no-untyped-call]


@contextmanager
def _layout_kept(network: torch.nn.Module) -> Iterator[None]:
    """Both libraries leave weights in the default layout; in another one than before, the network would be slower and round differently."""
    import torch

    layers = [layer for layer in _layers(network) if layer.weight.dim() == 4]
    channels_last = [layer for layer in layers if layer.weight.is_contiguous(memory_format=torch.channels_last)]
    yield
    for layer in channels_last:
        layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _mask(network: torch.nn.Module, ratio: float) -> float:
    from torch.nn.utils import prune as masks

    zeros, weights = 0, 0
    for layer in _layers(network)[:-1]:
        layer.weight.data = layer.weight.data.contiguous()  # the only layout in which masks can be made
        masks.l1_unstructured(layer, "weight", amount=ratio)  # type: ignore[no-untyped-call]
        zeros += layer.weight.numel() - int(layer.weight_mask.count_nonzero())  # type: ignore[operator]
        weights += layer.weight.numel()
    return zeros / weights


def _remove_channels(network: torch.nn.Module, method: str, ratio: float, example: torch.Tensor, seed: int) -> float:
    import torch
    import torch_pruning

    before = _channels(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch_pruning.pruner.BasePruner(
            network,
            example,
            importance=channel_importance(method),
            pruning_ratio=ratio - 1e-9,  # it rounds the channels to keep down: 0.1 x 80 would leave 7
            ignored_layers=[_layers(network)[-1]],
        ).step()
    return 1 - _channels(network) / before


def _layers(network: torch.nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """Layers with weights to prune, in the order of the network; the last one gives the class scores."""
    from torch import nn

    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def _channels(network: torch.nn.Module) -> int:
    """Output channels of all layers but the last."""
    return sum(int(layer.weight.shape[0]) for layer in _layers(network)[:-1])
