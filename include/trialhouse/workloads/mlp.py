"""Multilayer perceptrons on small images: `depth` hidden layers of `width` units, which know nothing of rows and columns."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pydantic import Field

from trialhouse.workloads import datasets
from trialhouse.workloads.image_learner import ImageLearner, ImageSettings

if TYPE_CHECKING:
    import torch


class MLPSettings(ImageSettings):
    """Settings of the workload, each of which can be a factor."""

    width: int = Field(64, ge=1, le=4096)
    """Units of each hidden layer."""
    depth: int = Field(2, ge=1, le=64)
    """Hidden layers."""
    learning_rate: float = Field(0.01, gt=0)
    """Highest learning rate, at the reference width where it goes by width."""
    reference_width: int = Field(64, ge=1)
    """Width at which `learning_rate` was chosen."""
    epochs: float | None = Field(5, gt=0)
    """How often each image is seen, where neither `steps` nor `training_flops` is a factor."""


class MLP(ImageLearner[MLPSettings]):
    """See the module; a `trialhouse.workloads.protocol.Learner`."""

    name = "mlp"
    version = "1"
    kind = MLPSettings

    def network(self, settings: MLPSettings) -> torch.nn.Module:
        """Linear layers with rectifiers between them."""
        from torch import nn

        shape = datasets.SHAPES[settings.dataset]
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        inputs = shape.channels * shape.height * shape.width
        for number in range(1, settings.depth + 1):
            layers[f"hidden_{number}"] = nn.Linear(inputs, settings.width)
            layers[f"rectifier_{number}"] = nn.ReLU(inplace=True)
            inputs = settings.width
        layers["classifier"] = nn.Linear(inputs, self.classes(settings))
        return nn.Sequential(layers)
