"""Hardware classes: the shipped ones, one's own, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trialhouse.errors import HardwareError
from trialhouse.hardware.classes import HardwareClass, load_hardware_classes
from trialhouse.settings import Settings

GOOD = "box: {cpus: 2, threads: 1, memory_bytes: 96 MiB, represents: a box}"


def load(path: Path, text: str) -> dict[str, HardwareClass]:
    path.write_text(text)
    return load_hardware_classes(Settings(hardware_file=path))


def test_the_shipped_classes_keep_the_proportions_of_the_sources_machines() -> None:
    classes = load_hardware_classes(Settings())
    assert classes.pop("host").memory_bytes is None
    assert list(classes) == ["server", "pc", "laptop"]
    gigabytes = {"server": 376, "pc": 46, "laptop": 16}
    assert {name: item.memory_bytes / gigabytes[name] for name, item in classes.items()} == dict.fromkeys(gigabytes, 6 << 20)
    assert all(item.is_emulated and item.not_emulated and item.represents for item in classes.values())
    assert len({item.hardware_id for item in classes.values()}) == 3


def test_a_file_of_ones_own_takes_their_place(tmp_path: Path) -> None:
    box = load(tmp_path / "mine.yaml", GOOD)["box"]
    assert (box.name, box.cpus, box.memory_bytes) == ("box", 2, 96 << 20)


def test_the_id_goes_with_limits_and_not_with_words(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    first = load(path, GOOD)["box"].hardware_id
    assert load(path, GOOD.replace("a box", "another box"))["box"].hardware_id == first
    assert load(path, GOOD.replace("96 MiB", "97 MiB"))["box"].hardware_id != first
    assert load(path, GOOD.replace("box:", "crate:"))["crate"].hardware_id != first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "box: {cpus: 0, threads: 1, memory_bytes: 96 MiB}",
            "mine.yaml: box.cpus: input should be greater than or equal to 1, got 0; fix cpus",
        ),
        ("box: {threads: 1, memory_bytes: 96 MiB}", "mine.yaml: box.cpus: field required; fix cpus"),
        ("box: {cpus: 1, threads: 1, memory_bytes: much}", "mine.yaml: box.memory_bytes: "),
        ("box: {cpus: 1, threads: 1, memory_bytes: 96 MiB, gpu: 1}", "mine.yaml: box.gpu: extra inputs are not permitted, got 1; fix gpu"),
        ("Box: {cpus: 1, threads: 1, memory_bytes: 96 MiB}", "mine.yaml: Box.name: "),
        ("box: 3", "mine.yaml: hardware class 'box' must be a mapping, got 3"),
        ("- box", "mine.yaml must map names to hardware classes"),
        ("{", "mine.yaml must be valid YAML"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HardwareError) as caught:
        load(tmp_path / "mine.yaml", text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match="must be readable, got No such file or directory; fix TRIALHOUSE_HARDWARE_FILE"):
        load_hardware_classes(Settings(hardware_file=tmp_path / "none.yaml"))
