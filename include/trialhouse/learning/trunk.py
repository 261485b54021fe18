"""One run with a level learning rate, and short decays that branch off it: many lengths of training for little more than the longest.

A run of warm-up, level rate and decay (`warmup_stable_decay`) is, until its decay, the run of every other length (Hu et al. 2024;
Hägele et al. 2024). So the level part is trained once, and each length is a branch: a copy of the network, of what the optimiser has
gathered and of all chance, that decays. A branch comes, bit for bit, to what it comes to alone. Branches of a trunk are no independent
trials: they share its chance.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trialhouse.learning.data import Data, Shifted
from trialhouse.learning.engine import (
    DivergedError,
    Note,
    Scores,
    TimedOutError,
    Trained,
    batches,
    evaluate,
    evaluation_batch,
    optimiser_for,
    point,
    update,
)
from trialhouse.learning.recipe import Recipe

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Branch:
    """A run of one length: its recipe (alike in all but `steps` and `decay`), the points of its curve, and who notes them."""

    recipe: Recipe
    points: tuple[int, ...]
    note: Note


@dataclass(frozen=True)
class Leaf:
    """What a branch came to: its network, its scores, and the seconds of CPU time that it would have taken alone."""

    network: torch.nn.Module
    trained: Trained
    cpu_s: float


def train_branches(
    network: torch.nn.Module, data: Data, validation: Data, branches: Sequence[Branch], *, seed: int, timeout_s: float = math.inf
) -> list[Leaf | DivergedError | TimedOutError]:
    """Train one trunk and its branches; see `engine.train` for what the parameters mean.

    Returns
    -------
    list
        For each branch what it came to; a loss that is not finite in a branch ends that branch, in the trunk all that follow.
    """
    import torch

    found: dict[int, Leaf | DivergedError | TimedOutError] = {}
    ends_at = time.monotonic() + timeout_s
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        longest = max((branch.recipe for branch in branches), key=lambda recipe: recipe.branch_step)
        trunk = _Run(network, optimiser_for(list(network.parameters()), longest), data, longest, seed)
        for index in sorted(range(len(branches)), key=lambda index: branches[index].recipe.branch_step):
            branch = branches[index]
            followers = {other: one for other, one in enumerate(branches) if other not in found}
            try:
                trunk.go_on(branch.recipe.branch_step, followers, validation, ends_at, timeout_s)
            except (DivergedError, TimedOutError) as error:
                found |= dict.fromkeys(followers, error)
                break
            found |= trunk.lost
            if index in found:
                continue
            leaf = trunk.fork(branch.recipe)
            try:
                trained = leaf.go_on(branch.recipe.steps, {index: branch}, validation, ends_at, timeout_s)
                found[index] = leaf.lost.get(index) or Leaf(leaf.network, trained, leaf.cpu_s)
            except (DivergedError, TimedOutError) as error:
                found[index] = error
    return [found[index] for index in range(len(branches))]


class _Run:
    """A run that can be stopped after any step, copied, and gone on with."""

    def __init__(self, network: torch.nn.Module, optimiser: torch.optim.Optimizer, data: Data, recipe: Recipe, seed: int) -> None:
        import torch

        self.network, self.optimiser, self.data, self.recipe, self.seed = network, optimiser, data, recipe, seed
        self.step, self.cpu_s = 0, 0.0
        self.lost: dict[int, DivergedError] = {}
        self.chance = torch.random.get_rng_state()
        self.history: list[tuple[float, int, int]] = []
        self.batches: Iterator[torch.Tensor] = batches(len(data), recipe, seed)

    def fork(self, recipe: Recipe) -> _Run:
        """A copy that goes on by another recipe of the same trunk."""
        network, optimiser = copy.deepcopy((self.network, self.optimiser))  # at once: the one holds the other's weights
        data = replace(self.data, generator=self.data.generator.clone_state()) if isinstance(self.data, Shifted) else self.data
        other = _Run(network, optimiser, data, recipe, self.seed)
        other.step, other.cpu_s, other.chance, other.history = self.step, self.cpu_s, self.chance, list(self.history)
        other.batches = itertools.islice(batches(len(data), recipe, self.seed), self.step, None)
        return other

    def go_on(self, until: int, followers: Mapping[int, Branch], validation: Data, ends_at: float, timeout_s: float) -> Trained:
        """Train until a step is made; each of the branches that follow notes the points that are its own, and may be lost there."""
        import torch

        torch.random.set_rng_state(self.chance)
        started = time.process_time()
        last = held = Scores(math.nan, math.nan)
        batch = evaluation_batch(self.network, validation)
        self.network.train()
        while self.step < until:
            self.step += 1
            inputs, targets = self.data.batch(next(self.batches))
            self.history.append(update(self.network, self.optimiser, self.recipe, self.step, inputs, targets))
            due = {index: branch for index, branch in followers.items() if self.step in branch.points and index not in self.lost}
            if due:
                held = evaluate(self.network, validation, batch)
                self.network.train()
                for branch in due.values():
                    last = self._since(max((step for step in branch.points if step < self.step), default=0))
                    branch.note(self.step, point(last, held))
                if not math.isfinite(held.loss):
                    self.lost |= {index: DivergedError(self.step) for index in due}
            if time.monotonic() > ends_at:
                raise TimedOutError(self.step, timeout_s)
        self.cpu_s += time.process_time() - started
        self.chance = torch.random.get_rng_state()
        return Trained(self.step, last, held, is_stopped_early=False)

    def _since(self, step: int) -> Scores:
        """Training scores since a step, added up in the order in which a run alone adds them up."""
        total, correct, seen = 0.0, 0, 0
        for value, right, count in self.history[step:]:
            total, correct, seen = total + value * count, correct + right, seen + count
        return Scores(total / seen, correct / seen)
