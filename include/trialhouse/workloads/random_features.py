"""Least squares on random rectifier features of images: a network whose first layer stays as it was drawn (Rahimi & Recht 2007).

Without a ridge the solution is the one of least norm, and the test error has its peak where there are as many features as examples
(double descent: Belkin et al. 2019; Hastie et al. 2022). Its two limits can be computed, which those of a trained network cannot:
unlimited features are kernel regression with the arc-cosine kernel (Cho & Saul 2009), unlimited examples are all there are.
A mean squared distance to such a limit falls as one over what grows (variance-limited: Bahri et al. 2021).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field

from trialhouse.errors import WorkloadError
from trialhouse.identity import seed_of
from trialhouse.learning.data import TensorData
from trialhouse.learning.engine import Note
from trialhouse.studies.designs import WorkloadIdentity
from trialhouse.studies.spec import Factor, Level
from trialhouse.workloads import datasets, image_data
from trialhouse.workloads.image_data import ImageData
from trialhouse.workloads.parsing import check_settings, parse_settings
from trialhouse.workloads.protocol import Lesson, Plan

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

CHUNK = 250
"""Images whose features are computed at once."""

OUTCOMES = frozenset(
    {"loss", "error", "train_loss", "weights_norm", "distance_to_limit", "log10_distance_to_limit"}
    | {"features_per_example", "parameters", "training_flops", "training_s"}
)
"""`loss` is the squared error of one image, summed over classes."""


class RandomFeaturesSettings(ImageData):
    """Settings of the workload, each of which can be a factor."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    seed: int = Field(0, ge=0)
    """Of the features, the choice of examples, and noise. Fewer features are the first ones of more."""
    features: int = Field(500, ge=1, le=200_000)
    """Random features: what is learned is one number for each of them and each class."""
    ridge: float = Field(0.0, ge=0)
    """Weight of the squared norm beside the mean squared error; 0: the solution of least norm."""
    limit: Literal["features", "examples"] = "features"
    """Which limit `distance_to_limit` is about: the same examples with unlimited features (without a ridge, or with the same one), or the
    same features with all examples of the data set and their noise."""
    abundance: float | None = Field(None, ge=1)
    """Sets what `limit` is about: so many features for each example, or examples for each feature. None: as they are set."""


class RandomFeatures:
    """See the module; a `trialhouse.workloads.protocol.Learner`."""

    name = "random_features"
    version = "1"
    outcomes: ClassVar[frozenset[str]] = OUTCOMES

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = parse_settings(RandomFeaturesSettings, self.name, settings)

    def check(self, factors: Sequence[Factor]) -> None:
        """Refuse factors that are no settings, and levels that these cannot take."""
        check_settings(RandomFeaturesSettings, self.name, factors, self._of_trial)

    def identity(self) -> WorkloadIdentity:
        """Settings with all defaults, and the checksum of the data."""
        checksum, names = datasets.checksum(self.settings.dataset), tuple(RandomFeaturesSettings.model_fields)
        return WorkloadIdentity(self.name, self.version, self.settings.model_dump(), checksum, (), names)

    def plan(self, factors: Mapping[str, Level]) -> Plan:
        """See `Learner`."""
        settings = self._solved(factors)
        known: dict[str, Level] = {"features": settings.features, "n_train": settings.n_train or 0}
        flops = _flops(settings)
        quantities: dict[str, Level] = {**known, "ridge": settings.ridge, "label_noise": settings.label_noise, "training_flops": flops}
        return Plan({name: known.get(name, level) for name, level in factors.items()}, flops, quantities)

    def learn(self, factors: Mapping[str, Level], note: Note, timeout_s: float) -> Lesson:
        """See `Learner`; there is no curve, a trial is one solution."""
        settings, started = self._solved(factors), time.process_time()
        assert settings.n_train is not None
        seed = seed_of("data", settings.seed)
        training, _, test = image_data.splits(settings, seed)
        layer = _layer(settings)
        inputs, targets = _features(_flat(training), layer), _centred(training, settings)
        weights = _least_squares(inputs, targets, settings.ridge)
        asked, truth = _flat(test), _centred(test, settings)
        scores = _scores(asked, layer, weights)
        if settings.limit == "features":
            there = _unlimited_features(_flat(training), targets, asked, settings.ridge)
        else:
            everything = image_data.splits(settings.model_copy(update={"n_train": None}), seed)[0]
            there = _scores(asked, layer, _on_all(everything, layer, settings))
        distance = float(np.mean(np.sum((scores - there) ** 2, axis=1)))
        outcomes = {
            "loss": float(np.mean(np.sum((scores - truth) ** 2, axis=1))),
            "error": float(np.mean(scores.argmax(axis=1) != truth.argmax(axis=1))),
            "train_loss": float(np.mean(np.sum((inputs @ weights - targets) ** 2, axis=1))),
            "weights_norm": float(np.linalg.norm(weights)),
            "distance_to_limit": distance,
            "log10_distance_to_limit": math.log10(distance),
            "features_per_example": settings.features / settings.n_train,
            "parameters": weights.size,
            "training_flops": _flops(settings),
            "training_s": time.process_time() - started,
        }
        return Lesson(outcomes, self.plan(factors).realised)

    def _of_trial(self, factors: Mapping[str, Level]) -> RandomFeaturesSettings:
        return parse_settings(RandomFeaturesSettings, self.name, {**self.settings.model_dump(), **factors})

    def _solved(self, factors: Mapping[str, Level]) -> RandomFeaturesSettings:
        settings = self._of_trial(factors)
        there = image_data.available(settings)
        examples = settings.n_train or there
        if settings.abundance is not None:
            if settings.limit == "examples":
                examples = round(settings.abundance * settings.features)
            else:
                settings = settings.model_copy(update={"features": round(settings.abundance * examples)})
        if examples > there:
            raise WorkloadError(f"n_train must be at most the {there:,} training examples that there are", f"{examples:,}", "lower n_train")
        return settings.model_copy(update={"n_train": examples})


def _flops(settings: RandomFeaturesSettings) -> float:
    """Of making the features, and of a decomposition of them, roughly."""
    shape = datasets.SHAPES[settings.dataset]
    examples, features = settings.n_train or 0, settings.features
    inputs = shape.channels * shape.height * shape.width + 1
    return float(2 * examples * features * inputs + 4 * examples * features * min(examples, features))


def _flat(data: TensorData) -> Array:
    """Images as rows, with a one at the end for thresholds, of length one on average."""
    rows = data.inputs.flatten(1).double().numpy()
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    return rows / math.sqrt(rows.shape[1])


def _centred(data: TensorData, settings: RandomFeaturesSettings) -> Array:
    """One column per class: one minus its share for those that belong to it, else minus its share."""
    classes = image_data.classes(settings)
    return np.eye(classes)[data.targets.numpy()] - 1 / classes  # type: ignore[no-any-return]


def _layer(settings: RandomFeaturesSettings) -> Array:
    shape = datasets.SHAPES[settings.dataset]
    chance = np.random.default_rng(seed_of("features", settings.seed))
    return chance.standard_normal((settings.features, shape.channels * shape.height * shape.width + 1))


def _features(rows: Array, layer: Array) -> Array:
    """Rectified projections, so scaled that their products approach the kernel as there are more."""
    return np.maximum(rows @ layer.T, 0) * math.sqrt(2 / len(layer))  # type: ignore[no-any-return]


def _scores(rows: Array, layer: Array, weights: Array) -> Array:
    return np.concatenate([_features(part, layer) @ weights for part in np.split(rows, range(CHUNK, len(rows), CHUNK))])


def _least_squares(inputs: Array, targets: Array, ridge: float) -> Array:
    examples, features = inputs.shape
    if ridge == 0:
        return np.linalg.lstsq(inputs, targets)[0]
    penalty = ridge * examples
    if features <= examples:
        return np.linalg.solve(inputs.T @ inputs + penalty * np.eye(features), inputs.T @ targets)
    return inputs.T @ np.linalg.solve(inputs @ inputs.T + penalty * np.eye(examples), targets)


def _unlimited_features(known: Array, targets: Array, asked: Array, ridge: float) -> Array:
    kernel = _kernel(known, known) + ridge * len(known) * np.eye(len(known))
    return _kernel(asked, known) @ np.linalg.solve(kernel, targets)  # type: ignore[no-any-return]


def _kernel(left: Array, right: Array) -> Array:
    """Arc-cosine kernel of order 1, the mean product of rectified projections (times two)."""
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    cosine = np.clip(left @ right.T / lengths, -1, 1)
    return lengths * (np.sqrt(1 - cosine**2) + (math.pi - np.arccos(cosine)) * cosine) / math.pi  # type: ignore[no-any-return]


def _on_all(data: TensorData, layer: Array, settings: RandomFeaturesSettings) -> Array:
    """Weights on all examples, part by part: what is summed is small."""
    rows, targets = _flat(data), _centred(data, settings)
    squares, products = np.zeros((len(layer), len(layer))), np.zeros((len(layer), targets.shape[1]))
    for start in range(0, len(rows), 16 * CHUNK):
        part = _features(rows[start : start + 16 * CHUNK], layer)
        squares += part.T @ part
        products += part.T @ targets[start : start + 16 * CHUNK]
    return np.linalg.solve(squares + settings.ridge * len(rows) * np.eye(len(layer)), products)
