"""Images of any size from stored arrays or a folder, each read, resized and standardised when it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trialhouse.errors import WorkloadError
from trialhouse.workloads.datasets import Arrays
from trialhouse.workloads.protocol import Examples, Split

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Of image files, in any case; other files are left alone."""

TEST_FOLDERS = ("val", "test")
"""Names of the folder with the test split; the first that is there counts."""


class Images:
    """A split, image by image; a `trialhouse.workloads.protocol.ImageSource`.

    Parameters
    ----------
    sources
        A path, or the pixels (height, width) or (height, width, 3) as uint8, of each image.
    targets
        Class numbers.
    size
        Pixels of a side: the middle square of an image is scaled to it (bilinear).
    channels
        1 for grey, 3 for colour; images are converted.
    """

    def __init__(self, sources: Sequence[Path] | npt.NDArray[np.uint8], targets: npt.NDArray[np.int64], size: int, channels: int) -> None:
        self._sources, self.targets, self._size, self._mode = sources, targets, size, "L" if channels == 1 else "RGB"
        self.mean, self.deviation = 0.0, 1.0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], int]:
        """The image (height, width, channels), standardised, and its class number; an unreadable file raises WorkloadError."""
        from PIL import Image, ImageOps

        source = self._sources[index]
        image = _open(source) if isinstance(source, Path) else Image.fromarray(source)
        if image.mode != self._mode:
            image = image.convert(self._mode)
        if image.size != (self._size, self._size):
            image = ImageOps.fit(image, (self._size, self._size), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.float32).reshape(self._size, self._size, -1)
        return (pixels - np.float32(self.mean)) / np.float32(self.deviation), int(self.targets[index])

    def examples(self) -> Examples:
        """All of them in memory, channels last."""
        import torch

        inputs = np.stack([self[index][0] for index in range(len(self))])
        return Examples(torch.from_numpy(inputs).permute(0, 3, 1, 2), torch.from_numpy(self.targets))


def from_arrays(splits: dict[Split, Arrays], size: int, channels: int, most: dict[Split, int | None]) -> dict[Split, Images]:
    """Both splits of stored arrays, each limited to `most` images, spread over the classes, and standardised; see `Images`."""
    brightest = max(float(images.max()) for images, _ in splits.values())
    made: dict[Split, Images] = {}
    for split, (images, targets) in splits.items():
        chosen = spread(targets, most[split])
        pixels = np.round(images[chosen] * (255 / brightest)).astype(np.uint8).transpose(0, 2, 3, 1)
        made[split] = Images(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, targets[chosen], size, channels)
    return _standardised(made)


class Folder:
    """Image files in class folders: `train/CLASS/...` and `val/CLASS/...` (or `test`), as ImageNet comes.

    Parameters
    ----------
    root
        The folder.
    most
        Images of each split at most, spread over the classes; None for all.

    Raises
    ------
    WorkloadError
        If a folder is missing or empty, or the splits have other classes.
    """

    def __init__(self, root: Path, most: dict[Split, int | None]) -> None:
        if not root.is_dir():
            raise WorkloadError(
                f"image folder {root} must be there", "no such folder", "fix workload.settings.folder or TRIALHOUSE_DATA_DIR"
            )
        test = next((name for name in TEST_FOLDERS if (root / name).is_dir()), TEST_FOLDERS[0])
        self._root = root
        self._files: dict[Split, list[Path]] = {}
        self._targets: dict[Split, npt.NDArray[np.int64]] = {}
        names: dict[Split, list[str]] = {}
        folders: dict[Split, Path] = {"train": root / "train", "test": root / test}
        for split, folder in folders.items():
            classes = _image_files(folder)
            names[split] = list(classes)
            targets = np.array([number for number, files in enumerate(classes.values()) for _ in files], dtype=np.int64)
            files = [file for files in classes.values() for file in files]
            chosen = spread(targets, most[split])
            self._files[split], self._targets[split] = [files[index] for index in chosen], targets[chosen]
        if names["train"] != names["test"]:
            odd = sorted(set(names["train"]) ^ set(names["test"]))[0]
            raise WorkloadError(
                f"the class folders of {root}/train and {test} must be the same", f"{odd!r} in one only", "add or remove it"
            )
        self.classes = names["train"]

    def checksum(self) -> str:
        """SHA-256 of the files that are used: their names and bytes, in order. The folder's own place does not matter."""
        digest = hashlib.sha256()
        for split, files in self._files.items():
            for path in files:
                digest.update(f"{split}/{path.relative_to(self._root).as_posix()}\n".encode())
                digest.update(hashlib.sha256(_bytes(path)).digest())
        return digest.hexdigest()

    def images(self, size: int, channels: int) -> dict[Split, Images]:
        """Both splits, standardised; see `Images`."""
        return _standardised({split: Images(files, self._targets[split], size, channels) for split, files in self._files.items()})


def spread(targets: npt.NDArray[np.int64], most: int | None) -> npt.NDArray[np.int64]:
    """Indices of at most so many examples, in order: the first of each class, then the second of each, and so on."""
    if most is None or most >= len(targets):
        return np.arange(len(targets))
    rank = np.empty(len(targets), dtype=np.int64)
    for number in np.unique(targets):
        members = np.flatnonzero(targets == number)
        rank[members] = np.arange(len(members))
    return np.sort(np.argsort(rank, kind="stable")[:most])


def _standardised(splits: dict[Split, Images]) -> dict[Split, Images]:
    """Give both splits the mean and deviation of the training pixels; reads every training image, and so finds unreadable ones."""
    train = splits["train"]
    total = squares = 0.0
    for index in range(len(train)):
        pixels = train[index][0].astype(np.float64)
        total += pixels.mean()
        squares += np.square(pixels).mean()
    mean = total / len(train)
    deviation = float(np.sqrt(max(squares / len(train) - mean**2, 0.0)))
    for images in splits.values():
        images.mean, images.deviation = mean, deviation or 1.0
    return splits


def _image_files(folder: Path) -> dict[str, list[Path]]:
    """Class name -> its image files, both in order."""
    remedy = "see the setting `folder`: train/CLASS/... and val/CLASS/..."
    if not folder.is_dir():
        raise WorkloadError(f"image folder {folder} must be there", "no such folder", remedy)
    classes = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    if len(classes) < 2:
        raise WorkloadError(f"{folder} must have a folder for each of at least two classes", len(classes), remedy)
    found: dict[str, list[Path]] = {}
    for name, path in classes.items():
        found[name] = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found[name]:
            raise WorkloadError(f"class folder {path} must have images ({', '.join(sorted(SUFFIXES))})", "none", "add some or remove it")
    return found


def _open(path: Path) -> Image.Image:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image.copy()
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> WorkloadError:
    reason = (str(error).splitlines() or [""])[0].replace(f" {str(path)!r}", "") or type(error).__name__
    return WorkloadError(f"image {path} must be readable", reason, "replace or remove it")
