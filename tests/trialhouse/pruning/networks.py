"""Networks to prune: torchvision's, narrow, with batch-norm statistics and scales of their own, and made-up training data."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from trialhouse.workloads.protocol import Examples
from trialhouse.workloads.torchvision_ops import import_torchvision

CLASSES = 10
TORCHVISION = ("vgg16", "vgg16_bn", "googlenet", "resnet18")


@lru_cache(maxsize=1)
def examples() -> Examples:
    draw = torch.Generator().manual_seed(0)
    return Examples(torch.randn(8, 3, 32, 32, generator=draw), torch.randint(0, CLASSES, (8,), generator=draw))


def network(name: str, seed: int = 0) -> nn.Module:
    models = import_torchvision().models
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "googlenet":
            made: nn.Module = models.googlenet(weights=None, num_classes=CLASSES, aux_logits=False, init_weights=False)
        elif name == "resnet18":
            made = models.resnet18(weights=None, num_classes=CLASSES)
        else:
            widths = [8, 8, "M", 16, 16, "M", 32, 32, 32, "M", 64, 64, 64, "M", 64, 64, 64, "M"]  # configuration D, an eighth as wide
            made = models.vgg.VGG(models.vgg.make_layers(widths, batch_norm=name == "vgg16_bn"), num_classes=CLASSES)
            made.classifier = nn.Sequential(nn.Linear(64 * 49, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, CLASSES))
        for norm in made.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.weight, 0.1, 2)
    with torch.no_grad():
        made.train()(examples().inputs)
    return made.eval()
