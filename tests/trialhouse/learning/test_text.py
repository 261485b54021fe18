"""Text as tokens and windows."""

from __future__ import annotations

import numpy as np
import torch

from trialhouse.learning.text import LEAST_OCCURRENCES, UNKNOWN, Alphabet, Windows, count_windows


def test_frequent_characters_are_symbols_and_all_others_are_one() -> None:
    alphabet = Alphabet.of("ab\n" * LEAST_OCCURRENCES + "é😀")
    assert alphabet.characters == "\nab"
    assert len(alphabet) == 4
    assert alphabet.encode("ba\né😀").tolist() == [2, 1, 0, 3, 3]
    assert alphabet.spell(alphabet.encode("bé")) == f"b{UNKNOWN}"


def test_a_text_of_too_many_characters_keeps_the_most_frequent_ones() -> None:
    text = "".join(chr(0x4E00 + number) * (LEAST_OCCURRENCES + number) for number in range(300))
    alphabet = Alphabet.of(text)
    assert len(alphabet) == 256
    assert chr(0x4E00 + 299) in (alphabet.characters or "")
    assert chr(0x4E00) not in (alphabet.characters or "")
    assert alphabet.encode(chr(0x4E00)).tolist() == [255]


def test_bytes_are_tokens_too() -> None:
    alphabet = Alphabet(None)
    assert len(alphabet) == 256
    assert bytes(alphabet.encode("é😀")).decode() == "é😀"
    assert alphabet.spell(alphabet.encode("(a)")) == "(a)"


def test_windows_meet_and_each_position_is_continued_by_the_next() -> None:
    tokens = torch.arange(30, dtype=torch.uint8)
    context = 7
    windows = Windows(tokens, torch.arange(count_windows(len(tokens), context)) * context, context)
    assert len(windows) == 4
    inputs, targets = windows.batch(torch.arange(4))
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(inputs + 1, targets)
    assert targets.flatten().tolist() == list(range(1, 29))  # no token is a target twice
    assert [count_windows(length, 7) for length in (0, 7, 8)] == [0, 0, 1]


def test_any_text_can_be_encoded() -> None:
    assert Alphabet.of("").encode("x\ud800").tolist() == [0, 0]
    assert Alphabet("x").encode("").dtype == np.uint8
