"""What a scaling law is made of: parameters with a meaning, and a curve with its analytic derivatives.

A form works in coordinates in which its parameters are free: the logarithm of what must be positive, the logit of what lies
between 0 and 1, and the rest as it is. Everything is vectorised over laws (leading axis) and points (last axis), so that
thousands of bootstrap draws are one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trialhouse.errors import LawError

Array = NDArray[np.float64]
Points = Mapping[str, Array]
"""Role of a column -> the logarithm of its values, length n."""
Curve = Callable[[Array, Points], tuple[Array, Array]]
"""Coordinates (b x p), points -> the curve on the form's scale (b x n) and its derivatives in the coordinates (b x p x n)."""
Grid = Callable[[Points, Array], Array]
"""Points, outcome (n) -> starting coordinates (s x p), most of them poor."""

ROLES = {
    "size": "size of the network (parameters, width, features)",
    "data": "amount of training data, repetitions included (examples, tokens, steps)",
    "width": "width of the network",
    "depth": "depth of the network",
    "steps": "optimiser steps, all of one batch size",
    "unique": "amount of distinct training data; `data` counts repetitions too",
}
Link = Literal["log", "logit", "identity"]


@dataclass(frozen=True)
class Parameter:
    """One unknown of a form.

    Parameters
    ----------
    name, meaning
        As in the formula, and in words.
    unit
        Of its value; an exponent has none.
    link
        How its coordinate is made: `log` for what must be positive, `logit` for a share, else `identity`.
    """

    name: str
    meaning: str
    unit: str = "none"
    link: Link = "identity"

    @property
    def is_exponent(self) -> bool:
        """Whether it says how fast the curve falls."""
        return self.link == "identity" and "exponent" in self.meaning

    def natural(self, coordinate: Array) -> Array:
        """Values from coordinates."""
        if self.link == "log":
            return np.exp(np.clip(coordinate, -745, 709))
        return 1 / (1 + np.exp(-np.clip(coordinate, -700, 700))) if self.link == "logit" else coordinate

    def slope(self, coordinate: float) -> float:
        """Change of the value per unit of its coordinate."""
        value = float(self.natural(np.asarray(coordinate)))
        return {"log": value, "logit": value * (1 - value), "identity": 1.0}[self.link]

    def coordinate(self, value: float) -> float:
        """The coordinate of a value; minus infinity for a zero that is the limit of positive numbers."""
        if not np.isfinite(value):
            raise LawError(f"{self.name} must be a number", value, "fix its value")
        if self.link == "identity":
            return value
        if value < 0 or (self.link == "logit" and value >= 1):
            raise LawError(f"{self.name} must be {'in [0, 1)' if self.link == 'logit' else 'at least 0'}", value, "fix its value")
        if value == 0:
            return -np.inf
        return float(np.log(value) if self.link == "log" else np.log(value / (1 - value)))


@dataclass(frozen=True)
class Form:
    """A family of curves.

    Parameters
    ----------
    name, formula, source
        What to ask for, the equation, and where it is from.
    applies
        When it is the right family, and what to beware of.
    roles
        Keys of `ROLES`; `("size|data",)` is a form of one factor, whichever it is.
    parameters
        In the order of the coordinates.
    curve, grid
        See `Curve` and `Grid`.
    is_log
        Whether points are compared with the curve by their logarithms (positive losses) or as they are (scores).
    is_monotone
        Whether no member of the family has a minimum or a peak in between.
    has_best_split
        Whether its factors limit each other, so that a budget is best split between them.
    fixed
        Parameters that are known, with their values; they are not among `parameters`.
    """

    name: str
    formula: str
    source: str
    applies: str
    roles: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    curve: Curve
    grid: Grid
    is_log: bool = True
    is_monotone: bool = True
    has_best_split: bool = True
    fixed: tuple[tuple[str, float], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def factors(self) -> int:
        """How many columns the form needs."""
        return len(self.roles)

    def on_scale(self, outcome: Array) -> Array:
        """The outcome as it is compared with the curve."""
        return np.log(outcome) if self.is_log else outcome

    def natural(self, coordinates: Array) -> Array:
        """Values of the parameters (b x p) from coordinates (b x p)."""
        columns = [parameter.natural(coordinates[..., k]) for k, parameter in enumerate(self.parameters)]
        return np.stack(columns, axis=-1)

    def coordinates(self, values: Mapping[str, float]) -> Array:
        """Coordinates (p) of named values."""
        return np.array([parameter.coordinate(values[parameter.name]) for parameter in self.parameters])

    def predict(self, coordinates: Array, points: Points) -> Array:
        """The outcome (b x n) that laws (b x p) give at points."""
        level, _ = self.curve(np.atleast_2d(coordinates), points)
        return np.exp(level) if self.is_log else level

    def with_fixed(self, values: Mapping[str, float]) -> Form:
        """The same form with some parameters known: `E = 0` leaves out the irreducible loss."""
        if not values:
            return self
        if unknown := [name for name in values if name not in self.names]:
            raise LawError(f"a fixed parameter of {self.name} must be one of {', '.join(self.names)}", repr(unknown[0]), "correct the name")
        free = [k for k, name in enumerate(self.names) if name not in values]
        if not free:
            raise LawError(f"at least one parameter of {self.name} must be free", "all fixed", "leave one of them out")
        known = {k: self.parameters[k].coordinate(values[name]) for k, name in enumerate(self.names) if name in values}

        def whole(coordinates: Array) -> Array:
            full = np.empty((*coordinates.shape[:-1], len(self.parameters)))
            full[..., free] = coordinates
            for k, value in known.items():
                full[..., k] = value
            return full

        def curve(coordinates: Array, points: Points) -> tuple[Array, Array]:
            level, slopes = self.curve(whole(coordinates), points)
            return level, slopes[..., free, :]

        return replace(
            self,
            parameters=tuple(self.parameters[k] for k in free),
            curve=curve,
            grid=lambda points, outcome: np.unique(self.grid(points, outcome)[:, free].round(12), axis=0),
            fixed=(*self.fixed, *values.items()),
        )


def sum_of(*terms: Callable[[Array, Points], tuple[Array, Mapping[int, Array]]]) -> Curve:
    """The logarithm of a sum of positive terms.

    Each term gives its logarithm (b x n) and, by number of the parameter, the derivatives of that logarithm.
    """

    def curve(coordinates: Array, points: Points) -> tuple[Array, Array]:
        found = [term(coordinates, points) for term in terms]
        logs = np.stack(np.broadcast_arrays(*(log for log, _ in found)))
        top = logs.max(axis=0)
        shares = np.exp(logs - top)
        total = shares.sum(axis=0)
        shares /= total
        slopes = np.zeros((*total.shape[:-1], coordinates.shape[-1], total.shape[-1]))
        for share, (_, derivatives) in zip(shares, found, strict=True):
            for k, derivative in derivatives.items():
                slopes[..., k, :] += share * derivative
        return top + np.log(total), slopes

    return curve
