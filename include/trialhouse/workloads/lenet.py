"""LeNet-like convolutional networks on small images: the small, medium and large ones of source 000, and any between and beyond.

On 28 x 28 images widths 8, 16 and 32 have 11, 43 and 170 thousand parameters at depth 2: about the source's 10, 40 and 160.
Parameters grow with the square of the width.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pydantic import Field

from trialhouse.workloads import datasets
from trialhouse.workloads.image_learner import ImageLearner, ImageSettings

if TYPE_CHECKING:
    import torch

FULL_BLOCK, LARGE_IMAGE = 16, 28
"""Multiple of channels and height of images from which on oneDNN's blocks are faster than channels last: 1.1 to 1.2 times in training."""


class LeNetSettings(ImageSettings):
    """Settings of the workload, each of which can be a factor."""

    width: int = Field(16, ge=1, le=1024)
    """Channels of the first convolution; the others have twice as many, the hidden layer has one and a half times as many units."""
    depth: int = Field(2, ge=1, le=32)
    """Convolutions: the first two are pooled to half the size, later ones keep it."""
    learning_rate: float = Field(0.01, gt=0)
    """Highest learning rate, at the reference width where it goes by width."""
    epochs: float | None = Field(5, gt=0)
    """How often each image is seen, where neither `steps` nor `training_flops` is a factor."""


class LeNet(ImageLearner[LeNetSettings]):
    """See the module; a `trialhouse.workloads.protocol.Learner`."""

    name = "lenet"
    version = "2"
    kind = LeNetSettings

    def network(self, settings: LeNetSettings) -> torch.nn.Module:
        """Convolutions of 3 x 3, pooling before the rectifier (the same function, on a quarter of the numbers), two linear layers."""
        import torch
        from torch import nn

        from trialhouse.learning.blocks import HalvingPool, InBlocks

        shape = datasets.SHAPES[settings.dataset]
        features: OrderedDict[str, nn.Module] = OrderedDict()
        channels, height, width = shape.channels, shape.height, shape.width
        is_blocked = settings.width % FULL_BLOCK == 0 and height >= LARGE_IMAGE
        for number in range(1, settings.depth + 1):
            wide = settings.width if number == 1 else 2 * settings.width
            features[f"convolution_{number}"] = nn.Conv2d(channels, wide, 3, padding=1)
            if number <= 2:
                features[f"pool_{number}"] = HalvingPool()
                height, width = height // 2, width // 2
            features[f"rectifier_{number}"] = nn.ReLU(inplace=not is_blocked)
            channels = wide
        hidden = max(1, 3 * settings.width // 2)
        layers: OrderedDict[str, nn.Module] = OrderedDict(features=InBlocks(features)) if is_blocked else features
        layers["flatten"] = nn.Flatten()
        layers["hidden"] = nn.Linear(channels * height * width, hidden)
        layers["hidden_rectifier"] = nn.ReLU(inplace=True)
        layers["classifier"] = nn.Linear(hidden, self.classes(settings))
        # rows of channels: 1.3 to 1.5 times as fast on a CPU
        return nn.Sequential(layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
