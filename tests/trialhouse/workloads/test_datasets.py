"""Data: real digits, split by content; torchvision's sets from raw files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from trialhouse.errors import WorkloadError
from trialhouse.settings import get_settings
from trialhouse.workloads import datasets


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TRIALHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRIALHOUSE_DATA_DIR", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    images, targets = load_digits(return_X_y=True)
    splits = datasets._digits()
    ours = np.concatenate([splits["train"][0], splits["test"][0]]).reshape(-1, 64)
    assert sorted(map(bytes, ours.astype(np.uint8))) == sorted(map(bytes, images.astype(np.uint8)))
    assert np.bincount(np.concatenate([splits["train"][1], splits["test"][1]])).tolist() == np.bincount(targets).tolist()


def test_the_digits_are_split_within_each_class_without_overlap() -> None:
    splits = datasets._digits()
    train, test = np.bincount(splits["train"][1]), np.bincount(splits["test"][1])
    assert np.abs(test - datasets.TEST_SHARE * (train + test)).max() <= 0.5
    images = {split: {image.tobytes() for image in inputs} for split, (inputs, _) in splits.items()}
    assert not images["train"] & images["test"]


def test_inputs_are_standardised_by_the_training_pixels() -> None:
    train = datasets.load("digits")["train"]
    assert train.inputs.shape == (1347, 1, 8, 8)
    assert abs(float(train.inputs.mean())) < 1e-6
    assert float(train.inputs.std(correction=0)) == pytest.approx(1, abs=1e-6)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_mnist_is_read_from_raw_files_and_its_checksum_from_their_bytes(data_dir: Path) -> None:
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = {"train": rng.integers(0, 256, (6, 28, 28)), "t10k": rng.integers(0, 256, (3, 28, 28))}
    for name, array in images.items():
        write_idx(raw / f"{name}-images-idx3-ubyte", array)
        write_idx(raw / f"{name}-labels-idx1-ubyte", np.arange(len(array)))
    splits = datasets.load("mnist")
    assert splits["train"].inputs.shape == (6, 1, 28, 28)
    assert splits["test"].targets.tolist() == [0, 1, 2]
    expected = (images["t10k"] - images["train"].mean()) / images["train"].std()
    np.testing.assert_allclose(splits["test"].inputs[:, 0].numpy(), expected, rtol=1e-5, atol=1e-6)
    first = datasets.checksum("mnist")
    (raw / "train-images-idx3-ubyte.gz").write_bytes(b"what a download leaves beside")
    assert datasets.checksum("mnist") == first
    write_idx(raw / "t10k-labels-idx1-ubyte", np.arange(3)[::-1])
    assert datasets.checksum("mnist") != first


def test_data_that_cannot_be_had_are_one_line(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trialhouse.workloads.torchvision_ops import import_torchvision

    def offline(*arguments: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(import_torchvision().datasets.cifar, "download_and_extract_archive", offline)
    with pytest.raises(WorkloadError) as caught:
        datasets.checksum("cifar10")
    assert str(caught.value) == (
        f"dataset 'cifar10' must be under {data_dir} or downloadable, got no network; set TRIALHOUSE_DATA_DIR to a folder that has it"
    )


def test_torchvision_models_import_beside_a_cpu_torch() -> None:
    from trialhouse.workloads.torchvision_ops import import_torchvision

    assert import_torchvision().models.vgg16 is not None
    assert import_torchvision() is import_torchvision()


@pytest.mark.skipif("TRIALHOUSE_DATA_DIR" not in os.environ, reason="no TRIALHOUSE_DATA_DIR with the real MNIST")
def test_the_real_mnist() -> None:
    get_settings.cache_clear()
    splits = datasets.load("mnist")
    assert (len(splits["train"].targets), len(splits["test"].targets)) == (60_000, 10_000)


def test_warped_digits_are_drawn_from_one_distribution_without_end() -> None:
    splits = datasets.load("warped_digits")
    train, test = splits["train"], splits["test"]
    assert len(train.targets) == 131_072
    assert len({image.numpy().tobytes() for image in train.inputs[:20_000]}) == 20_000
    # training and test alike: the mean pixel differs by no more than four standard errors
    spread = float(test.inputs.mean(dim=(1, 2, 3)).std())
    assert abs(float(test.inputs.mean())) < 4 * spread / len(test.targets) ** 0.5
    assert torch.bincount(train.targets, minlength=10).min() > 0.09 * len(train.targets)
    assert torch.equal(datasets.load("warped_digits")["test"].inputs, test.inputs)
    assert datasets.checksum("warped_digits") != datasets.checksum("digits")


def mnist_files(data_dir: Path) -> dict[str, Path]:
    """Six training and three test images, whole."""
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files = {}
    for name, count in (("train", 6), ("t10k", 3)):
        files[f"{name} images"], files[f"{name} labels"] = raw / f"{name}-images-idx3-ubyte", raw / f"{name}-labels-idx1-ubyte"
        write_idx(files[f"{name} images"], np.zeros((count, 28, 28)))
        write_idx(files[f"{name} labels"], np.arange(count))
    return files


@pytest.mark.parametrize("bytes_left", [0, 3, 10, 1000])
@pytest.mark.parametrize("file", ["train images", "t10k labels"])
def test_a_file_that_was_cut_off_is_one_line(data_dir: Path, file: str, bytes_left: int) -> None:
    path = mnist_files(data_dir)[file]
    path.write_bytes(path.read_bytes()[: min(bytes_left, path.stat().st_size - 1)])
    with pytest.raises(WorkloadError) as caught:
        datasets.load("mnist")
    assert str(caught.value).startswith(f"the files of dataset 'mnist' under {data_dir} must be whole, got ")
    assert str(caught.value).endswith("; fetch them again")
    assert "\n" not in str(caught.value)


def test_files_that_do_not_belong_together_are_one_line(data_dir: Path) -> None:
    write_idx(mnist_files(data_dir)["train labels"], np.arange(5))
    with pytest.raises(WorkloadError, match=r"must be whole, got 6 images and 5 labels; fetch them again"):
        datasets.load("mnist")


def test_a_data_set_without_images_is_one_line(data_dir: Path) -> None:
    files = mnist_files(data_dir)
    write_idx(files["train images"], np.zeros((0, 28, 28)))
    write_idx(files["train labels"], np.arange(0))
    with pytest.raises(WorkloadError, match=r"must be whole, got .*; fetch them again"):
        datasets.load("mnist")


def test_images_of_another_size_are_one_line(data_dir: Path) -> None:
    write_idx(mnist_files(data_dir)["t10k images"], np.zeros((3, 27, 28)))
    with pytest.raises(WorkloadError, match=r"must be whole, got images of \(1, 27, 28\) in place of \(1, 28, 28\); fetch them again"):
        datasets.load("mnist")


def test_an_empty_folder_is_one_line(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trialhouse.workloads.torchvision_ops import import_torchvision

    def offline(*arguments: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(import_torchvision().datasets.mnist, "download_and_extract_archive", offline)
    (data_dir / "MNIST" / "raw").mkdir(parents=True)
    with pytest.raises(WorkloadError, match=r"dataset 'mnist' must be under .* or downloadable, got "):
        datasets.load("mnist")
