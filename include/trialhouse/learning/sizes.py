"""How large a network is, by every definition: no single one fits all questions (at small widths 6N is off by up to three times)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

BYTES_PER_PARAMETER = 16
"""While training with Adam in float32: weight, gradient and two moments."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network for one example; a multiply-add counts as two operations.

    Parameters
    ----------
    parameters
        All of them.
    non_embedding_parameters
        Without embedding tables (`torch.nn.Embedding`), as Kaplan et al. (2020) count them.
    flops
        Forward, attention and the unembedding included.
    training_flops
        Forward and backward, exactly as run: the first layer needs no gradient of its input.
    activation_bytes
        What the backward pass keeps of the forward pass.
    positions
        Targets per example: 1 for a classifier, the context of a language model.
    """

    parameters: int
    non_embedding_parameters: int
    flops: int
    training_flops: int
    activation_bytes: int
    positions: int = 1

    def memory_bytes(self, batch_size: int) -> int:
        """Memory that training a batch takes: weights, gradients, Adam's moments and activations."""
        return self.parameters * BYTES_PER_PARAMETER + batch_size * self.activation_bytes

    def chinchilla_flops(self, examples: float) -> float:
        """The usual estimate 6 N D (Kaplan et al. 2020), N without embeddings."""
        return 6.0 * self.non_embedding_parameters * examples * self.positions


def measure_sizes(build: Callable[[], torch.nn.Module], example: torch.Tensor, positions: int = 1) -> Sizes:
    """Sizes of a network; arithmetic is counted on PyTorch's meta device, so it is the same on every machine.

    Parameters
    ----------
    build
        Makes the network.
    example
        An input (1, ...) of its shape and type.
    positions
        Targets per example.
    """
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = build().train()
    forward: Any = FlopCounterMode(display=False)
    backward: Any = FlopCounterMode(display=False)
    with forward:
        scores = network(example.to("meta"))
    with backward:
        scores.sum().backward()
    tables = {id(parameter) for module in network.modules() if isinstance(module, nn.Embedding) for parameter in module.parameters()}
    return Sizes(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        non_embedding_parameters=sum(parameter.numel() for parameter in network.parameters() if id(parameter) not in tables),
        flops=forward.get_total_flops(),
        training_flops=forward.get_total_flops() + backward.get_total_flops(),
        activation_bytes=_kept(build().train(), example),
        positions=positions,
    )


def _kept(network: torch.nn.Module, example: torch.Tensor) -> int:
    """Bytes that the backward pass keeps; on the CPU, since attention there keeps no matrix of positions by positions."""
    import torch

    kept: dict[int, torch.Tensor] = {}  # holds the tensors: an id is only an id while its tensor lives
    own = {id(parameter) for parameter in network.parameters()} | {id(example)}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in own:
            kept[id(tensor)] = tensor
        return tensor

    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(example)
    return sum(tensor.nbytes for tensor in kept.values())
