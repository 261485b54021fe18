"""Memory modules from SMBIOS structures, as another machine's firmware would give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trialhouse.hardware.dmi import memory_modules


def plant(folder: Path, number: int, size: int, kind: int = 0x1A, extended: int = 0) -> None:
    """One structure of type 17, with the offsets of SMBIOS 3.7, section 7.18."""
    raw = bytearray(0x28)
    raw[0], raw[1] = 17, len(raw)
    raw[0x0C:0x0E] = size.to_bytes(2, "little")
    raw[0x12] = kind
    raw[0x15:0x17] = (3200).to_bytes(2, "little")
    raw[0x17], raw[0x1A] = 2, 3
    raw[0x1C:0x20] = extended.to_bytes(4, "little")
    entry = folder / f"17-{number}"
    entry.mkdir()
    (entry / "raw").write_bytes(bytes(raw) + b"DIMM 0\0Samsung\0M471A2K43 \0\0")


def test_modules_are_counted_by_kind_and_empty_slots_are_left_out(tmp_path: Path) -> None:
    plant(tmp_path, 0, 16384)
    plant(tmp_path, 1, 16384)
    plant(tmp_path, 2, 0)
    plant(tmp_path, 3, 0x7FFF, kind=0x22, extended=65536)
    assert memory_modules(tmp_path) == "2 x 16384 MiB DDR4 3200 MT/s Samsung M471A2K43, 1 x 65536 MiB DDR5 3200 MT/s Samsung M471A2K43"


def test_a_machine_that_describes_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no memory module described"):
        memory_modules(tmp_path)
