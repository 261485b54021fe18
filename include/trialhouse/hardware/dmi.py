"""Memory modules as the firmware describes them: SMBIOS structures of type 17, which Linux shows to root."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

ENTRIES = Path("/sys/firmware/dmi/entries")

_TYPES = {0x18: "DDR3", 0x1A: "DDR4", 0x1B: "LPDDR", 0x1C: "LPDDR2", 0x1D: "LPDDR3", 0x1E: "LPDDR4", 0x22: "DDR5", 0x23: "LPDDR5"}


def memory_modules(entries: Path = ENTRIES) -> str:
    """Modules by kind, such as `2 x 16384 MiB DDR4 3200 MT/s Samsung M471A2K43`.

    Raises
    ------
    OSError
        If the system describes no module, or not to this user.
    """
    folders = sorted(entries.glob("17-*"))
    modules = Counter(filter(None, (_module((folder / "raw").read_bytes()) for folder in folders)))
    if not modules:
        raise OSError(f"no memory module described in {entries}")
    return ", ".join(f"{count} x {module}" for module, count in modules.items())


def _module(raw: bytes) -> str | None:
    """One structure (SMBIOS 3.7, section 7.18): a formatted part of `raw[1]` bytes, then its texts; None for an empty slot."""
    length = raw[1]
    texts = [text.decode("ascii", "replace").strip() for text in raw[length:].split(b"\0")]

    def word(offset: int, size: int = 2) -> int:
        return int.from_bytes(raw[offset : offset + size], "little") if offset + size <= length else 0

    def text(offset: int) -> str:
        number = word(offset, 1)
        return texts[number - 1] if 0 < number <= len(texts) else ""

    size = word(0x0C)
    if size in (0, 0xFFFF):
        return None
    if size == 0x7FFF:  # larger than 15 bits tell
        size = word(0x1C, 4)
    elif size & 0x8000:  # in KiB
        size = (size & 0x7FFF) // 1024
    speed = word(0x15)
    parts = [f"{size} MiB", _TYPES.get(word(0x12, 1), ""), f"{speed} MT/s" if speed else "", text(0x17), text(0x1A)]
    return " ".join(part for part in parts if part)
