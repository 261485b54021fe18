"""What networks that continue text can do. Questions are the same for every trial of a corpus, so that trials are comparable.

How much of it small networks learn was measured on Python's standard library, over widths from 8 to 96: the choice of brackets
and minimal pairs rise smoothly and are the default; arithmetic and copying stay near chance; whether generated lines parse is
noisy (a hundred lines: a standard error of five points).
"""

from __future__ import annotations

import ast
import itertools
import re
import string
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from trialhouse.capabilities.protocol import Exam, Subject, UnmeasurableError
from trialhouse.learning.text import Alphabet, Windows

if TYPE_CHECKING:
    import torch

BRACKETS = {"(": ")", "[": "]", "{": "}"}
MOST_OF_A_BRACKET = 100
MOST_PAIRS = 150
LEAST_QUESTIONS = 10
"""An exam of fewer tells nothing."""
WORDS = (
    ("if", "in", "is", "or", "as"),
    ("and", "not", "for", "def", "try"),
    ("else", "from", "pass", "with", "None", "True"),
    ("while", "yield", "raise", "class", "break", "False"),
    ("return", "import", "except", "lambda", "assert"),
)
"""Words of Python by length: each is mistaken for the next one of its row."""
_SOME_WORD = re.compile(r"\b(" + "|".join(itertools.chain(*WORDS)) + r")\b")
_BATCH = 16
"""Windows at once: what fits into a cache."""


class TextCapability:
    """What the capabilities below have in common."""

    subject: ClassVar[Subject] = "text"
    is_higher_better: ClassVar[bool] = True
    best: ClassVar[float] = 1.0


class NextTokenAccuracy(TextCapability):
    """Share of the test tokens that were the network's first choice: the `accuracy` of the trial."""

    name: ClassVar[str] = "next_token_accuracy"

    def chance(self, exam: Exam) -> float:
        """Any symbol is as likely."""
        return 1 / exam.choices

    def measure(self, network: torch.nn.Module, exam: Exam) -> float:
        """See `Capability`."""
        return exam.scores.accuracy


class BracketChoice(TextCapability):
    """Where the test text closes a bracket that was opened in the same window: is the right kind of bracket scored highest?

    Each kind is asked as often, so that none is a better guess than another.
    """

    name: ClassVar[str] = "bracket_choice"

    def chance(self, exam: Exam) -> float:
        """One of the kinds that the test text closes often enough."""
        return 1 / len(self._questions(exam))

    def measure(self, network: torch.nn.Module, exam: Exam) -> float:
        """See `Capability`."""
        import torch

        questions = self._questions(exam)
        kinds = torch.tensor(sorted(questions))
        places = torch.tensor(list(itertools.chain(*questions.values())))
        targets = torch.tensor([kind for kind, asked in questions.items() for _ in asked])
        text = _text(exam)
        windows = Windows(text.tokens, places // text.context * text.context, text.context)
        right = 0
        for chosen in torch.split(torch.arange(len(targets)), _BATCH):
            scores = network(windows.batch(chosen)[0])
            offered = scores[torch.arange(len(chosen)), places[chosen] % text.context - 1][:, kinds]
            right += int((kinds[offered.argmax(1)] == targets[chosen]).sum())
        return right / len(targets)

    def _questions(self, exam: Exam) -> dict[int, list[int]]:
        """Closing token -> places in the test text where it is right, equally many for each, spread over the text."""
        text, alphabet = _text(exam), _alphabet(exam)
        found: dict[str, list[int]] = {closing: [] for closing in BRACKETS.values()}
        expected: list[str] = []
        window, whole = 0, len(text.tokens) - 1
        for match in re.finditer(r"[][(){}]", alphabet.spell(text.tokens.numpy())):
            character, place = match.group(), match.start()
            if place // text.context != window:
                window, expected = place // text.context, []
            if character in BRACKETS:
                expected.append(BRACKETS[character])
            elif expected and expected.pop() == character and (window + 1) * text.context <= whole:
                found[character].append(place)
        frequent = {_token(alphabet, kind): places for kind, places in found.items() if len(places) >= LEAST_QUESTIONS}
        if len(frequent) < 2:
            raise UnmeasurableError(f"the test text closes fewer than two kinds of brackets {LEAST_QUESTIONS} times within a window")
        count = min(MOST_OF_A_BRACKET, *map(len, frequent.values()))
        return {kind: [places[number * len(places) // count] for number in range(count)] for kind, places in frequent.items()}


class MinimalPairs(TextCapability):
    """Is a window of the test text more likely than the same with one word of Python in the place of another? (As BLiMP, Warstadt
    et al. 2020.) Words have the same length, so that all else stays where it was."""

    name: ClassVar[str] = "minimal_pairs"

    def chance(self, exam: Exam) -> float:
        """One of two."""
        return 0.5

    def measure(self, network: torch.nn.Module, exam: Exam) -> float:
        """See `Capability`."""
        import torch

        alphabet = _alphabet(exam)
        pairs = torch.tensor(list(itertools.islice(self._pairs(exam, alphabet), MOST_PAIRS)))
        if len(pairs) < LEAST_QUESTIONS:
            raise UnmeasurableError(f"fewer than {LEAST_QUESTIONS} windows of the test text have a word of Python in their later part")
        right = 0
        for some in torch.split(pairs, _BATCH // 2):
            true, false = (_likelihood(network, windows) for windows in some.unbind(1))
            right += int((true > false).sum())
        return right / len(pairs)

    def _pairs(self, exam: Exam, alphabet: Alphabet) -> Iterator[tuple[list[int], list[int]]]:
        import torch

        text = _text(exam)
        for start in text.starts.tolist():
            tokens = text.tokens[start : start + text.context + 1]
            found = _SOME_WORD.search(alphabet.spell(tokens.numpy()), len(tokens) // 4)
            if found is not None:
                row = next(words for words in WORDS if found.group() in words)
                other = row[(row.index(found.group()) + 1) % len(row)]
                mistaken = tokens.clone()
                mistaken[found.start() : found.end()] = torch.tensor(alphabet.encode(other))
                yield tokens.tolist(), mistaken.tolist()


class Arithmetic(TextCapability):
    """After three sums: is the right digit scored highest at the end of another, all with one-digit numbers and results?"""

    name: ClassVar[str] = "arithmetic"
    shots: ClassVar[str] = "1 + 2 = 3\n4 + 1 = 5\n2 + 6 = 8\n"

    def chance(self, exam: Exam) -> float:
        """One of ten digits."""
        return 0.1

    def measure(self, network: torch.nn.Module, exam: Exam) -> float:
        """See `Capability`."""
        import torch

        alphabet = _alphabet(exam)
        digits = torch.tensor([_token(alphabet, digit) for digit in string.digits])
        sums = [(first, second) for first in range(1, 9) for second in range(1, 10 - first)]
        prompts = torch.tensor([alphabet.encode(f"{self.shots}{first} + {second} = ").tolist() for first, second in sums])
        _require_context(exam, prompts.shape[1])
        chosen = network(prompts)[:, -1][:, digits].argmax(1)
        return sum(int(digit) == first + second for digit, (first, second) in zip(chosen, sums, strict=True)) / len(sums)


class Copying(TextCapability):
    """Random symbols, then the same again: share of the second half that was the first choice (induction, Olsson et al. 2022)."""

    name: ClassVar[str] = "copying"
    sequences: ClassVar[int] = 32

    def chance(self, exam: Exam) -> float:
        """Any symbol is as likely."""
        return 1 / exam.choices

    def measure(self, network: torch.nn.Module, exam: Exam) -> float:
        """See `Capability`."""
        import torch

        half = _text(exam).context // 2
        once = torch.randint(exam.choices, (self.sequences, half), generator=torch.Generator().manual_seed(0))
        chosen = network(torch.cat([once, once], dim=1))[:, half:-1].argmax(-1)
        return float((chosen == once[:, 1:]).float().mean())


class PythonParses(TextCapability):
    """Share of generated lines that are Python: sampled from the network, blank ones and comments aside, each parsed alone.

    Text within a string over several lines does not parse either, so not even the corpus comes to 1. Noisy: see the module.
    """

    name: ClassVar[str] = "python_parses"
    samples: ClassVar[int] = 32
    length: ClassVar[int] = 120

    def chance(self, exam: Exam) -> float:
        """The same share of lines of random symbols: single names and numbers parse."""
        import torch

        shape = 10 * self.samples, self.length
        return self._share(torch.randint(exam.choices, shape, generator=torch.Generator().manual_seed(0)), _alphabet(exam))

    def measure(self, network: torch.nn.Module, exam: Exam) -> float:
        """See `Capability`."""
        import torch

        alphabet, context = _alphabet(exam), _text(exam).context
        generator = torch.Generator().manual_seed(0)
        text = torch.full((self.samples, 1), _token(alphabet, "\n"))
        for _ in range(self.length):
            chances = network(text[:, -context:])[:, -1].softmax(-1)
            text = torch.cat([text, torch.multinomial(chances, 1, generator=generator)], dim=1)
        return self._share(text, alphabet)

    def _share(self, text: torch.Tensor, alphabet: Alphabet) -> float:
        """Of the whole lines in rows of tokens."""
        lines = [line.strip() for row in text.numpy() for line in alphabet.spell(row).split("\n")[1:-1]]
        code = [line for line in lines if line and not line.startswith("#")]
        return sum(map(_parses, code)) / len(code) if code else 0.0


def _parses(line: str) -> bool:
    try:
        ast.parse(line + " pass" if line.endswith(":") else line)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _alphabet(exam: Exam) -> Alphabet:
    assert exam.alphabet is not None
    return exam.alphabet


def _token(alphabet: Alphabet, character: str) -> int:
    return int(alphabet.encode(character)[0])


def _text(exam: Exam) -> Windows:
    assert isinstance(exam.test, Windows)
    return exam.test


def _likelihood(network: torch.nn.Module, windows: torch.Tensor) -> torch.Tensor:
    """Log-probability of each window (windows, context + 1) after its first token, in nats."""
    from torch.nn import functional

    scores = network(windows[:, :-1])
    losses = functional.cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten(), reduction="none")
    return -losses.view(len(windows), -1).sum(1)


def _require_context(exam: Exam, positions: int) -> None:
    context = _text(exam).context
    if context < positions:
        raise UnmeasurableError(f"the context must have {positions} positions, got {context}")
