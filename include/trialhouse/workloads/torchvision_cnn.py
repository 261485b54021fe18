"""The source's networks: torchvision's VGG-16, GoogLeNet and ResNet-18 on small images, narrow enough to train on a CPU.

Which of them is a setting of the study, or a factor of it: then the network itself is something that the design sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trialhouse.errors import WorkloadError
from trialhouse.settings import get_settings
from trialhouse.studies.designs import WorkloadIdentity
from trialhouse.studies.spec import Factor, Level
from trialhouse.workloads import datasets, given_weights, torchvision_networks
from trialhouse.workloads.factors import PRUNING_FACTORS, SERVING_FACTORS, check_factors
from trialhouse.workloads.images import Folder, Images, from_arrays
from trialhouse.workloads.parsing import parse_settings
from trialhouse.workloads.protocol import OUTCOMES, Examples, ImageSource, Phase, Recipe, Split

if TYPE_CHECKING:
    import torch

NAME = "torchvision_cnn"
VERSION = "1"
"""Raised whenever the same settings would give another network, other data or another training."""

NETWORK_FACTORS = ("seed", "model")
WEIGHTS_FACTORS = (*NETWORK_FACTORS, *PRUNING_FACTORS)
FACTORS = (*WEIGHTS_FACTORS, *SERVING_FACTORS)

Model = Literal["vgg16", "vgg16_bn", "googlenet", "resnet18"]


class TorchvisionCNNSettings(BaseModel):
    """Settings of the workload; everything that is the same for all trials of a study."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: Model | None = None
    """The network, where it is no factor of the study."""
    width: float = Field(0.125, gt=0, le=1)
    """Share of the channels of torchvision's network, in sixteenths."""
    weights: str | dict[Model, str] = "train"
    """`train`; or a FILE (safetensors, or a PyTorch checkpoint without code) that fits the network, instead of pre-training; or
    `torchvision`, its registered ImageNet weights at full width, downloaded, with a new last layer that pre-training adapts.
    For several models, a mapping. Relative files are under `TRIALHOUSE_DATA_DIR`."""
    dataset: Literal["digits", "mnist", "fashion_mnist", "cifar10", "folder"] = "digits"
    """`digits` ships inside scikit-learn, `folder` is your own; the others are torchvision's, from `TRIALHOUSE_DATA_DIR` or
    downloaded."""
    folder: str | None = None
    """For `dataset: folder`: images in `train/CLASS/...` and `val/CLASS/...`, under `TRIALHOUSE_DATA_DIR` unless absolute."""
    image_size: int = Field(32, ge=torchvision_networks.LEAST_IMAGES, le=1024)
    """Pixels of a side, to which images are scaled."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for colour; default: as the data set has them, colour for a folder."""
    train_images: int | None = Field(2000, ge=2)
    """Most images to train on, spread over the classes; null for all."""
    test_images: int | None = Field(1000, ge=1)
    """Most images to test on."""
    pretraining_epochs: int = Field(12, ge=1, le=1000)
    """Epochs before pruning."""
    finetuning_epochs: int = Field(5, ge=1, le=1000)
    """Epochs after pruning, the same for every ratio, 0 included."""
    pretraining_learning_rate: float = Field(0.005, gt=0)
    """Highest learning rate before pruning."""
    finetuning_learning_rate: float = Field(0.005, gt=0)
    """Highest learning rate after pruning."""
    train_batch_size: int = Field(64, ge=2)
    """Examples per step of both phases (a trial's `batch_size` is about inference)."""


class TorchvisionCNN:
    """See the module; a `trialhouse.workloads.protocol.Classifier`."""

    outcomes = OUTCOMES

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = parse_settings(TorchvisionCNNSettings, NAME, settings)
        if (self.settings.dataset == "folder") != (self.settings.folder is not None):
            got = f"dataset {self.settings.dataset!r} with folder {self.settings.folder!r}"
            raise WorkloadError(f"dataset 'folder' and folder go together in workload {NAME!r}", got, "fix workload.settings")

    def check(self, factors: Sequence[Factor]) -> None:
        """Refuse factors and levels that this workload cannot set, models that the width is too small for, and unfit weights."""
        check_factors(NAME, factors, FACTORS)
        levels = [level for factor in factors if factor.name == "model" for level in factor.levels]
        if bool(levels) == (self.settings.model is not None):
            got = "both" if levels else "neither"
            raise WorkloadError(f"model must be a factor or a setting of workload {NAME!r}", got, "give exactly one of them")
        models = [str(level) for level in levels or (self.settings.model,)]
        for model in models:
            if model not in torchvision_networks.MODELS:
                expected = f"model must be one of {list(torchvision_networks.MODELS)}"
                raise WorkloadError(expected, repr(model), "fix factor 'model'")
            torchvision_networks.check_width(model, self.settings.width)
            self._check_weights(model)
        if isinstance(self.settings.weights, dict) and (unused := sorted(set(map(str, self.settings.weights)) - set(models))):
            raise WorkloadError(f"weights must be of the study's models {models}", repr(unused[0]), given_weights.REMEDY)

    def identity(self) -> WorkloadIdentity:
        """Settings with all defaults, checksums in the place of files, and the checksum of the data; reads all of a folder's images."""
        return self._identity

    def network(self, factors: Mapping[str, Level], seed: int) -> torch.nn.Module:
        """The trial's model, narrowed and adapted; see `torchvision_networks.build`."""
        return self._build(self._model(factors), seed)

    def examples(self, split: Split) -> Examples:
        """The data of a split."""
        return self._examples[split]

    def images(self, split: Split) -> ImageSource:
        """The same, each image read (from its file, for a folder), scaled and standardised when it is asked for."""
        return self._images[split]

    def load_pretrained(self, network: torch.nn.Module, factors: Mapping[str, Level]) -> None:
        """Weights from a file or from torchvision, if the settings say so."""
        model = self._model(factors)
        if (source := self._source(model)) == "torchvision":
            network.load_state_dict(torchvision_networks.registered_weights(model), strict=False)
        elif isinstance(source, Path):
            state = given_weights.read(source)
            given_weights.check_fit(network, state, str(source))
            network.load_state_dict(state, strict=False)

    def recipe(self, phase: Phase, factors: Mapping[str, Level]) -> Recipe:
        """Epochs, learning rate and batch size of a phase; no pre-training where the weights are a file's."""
        settings = self.settings
        if phase == "pretraining":
            epochs = 0 if isinstance(self._source(self._model(factors)), Path) else settings.pretraining_epochs
            return Recipe(epochs, settings.pretraining_learning_rate, settings.train_batch_size)
        return Recipe(settings.finetuning_epochs, settings.finetuning_learning_rate, settings.train_batch_size)

    def _model(self, factors: Mapping[str, Level]) -> str:
        return str(factors.get("model", self.settings.model))

    def _source(self, model: str) -> Path | Literal["train", "torchvision"]:
        """Where a model's weights come from."""
        weights = self.settings.weights
        return _resolved(weights if isinstance(weights, str) else {str(key): text for key, text in weights.items()}.get(model, "train"))

    def _build(self, model: str, seed: int) -> torch.nn.Module:
        settings = self.settings
        return torchvision_networks.build(
            model, width=settings.width, channels=self._channels, classes=self._classes, image_size=settings.image_size, seed=seed
        )

    def _check_weights(self, model: str) -> None:
        source = self._source(model)
        if source == "torchvision":
            settings, full = self.settings, torchvision_networks.FULL_SIZE
            if (settings.width, self._channels) != (1, 3) or settings.image_size != full:
                got = f"width {settings.width:g}, channels {self._channels}, image_size {settings.image_size}"
                raise WorkloadError(f"torchvision's weights need width 1, channels 3 and image_size {full}", got, "fix workload.settings")
            torchvision_networks.registered_weights(model)
        elif isinstance(source, Path):
            given_weights.check_fit(self._build(model, seed=0), given_weights.read(source), str(source))

    @property
    def _channels(self) -> int:
        known = datasets.SHAPES.get(self.settings.dataset)
        return self.settings.channels or (known.channels if known else 3)

    @property
    def _classes(self) -> int:
        known = datasets.SHAPES.get(self.settings.dataset)
        return known.classes if known else len(self._folder.classes)

    @property
    def _most(self) -> dict[Split, int | None]:
        return {"train": self.settings.train_images, "test": self.settings.test_images}

    @cached_property
    def _folder(self) -> Folder:
        assert self.settings.folder is not None
        return Folder(_under_data_dir(self.settings.folder), self._most)

    @cached_property
    def _images(self) -> dict[Split, Images]:
        if self.settings.dataset == "folder":
            return self._folder.images(self.settings.image_size, self._channels)
        return from_arrays(datasets.arrays(self.settings.dataset), self.settings.image_size, self._channels, self._most)

    @cached_property
    def _examples(self) -> dict[Split, Examples]:
        return {split: source.examples() for split, source in self._images.items()}

    @cached_property
    def _identity(self) -> WorkloadIdentity:
        settings = self.settings.model_dump()
        weights = self.settings.weights
        settings["weights"] = _content(weights) if isinstance(weights, str) else {key: _content(text) for key, text in weights.items()}
        if self.settings.dataset == "folder":
            settings["folder"] = None  # its content counts, not its place
            checksum = self._folder.checksum()
            _ = self._examples  # an unreadable image is told before anything runs
        else:
            checksum = datasets.checksum(self.settings.dataset)
        return WorkloadIdentity(NAME, VERSION, settings, checksum, NETWORK_FACTORS, WEIGHTS_FACTORS)


def _under_data_dir(text: str) -> Path:
    settings = get_settings()
    return (settings.data_dir or settings.home / "data") / Path(text).expanduser()


def _resolved(weights: str) -> Path | Literal["train", "torchvision"]:
    if weights == "train":
        return "train"
    return "torchvision" if weights == "torchvision" else _under_data_dir(weights)


def _content(weights: str) -> str:
    """What determines trials: not where a file is, but what is in it."""
    source = _resolved(weights)
    return f"sha256:{given_weights.checksum(source)}" if isinstance(source, Path) else source
