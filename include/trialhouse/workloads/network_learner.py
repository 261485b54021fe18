"""Networks that learn by design: every setting of a trial can be a factor, and whoever sets one says what follows from it.

A setting that is a factor's name takes the trial's level in place of its own. Two quantities are consequences, and are had
by solving for what causes them:

| setting | solved for | held |
|---|---|---|
| `parameters` | `width` | `depth` |
| `training_flops` (all of them, forward and backward) | `steps` | the network and `batch_size` |

So do(width) with `training_flops` set holds depth, data and compute, and the number of steps gives way; with `epochs` or
`steps` set, compute follows the width instead. What cannot be had within `TOLERANCE` is refused before anything runs.
"""

from __future__ import annotations

import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from trialhouse.capabilities.protocol import Exam, Subject
from trialhouse.capabilities.registry import PREFIX, examine, load_capabilities
from trialhouse.errors import WorkloadError
from trialhouse.identity import content_id, seed_of
from trialhouse.learning.data import Data
from trialhouse.learning.engine import DivergedError, Note, Scores, Switch, TimedOutError, Trained, evaluate, train
from trialhouse.learning.recipe import Recipe, log_spaced
from trialhouse.learning.sizes import Sizes, measure_sizes
from trialhouse.learning.together import Pupil, can_train_together, train_together
from trialhouse.learning.trunk import Branch, Leaf, train_branches
from trialhouse.studies.designs import WorkloadIdentity
from trialhouse.studies.spec import Factor, Level
from trialhouse.studies.switches import NEVER, SWITCHED_AT, evenly_spaced, switch_step
from trialhouse.workloads.learner_settings import LENGTHS, MOST_WIDTH, LearnerSettings
from trialhouse.workloads.parsing import check_settings, parse_settings
from trialhouse.workloads.protocol import Lesson, Plan

if TYPE_CHECKING:
    import torch

TOLERANCE = 0.05
"""How far a solved quantity may end from what was asked for: channels and steps are whole numbers."""
SOLVED_BY = {"width": "parameters", "steps": "training_flops"}
"""What is solved for -> what it is solved for to meet."""

OUTCOMES = frozenset(
    {"loss", "log10_loss", "accuracy", "error", "log10_error", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"}
    | {"parameters", "non_embedding_parameters", "flops", "training_flops", "chinchilla_flops", "training_memory_bytes"}
    | {"steps", "examples_seen", "epochs_seen", "learning_rate", "is_stopped_early", "training_s"}
)
"""What is known of every trial of a network that learned; some workloads know more, and the capabilities that were asked for.
On the scale of the logarithms power laws are lines, and a factor of two is a factor of two at any size; an error of zero
counts as half a test example."""


Settings = TypeVar("Settings", bound=LearnerSettings)


@dataclass(frozen=True)
class _Run:
    """A trial about to train."""

    settings: Any
    network: torch.nn.Module
    training: Data
    validation: Data
    test: Data
    recipe: Recipe
    sizes: Sizes
    seed: int
    points: tuple[int, ...]
    switch: Switch | None


@dataclass(frozen=True)
class _Later:
    """What a trial goes on with after `step` steps."""

    step: int
    settings: Any
    recipe: Recipe


class NetworkLearner(ABC, Generic[Settings]):
    """A `trialhouse.workloads.protocol.Learner` that trains a network; a subclass says which, and on what."""

    name: ClassVar[str]
    version: ClassVar[str]
    """Raised whenever the same settings would give another network, other data or another training."""
    kind: type[Settings]
    subject: ClassVar[Subject] = "images"
    """What the network learns from."""
    source: ClassVar[frozenset[str]] = frozenset({"dataset"})
    """Settings that say which data it is: one checksum stands for the data of a study, so they are no factors."""
    further_outcomes: ClassVar[frozenset[str]] = frozenset()
    """Names of what `further` tells."""
    switchable: ClassVar[frozenset[str]] = frozenset({"batch_size", "learning_rate", "n_train", "weight_decay", "clip"})
    """Settings that can change while a network trains: neither its shape nor what it is evaluated on."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = parse_settings(self.kind, self.name, _one_length(settings))
        self._check_switch()
        self.capabilities = load_capabilities(self.settings.capabilities, self.subject)

    @property
    def outcomes(self) -> frozenset[str]:
        """See `Workload`."""
        return OUTCOMES | self.further_outcomes | {PREFIX + name for name in self.settings.capabilities}

    @abstractmethod
    def network(self, settings: Settings) -> torch.nn.Module:
        """The network with fresh weights; the caller seeds PyTorch."""

    @abstractmethod
    def example(self, settings: Settings) -> torch.Tensor:
        """An input (1, ...) of the right shape and type; its values do not matter."""

    @abstractmethod
    def positions(self, settings: Settings) -> int:
        """Targets per example."""

    @abstractmethod
    def available(self, settings: Settings) -> int:
        """Number of training examples that there are, whatever `n_train` counts."""

    @abstractmethod
    def exam(self, settings: Settings, test: Data, scores: Scores) -> Exam:
        """What capabilities may use."""

    def further(self, settings: Settings, examples_seen: float) -> dict[str, float]:
        """Outcomes that only this workload has."""
        return {}

    def counted(self, settings: Settings) -> tuple[int, str]:
        """What `n_train` counts: how many of it an example has, and what they are called."""
        return 1, "training examples"

    def width_step(self, settings: Settings) -> int:
        """Widths are multiples of it."""
        return 1

    @abstractmethod
    def data(self, settings: Settings) -> tuple[Data, Data, Data]:
        """Training (`n_train` examples), validation and test data of a trial."""

    @abstractmethod
    def checksum(self) -> str:
        """SHA-256 of the data."""

    def check(self, factors: Sequence[Factor]) -> None:
        """Refuse factors that are no settings or say which data it is, and levels that these cannot take."""
        for factor in factors:
            if factor.name in self.source:
                raise WorkloadError("all trials of a study must use the same data", f"the factor {factor.name!r}", "make it a setting")
        check_settings(self.kind, self.name, factors, self._of_trial)
        if self.settings.trunk_steps is not None and not any((factor.name, factor.assignment) == ("seed", "blocked") for factor in factors):
            expected = "seed must be a blocked factor where trunk_steps is set: branches of a trunk are one repeated unit"
            raise WorkloadError(expected, "no blocked seed", "block it or remove trunk_steps")
        if len(set(LENGTHS) & {factor.name for factor in factors}) > 1:
            raise WorkloadError(f"at most one of {', '.join(LENGTHS)} can be a factor: each determines the others", "several", "remove one")

    def identity(self) -> WorkloadIdentity:
        """Settings with all defaults, and the checksum of the data."""
        return WorkloadIdentity(self.name, self.version, self.settings.model_dump(), self.checksum(), (), tuple(self.kind.model_fields))

    def plan(self, factors: Mapping[str, Level]) -> Plan:
        """See `Learner`."""
        settings, recipe, sizes = self._solved(factors)
        later = self._later(settings, recipe, sizes)
        seen, epochs = self._seen(settings, recipe, later, recipe.steps)
        known: dict[str, Level] = {
            "width": settings.width,
            "depth": settings.depth,
            "parameters": sizes.parameters,
            "n_train": self._examples(settings) * self.counted(settings)[0],
            "batch_size": recipe.batch_size,
            "steps": recipe.steps,
            "epochs": epochs,
            "training_flops": float(seen * sizes.training_flops),
        }
        if later is not None:
            known[SWITCHED_AT] = later.step / recipe.steps
        solved = [name for name, cause in SOLVED_BY.items() if getattr(settings, cause) is not None]
        # the learning rate stays what was assigned: its rule is part of the intervention on width
        realised = {name: known.get(name, level) for name, level in factors.items()}
        quantities = {**known, "learning_rate": recipe.learning_rate}
        trunk_id, trunk_flops = None, 0.0
        if settings.trunk_steps is not None:
            shared = settings.model_copy(update={"steps": settings.trunk_steps, "decay": 0.0}).model_dump()
            trunk_id = content_id("trunk", {"workload": self.name, "settings": shared})
            trunk_flops = float(recipe.branch_step * recipe.batch_size * sizes.training_flops)
        outcomes = self._counted(settings, recipe, sizes, recipe.steps)
        return Plan(realised, float(known["training_flops"]), quantities, tuple(solved), outcomes, trunk_id, trunk_flops)

    def learn(self, factors: Mapping[str, Level], note: Note, timeout_s: float) -> Lesson:
        """See `Learner`."""
        run = self._run(factors)
        started = time.process_time()
        trained = train(
            run.network,
            run.training,
            run.validation,
            run.recipe,
            seed=run.seed,
            note=note,
            points=run.points,
            switch=run.switch,
            timeout_s=timeout_s,
        )
        return self._lesson(factors, run, trained, time.process_time() - started)

    def together_key(self, factors: Mapping[str, Level]) -> str | None:
        """See `GroupLearner`: trials that differ in chance or noise only. Where some switch, each is trained
        alone, those that never do too: until they switch they must be the same to the bit."""
        settings, recipe, _ = self._solved(factors)
        if settings.trunk_steps is not None or settings.switch or not can_train_together(self.network(settings), recipe):
            return None
        noise = ("seed", "label_noise", "feature_noise", "corruption", "unique_share")
        free = {name: self.kind.model_fields[name].default for name in noise if name in factors}
        return content_id("together", settings.model_copy(update=free).model_dump())

    def learn_together(
        self, trials: Sequence[Mapping[str, Level]], notes: Sequence[Note], device: torch.device, timeout_s: float
    ) -> list[Lesson | DivergedError]:
        """See `GroupLearner`."""
        runs = [self._run(factors) for factors in trials]
        started = time.perf_counter()
        pupils = [Pupil(run.network, run.training, run.validation, run.seed, note) for run, note in zip(runs, notes, strict=True)]
        ended = train_together(pupils, runs[0].recipe, device=device, points=runs[0].points, timeout_s=timeout_s)
        share_s = (time.perf_counter() - started) / len(runs)
        return [
            one if isinstance(one, DivergedError) else self._lesson(factors, run, one, share_s)
            for factors, run, one in zip(trials, runs, ended, strict=True)
        ]

    def learn_branches(
        self, trials: Sequence[Mapping[str, Level]], notes: Sequence[Note], timeout_s: float
    ) -> list[Lesson | DivergedError | TimedOutError]:
        """See `TrunkLearner`."""
        first = self._run(trials[0])
        solved = [self._solved(factors)[:2] for factors in trials]
        branches = [
            Branch(recipe, _points(settings, recipe, len(first.training)), note)
            for (settings, recipe), note in zip(solved, notes, strict=True)
        ]
        leaves = train_branches(first.network, first.training, first.validation, branches, seed=first.seed, timeout_s=timeout_s)
        return [
            self._lesson(factors, replace(first, settings=settings, recipe=recipe, network=leaf.network), leaf.trained, leaf.cpu_s)
            if isinstance(leaf, Leaf)
            else leaf
            for factors, (settings, recipe), leaf in zip(trials, solved, leaves, strict=True)
        ]

    def _run(self, factors: Mapping[str, Level]) -> _Run:
        """All that a trial's training needs."""
        import torch

        settings, recipe, sizes = self._solved(factors)
        training, validation, test = self.data(settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed_for("weights", settings))
            network = self.network(settings)
        points = _points(settings, recipe, len(training))
        later = self._later(settings, recipe, sizes)
        switch = None if later is None else Switch(later.step, self.data(later.settings)[0], later.recipe)
        return _Run(settings, network, training, validation, test, recipe, sizes, self.seed_for("order", settings), points, switch)

    def _lesson(self, factors: Mapping[str, Level], run: _Run, trained: Trained, training_s: float) -> Lesson:
        """What came of a trial, from its trained network."""
        final = evaluate(run.network.cpu(), run.test)
        counted = self._counted(run.settings, run.recipe, run.sizes, trained.steps)
        outcomes = {
            "loss": final.loss,
            "log10_loss": math.log10(max(final.loss, sys.float_info.min)),
            "accuracy": final.accuracy,
            "error": 1 - final.accuracy,
            "log10_error": math.log10(max(1 - final.accuracy, 0.5 / (len(run.test) * run.sizes.positions))),  # less cannot be told
            "train_loss": trained.train.loss,
            "train_accuracy": trained.train.accuracy,
            "validation_loss": trained.validation.loss,
            "validation_accuracy": trained.validation.accuracy,
            **counted,
            "is_stopped_early": float(trained.is_stopped_early),
            "training_s": training_s,
        }
        measured, missing = examine(run.network, self.capabilities, self.exam(run.settings, run.test, final))
        realised = dict(self.plan(factors).realised)
        made = {"steps": trained.steps, "epochs": counted["epochs_seen"], "training_flops": float(counted["training_flops"])}
        return Lesson({**outcomes, **measured}, {name: made.get(name, level) for name, level in realised.items()}, missing)

    def _counted(self, settings: Settings, recipe: Recipe, sizes: Sizes, steps: int) -> dict[str, float]:
        """Outcomes of a run of so many steps that need no training to be known."""
        seen, epochs = self._seen(settings, recipe, self._later(settings, recipe, sizes), steps)
        return {
            "parameters": sizes.parameters,
            "non_embedding_parameters": sizes.non_embedding_parameters,
            "flops": sizes.flops,
            "training_flops": seen * sizes.training_flops,
            "chinchilla_flops": sizes.chinchilla_flops(seen),
            "training_memory_bytes": sizes.memory_bytes(recipe.batch_size),
            "steps": steps,
            "examples_seen": seen,
            "epochs_seen": epochs,
            "learning_rate": recipe.learning_rate,
            **self.further(settings, seen),
        }

    def seed_for(self, purpose: str, settings: LearnerSettings) -> int:
        """A seed of 63 bits: within a block (one `seed`) all treatments, and all workloads, share their chance."""
        return seed_of(purpose, settings.seed)

    def _of_trial(self, factors: Mapping[str, Level]) -> Settings:
        """The settings with a trial's levels in their place."""
        return parse_settings(self.kind, self.name, {**self.settings.model_dump(), **_one_length(factors)})

    def _solved(self, factors: Mapping[str, Level]) -> tuple[Settings, Recipe, Sizes]:
        """A trial's settings with its width solved for, its recipe with its steps solved for, and the sizes of its network."""
        settings = self._of_trial(factors)
        if settings.parameters is not None:
            settings = settings.model_copy(update={"width": self._width(settings)})
        sizes = self.sizes(settings)
        return settings, self._recipe(settings, sizes), sizes

    def _check_switch(self) -> None:
        switch = self.settings.switch or {}
        for name in switch:
            if name not in self.switchable:
                expected = f"switch must name settings that can change while a network trains: {sorted(self.switchable)}"
                raise WorkloadError(expected, repr(name), "remove it from workload.settings.switch")
        parse_settings(self.kind, self.name, {**self.settings.model_dump(), **switch})

    def _later(self, settings: Settings, recipe: Recipe, sizes: Sizes) -> _Later | None:
        """What a trial switches to, and when; None where it never does."""
        if settings.switched_at >= NEVER:
            return None
        switch, step = settings.switch or {}, switch_step(settings.switched_at, recipe.steps)
        for name in ("batch_size", "n_train"):
            if name in switch and settings.steps is None:
                raise WorkloadError(f"a trial that switches {name} must say how long it trains by steps", "no steps", "set steps")
        if not 0 < step < recipe.steps:
            expected = f"a switch at {settings.switched_at:g} of the training must fall between two of its steps"
            raise WorkloadError(expected, f"{recipe.steps} steps", f"train longer or choose another {SWITCHED_AT}")
        changed = parse_settings(self.kind, self.name, {**settings.model_dump(), **switch})
        return _Later(step, changed, self._recipe(changed, sizes))

    def _seen(self, settings: Settings, recipe: Recipe, later: _Later | None, steps: int) -> tuple[int, float]:
        """Examples and epochs of a run of so many steps."""
        before = steps if later is None else min(steps, later.step)
        seen = before * recipe.batch_size
        epochs = seen / self._examples(settings)
        if later is not None:
            more = (steps - before) * later.recipe.batch_size
            seen, epochs = seen + more, epochs + more / self._examples(later.settings)
        return seen, epochs

    def sizes(self, settings: Settings) -> Sizes:
        """Sizes of the settings' network, measured once for each shape."""
        # nothing else can matter to a shape: how long to train, on what and by which chance
        irrelevant = dict.fromkeys(("parameters", "n_train", "switch", "trunk_steps", *LENGTHS)) | {
            "steps": 1,
            "seed": 0,
            "learning_rate": 1.0,
        }
        irrelevant[SWITCHED_AT] = NEVER
        return self._sizes(settings.model_copy(update=irrelevant))

    @lru_cache(maxsize=4096)  # noqa: B019 - as long as the workload lives
    def _sizes(self, settings: Settings) -> Sizes:
        return measure_sizes(lambda: self.network(settings), self.example(settings), self.positions(settings))

    def _width(self, settings: Settings) -> int:
        """The width whose number of parameters is nearest to the one that was asked for."""
        target = settings.parameters or 0

        def parameters(width: int) -> int:
            return self.sizes(settings.model_copy(update={"width": width})).parameters

        step = self.width_step(settings)
        low, high = 1, 2  # in such steps
        while high * step < MOST_WIDTH and parameters(high * step) < target:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if parameters(middle * step) < target else (low, middle)
        best = min((low * step, high * step), key=lambda width: abs(parameters(width) - target))
        if abs(parameters(best) - target) > TOLERANCE * target:
            expected = f"some width must have {target:,} parameters within {TOLERANCE:.0%} at depth {settings.depth}"
            raise WorkloadError(expected, f"{parameters(best):,} at width {best}", "choose another number of parameters or depth")
        return best

    def _recipe(self, settings: Settings, sizes: Sizes) -> Recipe:
        examples, batch_size = self._examples(settings), settings.batch_size
        if settings.steps is not None:
            steps = settings.steps
        elif settings.epochs is not None:
            steps = max(1, round(settings.epochs * examples / batch_size))
        else:
            per_step = batch_size * sizes.training_flops
            target = settings.training_flops or 0.0
            steps = max(1, round(target / per_step))
            if abs(steps * per_step - target) > TOLERANCE * target:
                expected = f"some number of steps must take {target:.3g} training_flops within {TOLERANCE:.0%}"
                got = f"{per_step:.3g} per step at width {settings.width}, depth {settings.depth}, batch size {batch_size}"
                raise WorkloadError(expected, got, "raise training_flops, or lower the width, depth or batch size")
        rate = settings.learning_rate
        if settings.learning_rate_rule == "inverse_width":
            rate *= settings.reference_width / settings.width
        recipe = Recipe(
            steps=steps,
            batch_size=batch_size,
            learning_rate=min(rate, settings.most_learning_rate),
            optimiser=settings.optimiser,
            schedule=settings.schedule,
            warmup=settings.warmup,
            decay=settings.decay,
            weight_decay=settings.weight_decay,
            precision=settings.precision,
            clip=settings.clip,
            patience=settings.patience,
            trunk_steps=settings.trunk_steps,
        )
        trunk = settings.trunk_steps
        if trunk is not None and not settings.warmup * trunk <= recipe.branch_step <= trunk:
            expected = f"a branch must leave its trunk of {trunk:,} steps after the warm-up and before its end"
            raise WorkloadError(expected, f"a decay after {recipe.branch_step:,} of {steps:,} steps", "change steps, warmup or trunk_steps")
        return recipe

    def _examples(self, settings: Settings) -> int:
        """Training examples of a trial, from what `n_train` counts."""
        size, what = self.counted(settings)
        there = self.available(settings) * size
        asked = settings.n_train or there
        if asked > there:
            raise WorkloadError(f"n_train must be at most the {there:,} {what} that there are", f"{asked:,}", "lower n_train")
        if asked < size:
            raise WorkloadError(f"n_train must be at least the {size:,} {what} of one example", f"{asked:,}", "raise n_train")
        return asked // size


def _one_length(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same, and where it says how long to train, the other ways of saying so are off."""
    others = dict.fromkeys(LENGTHS) if set(LENGTHS) & set(given) else {}
    return {**others, **given}


def _points(settings: LearnerSettings, recipe: Recipe, examples: int) -> tuple[int, ...]:
    usual = log_spaced(recipe.steps) if settings.curve == "log_spaced" else _after_epochs(recipe, examples)
    return tuple(sorted({*usual, *evenly_spaced(recipe.steps)})) if settings.switch else usual


def _after_epochs(recipe: Recipe, examples: int) -> tuple[int, ...]:
    per_epoch = examples / recipe.batch_size
    epochs = math.floor(recipe.steps / per_epoch)
    return (*(math.ceil(per_epoch * number) for number in range(1, epochs + 1)), recipe.steps)
