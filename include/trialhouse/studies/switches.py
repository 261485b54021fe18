"""Switches: settings that change in mid-training, at staggered shares of it, so that each trial has a before and an after.

What changes is a setting of the learner (`switch`), when it does is an ordinary factor: `switched_at`, the share of the steps after which
a trial goes on with the new values. At 1 it never does: the control. `trialhouse.causal.differences` compares their curves.
"""

from __future__ import annotations

import math

SWITCHED_AT = "switched_at"
"""The factor."""
NEVER = 1.0
"""Its level for trials that keep their settings to the end."""
CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
"""What is known of every point of a learning curve: split and metric, and the outcome of that name at its last point."""
GRID = 40
"""Points at even distances that the curve of a trial has besides the usual ones, where trials may switch."""


def evenly_spaced(steps: int) -> tuple[int, ...]:
    """Steps after which the curve has such a point, the last among them; each once, where there are fewer steps than points."""
    return tuple(dict.fromkeys(math.ceil(steps * number / GRID) for number in range(1, GRID + 1)))


def switch_step(switched_at: float, steps: int) -> int:
    """How many steps a trial makes before it switches; all of them where it never does."""
    return round(switched_at * steps)
