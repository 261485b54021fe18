"""A part of a large corpus of the Hugging Face hub, streamed once and kept in the home: what was used is what is on disk."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trialhouse.errors import WorkloadError
from trialhouse.settings import get_settings


class Place(NamedTuple):
    """A data set of the hub, and its configuration, if it has several."""

    path: str
    configuration: str | None = None


PLACES = {"c4": Place("allenai/c4", "en"), "pile": Place("monology/pile-uncopyrighted")}
"""The corpora of Raffel et al. (2020) and Gao et al. (2020), the latter without the parts that may not be copied."""


def streamed(corpus: str, characters: int) -> Path:
    """A JSONL file with the first documents of a corpus, of so many characters in all; downloaded where it is not there yet.

    Raises
    ------
    WorkloadError
        If the package `datasets` is missing or the hub cannot be read.
    """
    path = get_settings().home / "corpora" / f"{corpus}-{characters}.jsonl"
    if not path.exists():
        try:
            import datasets  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            expected = f"corpus {corpus!r} needs the package `datasets` until it is in {path}"
            raise WorkloadError(expected, "no such package", "run `.venv/bin/pip install 'trialhouse[hf]'`") from error
        place = PLACES[corpus]
        try:
            rows: Iterable[Mapping[str, Any]] = datasets.load_dataset(place.path, place.configuration, split="train", streaming=True)
            keep(rows, characters, path)
        except Exception as error:  # of many kinds: the hub's, the network's, the file formats'
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise WorkloadError(f"corpus {corpus!r} must be readable from the hub", reason, "try again, or use text of your own") from error
    return path


def keep(rows: Iterable[Mapping[str, Any]], characters: int, path: Path) -> None:
    """Write the first texts to a JSONL file, whole or not at all; the last one is cut to the number of characters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    with unfinished.open("w", encoding="utf-8") as file:
        for text in _first(rows, characters):
            file.write(json.dumps({"text": text}) + "\n")
    unfinished.replace(path)


def _first(rows: Iterable[Mapping[str, Any]], characters: int) -> Iterator[str]:
    for row in rows:
        text = re.sub("\r\n?", "\n", str(row["text"]))[:characters]
        yield text
        characters -= len(text)
        if characters <= 0:
            return
