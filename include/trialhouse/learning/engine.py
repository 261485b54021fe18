"""Training one network on data in memory, on one thread, as fast as PyTorch's own operators allow.

What was measured to help on a CPU: tensors in memory, one thread per process, fused optimisers, evaluation in batches that
fit into the cache; networks do their share with channels last and pooling before the rectifier. What did not:
`torch.compile`, bfloat16, several networks at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trialhouse.learning.data import Data
from trialhouse.learning.recipe import MOMENTUM, Recipe, log_spaced

if TYPE_CHECKING:
    import torch

EVALUATION_BATCH, EVALUATION_POSITIONS, EVALUATION_BYTES = 250, 2048, 6_500_000
"""Most examples, targets and bytes of one layer's output per batch of an evaluation: what falls out of the cache is slow."""
STOPPING_POINTS = 20
"""Evaluations of a run that may stop early, at even distances."""

Note = Callable[[int, Mapping[tuple[str, str], float]], None]
"""Takes a point of a learning curve as soon as it is known: the steps made, and (split, metric) -> value."""


class DivergedError(ArithmeticError):
    """The loss stopped being a number."""

    def __init__(self, step: int) -> None:
        super().__init__(f"loss is not finite at step {step}")
        self.step = step


class TimedOutError(TimeoutError):
    """The time that a trial may take was over."""

    def __init__(self, step: int, timeout_s: float) -> None:
        super().__init__(f"not done within {timeout_s:g} s, at step {step}")


@dataclass(frozen=True)
class Scores:
    """Mean cross-entropy in nats, and the share of targets that had the highest score."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Switch:
    """What changes in mid-training: after `step` steps a run goes on with other data, and with a recipe of as many steps in all.

    The optimiser keeps what it has gathered and the schedule keeps counting; until then the run is, bit for bit, the one that never
    switches. Where the new data are as many, so are the order of examples and the batches after it.
    """

    step: int
    data: Data
    recipe: Recipe


@dataclass(frozen=True)
class Trained:
    """What a run came to: steps made, scores at the last point of the curve (in training: since the one before it)."""

    steps: int
    train: Scores
    validation: Scores
    is_stopped_early: bool


def train(
    network: torch.nn.Module,
    data: Data,
    validation: Data,
    recipe: Recipe,
    *,
    seed: int,
    note: Note,
    points: tuple[int, ...] | None = None,
    switch: Switch | None = None,
    timeout_s: float = math.inf,
) -> Trained:
    """Train a network in place by cross-entropy.

    Parameters
    ----------
    network
        Gives scores, shape (batch, classes) or (batch, positions, classes).
    validation
        Evaluated after the steps in `points`; decides nothing but early stopping.
    seed
        Of the order of examples, and of what the network draws itself (dropout).
    note
        Called at each point with loss and accuracy of both splits; on the training split as they were since the last point.
    points
        Numbers of steps; default: 1, 2, 4, ... and the last.
    switch
        What changes on the way, if anything does.
    timeout_s
        Seconds that the run may take.

    Raises
    ------
    DivergedError
        As soon as a loss is not finite.
    TimedOutError
        When the time is over.
    """
    import torch

    optimiser = optimiser_for(list(network.parameters()), recipe)
    due = set(log_spaced(recipe.steps) if points is None else points)
    if recipe.patience is not None:
        due |= {math.ceil(recipe.steps * number / STOPPING_POINTS) for number in range(1, STOPPING_POINTS + 1)}
    best, worse, seen, total, correct = math.inf, 0, 0, 0.0, 0
    last = held = Scores(math.nan, math.nan)
    ends_at = time.monotonic() + timeout_s
    batch = evaluation_batch(network, validation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.train()
        for step, chosen in enumerate(batches(len(data), recipe, seed, switch), start=1):
            if switch is not None and step == switch.step + 1:
                data, recipe = switch.data, switch.recipe
                for group in optimiser.param_groups:
                    group["weight_decay"] = recipe.weight_decay
            value, right, count = update(network, optimiser, recipe, step, *data.batch(chosen))
            seen, total, correct = seen + count, total + value * count, correct + right
            if step in due:
                last = Scores(total / seen, correct / seen)
                seen, total, correct = 0, 0.0, 0
                held = evaluate(network, validation, batch)
                network.train()
                note(step, point(last, held))
                if not math.isfinite(held.loss):
                    raise DivergedError(step)
                best, worse = (held.loss, 0) if held.loss < best else (best, worse + 1)
                if recipe.patience is not None and worse >= recipe.patience:
                    return Trained(step, last, held, is_stopped_early=step < recipe.steps)
            if time.monotonic() > ends_at:
                raise TimedOutError(step, timeout_s)
    return Trained(recipe.steps, last, held, is_stopped_early=False)


def update(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer, recipe: Recipe, step: int, inputs: torch.Tensor, targets: torch.Tensor
) -> tuple[float, int, int]:
    """One step (counted from 1) on one batch: its mean loss, and how many of how many targets had the highest score.

    Raises
    ------
    DivergedError
        If the loss is not finite.
    """
    import torch
    from torch.nn import functional

    rate = recipe.learning_rate_at(step - 1)
    for group in optimiser.param_groups:
        group["lr"] = rate
    with torch.autocast("cpu", dtype=torch.bfloat16) if recipe.precision == "bfloat16" else nullcontext():
        scores = network(inputs).flatten(0, -2)
    targets = targets.flatten()
    loss = functional.cross_entropy(scores.float(), targets)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if recipe.clip is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
    optimiser.step()
    value = loss.item()
    if not math.isfinite(value):
        raise DivergedError(step)
    return value, int((scores.detach().argmax(1) == targets).sum()), len(targets)


def evaluate(network: torch.nn.Module, data: Data, batch: int | None = None) -> Scores:
    """Loss and accuracy over all of a split, in evaluation mode, `batch` examples at once (default: `evaluation_batch`)."""
    import torch
    from torch.nn import functional

    batch = batch or evaluation_batch(network, data)
    network.eval()
    correct, loss, count = 0, 0.0, 0
    with torch.inference_mode():
        for chosen in torch.split(torch.arange(len(data)), batch):
            inputs, targets = data.batch(chosen)
            scores, targets = network(inputs).flatten(0, -2), targets.flatten()
            correct += int((scores.argmax(1) == targets).sum())
            loss += functional.cross_entropy(scores, targets, reduction="sum").item()
            count += len(targets)
    return Scores(loss / count, correct / count)


def evaluation_batch(network: torch.nn.Module, data: Data) -> int:
    """How many examples to evaluate at once; found out by evaluating one. Leaves the network in evaluation mode."""
    import torch

    largest = 1

    def measure(module: torch.nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        largest = max(largest, output.nbytes if isinstance(output, torch.Tensor) else 0)

    hooks = [module.register_forward_hook(measure) for module in network.eval().modules()]
    try:
        with torch.inference_mode():
            inputs, targets = data.batch(torch.arange(1))
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, min(EVALUATION_BATCH, EVALUATION_POSITIONS // targets.numel(), EVALUATION_BYTES // largest))


def batches(count: int, recipe: Recipe, seed: int, switch: Switch | None = None) -> Iterator[torch.Tensor]:
    """For each step the numbers of its examples: epoch after epoch, each in an order of its own, cut into equal batches.

    From a switch on the batches are of its recipe's size; a new epoch begins with it where its data are more or fewer.
    """
    import torch

    order = torch.Generator().manual_seed(seed)
    waiting = torch.randperm(count, generator=order)
    for step in range(recipe.steps):
        if switch is not None and step == switch.step:
            recipe = switch.recipe
            if len(switch.data) != count:
                count = len(switch.data)
                waiting = torch.randperm(count, generator=order)
        while len(waiting) < recipe.batch_size:
            waiting = torch.cat([waiting, torch.randperm(count, generator=order)])
        chosen, waiting = waiting[: recipe.batch_size], waiting[recipe.batch_size :]
        yield chosen


def optimiser_for(parameters: Sequence[torch.Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser, elementwise in every weight: so stacked weights are updated as each network's own would be."""
    import torch

    settings: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(parameters, momentum=MOMENTUM, **settings)
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return kind(parameters, **settings)


def point(trained: Scores, held: Scores) -> dict[tuple[str, str], float]:
    """A point of the learning curve."""
    return {
        ("train", "loss"): trained.loss,
        ("train", "accuracy"): trained.accuracy,
        ("validation", "loss"): held.loss,
        ("validation", "accuracy"): held.accuracy,
    }
