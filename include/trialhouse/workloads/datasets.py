"""Images that fit in memory: scikit-learn's digits (inside the package) and what is made from them, torchvision's sets."""

from __future__ import annotations

import gzip
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trialhouse.errors import WorkloadError
from trialhouse.settings import get_settings
from trialhouse.workloads import warped_digits
from trialhouse.workloads.protocol import Examples, Split

if TYPE_CHECKING:
    import numpy.typing as npt

TEST_SHARE = 0.25
"""Of the digits of each class; the other data sets come split."""

_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}


class Shape(NamedTuple):
    """Size of one image, and how many classes there are."""

    channels: int
    height: int
    width: int
    classes: int


SHAPES = {
    "digits": Shape(1, 8, 8, 10),
    "warped_digits": Shape(1, 8, 8, 10),
    "mnist": Shape(1, 28, 28, 10),
    "fashion_mnist": Shape(1, 28, 28, 10),
    "cifar10": Shape(3, 32, 32, 10),
}


def checksum(dataset: str) -> str:
    """SHA-256 of the files of a data set (names and bytes, in the order of their names).

    Raises
    ------
    WorkloadError
        If the data are neither here nor to be had.
    """
    digest = hashlib.sha256(warped_digits.VERSION.encode() if dataset == "warped_digits" else b"")
    for path in _files(dataset):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


Arrays = tuple["npt.NDArray[np.float32]", "npt.NDArray[np.int64]"]
"""Images (examples, channels, height, width) with the pixels as they are stored, and class numbers (examples,)."""


class InMemory:
    """Examples one by one; a `trialhouse.workloads.protocol.ImageSource`."""

    def __init__(self, examples: Examples) -> None:
        self._images, self._targets = examples.inputs.permute(0, 2, 3, 1).numpy(), examples.targets.numpy()

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], int]:
        return self._images[index], int(self._targets[index])


def arrays(dataset: str) -> dict[Split, Arrays]:
    """Both splits as they are stored; see `Arrays`.

    Raises
    ------
    WorkloadError
        If the data are neither here nor to be had.
    """
    if dataset == "digits":
        return _digits()
    return _warped_digits() if dataset == "warped_digits" else _torchvision(dataset)


def load(dataset: str) -> dict[Split, Examples]:
    """Both splits of a data set, standardised with the mean and deviation of the training pixels.

    Raises
    ------
    WorkloadError
        If the data are neither here nor to be had.
    """
    import torch

    splits = arrays(dataset)
    train_inputs = splits["train"][0]
    mean, deviation = train_inputs.mean(dtype=np.float64), train_inputs.std(dtype=np.float64)
    return {
        split: Examples(
            torch.from_numpy(((inputs - mean) / deviation).astype(np.float32)).contiguous(memory_format=torch.channels_last),
            torch.from_numpy(targets.astype(np.int64)),
        )
        for split, (inputs, targets) in splits.items()
    }


def _digits() -> dict[Split, Arrays]:
    """1,797 handwritten digits of 8 x 8 pixels, split within each class by the hash of each image: no seed, no order."""
    with gzip.open(_files("digits")[0], "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    pixels, targets = table[:, :-1], table[:, -1].astype(np.int64)
    keys = np.array([hashlib.sha256(row.tobytes()).hexdigest() for row in table])
    is_test = np.zeros(len(table), dtype=bool)
    for digit in np.unique(targets):
        members = np.flatnonzero(targets == digit)
        members = members[np.argsort(keys[members], kind="stable")]
        is_test[members[: round(TEST_SHARE * len(members))]] = True
    images = pixels.reshape(-1, 1, 8, 8)
    return {"train": (images[~is_test], targets[~is_test]), "test": (images[is_test], targets[is_test])}


def _warped_digits() -> dict[Split, Arrays]:
    parts = _digits().values()
    images, targets = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    counts = warped_digits.COUNTS
    return {
        "train": warped_digits.warp(images, targets, counts["train"], seed=0),
        "test": warped_digits.warp(images, targets, counts["test"], seed=1),
    }


def _torchvision(dataset: str) -> dict[Split, Arrays]:
    found: dict[Split, Arrays] = {}
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        data = _open(dataset, is_train=split == "train")
        images = np.asarray(data.data, dtype=np.float32)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        targets = np.asarray(data.targets, dtype=np.int64)
        if len(images) != len(targets) or not len(images):
            raise _damaged(dataset, f"{len(images)} images and {len(targets)} labels")
        if images.shape[1:] != SHAPES[dataset][:3]:
            raise _damaged(dataset, f"images of {images.shape[1:]} in place of {SHAPES[dataset][:3]}")
        found[split] = images, targets
    return found


def _files(dataset: str) -> list[Path]:
    if dataset in ("digits", "warped_digits"):
        # not `sklearn.datasets.load_digits`: importing it takes seconds, reading its file takes milliseconds
        package = find_spec("sklearn")
        if package is None or package.origin is None:
            raise WorkloadError("scikit-learn must be installed for dataset 'digits'", "no such package", "install requirements.txt")
        return [Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"]
    data = _open(dataset, is_train=True)
    folder = Path(data.raw_folder) if hasattr(data, "raw_folder") else Path(data.root) / data.base_folder
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix not in (".gz", ".html"))


def _open(dataset: str, *, is_train: bool) -> Any:
    from trialhouse.workloads.torchvision_ops import import_torchvision

    root = _root()
    kind = getattr(import_torchvision().datasets, _TORCHVISION[dataset])
    try:
        return kind(str(root), train=is_train, download=False)
    except (RuntimeError, ValueError, AssertionError, EOFError, OSError) as error:
        # what torchvision says of files that are not there, which can be fetched; all else is about what is in them
        if "not found" not in str(error):
            raise _damaged(dataset, str(error).splitlines()[0] if str(error) else "what cannot be read") from error
    try:
        return kind(str(root), train=is_train, download=True)
    except (OSError, RuntimeError) as error:
        expected, reason = f"dataset {dataset!r} must be under {root} or downloadable", str(error).splitlines()[0]
        raise WorkloadError(expected, reason, "set TRIALHOUSE_DATA_DIR to a folder that has it") from error


def _root() -> Path:
    settings = get_settings()
    return settings.data_dir or settings.home / "data"


def _damaged(dataset: str, actual: str) -> WorkloadError:
    return WorkloadError(f"the files of dataset {dataset!r} under {_root()} must be whole", actual, "fetch them again")
