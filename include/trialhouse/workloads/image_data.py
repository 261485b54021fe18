"""Images to learn from: how many of which data set, and what a study can do to them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from trialhouse.learning.data import TensorData
from trialhouse.workloads import datasets

if TYPE_CHECKING:
    import torch

    from trialhouse.workloads.protocol import Examples, Split


class ImageData(BaseModel):
    """Settings of the data; the base of whatever learns from images."""

    dataset: Literal["digits", "warped_digits", "mnist", "fashion_mnist", "cifar10"] = "digits"
    """`digits` ships inside scikit-learn. `warped_digits` is made from it and has 131,072 training images, which an online learner does
    not exhaust: `trialhouse.workloads.warped_digits`. The others are torchvision's, from `TRIALHOUSE_DATA_DIR` or downloaded."""
    n_train: int | None = Field(None, ge=1)
    """Training examples: the first so many in an order that goes by the seed, so smaller sets are part of larger ones. None: all."""
    label_noise: float = Field(0.0, ge=0, le=1)
    """Share of training labels that are drawn anew, any class being as likely; validation and test labels are right."""
    feature_noise: float = Field(0.0, ge=0)
    """Deviation of Gaussian noise on every pixel of all splits, in deviations of the training pixels: a harder task."""
    superclasses: int | None = Field(None, ge=2)
    """So many groups of classes (class number modulo it) in place of the classes, in all splits: an easier task."""
    validation_examples: int = Field(1000, ge=1)
    """Examples of the training split that are kept apart for learning curves and early stopping (at most a sixth of it)."""


def classes(settings: ImageData) -> int:
    """Number of classes to tell apart."""
    there = datasets.SHAPES[settings.dataset].classes
    return there if settings.superclasses is None else min(there, settings.superclasses)


def available(settings: ImageData) -> int:
    """Training images without those that are kept apart."""
    count = len(_load(settings.dataset)["train"].targets)
    return count - _kept_apart(settings, count)


def darkest(settings: ImageData) -> float:
    """The lowest pixel of the training split: what an image has around it."""
    return float(_load(settings.dataset)["train"].inputs.min())


def splits(settings: ImageData, seed: int) -> tuple[TensorData, TensorData, TensorData]:
    """Training (`n_train` of them), validation and test images, standardised, with all that the settings do to them.

    Parameters
    ----------
    seed
        Of the choice of training images and of noise.
    """
    import torch

    loaded = _load(settings.dataset)
    chance = torch.Generator().manual_seed(seed)
    whole = loaded["train"]
    apart = _kept_apart(settings, len(whole.targets))
    # the same images are kept apart for every seed; which of the others are trained on goes by the seed
    order = torch.randperm(len(whole.targets) - apart, generator=chance) + apart
    chosen = order[: settings.n_train]
    training = TensorData(whole.inputs[chosen], whole.targets[chosen])
    validation = TensorData(whole.inputs[:apart], whole.targets[:apart])
    test = TensorData(*loaded["test"])
    training, validation, test = (_made_harder(split, settings, chance) for split in (training, validation, test))
    if settings.label_noise > 0:
        is_noisy = torch.rand(len(training), generator=chance) < settings.label_noise
        drawn = torch.randint(classes(settings), (len(training),), generator=chance)
        training = TensorData(training.inputs, torch.where(is_noisy, drawn, training.targets))
    return training, validation, test


def _made_harder(split: TensorData, settings: ImageData, chance: torch.Generator) -> TensorData:
    import torch

    inputs, targets = split.inputs, split.targets
    if settings.feature_noise > 0:
        inputs = inputs + settings.feature_noise * torch.randn(inputs.shape, generator=chance)
    if settings.superclasses is not None:
        targets = targets % settings.superclasses
    return TensorData(inputs, targets)


def _kept_apart(settings: ImageData, count: int) -> int:
    return min(settings.validation_examples, count // 6)


@lru_cache(maxsize=2)
def _load(dataset: str) -> dict[Split, Examples]:
    """A data set with its training split in one random order, the same on every machine: stored ones may be sorted."""
    import torch

    found: dict[Any, Examples] = dict(datasets.load(dataset))
    whole = found["train"]
    order = torch.randperm(len(whole.targets), generator=torch.Generator().manual_seed(0))
    found["train"] = type(whole)(whole.inputs[order], whole.targets[order])
    return found
