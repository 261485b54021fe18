"""torchvision's classifiers, narrowed to a share of their channels and adapted to small images.

The layers are torchvision's own; what changes is their size. At width 1, three channels and images of 224 pixels a network
has the shapes of torchvision's, so that its registered weights fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trialhouse.errors import WorkloadError
from trialhouse.workloads.torchvision_ops import import_torchvision

if TYPE_CHECKING:
    import torch

MODELS = ("vgg16", "vgg16_bn", "googlenet", "resnet18")
"""VGG-16 without and with batch normalisation (Simonyan and Zisserman 2014; without it, it hardly trains from scratch), GoogLeNet
without its auxiliary classifiers (Szegedy et al. 2014, with batch normalisation), ResNet-18 (He et al. 2015)."""

WIDTH_STEP = 1 / 16
"""All sums of channels that GoogLeNet concatenates stay exact at multiples of this."""

FEWEST_CHANNELS = 2
"""Of any layer: pruning one half must leave something."""

FULL_SIZE = 224
"""Pixels of the images that torchvision's registered weights were trained on."""

SMALL_IMAGES = 64
"""Below so many pixels the first step of GoogLeNet and ResNet is 3 x 3 with stride 1, not 7 x 7 with stride 2 (and ResNet's
pooling goes): little would be left of the image."""

LEAST_IMAGES = 32
"""Pixels that VGG's five poolings need."""

_NARROWEST = {"vgg16": 64, "vgg16_bn": 64, "googlenet": 16, "resnet18": 64}


def check_width(model: str, width: float) -> None:
    """Refuse widths at which a model has no whole or too few channels.

    Raises
    ------
    WorkloadError
        Says the least width of the model.
    """
    if not (width / WIDTH_STEP).is_integer():
        raise WorkloadError("width must be a multiple of 1/16 (0.0625)", f"{width:g}", "fix workload.settings.width")
    narrowest = _NARROWEST[model]
    if narrowest * width < FEWEST_CHANNELS:
        least, channels = FEWEST_CHANNELS / narrowest, round(narrowest * width)
        expected = f"width must be at least {max(least, WIDTH_STEP):g} for {model}, whose narrowest layer has {narrowest} channels"
        raise WorkloadError(expected, f"{width:g}, which leaves {channels}", "raise workload.settings.width")


def build(model: str, *, width: float, channels: int, classes: int, image_size: int, seed: int) -> torch.nn.Module:
    """A network with fresh weights: He et al. (2015), normal, by fan-out, for convolutions; PyTorch's own for linear layers.

    Parameters
    ----------
    model
        One of `MODELS`.
    width
        Share of the channels of torchvision's network, see `check_width`.
    channels, image_size, classes
        Of the input, and of the scores.
    seed
        Of the weights; PyTorch's global generator is left alone.

    Returns
    -------
    torch.nn.Module
        In training mode, in the layout channels-last.
    """
    import torch
    from torch import nn

    import_torchvision()  # not on "meta"
    with torch.device("meta"):  # shapes only: the full network may be hundreds of times larger than the narrow one
        network: Any = _full(model, classes)
    if model.startswith("vgg"):
        cells = max(1, min(7, image_size // LEAST_IMAGES))
        network.avgpool = nn.AdaptiveAvgPool2d(cells)
        network.classifier[0].in_features = 512 * cells**2
    elif image_size < SMALL_IMAGES:
        stem = network.conv1.conv if model == "googlenet" else network.conv1
        stem.kernel_size, stem.stride, stem.padding = (3, 3), (1, 1), (1, 1)
        if model == "resnet18":  # GoogLeNet keeps its pooling: it has a second wide step before its first module
            network.maxpool = nn.Identity()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _narrow(network, width, channels)
    # rows of channels: a fraction of the time per step of the default layout on a CPU
    made: nn.Module = network.to(memory_format=torch.channels_last)
    return made


def registered_weights(model: str) -> dict[str, torch.Tensor]:
    """torchvision's registered weights (ImageNet), without the last layer; downloaded unless they are in torch's cache.

    Raises
    ------
    WorkloadError
        If they can neither be found nor downloaded.
    """
    models = import_torchvision().models
    entry = models.get_model_weights(model).DEFAULT
    try:
        state: dict[str, torch.Tensor] = entry.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        expected = f"torchvision's weights of {model} must be downloadable from {entry.url} or in torch's cache"
        raise WorkloadError(expected, str(error).splitlines()[0], "give a FILE, or weights: train") from error
    last = {"vgg16": "classifier.6", "vgg16_bn": "classifier.6"}.get(model, "fc")
    return {name: tensor for name, tensor in state.items() if not name.startswith((last + ".", "aux"))}


def _full(model: str, classes: int) -> Any:
    more: dict[str, Any] = {"aux_logits": False} if model == "googlenet" else {}
    if not model.startswith("resnet"):
        more["init_weights"] = False
    make: Callable[..., Any] = getattr(import_torchvision().models, model)
    return make(weights=None, num_classes=classes, **more)


def _narrow(network: torch.nn.Module, width: float, channels: int) -> None:
    """Put real layers of the scaled sizes in the place of a full network's empty ones; scores keep their number."""
    from torch import nn

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    first = next(name for name, module in layers if isinstance(module, nn.Conv2d))
    last = [name for name, module in layers if isinstance(module, nn.Linear)][-1]

    def scaled(count: int) -> int:
        return max(1, round(count * width))

    for name, layer in layers:
        made: nn.Module
        if isinstance(layer, nn.Conv2d):
            before = channels if name == first else scaled(layer.in_channels)
            shape: dict[str, Any] = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
            made = nn.Conv2d(before, scaled(layer.out_channels), **shape, bias=layer.bias is not None)
            nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
            if made.bias is not None:
                nn.init.zeros_(made.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            made = nn.BatchNorm2d(scaled(layer.num_features), eps=layer.eps, momentum=layer.momentum)
        else:
            made = nn.Linear(scaled(layer.in_features), layer.out_features if name == last else scaled(layer.out_features))
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, made)
