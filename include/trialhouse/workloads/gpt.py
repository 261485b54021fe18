"""Small language models: a decoder-only transformer that continues text, character by character.

What is held under do(width): depth, context, data, number of steps and size of a head of attention, so the number of heads
follows the width. The learning rate follows it too (`learning_rate_rule`: about .32 / width, at most .02, was best at every width
that was tried); all else by steps, so that compute follows. With `training_flops` in the place of `steps`, compute is held.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from trialhouse.capabilities.protocol import Exam, Subject
from trialhouse.errors import WorkloadError
from trialhouse.learning.data import Data
from trialhouse.learning.recipe import Schedule
from trialhouse.learning.text import Alphabet, Windows, count_windows
from trialhouse.workloads import corpora, hub
from trialhouse.workloads.learner_settings import LearnerSettings
from trialhouse.workloads.network_learner import NetworkLearner

if TYPE_CHECKING:
    import torch

    from trialhouse.learning.engine import Scores
    from trialhouse.learning.sizes import Sizes
    from trialhouse.studies.designs import WorkloadIdentity

HUB_CHARACTERS = 20_000_000


class GPTSettings(LearnerSettings):
    """Settings of the workload, each of which can be a factor, but for those that say which text it is."""

    width: int = Field(32, ge=1, le=4096)
    """Numbers per position, a multiple of `head_size`."""
    depth: int = Field(2, ge=1, le=256)
    """Blocks of attention and perceptron."""
    head_size: int = Field(16, ge=2, multiple_of=2)
    """Numbers per head of attention, whatever the width: the number of heads follows."""
    context: int = Field(128, ge=2, le=8192)
    """Positions of a window of text: how far back the network sees."""
    is_tied: bool = False
    """Whether one table serves as embedding and unembedding."""
    corpus: Literal["stdlib", "folder", "c4", "pile"] = "stdlib"
    """`stdlib`: the sources of Python's standard library, which every machine has. `folder`: your own. `c4`, `pile`: the beginning of
    that corpus, through the package `datasets` (`pip install 'trialhouse[hf]'`)."""
    folder: str | None = None
    """For `corpus: folder`: a folder of text or JSONL files, or one file, under `TRIALHOUSE_DATA_DIR` unless absolute."""
    text_field: str = "text"
    """Where a line of JSONL has its text."""
    characters: int = Field(HUB_CHARACTERS, ge=1)
    """How much of `c4` or `pile` is used."""
    vocabulary: Literal["characters", "bytes"] = "characters"
    """What a token is: one of the characters that the training text has at least 100 times (all others are one symbol), or a byte."""
    n_train: int | None = Field(None, ge=1)
    """Training tokens, in windows of `context` each: the first so many in an order that goes by the seed, so smaller sets are part of
    larger ones. None: all."""
    corruption: float = Field(0.0, ge=0, le=1)
    """Share of the training tokens that are drawn anew, any symbol being as likely; validation and test text is clean."""
    unique_share: float = Field(1.0, gt=0, le=1)
    """Share of the `n_train` training tokens that differ: the others repeat them, the total being the same."""
    steps: int | None = Field(1000, ge=1)
    """Updates of the weights, where neither `epochs` nor `training_flops` is a factor."""
    batch_size: int = Field(8, ge=1)
    """Windows per step."""
    learning_rate: float = Field(0.01, gt=0)
    """Highest learning rate, at the reference width where it goes by width."""
    reference_width: int = Field(32, ge=1)
    """Width at which `learning_rate` was chosen."""
    schedule: Schedule = "warmup_stable_decay"
    """How the learning rate goes: `trialhouse.learning.recipe`."""
    clip: float | None = Field(1.0, gt=0)
    """Largest norm of a gradient."""
    validation_examples: int = Field(64, ge=1)
    """Windows for learning curves and early stopping, from files of their own."""
    test_tokens: int = Field(100_000, ge=1)
    """Tokens for the outcomes, at even distances in the test files; all of them where there are fewer."""
    capabilities: tuple[str, ...] = ("next_token_accuracy", "bracket_choice", "minimal_pairs")
    """What the trained network is examined in besides its loss: `trialhouse.capabilities`."""

    @model_validator(mode="after")
    def _check_width(self) -> GPTSettings:
        if self.parameters is None and self.width % self.head_size:
            raise ValueError(f"width must be a multiple of head_size {self.head_size}, got {self.width}")
        return self

    @model_validator(mode="after")
    def _check_folder(self) -> GPTSettings:
        if (self.corpus == "folder") != (self.folder is not None):
            raise ValueError(f"corpus 'folder' and folder go together, got corpus {self.corpus!r} with folder {self.folder!r}")
        return self


class GPT(NetworkLearner[GPTSettings]):
    """See the module; a `trialhouse.workloads.protocol.Learner`."""

    name = "gpt"
    version = "1"
    kind = GPTSettings
    subject: ClassVar[Subject] = "text"
    source: ClassVar[frozenset[str]] = frozenset({"corpus", "folder", "text_field", "characters", "vocabulary"})
    switchable: ClassVar[frozenset[str]] = NetworkLearner.switchable | {"corruption", "unique_share"}
    further_outcomes: ClassVar[frozenset[str]] = frozenset({"tokens_seen"})

    def identity(self) -> WorkloadIdentity:
        """See `NetworkLearner`; what a folder holds counts, not its place."""
        identity = super().identity()
        return replace(identity, settings={**identity.settings, "folder": None})

    def network(self, settings: GPTSettings) -> torch.nn.Module:
        """See `Transformer`."""
        from trialhouse.learning.transformer import Transformer

        symbols = len(self._alphabet)
        return Transformer(symbols, settings.width, settings.depth, settings.context, settings.head_size, settings.is_tied)

    def width_step(self, settings: GPTSettings) -> int:
        """Whole heads."""
        return settings.head_size

    def sizes(self, settings: GPTSettings) -> Sizes:
        """See `NetworkLearner`; the quality of text does not matter to a shape either."""
        return super().sizes(settings.model_copy(update={"corruption": 0.0, "unique_share": 1.0}))

    def example(self, settings: GPTSettings) -> torch.Tensor:
        """A window of one symbol."""
        import torch

        return torch.zeros(1, settings.context, dtype=torch.int64)

    def positions(self, settings: GPTSettings) -> int:
        """A next token at each."""
        return settings.context

    def available(self, settings: GPTSettings) -> int:
        """Windows of the training text; a text without a window for each split is refused."""
        for split, tokens in self._tokens.items():
            if count_windows(len(tokens), settings.context) == 0:
                expected = f"the {split} split must have a window of {settings.context + 1} tokens"
                raise WorkloadError(expected, f"{len(tokens)} tokens", "give more text or a shorter context")
        return count_windows(len(self._tokens["train"]), settings.context)

    def counted(self, settings: GPTSettings) -> tuple[int, str]:
        """`n_train` counts tokens."""
        return settings.context, "tokens"

    def checksum(self) -> str:
        """Of the documents, duplicates aside."""
        return self._corpus.checksum

    def data(self, settings: GPTSettings) -> tuple[Data, Data, Data]:
        """Windows; see `GPTSettings` for which."""
        import torch

        examples, context, tokens = self._examples(settings), settings.context, self._tokens
        chance = torch.Generator().manual_seed(self.seed_for("data", settings))
        unique = max(1, round(settings.unique_share * examples))
        starts = torch.randperm(self.available(settings), generator=chance)[:unique] * context
        text = tokens["train"]
        if settings.corruption > 0:
            # drawn for the whole text: a smaller share or fewer windows change nothing else
            is_corrupted = torch.rand(len(text), generator=chance) < settings.corruption
            drawn = torch.randint(len(self._alphabet), (len(text),), generator=chance, dtype=torch.uint8)
            text = torch.where(is_corrupted, drawn, text)
        training = Windows(text, starts[torch.arange(examples) % unique], context)
        validation = _spread(tokens["validation"], context, settings.validation_examples)
        return training, validation, _spread(tokens["test"], context, max(1, settings.test_tokens // context))

    def exam(self, settings: GPTSettings, test: Data, scores: Scores) -> Exam:
        """See `Exam`."""
        return Exam(test, scores, len(self._alphabet), self._alphabet)

    def further(self, settings: GPTSettings, examples_seen: float) -> dict[str, float]:
        """Tokens, the usual measure of data."""
        return {"tokens_seen": examples_seen * settings.context}

    @cached_property
    def _corpus(self) -> corpora.Corpus:
        settings = self.settings
        if settings.corpus == "stdlib":
            return corpora.standard_library()
        if settings.folder is not None:
            return corpora.local(settings.folder, settings.text_field)
        return corpora.local(str(hub.streamed(settings.corpus, settings.characters)), "text")

    @cached_property
    def _alphabet(self) -> Alphabet:
        return Alphabet.of(self._corpus.train) if self.settings.vocabulary == "characters" else Alphabet(None)

    @cached_property
    def _tokens(self) -> dict[str, torch.Tensor]:
        import torch

        texts = {"train": self._corpus.train, "validation": self._corpus.validation, "test": self._corpus.test}
        return {split: torch.tensor(self._alphabet.encode(text)) for split, text in texts.items()}


def _spread(tokens: torch.Tensor, context: int, most: int) -> Windows:
    """At most so many windows of a text, at even distances."""
    import torch

    there = count_windows(len(tokens), context)
    count = min(most, there)
    return Windows(tokens, torch.arange(count) * there // count * context, context)
