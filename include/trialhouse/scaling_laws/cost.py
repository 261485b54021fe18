"""What a trial costs and what else limits it, as powers of the law's factors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.errors import ForecastError
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Array, Points
from trialhouse.scaling_laws.support import column_of, in_words, read_number

COUNTED = "training_flops"
"""Column of the FLOPs that a trial counts itself, layer by layer, embeddings and attention with them."""
COUNTED_NAME = "training FLOPs"
"""What a cost of these is called."""
FITS = 0.9
"""Share of the variance (log) that powers of the factors must explain to stand for a column."""
LIMIT = re.compile(r"^\s*(.+?)\s*<=?\s*(\S+)\s*$")
FREE = 0.01
"""Exponent of a cost below which a factor costs nothing."""
FLOPS = re.compile(r"(^|[ _])flops?$", re.IGNORECASE)
"""Names of costs that are counted in FLOPs, not in gigaFLOPs, PF-days or FLOPs per something."""


@dataclass(frozen=True)
class Powers:
    """A quantity that is a product of powers of the factors.

    Parameters
    ----------
    name
        Column, or what it is.
    constant
        Its logarithm where all factors are 1.
    exponents
        Role -> exponent.
    sentence
        Where it is from.
    """

    name: str
    constant: float
    exponents: Mapping[str, float]
    sentence: str

    @property
    def is_flops(self) -> bool:
        """Whether its unit is the FLOP, as far as its name tells."""
        return FLOPS.search(self.name) is not None

    def is_of(self, role: str) -> bool:
        """Whether it grows with a factor."""
        return self.exponents.get(role, 0.0) >= FREE

    def log(self, points: Points) -> Array:
        """Logarithm at points."""
        return np.asarray(self.constant + sum(exponent * points[role] for role, exponent in self.exponents.items()))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "constant": float(np.exp(self.constant)), "exponents": dict(self.exponents), "sentence": self.sentence}


@dataclass(frozen=True)
class Limit:
    """Something that must not be exceeded."""

    quantity: Powers
    at_most: float


def flops(law: Law, per: float, examples_per_step: float | None = None) -> Powers:
    """Training FLOPs as `per` x size x examples seen, 6 for a transformer (Kaplan et al. 2020, section 2.1).

    Examples seen are the data, or steps x `examples_per_step` of a law in steps, whose data (where it has any) cost nothing.

    Raises
    ------
    ForecastError
        If the law has other factors, or a number is missing or not positive.
    """
    if not per > 0:
        raise ForecastError("--flops-per-example-parameter must be positive", per, "leave it out for 6")
    columns = law.sample.columns
    if set(columns) - {"data"} == {"size", "steps"}:
        if examples_per_step is None or not examples_per_step > 0:
            given = "none" if examples_per_step is None else str(examples_per_step)
            raise ForecastError("FLOPs of steps need how many examples one step sees", given, "say --examples-per-step, or --cost COLUMN")
        sentence = f"cost: FLOPs = {per:g} x {columns['size']} x {columns['steps']} x {examples_per_step:g}, counted, not measured"
        return Powers("FLOPs", float(np.log(per * examples_per_step)), {"size": 1.0, "steps": 1.0}, sentence)
    if set(columns) != {"size", "data"}:
        given = ", ".join(columns.values())
        raise ForecastError(
            "FLOPs are counted from size and data, or size and steps", f"a law in {given}", "name a column of measured cost: --cost COLUMN"
        )
    if examples_per_step is not None:
        raise ForecastError("--examples-per-step goes with a law in steps", f"one in {' and '.join(columns.values())}", "leave it out")
    sentence = f"cost: FLOPs = {per:g} x {columns['size']} x {columns['data']}, counted, not measured"
    return Powers("FLOPs", float(np.log(per)), {"size": 1.0, "data": 1.0}, sentence)


def measured(law: Law, frame: pd.DataFrame, column: str) -> Powers:
    """A column of the table (FLOPs, seconds, money, memory, latency) as powers of the factors, by least squares on logarithms.

    Raises
    ------
    ForecastError
        If the column is missing, not positive, or not such a product.
    """
    if column not in frame.columns:
        raise ForecastError("a cost or limit must be a column of the table", repr(column), f"it has {', '.join(map(str, frame.columns))}")
    values = pd.to_numeric(frame[column].iloc[law.sample.rows], errors="coerce").to_numpy(dtype=float)
    known = np.isfinite(values) & (values > 0)
    if known.mean() < 0.9:
        raise ForecastError(f"column {column!r} must be positive numbers", f"{int((~known).sum())} rows without", "choose another column")
    roles = list(law.sample.columns)
    matrix = np.column_stack([np.ones(known.sum()), *(law.sample.points[role][known] for role in roles)])
    target = np.log(values[known])
    solved = np.linalg.lstsq(matrix, target, rcond=None)[0]
    left = target - matrix @ solved
    spread = float(((target - target.mean()) ** 2).sum())
    share = 1 - float(left @ left) / spread if spread > 1e-12 else 1.0
    if share < FITS:
        names = " and ".join(law.sample.columns.values())
        raise ForecastError(
            f"column {column!r} must be a product of powers of {names}", f"one of which they explain {share:.0%}", "choose another column"
        )
    exponents = dict(zip(roles, map(float, solved[1:]), strict=True))
    powers = " x ".join(f"{law.sample.columns[role]}^{exponent:.3g}" for role, exponent in exponents.items())
    of = "the trials' own" if known.all() else f"that of {known.sum()} of {len(known)} trials"
    sentence = f"{column} = {np.exp(solved[0]):.4g} x {powers}, fitted to {of} (they explain {share:.1%} of its variance)"
    return Powers(column, float(solved[0]), exponents, sentence)


def training_flops(law: Law, frame: pd.DataFrame) -> Powers:
    """The FLOPs that trials counted themselves; where they did not, 6 x size x data (`flops`).

    In small networks embeddings and attention are much of the work: there 6 x size x data is off, by up to three times.

    Raises
    ------
    ForecastError
        If the law has other factors than size and data, and no such counts go by powers of them.
    """
    if COUNTED in frame.columns:
        with suppress(ForecastError):
            return replace(measured(law, frame, COUNTED), name=COUNTED_NAME)
    return flops(law, 6)


def read_limits(texts: Sequence[str], names: Mapping[str, str], law: Law, frame: pd.DataFrame) -> list[Limit]:
    """`["size<=1e9", "latency_ms<=20"]` -> limits on factors of the law or on other columns of the table.

    Raises
    ------
    ForecastError
        For what is no limit.
    """
    roles = {column: role for role, column in law.sample.columns.items()}
    found = []
    for text in ",".join(texts).split(",") if texts else ():
        parts = LIMIT.match(text)
        bound = read_number(parts[2]) if parts else None
        if parts is None or bound is None or bound.is_multiple:
            raise ForecastError("a limit must be NAME<=NUMBER", repr(text), "for example --limit size<=1e9")
        column, at_most = column_of(parts[1], names) or parts[1], bound.value
        if column in roles:
            quantity = Powers(column, 0.0, {roles[column]: 1.0}, f"limit: {column} at most {in_words(at_most)}")
        else:
            fitted = measured(law, frame, column)
            quantity = Powers(column, fitted.constant, fitted.exponents, f"limit: {column} at most {in_words(at_most)}; {fitted.sentence}")
        found.append(Limit(quantity, at_most))
    return found
