"""What structured pruning removes first: an importance per channel, the least important ones go."""

from __future__ import annotations

from typing import Any

STRUCTURED_METHODS = ("l1_structured", "random_structured")


def channel_importance(method: str) -> Any:
    """Torch-Pruning's measure for a structured method.

    `l1_structured` sums the absolute weights of a channel and of all that depends on it in other layers (Li et al. 2017,
    "Pruning filters for efficient ConvNets"); `random_structured` draws, the control that tells whether the choice matters.
    """
    import torch_pruning

    if method == "l1_structured":
        return torch_pruning.importance.GroupMagnitudeImportance(p=1)
    if method == "random_structured":
        return torch_pruning.importance.RandomImportance()
    raise KeyError(method)
