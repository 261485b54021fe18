"""How long, how fast and in which steps a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Optimiser = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "one_cycle", "cosine", "warmup_stable_decay"]
Precision = Literal["float32", "bfloat16"]

MOMENTUM = 0.9
"""Of `sgd`."""


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Parameters
    ----------
    steps
        Updates of the weights.
    batch_size
        Examples per step; every step has as many, epochs follow each other without a gap.
    learning_rate
        The highest one.
    optimiser
        `adam`, `adamw` (Loshchilov & Hutter 2019) or `sgd` with momentum.
    schedule
        `constant`; `one_cycle`: a third of the steps linearly up, then a cosine down to zero; `cosine`: linearly up over
        `warmup`, then a cosine down to a tenth; `warmup_stable_decay`: up over `warmup`, level, linearly down to zero over `decay`
        (Hu et al. 2024, MiniCPM).
    warmup, decay
        Shares of all steps.
    trunk_steps
        With `warmup_stable_decay`: the run branches off a longer one of so many steps, whose warm-up it shares. Until its own decay
        begins, at `branch_step`, its learning rates are those of every other branch; None: it stands alone.
    weight_decay
        As the optimiser applies it.
    precision
        `bfloat16` runs matrix products and convolutions in it (autocast); weights stay in float32.
    clip
        Largest norm of a gradient; None: any.
    patience
        Early stopping: so many evaluations in a row without a lower validation loss end the run; None: never.
    """

    steps: int
    batch_size: int
    learning_rate: float
    optimiser: Optimiser = "adam"
    schedule: Schedule = "one_cycle"
    warmup: float = 0.05
    decay: float = 0.2
    weight_decay: float = 0.0
    precision: Precision = "float32"
    clip: float | None = None
    patience: int | None = None
    trunk_steps: int | None = None

    @property
    def branch_step(self) -> int:
        """Steps before the decay."""
        return self.steps - max(1, round(self.decay * self.steps))

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if self.trunk_steps is not None and step < self.branch_step:  # the same bits in all branches, whatever their length
            done = (step + 0.5) / self.trunk_steps
            return self.learning_rate * (_warm(done, self.warmup) if done < self.warmup else 1.0)
        return self.learning_rate * self._share((step + 0.5) / self.steps)  # in its middle: no step is without effect

    def _share(self, done: float) -> float:
        """Share of the highest learning rate after a share of the steps."""
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "one_cycle":
            return _warm(done, 1 / 3) if done < 1 / 3 else 0.5 * (1 + math.cos(math.pi * (done - 1 / 3) / (2 / 3)))
        if done < self.warmup and self.trunk_steps is None:
            return _warm(done, self.warmup)
        if self.schedule == "cosine":
            return 0.1 + 0.45 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))
        return min(1.0, (1 - done) / self.decay) if self.decay > 0 else 1.0


def _warm(done: float, warmup: float) -> float:
    return min(1.0, done / warmup)


def log_spaced(steps: int) -> tuple[int, ...]:
    """Steps after which a learning curve has a point: 1, 2, 4, ... and the last."""
    return (*(1 << power for power in range(steps.bit_length()) if 1 << power < steps), steps)
