"""What a workload must offer: who it is, a network, data, and how long to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

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
"""What is known of a trial when it was measured: columns of every study's analysis view, and what an estimand may ask about."""


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
    """A classifier to train, prune and measure. Built with its settings; costs nothing until a method is called."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Check the settings; an unknown key or an impossible value raises WorkloadError."""

    def check(self, factors: Sequence[Factor]) -> None:
        """Refuse factors or levels that this workload cannot set (WorkloadError)."""

    def identity(self) -> WorkloadIdentity:
        """What of it determines a trial, the data's checksum included."""

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
