"""A convolutional network of three weight layers on small images: real, and trained on a CPU in a second.

Its first layer is wide and keeps the image's size; the second steps over every other pixel. So a batch needs much memory
for little arithmetic, and memory limits bite within milliseconds of compute. Widths are multiples of eight at the usual
pruning ratios (80 -> 56, 32, 8), which keeps vector units equally busy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trialhouse.studies.designs import WorkloadIdentity
from trialhouse.studies.spec import Factor, Level
from trialhouse.workloads import datasets
from trialhouse.workloads.factors import PRUNING_FACTORS, SERVING_FACTORS, check_factors
from trialhouse.workloads.parsing import parse_settings
from trialhouse.workloads.protocol import OUTCOMES, Examples, ImageSource, Phase, Recipe, Split

if TYPE_CHECKING:
    import torch

NAME = "small_cnn"
VERSION = "2"
"""Raised whenever the same settings would give another network, other data or another training."""

NETWORK_FACTORS = ("seed",)
WEIGHTS_FACTORS = (*NETWORK_FACTORS, *PRUNING_FACTORS)
FACTORS = (*WEIGHTS_FACTORS, *SERVING_FACTORS)


class SmallCNNSettings(BaseModel):
    """Settings of the workload; everything that is the same for all trials of a study."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    dataset: Literal["digits", "mnist", "fashion_mnist", "cifar10"] = "digits"
    """`digits` ships inside scikit-learn; the others are torchvision's, from `TRIALHOUSE_DATA_DIR` or downloaded."""
    width: int = Field(80, ge=4, le=1024)
    """Channels of the first layer; the second has a quarter as many."""
    pretraining_epochs: int = Field(12, ge=1, le=1000)
    """Epochs before pruning."""
    finetuning_epochs: int = Field(3, ge=1, le=1000)
    """Epochs after pruning, the same for every ratio, 0 included."""
    pretraining_learning_rate: float = Field(0.01, gt=0)
    """Highest learning rate before pruning."""
    finetuning_learning_rate: float = Field(0.005, gt=0)
    """Highest learning rate after pruning."""
    train_batch_size: int = Field(64, ge=1)
    """Examples per step of both phases (a trial's `batch_size` is about inference)."""


class SmallCNN:
    """See the module; a `trialhouse.workloads.protocol.Classifier`."""

    outcomes = OUTCOMES

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = parse_settings(SmallCNNSettings, NAME, settings)

    def check(self, factors: Sequence[Factor]) -> None:
        """Refuse factors and levels that this workload cannot set."""
        check_factors(NAME, factors, FACTORS)

    def identity(self) -> WorkloadIdentity:
        """Settings with all defaults, and the checksum of the data."""
        return self._identity

    def network(self, factors: Mapping[str, Level], seed: int) -> torch.nn.Module:
        """Convolution (stride 1), convolution (stride 2), average pooling to 2 x 2, linear; batch norm and ReLU after each convolution."""
        import torch
        from torch import nn

        width, narrow = self.settings.width, max(1, self.settings.width // 4)
        shape = datasets.SHAPES[self.settings.dataset]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = nn.Sequential(
                OrderedDict(
                    wide=nn.Conv2d(shape.channels, width, 3, padding=1, bias=False),
                    wide_norm=nn.BatchNorm2d(width),
                    wide_relu=nn.ReLU(inplace=True),
                    narrow=nn.Conv2d(width, narrow, 3, stride=2, padding=1, bias=False),
                    narrow_norm=nn.BatchNorm2d(narrow),
                    narrow_relu=nn.ReLU(inplace=True),
                    pool=nn.AdaptiveAvgPool2d(2),
                    flatten=nn.Flatten(),
                    classifier=nn.Linear(4 * narrow, shape.classes),
                )
            )
        # rows of channels: half the time per step of the default layout on a CPU
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def examples(self, split: Split) -> Examples:
        """The data of a split."""
        return self._examples[split]

    def images(self, split: Split) -> ImageSource:
        """The same, image by image."""
        return datasets.InMemory(self._examples[split])

    def load_pretrained(self, network: torch.nn.Module, factors: Mapping[str, Level]) -> None:
        """Weights are always trained here."""

    def recipe(self, phase: Phase, factors: Mapping[str, Level]) -> Recipe:
        """Epochs, learning rate and batch size of a phase."""
        settings = self.settings
        if phase == "pretraining":
            return Recipe(settings.pretraining_epochs, settings.pretraining_learning_rate, settings.train_batch_size)
        return Recipe(settings.finetuning_epochs, settings.finetuning_learning_rate, settings.train_batch_size)

    @cached_property
    def _identity(self) -> WorkloadIdentity:
        checksum = datasets.checksum(self.settings.dataset)
        return WorkloadIdentity(NAME, VERSION, self.settings.model_dump(), checksum, NETWORK_FACTORS, WEIGHTS_FACTORS)

    @cached_property
    def _examples(self) -> dict[Split, Examples]:
        return datasets.load(self.settings.dataset)
