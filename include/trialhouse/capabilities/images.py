"""What networks that learn from images can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from trialhouse.capabilities.protocol import Exam, Subject
from trialhouse.learning.data import Data
from trialhouse.learning.engine import evaluate

if TYPE_CHECKING:
    import torch

CORRUPTION = 1.0
"""Deviation of the noise on each pixel, in deviations of the training pixels (images are standardised)."""


class CleanAccuracy:
    """Share of the test images that are classified rightly: the `accuracy` of the trial."""

    name: ClassVar[str] = "clean_accuracy"
    subject: ClassVar[Subject] = "images"
    is_higher_better: ClassVar[bool] = True
    best: ClassVar[float] = 1.0

    def chance(self, exam: Exam) -> float:
        """Any class is as likely."""
        return 1 / exam.choices

    def measure(self, network: torch.nn.Module, exam: Exam) -> float:
        """See `Capability`."""
        return exam.scores.accuracy


class CorruptedAccuracy(CleanAccuracy):
    """The same under Gaussian noise (as the first corruption of Hendrycks & Dietterich 2019), the same noise for every trial."""

    name = "corrupted_accuracy"

    def measure(self, network: torch.nn.Module, exam: Exam) -> float:
        """See `Capability`."""
        import torch

        return evaluate(network, _Noisy(exam.test, CORRUPTION, torch.Generator().manual_seed(0))).accuracy


@dataclass(frozen=True)
class _Noisy:
    data: Data
    deviation: float
    generator: torch.Generator

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        inputs, targets = self.data.batch(chosen)
        return inputs + self.deviation * torch.randn(inputs.shape, generator=self.generator), targets
