"""Unstructured pruning: single weights become zero, the network keeps its shape and its cost.

| method | weights that go | compared | after |
|---|---|---|---|
| `random_mask` | random ones, the control | per layer | |
| `l1_mask` | the smallest | per layer | Han et al. 2015, Learning both weights and connections |
| `global_l1_mask` | the smallest | globally | Frankle and Carbin 2019, The lottery ticket hypothesis (deeper networks) |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from trialhouse.pruning.layers import prunable_layers, weight_layers
from trialhouse.pruning.selection import removed_share, select

if TYPE_CHECKING:
    import torch


class Mask(NamedTuple):
    """Whether chance or size chooses the weights, and whether one threshold holds for all layers."""

    is_random: bool
    is_global: bool


MASKS = {"random_mask": Mask(True, False), "l1_mask": Mask(False, False), "global_l1_mask": Mask(False, True)}


def mask_weights(network: torch.nn.Module, method: str, ratio: float, seed: int) -> float:
    """Mask a share of the weights of all layers but the last, until `make_permanent`; gives the share that was realised."""
    import torch
    from torch.nn.utils import prune as masks

    is_random, is_global = MASKS[method]
    layers = prunable_layers(network)
    draw = torch.Generator().manual_seed(seed)
    scores = {
        name: torch.rand(layer.weight.shape, generator=draw) if is_random else layer.weight.detach().abs() for name, layer in layers.items()
    }
    kept = select(scores, ratio, is_global=is_global)
    for name, layer in layers.items():
        masks.custom_from_mask(layer, "weight", kept[name])  # type: ignore[no-untyped-call]
    return removed_share(kept)


def make_permanent(network: torch.nn.Module) -> None:
    """Turn masks into plain zeros, so that the network is stored and served as any other."""
    from torch.nn.utils import prune as masks

    for layer in weight_layers(network).values():
        if hasattr(layer, "weight_mask"):
            masks.remove(layer, "weight")  # type: ignore[no-untyped-call]
