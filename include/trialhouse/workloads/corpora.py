"""Text to learn from: what every machine has (Python's standard library), files of your own, or a part of C4 or the Pile.

Whatever the source, a corpus is a set of documents: equal ones count once, their order and their split go by the hash of their
content, so that names, folders and machines do not matter, and no seed is involved.
"""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from trialhouse.errors import WorkloadError
from trialhouse.settings import get_settings

TEST_SHARE, VALIDATION_SHARE = 0.1, 0.05
"""Of the characters, in whole documents."""
LARGEST_SHARE = 0.05
"""A document that has more of the characters is cut into sections: one long file is a corpus too."""
SUFFIXES = frozenset({".jsonl", ".md", ".py", ".rst", ".tex", ".txt"})
"""Of the files of a folder that are read; others are left alone."""
SEPARATOR = "\n"
"""Between two documents."""
NOT_LIBRARY = frozenset(
    {"__pycache__", "dist-packages", "ensurepip", "idle_test", "idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"}
)
"""Folders below the standard library's that are not its code: installed packages, tests, tables and demonstrations."""


@dataclass(frozen=True)
class Corpus:
    """Three splits of a text, and a checksum (SHA-256) of its documents."""

    train: str
    validation: str
    test: str
    checksum: str


@lru_cache(maxsize=1)
def standard_library() -> Corpus:
    """Sources of the standard library of the Python that runs: about ten million characters, others in each version of Python."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = sorted(path for path in root.rglob("*.py") if not NOT_LIBRARY & set(path.relative_to(root).parts))
    # built for one machine
    return make_corpus((_read(path) for path in paths if not path.name.startswith("_sysconfigdata")), f"the standard library in {root}")


def local(place: str, field: str) -> Corpus:
    """Files of your own.

    Parameters
    ----------
    place
        A folder, all of whose text files are read (`SUFFIXES`), or one file; under `TRIALHOUSE_DATA_DIR` unless absolute.
    field
        Where a line of JSONL has its text.

    Raises
    ------
    WorkloadError
        If there is no text, a file is not UTF-8, or a line is no JSON object with that field.
    """
    settings = get_settings()
    path = (settings.data_dir or settings.home / "data") / Path(place).expanduser()
    if not path.exists():
        raise WorkloadError(f"text {path} must be there", "no such file or folder", "fix workload.settings.folder or TRIALHOUSE_DATA_DIR")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in SUFFIXES)
    if not files:
        expected = f"text folder {path} must have files ({', '.join(sorted(SUFFIXES))})"
        raise WorkloadError(expected, "none", "add some or fix workload.settings.folder")
    return make_corpus((text for file in files for text in _documents(file, field)), str(path))


def make_corpus(documents: Iterable[str], source: str) -> Corpus:
    """Documents without duplicates, split.

    Raises
    ------
    WorkloadError
        If they are empty.
    """
    unique = {hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(): text for text in documents if text.strip()}
    total = sum(map(len, unique.values()))
    if total == 0:
        raise WorkloadError(f"{source} must have text", "none", "fix workload.settings.corpus or its files")
    parts = {"test": TEST_SHARE * total, "validation": VALIDATION_SHARE * total, "train": float(total)}
    found: dict[str, list[str]] = {name: [] for name in parts}
    names = iter(parts)
    name, taken = next(names), 0
    for section in sorted(_sections(unique.values(), total), key=_hash):
        if taken + len(section) / 2 > parts[name]:  # nearer to its share without it
            name, taken = next(names), 0
        found[name].append(section)
        taken += len(section)
    checksum = hashlib.sha256("\n".join(sorted(unique)).encode()).hexdigest()
    texts = {split: SEPARATOR.join(sections) for split, sections in found.items()}
    return Corpus(**texts, checksum=checksum)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _sections(documents: Iterable[str], total: int) -> Iterator[str]:
    longest = max(1, int(LARGEST_SHARE * total))
    for text in documents:
        for start in range(0, len(text), longest):
            yield text[start : start + longest]


def _documents(path: Path, field: str) -> Iterator[str]:
    text = _read(path)
    if path.suffix.lower() != ".jsonl":
        yield text
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _field(line, field, f"line {number} of {path}")


def _field(line: str, field: str, where: str) -> str:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise WorkloadError(f"{where} must be JSON", str(error), "correct or remove it") from error
    text = found.get(field) if isinstance(found, dict) else None
    if not isinstance(text, str):
        got = f"the fields {sorted(found)}" if isinstance(found, dict) else repr(type(found).__name__)
        raise WorkloadError(f"{where} must have a text {field!r}", got, "correct it or fix workload.settings.text_field")
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise WorkloadError(f"text file {path} must be UTF-8", f"byte {error.start} that is not", "convert or remove it") from error
    except OSError as error:
        raise WorkloadError(f"text file {path} must be readable", error.strerror or str(error), "fix or remove it") from error
