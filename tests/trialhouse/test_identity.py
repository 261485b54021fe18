"""Ids and versions that are made of content."""

from __future__ import annotations

from pathlib import Path

from trialhouse import __version__
from trialhouse.identity import code_version


def test_changed_code_is_another_version_before_it_is_released(tmp_path: Path) -> None:
    versions = []
    for number, (name, text) in enumerate([("a.py", "x = 1"), ("a.py", "x = 2"), ("b.py", "x = 1"), ("a.txt", "x = 1")]):
        engine = tmp_path / str(number) / "engine"
        engine.mkdir(parents=True)
        (engine / name).write_text(text)
        versions.append(code_version(engine))
    assert len(set(versions)) == 4
    assert all(version.startswith(f"{__version__}+") for version in versions)


def test_what_is_not_code_makes_no_version(tmp_path: Path) -> None:
    versions = []
    for number, names in enumerate([["a.py"], ["a.py", "notes.md"]]):
        engine = tmp_path / str(number) / "engine"
        engine.mkdir(parents=True)
        for name in names:
            (engine / name).write_text("x = 1")
        versions.append(code_version(engine))
    assert versions[0] == versions[1]
