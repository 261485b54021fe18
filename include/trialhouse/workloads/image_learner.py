"""What networks that learn from images have in common: the data, how much of them, and how good they are."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field

from trialhouse.learning.data import Data, Shifted, TensorData
from trialhouse.workloads import datasets
from trialhouse.workloads.network_learner import LearnerSettings, NetworkLearner

if TYPE_CHECKING:
    import torch

    from trialhouse.workloads.protocol import Examples, Split

MOST_SHIFT = 2
"""Pixels, of `augmentation: shift`, on images of 28 pixels or more; one on smaller ones."""


class ImageSettings(LearnerSettings):
    """Data, beside what every network can be told."""

    dataset: Literal["digits", "mnist", "fashion_mnist", "cifar10"] = "digits"
    """`digits` ships inside scikit-learn; the others are torchvision's, from `TRIALHOUSE_DATA_DIR` or downloaded."""
    label_noise: float = Field(0.0, ge=0, le=1)
    """Share of training labels that are drawn anew, any class being as likely; validation and test labels are right."""
    feature_noise: float = Field(0.0, ge=0)
    """Deviation of Gaussian noise on every pixel of all splits, in deviations of the training pixels: a harder task."""
    superclasses: int | None = Field(None, ge=2)
    """So many groups of classes (class number modulo it) in place of the classes, in all splits: an easier task."""
    augmentation: Literal["none", "shift"] = "none"
    """`shift`: training images are moved by up to two pixels each way (one on small images), anew each time."""


Settings = TypeVar("Settings", bound=ImageSettings)


class ImageLearner(NetworkLearner[Settings]):
    """A network learner on images; a subclass says which network."""

    def classes(self, settings: Settings) -> int:
        """Number of scores that the network must give."""
        classes = datasets.SHAPES[settings.dataset].classes
        return classes if settings.superclasses is None else min(classes, settings.superclasses)

    def example(self, settings: Settings) -> torch.Tensor:
        """A blank image."""
        import torch

        shape = datasets.SHAPES[settings.dataset]
        return torch.zeros(1, shape.channels, shape.height, shape.width).to(memory_format=torch.channels_last)

    def positions(self, settings: Settings) -> int:
        """One label per image."""
        return 1

    def available(self, settings: Settings) -> int:
        """Training images without those that are kept apart."""
        count = len(_load(settings.dataset)["train"].targets)
        return count - _kept_apart(settings, count)

    def checksum(self) -> str:
        """Of the files of the data set."""
        return datasets.checksum(self.settings.dataset)

    def data(self, settings: Settings) -> tuple[Data, Data, Data]:
        """Standardised images; see `ImageSettings` for what is done to them."""
        import torch

        splits = _load(settings.dataset)
        chance = torch.Generator().manual_seed(self.seed_for("data", settings))
        whole = splits["train"]
        apart = _kept_apart(settings, len(whole.targets))
        # the same images are kept apart for every seed; which of the others are trained on goes by the seed
        order = torch.randperm(len(whole.targets) - apart, generator=chance) + apart
        chosen = order[: settings.n_train]
        training = TensorData(whole.inputs[chosen], whole.targets[chosen])
        validation = TensorData(whole.inputs[:apart], whole.targets[:apart])
        test = TensorData(*splits["test"])
        training, validation, test = (self._made_harder(split, settings, chance) for split in (training, validation, test))
        if settings.label_noise > 0:
            is_noisy = torch.rand(len(training), generator=chance) < settings.label_noise
            drawn = torch.randint(self.classes(settings), (len(training),), generator=chance)
            training = TensorData(training.inputs, torch.where(is_noisy, drawn, training.targets))
        if settings.augmentation == "none":
            return training, validation, test
        moves = torch.Generator().manual_seed(self.seed_for("augmentation", settings))
        most = MOST_SHIFT if datasets.SHAPES[settings.dataset].height >= 28 else 1
        return Shifted(training, most, float(whole.inputs.min()), moves), validation, test

    def _made_harder(self, split: TensorData, settings: Settings, chance: torch.Generator) -> TensorData:
        import torch

        inputs, targets = split.inputs, split.targets
        if settings.feature_noise > 0:
            inputs = inputs + settings.feature_noise * torch.randn(inputs.shape, generator=chance)
        if settings.superclasses is not None:
            targets = targets % settings.superclasses
        return TensorData(inputs, targets)


def _kept_apart(settings: ImageSettings, count: int) -> int:
    return min(settings.validation_examples, count // 6)


@lru_cache(maxsize=2)
def _load(dataset: str) -> dict[Split, Examples]:
    """A data set with its training split in one random order, the same on every machine: stored ones may be sorted."""
    import torch

    splits: dict[Any, Examples] = dict(datasets.load(dataset))
    whole = splits["train"]
    order = torch.randperm(len(whole.targets), generator=torch.Generator().manual_seed(0))
    splits["train"] = type(whole)(whole.inputs[order], whole.targets[order])
    return splits
