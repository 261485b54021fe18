"""What networks that learn from images have in common: the data, how much of them, and how good they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from trialhouse.capabilities.protocol import Exam
from trialhouse.learning.data import Data, Shifted
from trialhouse.workloads import datasets, image_data
from trialhouse.workloads.image_data import ImageData
from trialhouse.workloads.learner_settings import LearnerSettings
from trialhouse.workloads.network_learner import NetworkLearner

if TYPE_CHECKING:
    import torch

    from trialhouse.learning.engine import Scores

MOST_SHIFT = 2
"""Pixels, of `augmentation: shift`, on images of 28 pixels or more; one on smaller ones."""


class ImageSettings(ImageData, LearnerSettings):
    """Data, beside what every network can be told."""

    augmentation: Literal["none", "shift"] = "none"
    """`shift`: training images are moved by up to two pixels each way (one on small images), anew each time."""


Settings = TypeVar("Settings", bound=ImageSettings)


class ImageLearner(NetworkLearner[Settings]):
    """A network learner on images; a subclass says which network."""

    # not feature_noise and superclasses: these make another task, for validation and test images too
    switchable: ClassVar[frozenset[str]] = NetworkLearner.switchable | {"augmentation", "label_noise"}

    def classes(self, settings: Settings) -> int:
        """Number of scores that the network must give."""
        return image_data.classes(settings)

    def example(self, settings: Settings) -> torch.Tensor:
        """A blank image."""
        import torch

        shape = datasets.SHAPES[settings.dataset]
        return torch.zeros(1, shape.channels, shape.height, shape.width).to(memory_format=torch.channels_last)

    def positions(self, settings: Settings) -> int:
        """One label per image."""
        return 1

    def exam(self, settings: Settings, test: Data, scores: Scores) -> Exam:
        """See `Exam`."""
        return Exam(test, scores, self.classes(settings))

    def available(self, settings: Settings) -> int:
        """Training images without those that are kept apart."""
        return image_data.available(settings)

    def checksum(self) -> str:
        """Of the files of the data set."""
        return datasets.checksum(self.settings.dataset)

    def data(self, settings: Settings) -> tuple[Data, Data, Data]:
        """Standardised images; see `ImageData` and `ImageSettings` for what is done to them."""
        import torch

        training, validation, test = image_data.splits(settings, self.seed_for("data", settings))
        if settings.augmentation == "none":
            return training, validation, test
        moves = torch.Generator().manual_seed(self.seed_for("augmentation", settings))
        most = MOST_SHIFT if datasets.SHAPES[settings.dataset].height >= 28 else 1
        return Shifted(training, most, image_data.darkest(settings), moves), validation, test
