"""Publishing: readers of the old copy are not disturbed, new readers see the new one, a failure replaces nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys

import duckdb
import pytest

from tests.trialhouse.warehouse.test_loader import land_samples
from trialhouse.errors import WarehouseError
from trialhouse.settings import Settings
from trialhouse.warehouse import publish as module
from trialhouse.warehouse.loader import load_landed
from trialhouse.warehouse.publish import publish
from trialhouse.warehouse.read import published, study_frame, study_table

COUNT = "SELECT count(*) FROM raw.samples"


def published_rows(home: Settings) -> int:
    with published(home) as connection:
        return connection.execute(COUNT).fetchall()[0][0]


def test_a_reader_keeps_the_copy_that_it_opened(home: Settings) -> None:
    land_samples(home, 0)
    load_landed(home)
    assert publish(home) == home.warehouse
    # another process, since within one DuckDB shares what is open
    program = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
while input():
    print(connection.sql(sys.argv[2]).fetchall()[0][0], flush=True)
"""
    reader = subprocess.Popen(
        [sys.executable, "-c", program, str(home.warehouse), COUNT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdin is not None
    assert reader.stdout is not None

    def ask() -> int:
        reader.stdin.write("count\n")
        reader.stdin.flush()
        return int(reader.stdout.readline())

    assert ask() == 5
    land_samples(home, 1)
    load_landed(home)
    publish(home)
    assert ask() == 5
    assert published_rows(home) == 10
    reader.stdin.write("\n")
    reader.communicate()
    assert reader.returncode == 0
    assert sorted(path.name for path in home.warehouse_dir.iterdir()) == [".writer.lock", "trialhouse.duckdb", "writer.duckdb"]


def test_a_copy_that_failed_replaces_nothing(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    land_samples(home, 0)
    load_landed(home)
    publish(home)
    land_samples(home, 1)
    load_landed(home)

    original = shutil.copyfile

    def half_a_copy(source: str, target: str) -> None:
        original(source, target)
        with open(target, "r+b") as file:
            file.truncate(5000)

    monkeypatch.setattr(module.shutil, "copyfile", half_a_copy)
    with pytest.raises(duckdb.Error):
        publish(home)
    assert published_rows(home) == 5
    assert not list(home.warehouse_dir.glob("*.tmp"))


def test_what_is_not_there_is_one_line(home: Settings) -> None:
    with pytest.raises(WarehouseError, match="must exist before it is published"):
        publish(home)
    with pytest.raises(WarehouseError, match="the published warehouse must be there, got no file"):
        study_frame("study_0123456789abcdef", home)
    load_landed(home)
    publish(home)
    with pytest.raises(WarehouseError, match=r"must hold the marts.*build and publish"):
        study_frame("study_0123456789abcdef", home)
    with pytest.raises(WarehouseError, match="study_id must be an id"):
        study_frame('study"; DROP', home)
    with pytest.raises(WarehouseError, match="table must be one of"):
        study_table("fct_profiles", "study_0123456789abcdef", home)
