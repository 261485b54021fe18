"""Data whose causal truth is known: the generators of the truth bench, with all their constants.

Each scenario makes one data set per seed (a `Draw`), with the true value of what is asked. A *sound* scenario meets the
graph, the overlap and the recipe's assumptions; the others break one of them, and a causal engine ought to notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

EFFECT = 0.5
"""Of one unit of treatment on the outcome, in all scenarios but the null."""
CONFOUNDING = (0.6, 0.4)
"""Coefficients of the two confounders in the treatment, and in the outcome."""
INTRACLASS_CORRELATION = 0.5
HIDDEN_PARTIAL_R2 = 0.2
"""Share of what is left of treatment and of outcome that the omitted confounder explains."""
INSTRUMENT_STRENGTH = 1.5
"""Coefficient of a standard normal instrument in the treatment where noise has variance 1: F is about 2 n. With an F of 20 no
test could tell: Durbin, Wu and Hausman's sees a hidden cause of a fifth of both in a quarter of such studies at F = 26, 95% at 260."""
REVERSED = 0.5
"""Effect of the outcome on the treatment under reverse causation."""
WEAK_F = 3.0
EXTREME_SHARE = 1 / 3
"""Units whose propensity lies beyond .02-.98 under poor overlap."""


@dataclass(frozen=True)
class Draw:
    """One data set.

    Parameters
    ----------
    frame
        A row per unit.
    graph
        Causal graph as YAML text, with roles and assignment.
    truth
        Average effect of one unit of treatment.
    cluster, adjustment
        As `estimate_table` takes them.
    effects
        True effect of each unit, where effects differ.
    """

    frame: pd.DataFrame
    graph: str
    truth: float
    cluster: str | None = None
    adjustment: tuple[str, ...] | str = "auto"
    effects: Array | None = None


@dataclass(frozen=True)
class Scenario:
    """A kind of data.

    Parameters
    ----------
    name
        Of the scenario.
    make
        Draws n rows.
    sizes
        Rows; for clustered data `(clusters, members)`.
    is_sound
        Whether its graph, overlap and the recipes' assumptions hold.
    what
        In words.
    """

    name: str
    make: Callable[[np.random.Generator, Any], Draw]
    sizes: tuple[Any, ...]
    is_sound: bool
    what: str


def randomised(rng: np.random.Generator, n: int) -> Draw:
    """Half of the units treated at random; the noise of the treated is three times that of the others, and grows with w."""
    t = rng.permutation(np.arange(n) % 2).astype(float)
    w = rng.normal(size=n)
    y = EFFECT * t + 0.5 * w + (0.5 + t + 0.3 * np.abs(w)) * rng.normal(size=n)
    return Draw(pd.DataFrame({"w": w, "t": t, "y": y}), _graph("randomised", "w -> y", "t -> y"), EFFECT)


def clustered(rng: np.random.Generator, size: tuple[int, int], *, is_told: bool = True) -> Draw:
    """Configurations are treated at random, half of them; their members (seeds) share half of the noise's variance."""
    groups, members = size
    unit = np.repeat(np.arange(groups), members)
    t = rng.permutation(np.arange(groups) % 2).astype(float)[unit]
    shared = np.sqrt(INTRACLASS_CORRELATION) * rng.normal(size=groups)[unit]
    y = EFFECT * t + shared + np.sqrt(1 - INTRACLASS_CORRELATION) * rng.normal(size=groups * members)
    frame = pd.DataFrame({"t": t, "y": y})
    if is_told:
        frame["unit"] = [f"unit {number}" for number in unit]
    return Draw(frame, _graph("randomised", "t -> y"), EFFECT, cluster="unit" if is_told else None)


def linear_confounding(rng: np.random.Generator, n: int, *, effect: float = EFFECT) -> Draw:
    """Two confounders, both measured, all lines straight."""
    w = rng.normal(size=(n, 2))
    common = w @ CONFOUNDING
    t = common + rng.normal(size=n)
    y = effect * t + common + rng.normal(size=n)
    return Draw(pd.DataFrame({"w1": w[:, 0], "w2": w[:, 1], "t": t, "y": y}), _graph("observational", *_CONFOUNDED), effect)


def null_effect(rng: np.random.Generator, n: int) -> Draw:
    """Confounded likewise, and the treatment does nothing."""
    return linear_confounding(rng, n, effect=0.0)


def nonlinear_confounding(rng: np.random.Generator, n: int, *, shape: str) -> Draw:
    """The same two confounders, bent: the line through them leaves a bias."""
    w = rng.normal(size=(n, 2))
    common = SHAPES[shape](w[:, 0], w[:, 1])
    t = common + rng.normal(size=n)
    y = EFFECT * t + 2 * common + rng.normal(size=n)
    return Draw(pd.DataFrame({"w1": w[:, 0], "w2": w[:, 1], "t": t, "y": y}), _graph("observational", *_CONFOUNDED), EFFECT)


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "tanh": lambda a, b: 1.5 * np.tanh(2 * a) + np.tanh(a * b),
    "max_and_bump": lambda a, b: np.maximum(a, b) + 1.5 * np.exp(-2 * (a**2 + b**2)),
    "sin_and_step": lambda a, b: np.sin(2 * (a + b)) + (a > 0.5),
}
"""Non-linear confounding, as a function of two standard normal columns."""


def with_instrument(rng: np.random.Generator, n: int, *, fault: str | None) -> Draw:
    """The treatment assigned (z) is not quite the treatment taken (t). Perhaps a hidden cause of both, or the outcome, moved it."""
    w, z, u, of_t, of_y = rng.normal(size=(5, n))
    odds = HIDDEN_PARTIAL_R2 / (1 - HIDDEN_PARTIAL_R2)
    # Partial R2 as sensitivity analysis has it: with the treatment given w; with the outcome given w and the treatment, of
    # which the hidden cause is then known to a share of 1 - HIDDEN_PARTIAL_R2 only.
    is_hidden = float(fault == "omitted_confounder")
    into_t = is_hidden * np.sqrt(odds * (INSTRUMENT_STRENGTH**2 + 1))
    into_y = is_hidden * np.sqrt(odds / (1 - HIDDEN_PARTIAL_R2))
    if fault == "reverse_causation":
        y = 0.5 * w + of_y
        t = INSTRUMENT_STRENGTH * z + 0.5 * w + REVERSED * y + of_t
        truth = 0.0
    else:
        t = INSTRUMENT_STRENGTH * z + 0.5 * w + into_t * u + of_t
        y = EFFECT * t + 0.5 * w + into_y * u + of_y
        truth = EFFECT
    graph = _graph("observational", "z -> t", "w -> t", "w -> y", "t -> y", roles={"instrument": ["z"]})
    return Draw(pd.DataFrame({"w": w, "z": z, "t": t, "y": y}), graph, truth)


def bad_control(rng: np.random.Generator, n: int, *, kind: str) -> Draw:
    """Somebody asks to adjust for what the treatment causes: a mediator, or a collider."""
    w, of_t, of_m, of_y = rng.normal(size=(4, n))
    t = 0.6 * w + of_t
    if kind == "mediator":
        m = 0.7 * t + of_m
        y = EFFECT * t + 0.6 * w + 0.5 * m + of_y
        return Draw(
            _columns(w=w, t=t, m=m, y=y),
            _graph("observational", "w -> t", "w -> y", "t -> m", "m -> y", "t -> y"),
            EFFECT + 0.7 * 0.5,
            adjustment=("w", "m"),
        )
    y = EFFECT * t + 0.6 * w + of_y
    m = 0.7 * t + 0.7 * y + of_m
    return Draw(
        _columns(w=w, t=t, m=m, y=y),
        _graph("observational", "w -> t", "w -> y", "t -> m", "y -> m", "t -> y"),
        EFFECT,
        adjustment=("w", "m"),
    )


def poor_overlap(rng: np.random.Generator, n: int, *, kind: str) -> Draw:
    """A third of the units could hardly have been in the other arm; or none could (the treatment is a function of w)."""
    w = rng.normal(size=n)
    if kind == "deterministic":
        t = (w > 0).astype(float)
    else:
        from scipy.stats import norm

        # Propensity 1/(1 + exp(-slope w)) leaves .02-.98 where |slope w| > logit(.98).
        slope = np.log(0.98 / 0.02) / norm.ppf(1 - EXTREME_SHARE / 2)
        t = (rng.random(n) < 1 / (1 + np.exp(-slope * w))).astype(float)
    y = EFFECT * t + w + rng.normal(size=n)
    return Draw(_columns(w=w, t=t, y=y), _graph("observational", "w -> t", "w -> y", "t -> y"), EFFECT)


def weak_instrument(rng: np.random.Generator, n: int) -> Draw:
    """A hidden confounder, and an instrument with a first-stage F of about 3."""
    z, u, of_t, of_y = rng.normal(size=(4, n))
    strength = np.sqrt(2 * (WEAK_F - 1) / n)
    t = strength * z + u + of_t
    y = EFFECT * t + u + of_y
    return Draw(
        _columns(z=z, t=t, y=y), _graph("observational", "z -> t", "t -> y", "u -> t", "u -> y", roles={"instrument": ["z"]}), EFFECT
    )


def heterogeneous(rng: np.random.Generator, n: int, *, shape: str) -> Draw:
    """The effect depends on x, in a line or by a tree; the treatment (two arms) depends on w and x."""
    x, w = rng.uniform(-1, 1, n), rng.normal(size=n)
    effects = 0.5 + 0.5 * x if shape == "linear" else np.where(x > 0, 1.0, 0.0)
    t = (rng.random(n) < 1 / (1 + np.exp(-0.5 * w - 0.5 * x))).astype(float)
    y = effects * t + 0.5 * w + 0.5 * x + rng.normal(size=n)
    graph = _graph("observational", "w -> t", "w -> y", "x -> t", "x -> y", "t -> y", roles={"effect_modifier": ["x"]})
    return Draw(_columns(x=x, w=w, t=t, y=y), graph, 0.5, effects=effects)


_CONFOUNDED = ("w1 -> t", "w2 -> t", "w1 -> y", "w2 -> y", "t -> y")


def _columns(**columns: Array) -> pd.DataFrame:
    return pd.DataFrame(columns)


def _graph(assignment: str, *edges: str, roles: Mapping[str, list[str]] | None = None) -> str:
    import yaml

    return yaml.safe_dump({"assignment": assignment, "edges": list(edges), **({"roles": dict(roles)} if roles else {})})


def _bind(make: Callable[..., Draw], **constants: Any) -> Callable[[np.random.Generator, Any], Draw]:
    return lambda rng, n: make(rng, n, **constants)


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("randomised", randomised, (12, 36, 100), True, "assigned at random, noise differs between arms and units"),
        Scenario("clustered", clustered, ((6, 6), (12, 3), (20, 5)), True, "configurations assigned at random, seeds within them"),
        Scenario(
            "clustered_untold",
            _bind(clustered, is_told=False),
            ((6, 6), (12, 3), (20, 5)),
            False,
            "the same, and nobody says which rows go together",
        ),
        Scenario("linear_confounding", linear_confounding, (36, 100, 500), True, "two measured confounders, straight lines"),
        *(
            Scenario(
                f"confounding_{shape}",
                _bind(nonlinear_confounding, shape=shape),
                (36, 100, 500),
                False,
                f"two measured confounders, bent ({shape.replace('_', ' ')}): the linear recipe's assumption fails",
            )
            for shape in SHAPES
        ),
        Scenario("sound_instrument", _bind(with_instrument, fault=None), (500,), True, "assigned and taken treatment differ by chance"),
        *(
            Scenario(fault, _bind(with_instrument, fault=fault), (500,), False, f"the same with {fault.replace('_', ' ')}")
            for fault in ("omitted_confounder", "reverse_causation")
        ),
        *(
            Scenario(f"{kind}_as_control", _bind(bad_control, kind=kind), (36, 100, 500), False, f"somebody adjusts for a {kind}")
            for kind in ("mediator", "collider")
        ),
        *(
            Scenario(f"{kind}_overlap", _bind(poor_overlap, kind=kind), (500,), False, what)
            for kind, what in (
                ("thin", "a third of the units has propensities beyond .02-.98"),
                ("deterministic", "the treatment is a function of a covariate"),
            )
        ),
        Scenario("null_effect", null_effect, (36, 500), True, "two measured confounders, no effect"),
        Scenario("weak_instrument", weak_instrument, (200,), True, "a hidden confounder, and an instrument with F about 3"),
        *(
            Scenario(f"heterogeneous_{shape}", _bind(heterogeneous, shape=shape), (500, 5_000), True, f"the effect depends on x ({shape})")
            for shape in ("linear", "tree")
        ),
    )
}
