"""A seal on a landed file: the SHA-256 of its own bytes, in its own footer.

DuckDB's Parquet has no page checksums, so flipped bytes load as wrong numbers without an error. A sealed file carries
the hash of itself with the hash's place filled with zeros; a reader that hashes the file anyway checks it for free.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

SEAL_KEY = "trialhouse_sha256"
UNSEALED = "0" * 64
"""What the writer puts under `SEAL_KEY` in the Parquet key-value metadata; `seal` overwrites it."""

_PLACE = SEAL_KEY.encode() + b"\x18\x40"  # Thrift compact protocol: the next field is a string of 64 bytes


def seal(path: Path) -> None:
    """Seal a file that was written with `SEAL_KEY: UNSEALED` in its metadata, before anybody else sees it.

    Raises
    ------
    ValueError
        If the file has no place for a seal.
    """
    content = path.read_bytes()
    place = _place(content)
    if place is None or content[place : place + 64] != UNSEALED.encode():
        raise ValueError(f"{path} has no empty seal")
    with path.open("r+b") as file:
        file.seek(place)
        file.write(hashlib.sha256(content).hexdigest().encode())


def hash_and_check(content: bytes) -> tuple[str, bool | None]:
    """SHA-256 of a file's bytes as they are, and whether its seal holds (None: it has none)."""
    place = _place(content)
    if place is None:
        return hashlib.sha256(content).hexdigest(), None
    view = memoryview(content)
    as_is = hashlib.sha256(view[:place])
    unsealed = as_is.copy()  # the seal is near the end, so almost everything is hashed once for both
    as_is.update(view[place:])
    unsealed.update(UNSEALED.encode())
    unsealed.update(view[place + 64 :])
    return as_is.hexdigest(), unsealed.hexdigest().encode() == content[place : place + 64]


def _place(content: bytes) -> int | None:
    found = content.rfind(_PLACE)
    return None if found < 0 else found + len(_PLACE)
