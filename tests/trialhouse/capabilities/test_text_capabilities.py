"""Exams of text: who knows the answers comes to the best, who guesses to chance, and what cannot be asked is said."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
import torch
from torch import nn

from trialhouse.capabilities import text as exams
from trialhouse.capabilities.protocol import Exam, UnmeasurableError
from trialhouse.capabilities.registry import examine, load_capabilities
from trialhouse.errors import WorkloadError
from trialhouse.learning.engine import Scores
from trialhouse.learning.text import Alphabet, Windows, count_windows

CONTEXT = 64
SYMBOLS = "".join(map(chr, range(32, 127))) + "\n"
ALPHABET = Alphabet("".join(sorted(SYMBOLS)))


class Answers(nn.Module):
    """Scores of ten for the symbol that a function of the text so far names, zero for all others."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(*tokens.shape, len(ALPHABET))
        for row, line in enumerate(tokens.numpy()):
            text = ALPHABET.spell(line)
            for place in range(len(text)):
                scores[row, place, int(ALPHABET.encode(self.answer(text[: place + 1]) or "?")[0])] = 10
        return scores


class Guesses(nn.Module):
    """Random scores."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.randn(*tokens.shape, len(ALPHABET))


def exam(text: str) -> Exam:
    tokens = torch.tensor(ALPHABET.encode(text))
    starts = torch.arange(count_windows(len(tokens), CONTEXT)) * CONTEXT
    return Exam(Windows(tokens, starts, CONTEXT), Scores(1.0, 0.25), len(ALPHABET), ALPHABET)


def code(seed: int = 0) -> str:
    chance = random.Random(seed)
    calls = ["f(x)", "a[0]", "{1: 2}", "g([b])", "{c[0]: h(1)}", "[{3: 4}]"]
    words = [" if ", " in ", " and ", " or ", " not "]
    return "\n".join(chance.choice(calls) + chance.choice(words) + chance.choice(calls) for _ in range(800))


def innermost(text: str) -> str:
    opened: list[str] = []
    for character in text:
        if character in exams.BRACKETS:
            opened.append(exams.BRACKETS[character])
        elif opened and character == opened[-1]:
            opened.pop()
    return opened[-1] if opened else " "


def test_brackets_chosen_by_rule_are_right_and_guesses_come_to_chance() -> None:
    asked, capability = exam(code()), exams.BracketChoice()
    assert capability.measure(Answers(innermost), asked) == 1
    assert capability.chance(asked) == pytest.approx(1 / 3)
    # a constant answer is right for one kind of three, however frequent it is in the text
    assert capability.measure(Answers(lambda text: ")"), asked) == pytest.approx(1 / 3)
    torch.manual_seed(0)
    questions = 3 * exams.MOST_OF_A_BRACKET
    deviation = math.sqrt(2 / 9 / questions)
    assert abs(capability.measure(Guesses(), asked) - 1 / 3) < 4 * deviation


def test_who_knows_the_text_tells_it_from_its_twin_and_guesses_come_to_chance() -> None:
    text, capability = code(), exams.MinimalPairs()
    starts = range(0, len(text) - CONTEXT, CONTEXT)
    memory = {text[start : start + seen]: text[start + seen] for start in starts for seen in range(1, CONTEXT + 1)}
    asked = exam(text)
    assert capability.measure(Answers(lambda seen: memory.get(seen, " ")), asked) == 1
    torch.manual_seed(0)
    assert abs(capability.measure(Guesses(), asked) - 0.5) < 4 * 0.5 / math.sqrt(exams.MOST_PAIRS)


def test_twins_differ_in_one_word_and_in_nothing_else() -> None:
    pairs = list(exams.MinimalPairs()._pairs(exam(code()), ALPHABET))
    assert len(pairs) > 100
    for true, false in pairs:
        assert len(true) == len(false) == CONTEXT + 1
        differing = [place for place in range(CONTEXT + 1) if true[place] != false[place]]
        assert differing
        assert differing[-1] - differing[0] < 6


def test_arithmetic_is_asked_by_example() -> None:
    def add(text: str) -> str:
        line = text.split("\n")[-1]
        return str(eval(line.removesuffix("= "))) if line.endswith(" = ") else " "

    asked = exam(code())
    assert exams.Arithmetic().measure(Answers(add), asked) == 1
    assert exams.Arithmetic().measure(Answers(lambda text: "0"), asked) == 0


def test_copying_is_repeating_what_came_half_a_context_ago() -> None:
    def repeat(text: str) -> str:
        return text[len(text) - CONTEXT // 2] if len(text) >= CONTEXT // 2 else " "

    asked = exam(code())
    assert exams.Copying().measure(Answers(repeat), asked) > 0.98  # the symbol that stands for unknown ones aside
    assert exams.Copying().measure(Answers(lambda text: "e"), asked) < 0.05


def test_lines_that_parse_are_counted_and_comments_are_not() -> None:
    def writes(lines: str) -> Answers:
        return Answers(lambda text: lines[(len(text) - 1) % len(lines)])

    capability, asked = exams.PythonParses(), exam(code())
    capability.length, capability.samples = 40, 4  # type: ignore[misc]
    for good in ("x = 1\n", "if x:\n"):
        assert capability.measure(writes(good), asked) > 0.8  # ten to one for every character of the line
    assert capability.measure(writes("x = \n"), asked) < 0.2
    assert capability.measure(writes("# word\n"), asked) < 0.5
    assert 0 < exams.PythonParses().chance(asked) < 0.3


def test_next_tokens_are_those_of_the_trial() -> None:
    assert exams.NextTokenAccuracy().measure(Guesses(), exam("x" * 100)) == 0.25


def test_what_cannot_be_asked_is_missing_with_a_reason_and_a_fault_loses_nothing() -> None:
    class Broken(exams.NextTokenAccuracy):
        name = "broken"

        def measure(self, network: nn.Module, exam: Exam) -> float:
            raise KeyError("oops")

    asked = [exams.BracketChoice(), exams.MinimalPairs(), Broken(), exams.NextTokenAccuracy()]
    measured, missing = examine(Guesses(), asked, exam("no such thing here. " * 100))
    assert measured == {"capability_next_token_accuracy": 0.25}
    assert set(missing) == {"capability_bracket_choice", "capability_minimal_pairs", "capability_broken"}
    assert missing["capability_broken"] == "KeyError: 'oops'"
    with pytest.raises(UnmeasurableError, match="the context must have"):
        exams._require_context(exam("x" * 100), CONTEXT + 1)


def test_every_registered_capability_offers_what_it_must() -> None:
    for subject, names in {
        "text": ["arithmetic", "bracket_choice", "copying", "minimal_pairs", "next_token_accuracy", "python_parses"],
        "images": ["clean_accuracy", "corrupted_accuracy"],
    }.items():
        for name, capability in zip(names, load_capabilities(names, subject), strict=True):  # type: ignore[arg-type]
            assert capability.name == name
            assert capability.subject == subject
            assert capability.is_higher_better
            assert capability.chance(exam(code())) < capability.best
    with pytest.raises(WorkloadError, match=r"^capabilities must be among .*, got 'wit'; fix"):
        load_capabilities(["wit"], "text")
    with pytest.raises(WorkloadError, match="must be about images, got 'copying', which is about text"):
        load_capabilities(["copying"], "images")
