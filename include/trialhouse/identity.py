"""Keys made of content: whatever determines a thing determines its id, and nothing else does."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialhouse import __version__

if TYPE_CHECKING:
    import pandas as pd

ID_LENGTH = 16
"""Hex digits kept of the SHA-256: 64 bits, so a billion trials collide with probability 3e-2 and a million with 3e-8."""

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
"""What may become part of a path, a DAG id or a column name."""

_ID = re.compile(r"^[a-z]+_[0-9a-f]{16}$")


def canonical_json(content: Any) -> str:
    """Text that is equal for equal content: sorted keys, no spaces, `1.0` and `1` alike, no NaN."""
    return json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def content_id(prefix: str, content: Mapping[str, Any]) -> str:
    """`<prefix>_<16 hex digits>` of the content's SHA-256."""
    return f"{prefix}_{hashlib.sha256(canonical_json(content).encode()).hexdigest()[:ID_LENGTH]}"


@cache
def code_version(*code: Path) -> str:
    """`<version>+<8 hex digits>` of Python files, and of all in folders: changed code is another version before it is released."""
    files = [(root, file) for root in code for file in ([root] if root.is_file() else sorted(root.rglob("*.py")))]
    content = "".join(f"{file.relative_to(root.parent).as_posix()}\n{file.read_text(encoding='utf-8')}\n" for root, file in files)
    return f"{__version__}+{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def seed_of(purpose: str, key: object) -> int:
    """A seed of 63 bits for one use of chance, from the text of what determines it."""
    return int.from_bytes(hashlib.sha256(f"{purpose}:{key}".encode()).digest()[:8], "big") >> 1


def frame_id(frame: pd.DataFrame) -> str:
    """`data_<16 hex digits>` of a data frame's columns and rows, in the order that they have; its index does not count."""
    text = frame.to_csv(index=False, float_format="%.17g")
    return content_id("data", {"sha256": hashlib.sha256(text.encode()).hexdigest()})


def is_id(text: str) -> bool:
    """Whether a text has the form of an id, and so may become part of a path."""
    return bool(_ID.match(text))


def _canonical(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _canonical(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_canonical(value) for value in content]
    if isinstance(content, bool):
        return content
    if isinstance(content, float) and content.is_integer():
        return int(content)
    return content
