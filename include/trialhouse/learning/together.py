"""Training many networks of one shape at once: what a GPU needs to be kept busy by small ones.

The networks' tensors are stacked and one step of all of them is one call (`torch.func.stack_module_state`, `vmap`). Each
network sees its own data in its own order, by the same seeds as alone, so that it comes to the same within
floating-point error. On a CPU this is slower than one after the other: there the convolutions of one network fill the caches.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trialhouse.learning.data import Data, TensorData
from trialhouse.learning.engine import (
    EVALUATION_BATCH,
    DivergedError,
    Note,
    Scores,
    TimedOutError,
    Trained,
    batches,
    optimiser_for,
    point,
)
from trialhouse.learning.recipe import Recipe, log_spaced

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Pupil:
    """One of the networks that are trained together, with its data, its seed and who notes its curve; see `engine.train`."""

    network: torch.nn.Module
    data: Data
    validation: Data
    seed: int
    note: Note


def can_train_together(network: torch.nn.Module, recipe: Recipe) -> bool:
    """Whether a network's step is a function of its weights and its batch alone: no batch statistics, no dropout, no early stop."""
    from torch import nn

    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    has_chance = any(isinstance(module, kinds) for module in network.modules())
    return not has_chance and recipe.patience is None and recipe.precision == "float32"


def train_together(
    pupils: Sequence[Pupil],
    recipe: Recipe,
    *,
    device: torch.device,
    points: tuple[int, ...] | None = None,
    timeout_s: float = math.inf,
) -> list[Trained | DivergedError]:
    """Train networks of one shape in place by one recipe; see `engine.train`.

    Returns
    -------
    list
        For each network what its run came to; a loss that is not finite ends it for that network only.

    Raises
    ------
    TimedOutError
        When the time is over, for all of them.
    """
    import torch
    from torch.func import functional_call, grad_and_value, stack_module_state, vmap
    from torch.nn import functional

    networks = [pupil.network.to(device) for pupil in pupils]
    base = copy.deepcopy(networks[0]).to("meta")
    weights, _ = stack_module_state(networks)
    constants = dict(networks[0].named_buffers())  # no batch statistics: tables, the same in all
    optimiser = optimiser_for(list(weights.values()), recipe)
    due = set(log_spaced(recipe.steps) if points is None else points)
    training = _Stacked([pupil.data for pupil in pupils], device)
    validation = _Stacked([pupil.validation for pupil in pupils], device)
    orders = [torch.stack(list(batches(len(pupil.data), recipe, pupil.seed))) for pupil in pupils]
    chosen = torch.stack(orders, dim=1).to(device)  # steps x networks x batch

    def loss_of(tensors: Mapping[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = functional_call(base, {**tensors, **constants}, (inputs,)).flatten(0, -2)
        flat = targets.flatten()
        return functional.cross_entropy(scores, flat), (scores.detach().argmax(1) == flat).sum()

    step_of_all = vmap(grad_and_value(loss_of, has_aux=True))
    count = len(pupils)
    loss_sum, correct = torch.zeros(count, device=device), torch.zeros(count, device=device)
    first_bad = torch.full((count,), math.inf, device=device)
    seen = 0
    last: list[tuple[Scores, Scores] | None] = [None] * count
    ends_at = time.monotonic() + timeout_s
    for step in range(1, recipe.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate_at(step - 1)
        inputs, targets = training.batch(chosen[step - 1])
        gradients, (losses, right) = step_of_all(weights, inputs, targets)
        for name, tensor in weights.items():
            tensor.grad = gradients[name]
        if recipe.clip is not None:
            _clip(list(gradients.values()), recipe.clip)
        optimiser.step()
        with torch.no_grad():
            first_bad = torch.where(losses.isfinite(), first_bad, first_bad.clamp(max=float(step)))
            loss_sum, correct, seen = loss_sum + losses, correct + right, seen + targets[0].numel()
        if step in due:
            held = _evaluate(base, weights, constants, validation)
            bad = first_bad.tolist()
            trained = zip((loss_sum / (seen / targets[0].numel())).tolist(), (correct / seen).tolist(), strict=True)
            for index, ((loss, accuracy), scores) in enumerate(zip(trained, held, strict=True)):
                if math.isinf(bad[index]):
                    last[index] = Scores(loss, accuracy), scores
                    pupils[index].note(step, point(Scores(loss, accuracy), scores))
                    if not math.isfinite(scores.loss):
                        first_bad[index] = float(step)
            loss_sum, correct, seen = torch.zeros_like(loss_sum), torch.zeros_like(correct), 0
        if time.monotonic() > ends_at:
            raise TimedOutError(step, timeout_s)
    with torch.no_grad():
        for index, network in enumerate(networks):
            for name, parameter in network.named_parameters():
                parameter.copy_(weights[name][index])
    ended: list[Trained | DivergedError] = []
    for bad_step, scored in zip(first_bad.tolist(), last, strict=True):
        if math.isinf(bad_step) and scored is not None:
            ended.append(Trained(recipe.steps, *scored, is_stopped_early=False))
        else:
            ended.append(DivergedError(int(bad_step)))
    return ended


class _Stacked:
    """The data of all networks, so that one call gives every network its batch."""

    def __init__(self, parts: Sequence[Data], device: torch.device) -> None:
        import torch

        self.parts, self.device = parts, device
        self.count = min(len(part) for part in parts)
        self.tensors: tuple[torch.Tensor, torch.Tensor] | None = None
        tensors = [part for part in parts if isinstance(part, TensorData)]
        if len(tensors) == len(parts):
            inputs = torch.stack([part.inputs.contiguous() for part in tensors]).to(device)
            self.tensors = inputs, torch.stack([part.targets for part in tensors]).to(device)

    def batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, (networks, batch, ...), of the examples with these numbers, (networks, batch)."""
        import torch

        if self.tensors is not None:
            rows = torch.arange(len(self.parts), device=self.device)[:, None]
            return self.tensors[0][rows, chosen], self.tensors[1][rows, chosen]
        pairs = [part.batch(numbers) for part, numbers in zip(self.parts, chosen.cpu(), strict=True)]
        return torch.stack([pair[0] for pair in pairs]).to(self.device), torch.stack([pair[1] for pair in pairs]).to(self.device)


def _evaluate(
    base: torch.nn.Module, weights: Mapping[str, torch.Tensor], constants: Mapping[str, torch.Tensor], data: _Stacked
) -> list[Scores]:
    import torch
    from torch.func import functional_call, vmap
    from torch.nn import functional

    def scores_of(tensors: Mapping[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, flat = functional_call(base, {**tensors, **constants}, (inputs,)).flatten(0, -2), targets.flatten()
        return functional.cross_entropy(scores, flat, reduction="sum"), (scores.argmax(1) == flat).sum()

    base.eval()
    networks = len(data.parts)
    losses, correct, count = torch.zeros(networks, device=data.device), torch.zeros(networks, device=data.device), 0
    with torch.no_grad():
        for numbers in torch.split(torch.arange(data.count, device=data.device), EVALUATION_BATCH):
            inputs, targets = data.batch(numbers.expand(networks, -1))
            loss, right = vmap(scores_of)(weights, inputs, targets)
            losses, correct, count = losses + loss, correct + right, count + targets[0].numel()
    base.train()
    return [Scores(*pair) for pair in zip((losses / count).tolist(), (correct / count).tolist(), strict=True)]


def _clip(gradients: Sequence[torch.Tensor], most: float) -> None:
    """Scale each network's gradients, in place, so that their norm is at most `most`."""
    import torch

    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    scale = (most / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *([1] * (gradient.dim() - 1))))
