"""Seals: whichever byte of a landed file changes, it shows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import pytest

from tests.trialhouse.warehouse.test_loader import land_samples
from trialhouse.sealing import hash_and_check, seal
from trialhouse.settings import Settings


def test_every_changed_byte_shows(home: Settings) -> None:
    content = land_samples(home, 1).read_bytes()
    assert hash_and_check(content) == (hashlib.sha256(content).hexdigest(), True)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x10
        digest, is_intact = hash_and_check(bytes(changed))
        assert digest == hashlib.sha256(changed).hexdigest()
        # a seal whose own key is damaged is none; the loader then reads and compares what is left
        assert is_intact is not True


def test_a_file_without_a_place_for_a_seal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.parquet"
    duckdb.execute(f"COPY (SELECT 1 AS a) TO '{path}' (FORMAT parquet)")
    assert hash_and_check(path.read_bytes())[1] is None
    with pytest.raises(ValueError, match="no empty seal"):
        seal(path)


def test_a_sealed_file_is_not_sealed_again(home: Settings) -> None:
    with pytest.raises(ValueError, match="no empty seal"):
        seal(land_samples(home, 1))
