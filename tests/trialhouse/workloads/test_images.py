"""Images from arrays and folders: scaled, standardised, limited fairly, and what is wrong with a folder is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trialhouse.errors import WorkloadError
from trialhouse.settings import Settings
from trialhouse.workloads.images import Folder, from_arrays, spread
from trialhouse.workloads.registry import make_workload

ALL = {"train": None, "test": None}


@pytest.fixture
def folder(home: Settings) -> Path:
    """Three training and two test images of each of two classes, of various sizes, kinds and suffixes."""
    root = home.home / "data" / "pets"
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for name, brightness in (("cats", 40), ("dogs", 200)):
            path = root / split / name
            path.mkdir(parents=True)
            for number in range(count):
                shape = (40 + 10 * number, 60, 3) if number else (50, 50)
                pixels = rng.integers(brightness - 30, brightness + 30, shape).astype(np.uint8)
                Image.fromarray(pixels).save(path / f"{number}.{'png' if number else 'JPG'}")
            (path / "notes.txt").write_text("no image")
    return root


def settings(**more: Any) -> dict[str, Any]:
    return {"model": "resnet18", "dataset": "folder", "folder": "pets", "width": 0.0625, **more}


@pytest.mark.parametrize("channels", [None, 1])
def test_a_folder_of_images_becomes_examples(folder: Path, channels: int | None) -> None:
    workload = make_workload("torchvision_cnn", settings(channels=channels))
    train, test = workload.examples("train"), workload.examples("test")
    assert train.inputs.shape == (6, channels or 3, 32, 32)
    assert train.inputs.is_contiguous(memory_format=torch.channels_last)
    assert (train.targets.tolist(), test.targets.tolist()) == ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    assert float(train.inputs.mean()) == pytest.approx(0, abs=1e-5)
    assert float(train.inputs.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert test.inputs[test.targets == 1].min() > test.inputs[test.targets == 0].max()  # dogs are brighter here
    assert workload.network({}, 0).eval()(test.inputs).shape == (4, 2)


def test_examples_and_single_images_are_the_same(folder: Path) -> None:
    workload = make_workload("torchvision_cnn", settings())
    images, examples = workload.images("test"), workload.examples("test")
    assert len(images) == 4
    for index in range(4):
        image, target = images[index]
        assert torch.equal(torch.from_numpy(image).permute(2, 0, 1), examples.inputs[index])
        assert target == examples.targets[index]


def test_a_folder_is_known_by_its_content_not_by_its_place(folder: Path) -> None:
    first = make_workload("torchvision_cnn", settings()).identity()
    folder.rename(folder.with_name("animals"))
    moved = make_workload("torchvision_cnn", settings(folder=str(folder.with_name("animals")))).identity()
    assert moved == first
    Image.new("RGB", (40, 40)).save(folder.with_name("animals") / "val" / "cats" / "0.JPG")
    assert make_workload("torchvision_cnn", settings(folder="animals")).identity().data_checksum != first.data_checksum


def test_a_limit_takes_as_many_of_every_class() -> None:
    targets = np.repeat([0, 1, 2], [50, 10, 2])
    assert np.bincount(targets[spread(targets, 12)]).tolist() == [5, 5, 2]
    assert len(spread(targets, None)) == len(spread(targets, 100)) == 62
    assert spread(targets, 3).tolist() == [0, 50, 60]


def test_arrays_are_scaled_to_the_size_and_keep_their_brightness() -> None:
    pixels = np.zeros((4, 1, 8, 8), dtype=np.float32)
    pixels[:, :, :, 4:] = 16  # brightest, as scikit-learn's digits have it
    made = from_arrays({"train": (pixels, np.arange(4)), "test": (pixels[:1], np.arange(1))}, 32, 1, ALL)  # type: ignore[arg-type]
    image = made["test"][0][0]
    assert image.shape == (32, 32, 1)
    assert image[:, :14].max() == image.min()
    assert image[:, 18:].min() == image.max()
    assert made["train"].mean == pytest.approx(127.5, abs=1)


def broken(folder: Path, fault: str) -> None:
    train = folder / "train"
    if fault == "corrupt":
        (train / "cats" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    elif fault == "cut short":
        path = folder / "val" / "dogs" / "1.png"
        path.write_bytes(path.read_bytes()[:900])
    elif fault == "no images":
        for path in (train / "cats").iterdir():
            path.unlink()
    elif fault == "empty":
        (folder / "val").rename(folder / "elsewhere")
        (folder / "val").mkdir()
    elif fault == "no split":
        (folder / "val").rename(folder / "elsewhere")
    elif fault == "another class":
        (train / "cats").rename(train / "lions")
    else:
        folder.rename(folder.with_name("gone"))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("corrupt", "image {folder}/train/cats/1.png must be readable, got "),
        ("cut short", "image {folder}/val/dogs/1.png must be readable, got "),
        ("no images", "class folder {folder}/train/cats must have images (.bmp, "),
        ("empty", "{folder}/val must have a folder for each of at least two classes, got 0; see the setting `folder`"),
        ("no split", "image folder {folder}/val must be there, got no such folder; see the setting `folder`"),
        ("another class", "the class folders of {folder}/train and val must be the same, got 'cats' in one only"),
        ("missing", "image folder {folder} must be there, got no such folder; fix workload.settings.folder or TRIALHOUSE_DATA_DIR"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line_before_anything_runs(folder: Path, fault: str, message: str) -> None:
    broken(folder, fault)
    with pytest.raises(WorkloadError) as caught:
        make_workload("torchvision_cnn", settings()).identity()
    assert str(caught.value).startswith(message.format(folder=folder))
    assert "\n" not in str(caught.value)


def test_only_the_images_that_are_used_are_read(folder: Path) -> None:
    broken(folder, "corrupt")
    made = Folder(folder, {"train": 2, "test": None})
    assert len(made.images(32, 1)["train"]) == 2
    assert len(made.checksum()) == 64
