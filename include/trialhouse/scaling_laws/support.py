"""Where a law's trials are, how far beyond them a question reaches, and how texts such as `data=10x` are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.errors import ForecastError
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Array, Points

FARTHEST = 2.0
"""Factors of ten beyond the trials from which on nothing is forecast, unless asked for."""
NEAR, FAR = 0.05, 1.0
"""Factors of ten up to which a point counts as among the trials, and from which on its forecast is speculation."""
MOST = 12
"""Factors of ten beyond the trials that nobody can ask for more than."""
ROUNDING = 1e-6
"""Factors of ten by which a point inside the hull of the trials can seem to be outside."""
NUMBER = re.compile(r"^([0-9.]+(?:[eE][+-]?[0-9]+)?)([xkMBT]?)$")
MULTIPLES = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
ALONG = 0.95
"""Correlation of logarithms from which on a column goes with another."""
Place = dict[str, float]
"""Column -> value."""


@dataclass(frozen=True)
class Change:
    """What an intervention does to one column: `value` is what it is set to, or a multiple of where it starts."""

    value: float
    is_multiple: bool

    def applied(self, start: float) -> float:
        """The value that it leads to."""
        return start * self.value if self.is_multiple else self.value


@dataclass(frozen=True)
class Reach:
    """How far a place is from the trials, in factors of ten.

    Parameters
    ----------
    by_column
        Column -> beyond its own range; 0 inside.
    together
        Distance to the convex hull of the trials on logarithmic axes: a combination can be far from all of them although
        each of its values is among theirs.
    """

    by_column: Mapping[str, float]
    together: float

    @property
    def word(self) -> str:
        """`within`, `beyond` or `far beyond` the trials."""
        return "within" if self.together <= NEAR else "beyond" if self.together < FAR else "far beyond"

    @property
    def sentence(self) -> str:
        """The same in words."""
        if self.together <= NEAR:
            return "within the range of the trials"
        parts = [f"{_times(10**far)} beyond the trials' {column}" for column, far in self.by_column.items() if far > NEAR]
        if not parts:
            return (
                f"each value is among the trials', but no such combination is: it is {_times(10**self.together)} away from the nearest ones"
            )
        both = f", {_times(10**self.together)} beyond what they cover together" if len(self.by_column) > 1 else ""
        return f"{' and '.join(parts)}{both}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON, in factors of ten."""
        return {"by_column": dict(self.by_column), "together": self.together, "word": self.word, "sentence": self.sentence}


def points_at(law: Law, places: Sequence[Place]) -> Points:
    """Role -> logarithms at places."""
    return {role: np.log(np.array([place[column] for place in places])) for role, column in law.sample.columns.items()}


def reach_of(law: Law, place: Place) -> Reach:
    """How far a place is from the law's trials."""
    from scipy.optimize import nnls

    columns = law.sample.columns
    trials = np.unique(np.stack([law.sample.points[role] for role in columns]), axis=1) / np.log(10)
    where = np.log10([place[column] for column in columns.values()])
    low, high = trials.min(axis=1), trials.max(axis=1)
    beyond = np.maximum(np.maximum(low - where, where - high), 0)
    heavy = 1e4  # weights of the nearest point of the hull sum to one
    weights, _ = nnls(np.vstack([trials - where[:, None], np.full((1, trials.shape[1]), heavy)]), np.append(np.zeros(len(where)), heavy))
    together = float(np.linalg.norm((trials - where[:, None]) @ weights))
    return Reach(dict(zip(columns.values(), map(float, beyond), strict=True)), max(together, float(beyond.max())))


def largest_trial(law: Law) -> Place:
    """The place of the trial with the largest product of all factors: the most compute, where these are size and data."""
    sample = law.sample
    row = int(np.sum(list(sample.points.values()), axis=0).round(9).argmax())
    return {column: rounded(np.exp(sample.points[role][row])) for role, column in sample.columns.items()}


def read_places(texts: Sequence[str], names: Mapping[str, str]) -> Place:
    """`["size=1e7,data=1B"]` -> column -> value.

    Parameters
    ----------
    names
        What a factor may be called -> its column.

    Raises
    ------
    ForecastError
        For what is no name of a factor or no positive number.
    """
    changes = read_changes(texts, names)
    for column, change in changes.items():
        if change.is_multiple:
            raise ForecastError(
                f"a starting point must be a number ({column}=1e9)", f"a multiple of {change.value:g}", "say --do for multiples"
            )
    return {column: change.value for column, change in changes.items()}


def read_changes(texts: Sequence[str], names: Mapping[str, str]) -> dict[str, Change]:
    """`["data=10x"]`, `["size=2x,data=200e9"]` or `["data=10T"]` -> column -> what happens to it.

    Raises
    ------
    ForecastError
        As `read_places`.
    """
    found: dict[str, Change] = {}
    for text in ",".join(texts).split(",") if texts else ():
        name, equals, value = (part.strip() for part in text.partition("="))
        column = column_of(name, names)
        if column is None:
            listed = ", ".join(dict.fromkeys([*names, *names.values()]))
            raise ForecastError(f"a factor must be one of the law's ({listed})", repr(name), "name one of them: data=10x, size=1e9")
        change = read_number(value) if equals else None
        if change is None:
            raise ForecastError(f"{name} must be set to a positive number or a multiple (10x, 200e9, 1.5T)", repr(value), "correct it")
        if column in found:
            raise ForecastError(f"{name} must be named once", "twice", "leave one of them out")
        found[column] = change
    return found


def column_of(name: str, names: Mapping[str, str]) -> str | None:
    """The column that a role or a column's own name stands for; None for what is neither.

    Raises
    ------
    ForecastError
        For the role of one column that is the name of another.
    """
    role = next((role for role, column in names.items() if column == name), None)
    if role is not None and names.get(name, name) != name:
        both = f"the role of {names[name]!r} and the name of the column of {role}"
        raise ForecastError(f"{name} must be one factor", both, f"say {names[name]} or {role}")
    return names.get(name, name if role is not None else None)


def read_number(text: str) -> Change | None:
    """`200e9`, `1.5T` or `10x`; None for what is no positive number."""
    parts = NUMBER.match(text)
    with suppress(ValueError):
        value = float(parts[1]) * MULTIPLES.get(parts[2], 1.0) if parts else 0.0
        if parts is not None and 0 < value < float("inf"):
            return Change(value, parts[2] == "x")
    return None


def require_released(law: Law) -> None:
    """A law that is withheld forecasts nothing.

    Raises
    ------
    ForecastError
        With the law's first reason.
    """
    if law.reasons:
        raise ForecastError(
            "a forecast needs a law that is released", f"one that is withheld: {law.reasons[0]}", "add trials, or name another form"
        )


def require_near(law: Law, place: Place, farthest: float) -> Reach:
    """The reach of a place.

    Raises
    ------
    ForecastError
        If it is farther than `farthest` factors of ten.
    """
    require_farthest(farthest)
    reach = reach_of(law, place)
    if reach.together > farthest + ROUNDING:
        asked = ", ".join(f"{column} {value:.4g}" for column, value in place.items())
        ranges = " and ".join(
            f"{column} {np.exp(law.sample.points[role].min()):.3g} to {np.exp(law.sample.points[role].max()):.3g}"
            for role, column in law.sample.columns.items()
        )
        raise ForecastError(
            f"a forecast must stay within {10**farthest:.3g} times of the trials ({ranges})",
            f"{asked}, {_times(10**reach.together)} beyond them",
            "ask for less, add larger trials, or say --farthest if you must",
        )
    return reach


def require_farthest(farthest: float) -> None:
    """Refuse what is no number of factors of ten: nothing is farther than NaN.

    Raises
    ------
    ForecastError
        Unless it is from 0 to 12.
    """
    if not 0 <= farthest <= MOST:
        raise ForecastError(f"--farthest must be factors of ten, from 0 to {MOST}", farthest, f"leave it out for {FARTHEST:g}")


def ranges(law: Law) -> tuple[Array, Array]:
    """Lowest and highest logarithm of each column, in the order of the law's columns."""
    points = np.stack([law.sample.points[role] for role in law.sample.columns])
    return points.min(axis=1), points.max(axis=1)


def rounded(value: float) -> float:
    """Without what taking a logarithm and back leaves behind."""
    return float(f"{value:.12g}")


def in_words(value: float) -> str:
    """A number as it may also be asked for: 1.5T, 70B, 1,100, 0.005."""
    if not 0.01 <= value < 1e15:
        return f"{value:.4g}"
    letter = next((letter for letter in "TBM" if value >= MULTIPLES[letter] * 0.99995), "")
    return f"{value / MULTIPLES[letter]:,.4g}{letter}" if letter else f"{value:,.6g}"


def moves_along(frame: pd.DataFrame, law: Law) -> list[str]:
    """Sentences about columns that go with a factor of the law, are none of it, and so are held by nothing."""
    rows = frame.iloc[law.sample.rows]
    found = []
    for name in (name for name in frame.select_dtypes("number") if name not in law.about):
        values = rows[name].to_numpy(dtype=float)
        if not (np.isfinite(values) & (values > 0)).all() or np.ptp(values) < 1e-9 * values.max():
            continue
        for role, column in law.sample.columns.items():
            together = abs(float(np.corrcoef(np.log(values), law.sample.points[role])[0, 1]))
            if together >= ALONG:
                found.append(
                    f"{name!r} goes with {column!r} (correlation {together:.2f}) and the law holds neither at a value of its own: "
                    f"unless {name!r} is but a consequence of {column!r}, the forecast is of both together"
                )
    return found


def _times(factor: float) -> str:
    return f"{factor:.2g} times" if factor < 1000 else f"{factor:.1e} times"
