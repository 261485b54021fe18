"""Tiny vision transformers (Dosovitskiy et al. 2021), plain ones as Beyer et al. (2022) found them to be best: positions that are
not learned, the mean over all patches in place of a class token, no dropout.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pydantic import Field

from trialhouse.workloads import datasets
from trialhouse.workloads.image_learner import ImageLearner, ImageSettings

if TYPE_CHECKING:
    import torch


class ViTSettings(ImageSettings):
    """Settings of the workload, each of which can be a factor."""

    width: int = Field(32, ge=1, le=4096)
    """Size of a patch's vector; the hidden layer of each block has four times as many units."""
    depth: int = Field(2, ge=1, le=64)
    """Blocks of attention and two linear layers."""
    head_size: int = Field(8, ge=1, le=256)
    """Size of an attention head: held, so that width changes how many there are (`width / head_size`, rounded, at least one)."""
    patch: int | None = Field(None, ge=1, le=32)
    """Side of a patch in pixels. None: a quarter of an image of fewer than 28 pixels, 4 on larger ones."""
    learning_rate: float = Field(0.005, gt=0)
    """Highest learning rate, at the reference width where it goes by width."""
    reference_width: int = Field(32, ge=1)
    """Width at which `learning_rate` was chosen."""
    epochs: float | None = Field(5, gt=0)
    """How often each image is seen, where neither `steps` nor `training_flops` is a factor."""


class ViT(ImageLearner[ViTSettings]):
    """See the module; a `trialhouse.workloads.protocol.Learner`."""

    name = "vit"
    version = "1"
    kind = ViTSettings

    def network(self, settings: ViTSettings) -> torch.nn.Module:
        """Patches, blocks with normalisation before each branch, the mean over patches, scores."""
        from torch import nn

        from trialhouse.learning.blocks import MeanOverPositions, Patches, Residual, SelfAttention

        shape, width = datasets.SHAPES[settings.dataset], settings.width
        patch = settings.patch or (4 if shape.height >= 28 else max(1, shape.height // 4))
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["patches"] = Patches(shape.channels, shape.height, shape.width, patch, width)
        for number in range(1, settings.depth + 1):
            layers[f"attention_{number}"] = Residual(nn.Sequential(nn.LayerNorm(width), SelfAttention(width, settings.head_size)))
            hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            layers[f"hidden_{number}"] = Residual(hidden)
        layers["normalisation"] = nn.LayerNorm(width)
        layers["mean"] = MeanOverPositions()
        layers["classifier"] = nn.Linear(width, self.classes(settings))
        return nn.Sequential(layers)
