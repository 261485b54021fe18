"""Which channels or weights stay, given how important each one is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def select(scores: Mapping[str, torch.Tensor], ratio: float, *, is_global: bool) -> dict[str, torch.Tensor]:
    """What stays of each layer when the least important share goes.

    At least one stays in every layer, the most important one: no ratio and no global threshold empties a layer. What
    stays at a ratio also stays at every smaller one. Of equally important ones the first stay.

    Parameters
    ----------
    scores
        Layer -> importances, of any shape.
    ratio
        Share to remove, in [0, 1]. What is left is rounded down to a whole number.
    is_global
        Whether the share is one of all layers together; otherwise of each layer.

    Returns
    -------
    dict
        Layer -> what stays, boolean, shaped as its importances.
    """
    import torch

    if not is_global:
        return {name: select({name: score}, ratio, is_global=True)[name] for name, score in scores.items()}
    ranked = []
    for score in scores.values():
        flat = score.detach().flatten().clone()
        flat[flat.argmax()] = math.inf
        ranked.append(flat)
    everything = torch.cat(ranked)
    count = max(len(ranked), math.floor(everything.numel() * (1 - ratio) + 1e-6))  # 80 x (1 - 0.9) is 7.999...
    stays = torch.zeros_like(everything, dtype=torch.bool)
    stays[torch.argsort(everything, descending=True, stable=True)[:count]] = True
    parts = torch.split(stays, [len(flat) for flat in ranked])
    return {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def removed_share(kept: Mapping[str, torch.Tensor]) -> float:
    """The ratio that came about, over all layers."""
    return 1 - sum(int(part.sum()) for part in kept.values()) / sum(part.numel() for part in kept.values())
