"""Text in memory: characters as small integers, cut into windows of one context each."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    Tokens = npt.NDArray[np.uint8]

MOST_SYMBOLS = 256
"""A token is one byte in memory."""
LEAST_OCCURRENCES = 100
"""Rarer characters are one symbol: nothing could be learned about each."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""How a rare character reads."""


@dataclass(frozen=True)
class Alphabet:
    """The symbols of a text; a token is the number of one.

    Parameters
    ----------
    characters
        Known characters; the token after the last one stands for all others. None: tokens are the bytes of the text in UTF-8.
    """

    characters: str | None

    @classmethod
    def of(cls, text: str) -> Alphabet:
        """The characters that occur at least `LEAST_OCCURRENCES` times (the most frequent ones, if they are too many), sorted."""
        counts = np.bincount(_code_points(text), minlength=1)
        by_count = np.argsort(-counts, kind="stable")[: MOST_SYMBOLS - 1]
        return cls("".join(chr(point) for point in sorted(by_count.tolist()) if counts[point] >= LEAST_OCCURRENCES))

    def __len__(self) -> int:
        """Number of symbols."""
        return MOST_SYMBOLS if self.characters is None else len(self.characters) + 1

    def encode(self, text: str) -> Tokens:
        """The tokens of a text, uint8 (characters or bytes,)."""
        if self.characters is None:
            return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
        return self._table[_code_points(text)]

    def spell(self, tokens: Tokens) -> str:
        """One character for each token: `UNKNOWN` for what is not known, of bytes the code point of the same number."""
        symbols = self.characters + UNKNOWN if self.characters is not None else "".join(map(chr, range(MOST_SYMBOLS)))
        return _code_points(symbols)[tokens].tobytes().decode("utf-32-le", "surrogatepass")

    @cached_property
    def _table(self) -> Tokens:
        """Code point -> token."""
        known = self.characters or ""
        table = np.full(sys.maxunicode + 1, len(known), dtype=np.uint8)
        table[_code_points(known)] = np.arange(len(known), dtype=np.uint8)
        return table


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


@dataclass(frozen=True)
class Windows:
    """Windows of a text, each to be continued at every position; a `trialhouse.learning.data.Data`.

    Parameters
    ----------
    tokens
        The text, uint8 (length,).
    starts
        Where each window begins, int64 (windows,); a place may occur more than once.
    context
        Positions of a window.
    """

    tokens: torch.Tensor
    starts: torch.Tensor
    context: int

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens, int64 (batch, context), and at each position the one that comes next, of the same shape."""
        import torch

        places = self.starts[chosen][:, None] + torch.arange(self.context + 1)
        window = self.tokens[places].long()
        return window[:, :-1], window[:, 1:]


def count_windows(length: int, context: int) -> int:
    """How many windows a text of so many tokens can be cut into: they meet, but no token is a target twice."""
    return max(0, (length - 1) // context)
