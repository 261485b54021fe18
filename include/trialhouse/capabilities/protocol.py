"""What a capability must offer. A benchmark of your own is one class with these, registered as an entry point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from trialhouse.learning.data import Data
from trialhouse.learning.engine import Scores
from trialhouse.learning.text import Alphabet

if TYPE_CHECKING:
    import torch

Subject = Literal["images", "text"]


@dataclass(frozen=True)
class Exam:
    """What a capability may use besides the network.

    Parameters
    ----------
    test
        The test split of the trial; text comes as `trialhouse.learning.text.Windows`.
    scores
        The network's loss and accuracy on it.
    choices
        Classes or symbols that the network gives a score.
    alphabet
        What tokens mean; None for images.
    """

    test: Data
    scores: Scores
    choices: int
    alphabet: Alphabet | None = None


class Capability(Protocol):
    """One number that tells what a network can do; built without arguments, free of chance: the same network, the same number."""

    name: ClassVar[str]
    """The outcome is called `capability_<name>`."""
    subject: ClassVar[Subject]
    """Kind of networks that it is for."""
    is_higher_better: ClassVar[bool]
    """Direction."""
    best: ClassVar[float]
    """The bound at one end."""

    def chance(self, exam: Exam) -> float:
        """The other: what guessing comes to."""

    def measure(self, network: torch.nn.Module, exam: Exam) -> float:
        """Examine a network, in evaluation mode and without gradients. Keep it cheap: it is done once for every trial.

        Raises
        ------
        UnmeasurableError
            If this exam cannot tell.
        """


class UnmeasurableError(ValueError):
    """Why a capability cannot be measured on these data; the outcome is then missing, with this as the reason."""
