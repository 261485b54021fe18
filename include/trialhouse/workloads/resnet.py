"""Residual networks on small images, as He et al. (2016, section 4.2) built them for CIFAR, with 6 x `depth` + 2 layers.

They have no batch normalisation: with it, what a network computes for one image would depend on the others of its batch, so that
do(batch_size) would change the function as well as the training, and several networks could not be trained at once. Each branch
begins at zero instead (SkipInit, De & Smith 2020), which trains them at any depth.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pydantic import Field

from trialhouse.workloads import datasets
from trialhouse.workloads.image_learner import ImageLearner, ImageSettings

if TYPE_CHECKING:
    import torch


class ResNetSettings(ImageSettings):
    """Settings of the workload, each of which can be a factor."""

    width: int = Field(8, ge=1, le=1024)
    """Channels of the first stage; the second has twice and the third four times as many, on a half and a quarter of the rows."""
    depth: int = Field(1, ge=1, le=64)
    """Residual blocks of two convolutions in each of the three stages."""
    learning_rate: float = Field(0.01, gt=0)
    """Highest learning rate, at the reference width where it goes by width."""
    reference_width: int = Field(8, ge=1)
    """Width at which `learning_rate` was chosen."""
    epochs: float | None = Field(5, gt=0)
    """How often each image is seen, where neither `steps` nor `training_flops` is a factor."""


class ResNet(ImageLearner[ResNetSettings]):
    """See the module; a `trialhouse.workloads.protocol.Learner`."""

    name = "resnet"
    version = "1"
    kind = ResNetSettings

    def network(self, settings: ResNetSettings) -> torch.nn.Module:
        """A convolution, three stages of blocks (rectifier before convolution: He et al. 2016b), the mean over the image, scores."""
        import torch
        from torch import nn

        from trialhouse.learning.blocks import Residual

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["first"] = nn.Conv2d(datasets.SHAPES[settings.dataset].channels, settings.width, 3, padding=1, bias=False)
        channels = settings.width
        for stage in range(3):
            wide = settings.width << stage
            for number in range(1, settings.depth + 1):
                stride = 2 if stage > 0 and number == 1 else 1
                branch = nn.Sequential(
                    nn.ReLU(),
                    nn.Conv2d(channels, wide, 3, stride=stride, padding=1, bias=False),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(wide, wide, 3, padding=1, bias=False),
                )
                shortcut = nn.Conv2d(channels, wide, 1, stride=stride, bias=False) if channels != wide else None
                layers[f"block_{stage + 1}_{number}"] = Residual(branch, shortcut, is_scaled=True)
                channels = wide
        layers["rectifier"] = nn.ReLU(inplace=True)
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["classifier"] = nn.Linear(channels, self.classes(settings))
        # rows of channels: faster on a CPU
        return nn.Sequential(layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
