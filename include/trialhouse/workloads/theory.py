"""Learners whose rates theory gives: excess risk falls as a known power of the number of examples, which is what fitted laws and
estimated effects can be held against.

| learner | excess risk | `rate` | source |
|---|---|---|---|
| `nearest_neighbour` | n^(-2/d) | 2/d | one neighbour, no noise, a Lipschitz function: Sharma & Kaplan 2020 |
| `kernel_smoother` | n^(-2s/(2s+d)) | 2s/(2s+d) | Nadaraya-Watson at the bandwidth n^(-1/(2s+d)), an s-smooth function: Stone 1982 |
| `least_squares` | noise^2 d/(n-d-1) | 1 | exact for Gaussian inputs |
| `online_sgd` | noise^2 d/t | 1 | one pass with steps of 1/t, strongly convex: Bottou & Le Cun 2004 |

Inputs are synthetic. The first two learn on the torus [0, 1)^d, which has no edge where a rate would be another; the
other two learn a linear function of Gaussian inputs. Rates hold as n grows: the smaller n and the larger d, the further off.
What all but the kernel smoother come to at any n, and so the slope between two, `expected_risk` says.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from trialhouse.errors import WorkloadError
from trialhouse.learning.engine import Note, TimedOutError
from trialhouse.studies.designs import WorkloadIdentity
from trialhouse.studies.spec import Factor, Level
from trialhouse.workloads.parsing import check_settings, parse_settings
from trialhouse.workloads.protocol import Lesson, Plan

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

BANDWIDTH = 0.35
"""Of the kernel smoother at n = 1, as a share of the torus. Any constant has the same rate; of .25, .35 and .5
this one's slopes from 100 to 10,000 examples are nearest to it in one to four dimensions."""
OCTAVES, WAVES = 10, 8
"""Octaves of the s-smooth function, and waves in each."""
SLOWEST_STEP = 2
"""The steps of online SGD are 1/(t + d + this): steps beyond 1/(d + 2) would diverge."""


class TheorySettings(BaseModel):
    """Settings of the workload, each of which can be a factor."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    learner: Literal["nearest_neighbour", "kernel_smoother", "least_squares", "online_sgd"] = "least_squares"
    """What learns."""
    seed: int = Field(0, ge=0)
    """Of functions and examples. Within a seed every n meets the same functions, with examples of its own."""
    n_train: int = Field(1000, ge=2, le=10_000_000)
    """Examples; online SGD makes one step with each."""
    dimension: int = Field(2, ge=1, le=100)
    """Of the inputs: d."""
    smoothness: float = Field(1.0, gt=0, lt=2)
    """Of the function that the kernel smoother learns: s, below the order of its kernel."""
    noise: float | None = Field(None, ge=0)
    """Deviation of the targets' noise. None: 1, but 0 for the nearest neighbour, whose risk has noise^2 as its floor."""
    repetitions: int = Field(16, ge=1, le=10_000)
    """Functions and sets of examples that are drawn in one trial; outcomes are means over them."""
    test_points: int = Field(500, ge=1)
    """Inputs at which the function is compared with what was learned; the linear learners need none."""


class Theory:
    """See the module; a `trialhouse.workloads.protocol.Learner`.

    Outcomes: `excess_risk`, the mean squared distance to the noiseless truth; its logarithm to base 10, in which a power law is a
    line and a contrast of n is minus the exponent times the decades; the exponent `rate` that theory gives; `training_flops`,
    roughly; `training_s`.
    """

    name = "theory"
    version = "2"
    outcomes: ClassVar[frozenset[str]] = frozenset({"excess_risk", "log10_excess_risk", "rate", "training_flops", "training_s"})

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = parse_settings(TheorySettings, self.name, settings)

    def check(self, factors: Sequence[Factor]) -> None:
        """Refuse factors that are no settings, and levels that these cannot take."""
        check_settings(TheorySettings, self.name, factors, self._of_trial)

    def identity(self) -> WorkloadIdentity:
        """Settings with all defaults; there are no data but what a seed gives."""
        return WorkloadIdentity(self.name, self.version, self.settings.model_dump(), "synthetic", (), tuple(TheorySettings.model_fields))

    def plan(self, factors: Mapping[str, Level]) -> Plan:
        """See `Learner`."""
        settings = self._of_trial(factors)
        flops = self._flops(settings)
        quantities = {name: getattr(settings, name) for name in ("n_train", "dimension", "smoothness", "repetitions")}
        return Plan(dict(factors), flops, {**quantities, "training_flops": flops})

    def learn(self, factors: Mapping[str, Level], note: Note, timeout_s: float) -> Lesson:
        """See `Learner`; there is no curve, a trial is one number of examples."""
        settings = self._of_trial(factors)
        started, ends_at, risks = time.process_time(), time.monotonic() + timeout_s, []
        for repetition in range(settings.repetitions):
            functions = np.random.default_rng([settings.seed, repetition])
            examples = np.random.default_rng([settings.seed, repetition, settings.n_train])
            risks.append(_LEARNERS[settings.learner](settings, functions, examples))
            if time.monotonic() > ends_at:
                raise TimedOutError(repetition, timeout_s)
        risk = float(np.mean(risks))
        outcomes = {
            "excess_risk": risk,
            "log10_excess_risk": math.log10(risk),
            "rate": rate(settings),
            "training_flops": self._flops(settings),
            "training_s": time.process_time() - started,
        }
        return Lesson(outcomes, dict(factors))

    def _of_trial(self, factors: Mapping[str, Level]) -> TheorySettings:
        return parse_settings(TheorySettings, self.name, {**self.settings.model_dump(), **factors})

    def _flops(self, settings: TheorySettings) -> float:
        n, d = settings.n_train, settings.dimension
        if settings.learner == "least_squares" and n < d + 2:
            raise WorkloadError("n_train of least squares must be at least dimension + 2", f"{n} at dimension {d}", "raise n_train")
        each = {
            "nearest_neighbour": (n + settings.test_points) * d * math.log2(n),
            "kernel_smoother": 4.0 * settings.test_points * n * (d + 1),
            "least_squares": 2.0 * n * d**2,
            "online_sgd": 6.0 * n * d,
        }
        return settings.repetitions * each[settings.learner]


def rate(settings: TheorySettings) -> float:
    """The exponent that theory gives: see the module."""
    d, s = settings.dimension, settings.smoothness
    return {"nearest_neighbour": 2 / d, "kernel_smoother": 2 * s / (2 * s + d)}.get(settings.learner, 1.0)


def expected_risk(settings: TheorySettings) -> float | None:
    """The mean of the excess risk over functions and examples, noise included; None where there is no formula.

    Of online SGD by its recursion, since E[(x x')^2] = (d + 2) I for normal inputs. Of the nearest neighbour without wrapping round
    the torus, so for n from about 20 on: the target's mean squared change over a distance r in a random direction of d is that of a
    cosine, (1 - 0F1(d/2, -(pi r)^2)) / (2 pi)^2, averaged over the distance to the nearest of n uniform points, which exceeds r with
    probability (1 - V r^d)^n, V being the volume of the unit ball.
    """
    from scipy.integrate import quad
    from scipy.special import hyp0f1

    n, d = settings.n_train, settings.dimension
    variance = (1.0 if settings.noise is None else settings.noise) ** 2
    if settings.learner == "least_squares":
        return variance * d / (n - d - 1)
    if settings.learner == "online_sgd":
        risk = 1.0
        for step in range(1, n + 1):
            size = 1 / (step + d + SLOWEST_STEP)
            risk = risk * (1 - 2 * size + size**2 * (d + 2)) + variance * size**2 * d
        return risk
    if settings.learner != "nearest_neighbour":
        return None
    ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)

    def change(exceeded: float) -> float:
        distance = ((1 - exceeded ** (1 / n)) / ball) ** (1 / d)
        return float(1 - hyp0f1(d / 2, -((math.pi * distance) ** 2))) / (2 * math.pi) ** 2

    return float(quad(change, 0, 1, epsabs=1e-12)[0]) + (settings.noise or 0.0) ** 2


def _nearest_neighbour(settings: TheorySettings, functions: np.random.Generator, examples: np.random.Generator) -> float:
    """One-nearest-neighbour regression of a function with slopes of at most one in every direction."""
    from scipy.spatial import KDTree

    n, d = settings.n_train, settings.dimension
    phases = functions.uniform(0, 2 * math.pi, d)

    def truth(points: Array) -> Array:
        return np.cos(2 * math.pi * points + phases).sum(axis=1) / (2 * math.pi * math.sqrt(d))  # type: ignore[no-any-return]

    known, asked = examples.random((n, d)), examples.random((settings.test_points, d))
    targets = truth(known) + (settings.noise or 0.0) * examples.standard_normal(n)
    _, nearest = KDTree(known, boxsize=1.0).query(asked)
    return float(np.mean((targets[nearest] - truth(asked)) ** 2))


def _kernel_smoother(settings: TheorySettings, functions: np.random.Generator, examples: np.random.Generator) -> float:
    """Nadaraya-Watson with the normal distribution's like on a circle (von Mises) in each direction, a kernel of order 2."""
    n, d, s = settings.n_train, settings.dimension, settings.smoothness
    # waves of all lengths, whose heights fall as their length to the power s: smooth to the degree s everywhere (Weierstrass)
    directions = functions.standard_normal((OCTAVES * WAVES, d))
    lengths = 2.0 ** (np.repeat(np.arange(OCTAVES), WAVES) + functions.random(OCTAVES * WAVES))
    waves = np.round(directions / np.linalg.norm(directions, axis=1, keepdims=True) * lengths[:, None])
    waves[~waves.any(axis=1), 0] = 1.0
    heights = np.linalg.norm(waves, axis=1) ** -s / math.sqrt(WAVES)
    phases = functions.uniform(0, 2 * math.pi, OCTAVES * WAVES)

    def truth(points: Array) -> Array:
        return np.cos(2 * math.pi * points @ waves.T + phases) @ heights  # type: ignore[no-any-return]

    known, asked = examples.random((n, d)), examples.random((settings.test_points, d))
    targets = truth(known) + (1.0 if settings.noise is None else settings.noise) * examples.standard_normal(n)
    bandwidth = 2 * math.pi * BANDWIDTH * n ** (-1 / (2 * s + d))
    weights = _on_circles(asked) @ _on_circles(known).T  # cosines of the distances, summed over directions
    weights -= weights.max(axis=1, keepdims=True)
    weights /= bandwidth**2
    np.exp(weights, out=weights)
    return float(np.mean((weights @ targets / weights.sum(axis=1) - truth(asked)) ** 2))


def _on_circles(points: Array) -> Array:
    return np.concatenate([np.cos(2 * math.pi * points), np.sin(2 * math.pi * points)], axis=1)


def _least_squares(settings: TheorySettings, functions: np.random.Generator, examples: np.random.Generator) -> float:
    """Ordinary least squares; with standard normal inputs the excess risk is the squared error of the coefficients."""
    inputs, targets, truth = _linear(settings, functions, examples)
    found = np.linalg.lstsq(inputs, targets)[0]
    return float(np.sum((found - truth) ** 2))


def _online_sgd(settings: TheorySettings, functions: np.random.Generator, examples: np.random.Generator) -> float:
    """One step for each example, from zero, of half the squared error, whose curvature is one in every direction."""
    inputs, targets, truth = _linear(settings, functions, examples)
    found, slowest = np.zeros(settings.dimension), settings.dimension + SLOWEST_STEP
    for step, (row, target) in enumerate(zip(inputs, targets, strict=True), start=1):
        found += (target - row @ found) / (step + slowest) * row
    return float(np.sum((found - truth) ** 2))


def _linear(settings: TheorySettings, functions: np.random.Generator, examples: np.random.Generator) -> tuple[Array, Array, Array]:
    """Inputs (n, d), targets (n,), and the coefficients (d,) of length one."""
    truth = functions.standard_normal(settings.dimension)
    truth /= np.linalg.norm(truth)
    inputs = examples.standard_normal((settings.n_train, settings.dimension))
    noise = 1.0 if settings.noise is None else settings.noise
    return inputs, inputs @ truth + noise * examples.standard_normal(settings.n_train), truth


_LEARNERS: dict[str, Callable[[TheorySettings, np.random.Generator, np.random.Generator], float]] = {
    "nearest_neighbour": _nearest_neighbour,
    "kernel_smoother": _kernel_smoother,
    "least_squares": _least_squares,
    "online_sgd": _online_sgd,
}
