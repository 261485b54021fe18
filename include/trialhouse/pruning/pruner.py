"""Pruning a network by a ratio, or to a share of its arithmetic: whole channels (it shrinks) or single weights (a mask; it does not)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from trialhouse.errors import PruningError
from trialhouse.profiling.flops import count_flops
from trialhouse.pruning.channels import remove_channels, score_channels
from trialhouse.pruning.importance import load_importance
from trialhouse.pruning.layers import layout_kept
from trialhouse.pruning.masks import MASKS, mask_weights
from trialhouse.pruning.selection import removed_share, select

if TYPE_CHECKING:
    import torch

    from trialhouse.workloads.protocol import Examples

FLOPS_TOLERANCE = 0.05
"""How far from the target the share of FLOPs may end: channels are whole, and in a narrow network each one is much of it."""
BISECTIONS = 14
"""Steps of the search for a ratio, to 1/16,384."""


def prune(network: torch.nn.Module, method: str, ratio: float, example: torch.Tensor, seed: int, train: Examples) -> float:
    """Prune a network in place, every layer but the last.

    Every layer keeps at least one channel or weight, also where the ratio would leave none.

    Parameters
    ----------
    network
        Left in evaluation mode; a forward pass in training mode would spoil its batch-norm statistics.
    method
        `none`, a mask (see `masks`; weights are zeroed and stay zero while training, until `make_permanent`) or a
        structured method (see `importance`; channels are removed).
    ratio
        Share of channels or weights to remove, in [0, 1); of each layer or, for a global method, of all together.
        Channels that depend on each other count once.
    example
        One input (1, channels, height, width), from which dependencies between layers are traced.
    seed
        Of random methods, and of the choice of training examples for gradients.
    train
        Training data, for methods that need gradients.

    Returns
    -------
    float
        The ratio that was realised: channels and weights are whole numbers.

    Raises
    ------
    PruningError
        If there is no such method or it finds nothing to rank.
    """
    network.eval()
    if method == "none" or ratio == 0:
        return 0.0
    if method in MASKS:
        with layout_kept(network):
            return mask_weights(network, method, ratio, seed)
    scores = score_channels(network, method, example, seed, train)
    kept = select(scores, ratio, is_global=load_importance(method).is_global)
    remove_channels(network, example, kept)
    return removed_share(kept)


def prune_to_flops(network: torch.nn.Module, method: str, target: float, example: torch.Tensor, seed: int, train: Examples) -> float:
    """Prune a network in place by the ratio that leaves a share of its FLOPs.

    What stays at one ratio stays at every smaller one, so FLOPs fall with the ratio in steps; bisection finds the step
    that passes the target, and the nearer side of it is taken.

    Parameters
    ----------
    target
        Share of the unpruned network's FLOPs to keep, in (0, 1].
    network, method, example, seed, train
        As for `prune`; the method must remove channels.

    Returns
    -------
    float
        The ratio that was realised.

    Raises
    ------
    PruningError
        If the nearest share is further from the target than `FLOPS_TOLERANCE`, or as for `prune`.
    """
    network.eval()
    if target == 1:
        return 0.0
    is_global = load_importance(method).is_global
    scores = score_channels(network, method, example, seed, train)
    whole = count_flops(network, example)
    known: dict[tuple[int, ...], float] = {}

    def share_left(ratio: float) -> float:
        kept = select(scores, ratio, is_global=is_global)
        widths = tuple(int(stays.sum()) for stays in kept.values())
        if widths not in known:
            smaller = copy.deepcopy(network)
            remove_channels(smaller, example, kept)
            known[widths] = count_flops(smaller, example) / whole
        return known[widths]

    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if share_left(middle) > target:
            low = middle
        else:
            high = middle
    ratio = min(low, high, key=lambda end: abs(share_left(end) - target))
    if abs(share_left(ratio) - target) > FLOPS_TOLERANCE:
        expected = f"{method} must come within {FLOPS_TOLERANCE} of target_flops {target:g}"
        raise PruningError(expected, f"{share_left(ratio):.3f} at the nearest", "choose another target or a wider network")
    kept = select(scores, ratio, is_global=is_global)
    remove_channels(network, example, kept)
    return removed_share(kept)
