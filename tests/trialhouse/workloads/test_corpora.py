"""Text from the standard library, files and the hub: what counts is content, and what is wrong with it is one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trialhouse.errors import WorkloadError
from trialhouse.settings import Settings
from trialhouse.workloads import corpora, hub
from trialhouse.workloads.corpora import Corpus, local, make_corpus, standard_library

DOCUMENTS = [f"document {number}\n" * 20 for number in range(200)]


def splits(corpus: Corpus) -> dict[str, set[str]]:
    return {split: set(getattr(corpus, split).splitlines()) - {""} for split in ("train", "validation", "test")}


def test_a_split_goes_by_documents_and_by_content_alone() -> None:
    corpus = make_corpus(DOCUMENTS, "here")
    again = make_corpus([*reversed(DOCUMENTS), DOCUMENTS[3]], "elsewhere")
    assert corpus == again  # neither order nor duplicates matter
    found = splits(corpus)
    assert not found["train"] & found["test"]
    assert not found["train"] & found["validation"]
    assert not found["validation"] & found["test"]
    assert sum(map(len, found.values())) == len(DOCUMENTS)
    assert len(found["test"]) == pytest.approx(corpora.TEST_SHARE * len(DOCUMENTS), abs=1)
    assert len(found["validation"]) == pytest.approx(corpora.VALIDATION_SHARE * len(DOCUMENTS), abs=1)
    assert make_corpus([*DOCUMENTS, "one more"], "here").checksum != corpus.checksum


def test_one_long_document_is_cut_into_sections() -> None:
    text = "".join(f"line {number}\n" for number in range(10_000))
    corpus = make_corpus([text], "here")
    assert len(corpus.test) == pytest.approx(corpora.TEST_SHARE * len(text), rel=0.01)
    assert len(corpus.train) == pytest.approx(0.85 * len(text), rel=0.01)
    # sections are joined by a line break
    assert len(corpus.train) + len(corpus.validation) + len(corpus.test) == pytest.approx(len(text), abs=20)


def test_the_standard_library_is_code_without_tests_or_packages() -> None:
    corpus = standard_library()
    total = len(corpus.train) + len(corpus.validation) + len(corpus.test)
    assert 5_000_000 < total < 30_000_000
    assert len(corpus.test) == pytest.approx(corpora.TEST_SHARE * total, rel=0.1)
    whole = corpus.train + corpus.validation + corpus.test
    assert "class OrderedDict(dict):" in whole
    assert "class TestSuper(unittest.TestCase)" not in whole
    assert "class FlopCounterMode" not in whole  # an installed package


@pytest.fixture
def folder(home: Settings) -> Path:
    path = home.home / "data" / "prose"
    path.mkdir(parents=True)
    return path


def test_a_folder_is_read_by_content_not_by_name(folder: Path) -> None:
    (folder / "deep").mkdir()
    for number, text in enumerate(DOCUMENTS):
        (folder / "deep" / f"{number}.txt" if number % 2 else folder / f"{number}.md").write_text(text)
    (folder / "picture.png").write_bytes(b"\xff\xfe")
    (folder / "twice.txt").write_text(DOCUMENTS[0])
    assert local("prose", "text") == make_corpus(DOCUMENTS, "")
    assert local(str(folder), "text") == local("prose", "text")


def test_lines_of_jsonl_are_documents(folder: Path) -> None:
    lines = [json.dumps({"id": number, "body": text}) for number, text in enumerate(DOCUMENTS)]
    (folder / "part.jsonl").write_text("\n".join(lines) + "\n\n")
    assert local("prose", "body") == make_corpus(DOCUMENTS, "")
    assert local("prose/part.jsonl", "body") == local("prose", "body")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "must have files (.jsonl, .md, .py, .rst, .tex, .txt), got none; add some"),
        ({"a.txt": b""}, "must have text, got none; fix"),
        ({"a.txt": b"good", "b.txt": b"caf\xe9"}, "b.txt must be UTF-8, got byte 3 that is not; convert or remove it"),
        ({"a.jsonl": b'{"text": "x"}\n{"words": 3}\n'}, "line 2 of "),
        ({"a.jsonl": b'{"text": "x"}\n{"words": 3}\n'}, "a.jsonl must have a text 'text', got the fields ['words']; correct it"),
        ({"a.jsonl": b'{"text": 5}'}, "must have a text 'text', got the fields ['text']"),
        ({"a.jsonl": b"[1]"}, "must have a text 'text', got 'list'"),
        ({"a.jsonl": b"{"}, "line 1 of "),
        ({"a.jsonl": b"{"}, "must be JSON, got Expecting property name"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(folder: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(WorkloadError) as caught:
        local("prose", "text")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_one_line(home: Settings) -> None:
    with pytest.raises(WorkloadError, match=r"got no such file or folder; fix workload\.settings.folder or TRIALHOUSE_DATA_DIR"):
        local("nowhere", "text")


def endless() -> Iterator[dict[str, Any]]:
    for number in range(10**9):
        yield {"text": f"{number:09}\r\n", "url": "somewhere"}


def test_so_much_of_a_stream_is_kept_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "corpora" / "c4-95.jsonl"
    hub.keep(endless(), 95, path)
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    assert sum(map(len, texts)) == 95
    assert texts[:9] == [f"{number:09}\n" for number in range(9)]
    assert texts[9] == "00000"


def test_a_stream_that_breaks_off_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield {"text": "x"}
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        hub.keep(broken(), 100, tmp_path / "c4-100.jsonl")
    assert list(tmp_path.glob("*.jsonl")) == []


def test_what_is_on_disk_needs_no_package_and_what_is_not_says_what_to_install(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(WorkloadError, match=r"needs the package `datasets` .* run `\.venv/bin/pip install 'trialhouse\[hf\]'`"):
        hub.streamed("c4", 1000)
    hub.keep(endless(), 1000, home.home / "corpora" / "c4-1000.jsonl")
    assert len(local(str(hub.streamed("c4", 1000)), "text").train) > 800
