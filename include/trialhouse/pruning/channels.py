"""Structured pruning: whole channels go, with all that depends on them in other layers, and the network shrinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trialhouse.errors import PruningError
from trialhouse.pruning.importance import load_importance
from trialhouse.pruning.layers import layout_kept, weight_layers

if TYPE_CHECKING:
    import torch

    from trialhouse.workloads.protocol import Examples

GRADIENT_BATCHES = 8
GRADIENT_BATCH = 64
"""Training examples from which gradients are taken: 8 batches of 64, or fewer of a smaller split."""


def score_channels(network: torch.nn.Module, method: str, example: torch.Tensor, seed: int, train: Examples) -> dict[str, torch.Tensor]:
    """How important the channels are.

    Parameters
    ----------
    network
        In evaluation mode, which it keeps; its batch-norm statistics stay as they are.
    method
        One of `structured_methods()`.
    example
        One input (1, channels, height, width), from which dependencies between layers are traced.
    seed
        Of random scores, and of the choice of training examples for gradients.
    train
        Where gradients come from, if the method needs any.

    Returns
    -------
    dict
        Layer -> scores, shape (channels,). Of layers whose channels go together only the first; none of the last layer.

    Raises
    ------
    PruningError
        If the method cannot score any channel of this network.
    """
    import torch
    from torch import nn

    importance = load_importance(method)
    measure = importance.measure()
    if importance.needs_gradients:
        _fill_squared_gradients(network, train, seed)
    graph = _dependencies(network, example)
    last = list(weight_layers(network).values())[-1]
    names = {module: name for name, module in network.named_modules()}
    scores = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for group in graph.get_all_groups(ignored_layers=[last], root_module_types=[nn.Conv2d, nn.Linear]):
            score = measure(group)
            if score is not None:
                scores[names[group[0].dep.target.module]] = score.detach()
    network.zero_grad(set_to_none=True)
    if not scores:
        raise PruningError(f"{method} must find channels that it can rank", "none in this network", "choose another pruning_method")
    return scores


def remove_channels(network: torch.nn.Module, example: torch.Tensor, kept: Mapping[str, torch.Tensor]) -> None:
    """Remove from each of these layers the channels that do not stay, in place, with all that depends on them."""
    with layout_kept(network):
        graph = _dependencies(network, example)
        for name, stays in kept.items():
            layer = network.get_submodule(name)
            goes = (~stays).nonzero().flatten().tolist()
            if goes:
                graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, goes).prune()


def _dependencies(network: torch.nn.Module, example: torch.Tensor) -> Any:
    import torch_pruning

    return torch_pruning.DependencyGraph().build_dependency(network, example_inputs=example)


def _fill_squared_gradients(network: torch.nn.Module, train: Examples, seed: int) -> None:
    """Leave in each `.grad` the mean of the squared gradient over batches (Molchanov et al. 2019)."""
    import torch
    from torch.nn import functional

    count = len(train.targets)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[: GRADIENT_BATCHES * GRADIENT_BATCH]
    batches = torch.split(order, GRADIENT_BATCH)
    parameters = list(network.parameters())
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    for chosen in batches:
        loss = functional.cross_entropy(network(train.inputs[chosen]), train.targets[chosen])
        for square, gradient in zip(squares, torch.autograd.grad(loss, parameters), strict=True):
            square += gradient**2 / len(batches)
    for parameter, square in zip(parameters, squares, strict=True):
        parameter.grad = square
