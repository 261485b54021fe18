"""What every network that learns can be told: its size, its data, its length of training, its recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trialhouse.learning.recipe import Optimiser, Precision, Schedule
from trialhouse.studies.spec import Level
from trialhouse.studies.switches import NEVER

MOST_WIDTH = 4096
LENGTHS = ("epochs", "steps", "training_flops")
"""Ways to say how long to train; a trial goes by the one that is a factor."""


class LearnerSettings(BaseModel):
    """What every network learner can be told; each of them can also be a factor of a study."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    seed: int = Field(0, ge=0)
    """Of initial weights, the choice and order of examples, and noise."""
    width: int = Field(16, ge=1, le=MOST_WIDTH)
    """Size of a layer: channels, units or model dimension, as the workload says."""
    depth: int = Field(2, ge=1, le=256)
    """Number of layers, as the workload counts them."""
    parameters: int | None = Field(None, ge=1)
    """Number of parameters, in place of a width: the width follows, the depth is held."""
    n_train: int | None = Field(None, ge=1)
    """Training examples: the first so many in an order that goes by the seed, so smaller sets are part of larger ones. None: all."""
    epochs: float | None = Field(None, gt=0)
    """How often each example is seen."""
    steps: int | None = Field(None, ge=1)
    """Updates of the weights."""
    training_flops: float | None = Field(None, gt=0)
    """Floating-point operations of the whole training: the number of steps follows."""
    batch_size: int = Field(64, ge=1)
    """Examples per step."""
    learning_rate: float = Field(0.003, gt=0)
    """Highest learning rate, at the reference width where it goes by width."""
    learning_rate_rule: Literal["fixed", "inverse_width"] = "inverse_width"
    """`inverse_width`: times `reference_width / width`, since the best rate falls with width and a fixed one would confound the
    two (Yang et al. 2021, mu-transfer, for Adam and hidden layers). `fixed`: as it is."""
    reference_width: int = Field(16, ge=1)
    """Width at which `learning_rate` was chosen."""
    most_learning_rate: float = Field(0.02, gt=0)
    """No rule goes beyond it."""
    optimiser: Optimiser = "adam"
    """`adam`, `adamw` or `sgd` with momentum 0.9."""
    schedule: Schedule = "one_cycle"
    """How the learning rate goes: `trialhouse.learning.recipe`."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps; of `cosine` and `warmup_stable_decay`."""
    decay: float = Field(0.2, ge=0, le=1)
    """Share of the steps; of `warmup_stable_decay`."""
    trunk_steps: int | None = Field(None, ge=1)
    """With `warmup_stable_decay` and `steps` as a factor: all lengths share the warm-up of a run of so many steps, so that until its decay
    each is the same run, which is trained once (`trialhouse.learning.trunk`). `seed` must then be blocked: branches of a trunk share
    their chance and are one repeated unit."""
    weight_decay: float = Field(0.0, ge=0)
    """As the optimiser applies it."""
    clip: float | None = Field(None, gt=0)
    """Largest norm of a gradient."""
    precision: Precision = "float32"
    """`bfloat16` runs matrix products in it."""
    patience: int | None = Field(None, ge=1)
    """Early stopping after so many of 20 evaluations in a row without a lower validation loss. None: never."""
    validation_examples: int = Field(1000, ge=1)
    """Examples of the training split that are kept apart for learning curves and early stopping (at most a sixth of it)."""
    curve: Literal["log_spaced", "epochs"] = "log_spaced"
    """Points of the learning curve: after 1, 2, 4, ... steps, or after every epoch; and after the last step."""
    switch: dict[str, Level] | None = None
    """What changes in mid-training: setting -> its value from then on. All trials of a study with a switch have 40 points at even
    distances in their learning curves besides, whether they switch or not."""
    switched_at: float = Field(NEVER, gt=0, le=NEVER)
    """Share of the steps after which the settings in `switch` change; 1: never. As a factor, trials switch at staggered times."""
    capabilities: tuple[str, ...] = ()
    """What the trained network is examined in besides its loss: names of `trialhouse.capabilities`; outcomes are `capability_<name>`."""

    @model_validator(mode="after")
    def _check(self) -> LearnerSettings:
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(LENGTHS)} must be set, got {' and '.join(given) or 'none'}")
        if self.switched_at < NEVER and not self.switch:
            raise ValueError(f"switched_at below {NEVER:g} needs a switch, got none: say which setting changes")
        if self.switch and self.patience is not None:
            raise ValueError(f"a trial that switches must make all its steps, got patience {self.patience}: it might end before")
        if self.trunk_steps is not None and (self.schedule != "warmup_stable_decay" or self.steps is None):
            raise ValueError(
                f"trunk_steps needs schedule warmup_stable_decay and a length by steps, got {self.schedule}, steps {self.steps}"
            )
        if self.trunk_steps is not None and (self.switch or self.patience is not None):
            raise ValueError("branches of a trunk neither switch nor stop early, got switch or patience: remove one")
        return self
