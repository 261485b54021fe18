"""Image learners side by side: the factor `architecture` says which one a trial trains.

Every architecture keeps its own defaults (depth, learning rate, the width at which that was chosen), since a learning rate that
suits one ruins another: do(architecture) changes the network together with the recipe that fits it, and what the study's settings
and factors name is the same for all. Width and depth mean something else in each; `parameters` means the same.
Within a seed, all architectures learn from the same images in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trialhouse.errors import WorkloadError
from trialhouse.learning.engine import DivergedError, Note, TimedOutError
from trialhouse.studies.designs import WorkloadIdentity
from trialhouse.studies.spec import Factor, Level
from trialhouse.workloads.image_learner import ImageLearner
from trialhouse.workloads.lenet import LeNet
from trialhouse.workloads.mlp import MLP
from trialhouse.workloads.protocol import Lesson, Plan
from trialhouse.workloads.resnet import ResNet
from trialhouse.workloads.vit import ViT

if TYPE_CHECKING:
    import torch

ARCHITECTURES: dict[str, type[ImageLearner[Any]]] = {"mlp": MLP, "lenet": LeNet, "resnet": ResNet, "vit": ViT}
"""Name -> the workload that trains it."""


class ImageClassifier:
    """See the module; a `trialhouse.workloads.protocol.GroupLearner`. Settings: `architecture` (default `lenet`), and those of them all."""

    name = "image_classifier"

    def __init__(self, settings: dict[str, Any]) -> None:
        shared = {name: value for name, value in settings.items() if name != "architecture"}
        self._learners = {name: kind(shared) for name, kind in ARCHITECTURES.items()}
        self._architecture = settings.get("architecture", "lenet")
        self._named(self._architecture)

    def check(self, factors: Sequence[Factor]) -> None:
        """See `Workload`: a factor must be one of every architecture that the study compares."""
        compared = {self._architecture: self._named(self._architecture)}
        for factor in factors:
            if factor.name == "architecture":
                compared = {str(level): self._named(level) for level in factor.levels}
        for learner in compared.values():
            learner.check([factor for factor in factors if factor.name != "architecture"])

    def identity(self) -> WorkloadIdentity:
        """What determines a trial of any of them."""
        each = {name: learner.identity() for name, learner in self._learners.items()}
        settings = {"architecture": self._architecture, **{name: identity.settings for name, identity in each.items()}}
        factors = sorted({factor for identity in each.values() for factor in identity.weights_factors})
        version = ", ".join(f"{name} {identity.version}" for name, identity in each.items())
        return WorkloadIdentity(self.name, version, settings, each["lenet"].data_checksum, (), ("architecture", *factors))

    @property
    def outcomes(self) -> frozenset[str]:
        """See `Workload`: those of every architecture."""
        return frozenset.intersection(*(learner.outcomes for learner in self._learners.values()))

    def plan(self, factors: Mapping[str, Level]) -> Plan:
        """See `Learner`."""
        learner, others = self._of_trial(factors)
        plan = learner.plan(others)
        return replace(plan, realised={**factors, **plan.realised})

    def learn(self, factors: Mapping[str, Level], note: Note, timeout_s: float) -> Lesson:
        """See `Learner`."""
        learner, others = self._of_trial(factors)
        return _with(factors, learner.learn(others, note, timeout_s))

    def together_key(self, factors: Mapping[str, Level]) -> str | None:
        """See `GroupLearner`: only one architecture at a time."""
        learner, others = self._of_trial(factors)
        key = learner.together_key(others)
        return None if key is None else f"{learner.name}_{key}"

    def learn_together(
        self, trials: Sequence[Mapping[str, Level]], notes: Sequence[Note], device: torch.device, timeout_s: float
    ) -> list[Lesson | DivergedError]:
        """See `GroupLearner`."""
        learner = self._of_trial(trials[0])[0]
        lessons = learner.learn_together([self._of_trial(factors)[1] for factors in trials], notes, device, timeout_s)
        return [_with(factors, lesson) if isinstance(lesson, Lesson) else lesson for factors, lesson in zip(trials, lessons, strict=True)]

    def learn_branches(
        self, trials: Sequence[Mapping[str, Level]], notes: Sequence[Note], timeout_s: float
    ) -> list[Lesson | DivergedError | TimedOutError]:
        """See `TrunkLearner`."""
        learner = self._of_trial(trials[0])[0]
        lessons = learner.learn_branches([self._of_trial(factors)[1] for factors in trials], notes, timeout_s)
        return [_with(factors, lesson) if isinstance(lesson, Lesson) else lesson for factors, lesson in zip(trials, lessons, strict=True)]

    def _of_trial(self, factors: Mapping[str, Level]) -> tuple[ImageLearner[Any], dict[str, Level]]:
        others = {name: level for name, level in factors.items() if name != "architecture"}
        return self._named(factors.get("architecture", self._architecture)), others

    def _named(self, architecture: object) -> ImageLearner[Any]:
        if architecture not in self._learners:
            raise WorkloadError(f"architecture must be one of {list(self._learners)}", repr(architecture), "fix workload or factor")
        return self._learners[str(architecture)]


def _with(factors: Mapping[str, Level], lesson: Lesson) -> Lesson:
    return replace(lesson, realised={**factors, **lesson.realised})
