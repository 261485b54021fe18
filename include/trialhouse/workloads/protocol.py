"""What a workload must offer: who it is, and either a network to prune and serve or something that learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from trialhouse.learning.engine import DivergedError, Note, TimedOutError
from trialhouse.studies.designs import WorkloadIdentity
from trialhouse.studies.spec import Factor, Level

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

Phase = Literal["pretraining", "finetuning"]
Split = Literal["train", "test"]

OUTCOMES = frozenset(
    {"accuracy", "weights_accuracy", "accuracy_as_served", "accuracy_before_finetuning", "loss", "loss_before_finetuning"}
    | {"parameters", "nonzero_parameters", "flops", "flops_share", "macs"}
    | {"latency_ms", "latency_p95_ms", "latency_p99_ms", "load_ms", "warmup_ms"}
    | {"throughput_images_per_s", "loading_ms"}
    | {"peak_memory_bytes", "memory_utilisation", "is_oom", "is_diverged"}
)
"""What is known of a classifier's trial when it was measured."""


@dataclass(frozen=True)
class Recipe:
    """How one phase trains: Adam on cross-entropy with a one-cycle learning rate.

    Parameters
    ----------
    epochs
        Passes over the training split.
    learning_rate
        The highest one, reached after a third of the steps.
    batch_size
        Examples per step; the last, smaller batch of an epoch is used too.
    """

    epochs: int
    learning_rate: float
    batch_size: int


class Examples(NamedTuple):
    """A split in memory: `inputs` as float32 (examples, channels, height, width), `targets` as int64 class numbers (examples,)."""

    inputs: torch.Tensor
    targets: torch.Tensor


class ImageSource(Protocol):
    """A split image by image, each read and prepared when it is asked for, as a loader's worker process does it."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], int]:
        """An image (height, width, channels), as the network takes it, and its class number."""


class Workload(Protocol):
    """What every workload offers. Built with its settings; costs nothing until a method is called."""

    @property
    def outcomes(self) -> frozenset[str]:
        """What is known of a trial when it is done: what an estimand may ask about."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Check the settings; an unknown key or an impossible value raises WorkloadError."""

    def check(self, factors: Sequence[Factor]) -> None:
        """Refuse factors or levels that this workload cannot set (WorkloadError)."""

    def identity(self) -> WorkloadIdentity:
        """What of it determines a trial, the data's checksum included."""


class Classifier(Workload, Protocol):
    """A classifier of images to train, prune and put to work on hardware classes."""

    def network(self, factors: Mapping[str, Level], seed: int) -> torch.nn.Module:
        """A trial's network with fresh weights: a pure function of settings, `network_factors` and the seed of its weights.

        Its last linear layer gives the class scores.
        """

    def examples(self, split: Split) -> Examples:
        """The data of a split, the same in every process."""

    def images(self, split: Split) -> ImageSource:
        """The same images in the same order, one by one."""

    def load_pretrained(self, network: torch.nn.Module, factors: Mapping[str, Level]) -> None:
        """Put weights that the settings name, if any, in the place of a network's fresh ones, before it is trained."""

    def recipe(self, phase: Phase, factors: Mapping[str, Level]) -> Recipe:
        """How a phase of a trial trains."""


@dataclass(frozen=True)
class Plan:
    """What a trial of a learner will do, known before it runs.

    Parameters
    ----------
    realised
        Factor -> level as it will be: what was solved for, and quantities that come only in whole numbers.
    training_flops
        Arithmetic of the trial, for its place in the order (longest first) and its price.
    quantities
        Name -> value of what an intervention can hold or change, factors or not.
    solved
        Those of them that were solved for.
    outcomes
        Those of its outcomes that are known by then: sizes, and how much of the data it sees unless it stops early.
    trunk_id, trunk_flops
        The run that it shares with other trials up to a point (`TrunkLearner`), and how much of its arithmetic that is.
    """

    realised: Mapping[str, Level]
    training_flops: float
    quantities: Mapping[str, Level] = field(default_factory=dict)
    solved: tuple[str, ...] = ()
    outcomes: Mapping[str, float] = field(default_factory=dict)
    trunk_id: str | None = None
    trunk_flops: float = 0.0


def work_of(plans: Sequence[Plan]) -> float:
    """Floating-point operations of trials that run as one group: what branches of a trunk share is made once."""
    return sum(plan.training_flops - plan.trunk_flops for plan in plans) + max(plan.trunk_flops for plan in plans)


@dataclass(frozen=True)
class Lesson:
    """What came of a trial of a learner.

    Parameters
    ----------
    outcomes
        Name -> value; all of the workload's `outcomes`.
    realised
        As in its plan, and what only training tells (steps made, where it stopped early).
    missing
        Outcome -> why it could not be measured.
    """

    outcomes: Mapping[str, float]
    realised: Mapping[str, Level]
    missing: Mapping[str, str] = field(default_factory=dict)


class Learner(Workload, Protocol):
    """Something that learns: a trial trains it, keeps its learning curve and ends there; nothing is pruned or served."""

    def plan(self, factors: Mapping[str, Level]) -> Plan:
        """What a trial will do; an intervention that cannot be had as it was asked for raises WorkloadError."""

    def learn(self, factors: Mapping[str, Level], note: Note, timeout_s: float) -> Lesson:
        """Run a trial, a pure function of settings and factors on one thread of a kind of CPU.

        Raises
        ------
        DivergedError, TimedOutError
            `trialhouse.learning.engine`; both are outcomes.
        """


@runtime_checkable
class GroupLearner(Learner, Protocol):
    """A learner that can also run many trials at once on a GPU; each comes to what it comes to alone, within floating-point error."""

    def together_key(self, factors: Mapping[str, Level]) -> str | None:
        """The same for trials that can run together; None for one that cannot."""

    def learn_together(
        self, trials: Sequence[Mapping[str, Level]], notes: Sequence[Note], device: torch.device, timeout_s: float
    ) -> list[Lesson | DivergedError]:
        """Run trials of one key; a trial that diverges stops no other (`Learner.learn`)."""


@runtime_checkable
class TrunkLearner(Learner, Protocol):
    """A learner some of whose trials are, up to a point, the same run: it makes that once, and each comes to what it comes to alone."""

    def learn_branches(
        self, trials: Sequence[Mapping[str, Level]], notes: Sequence[Note], timeout_s: float
    ) -> list[Lesson | DivergedError | TimedOutError]:
        """Run trials of one trunk (`Plan.trunk_id`, `Learner.learn`); what stops one stops no other, but for what stops their trunk."""
