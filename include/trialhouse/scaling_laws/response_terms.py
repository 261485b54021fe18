"""The terms that a design can tell apart, for models of an outcome by all its factors (`response.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.errors import LawError
from trialhouse.scaling_laws.forms import Array
from trialhouse.studies.factors import level_number

Kind = Literal["main", "interaction", "curvature"]
KINDS: tuple[Kind, ...] = ("main", "interaction", "curvature")
LADDER: Mapping[str, tuple[Kind, ...]] = {"additive": KINDS[:1], "interactions": KINDS[:2], "curved": KINDS}
"""Model -> the terms that it has, the simplest first."""
SPARE = 3
"""Configurations that a model needs beyond its terms: one for the constant, two to spare."""
ALIASED = 1e-9
"""Share of a term's variance below which what other terms leave of it is rounding error."""


@dataclass(frozen=True)
class Term:
    """One column of the model.

    Parameters
    ----------
    name
        `width`, `width x depth`, `width squared`; of a category `method = l2`. Products that the design cannot tell apart are one:
        `a x b + c x d`.
    kind
        Which rung of the ladder it enters on.
    column
        Length n, with mean 0: a main effect beside products of such columns is the average over the design.
    span
        What its coefficient is multiplied by: of a main term its column's distance between the levels that are compared.
    levels, at
        Of a main term: these levels, and their places on the column.
    parents
        The main terms that it is made of.
    """

    name: str
    kind: Kind
    column: Array
    span: float
    levels: tuple[str, str] = ("", "")
    at: tuple[float, float] = (0.0, 0.0)
    parents: tuple[Term, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a design can tell, whatever the outcome.

    Parameters
    ----------
    models
        Those that it carries -> their terms, the simplest first.
    not_tried, warnings
        As in `Response`.
    blocks
        n x (levels - 1).
    configuration
        Length n: codes of the combinations of levels.
    """

    models: Mapping[str, Sequence[Term]]
    not_tried: Mapping[str, str]
    warnings: tuple[str, ...]
    blocks: Array
    configuration: NDArray[np.intp]

    @property
    def largest(self) -> str:
        """The model that effects are of."""
        return list(self.models)[-1]


def told_by(frame: pd.DataFrame, factors: Sequence[str], categorical: Mapping[str, Sequence[Any]], block: str | None) -> Plan:
    """Which terms a design tells apart, and which models it has configurations enough for; parameters as in `fit_response`.

    Raises
    ------
    LawError
        If there are too few configurations, or a factor that cannot be told from others.
    """
    varying = [name for name in factors if frame[name].nunique() > 1]
    if len(varying) < 2:
        raise LawError("a response needs at least two factors that vary", len(varying), "vary more factors, or ask for an estimand")
    blocks = _dummies(frame[block]) if block else np.empty((len(frame), 0))
    mains = [term for name in varying for term in _mains(frame[name], categorical.get(name))]
    configuration = frame.groupby(varying, sort=False).ngroup().to_numpy().astype(np.intp)
    free = min(int(configuration.max()) + 1, len(frame) - blocks.shape[1])
    if free < (needed := len(mains) + SPARE):
        raise LawError(f"a response of {len(mains)} terms needs at least {needed} configurations", free, "add trials, or ask for estimands")
    terms, warnings = _told_apart(mains, [*_products(mains), *_squares(mains)], blocks)
    models, not_tried = _carried(terms, free)
    return Plan(models, not_tried, tuple(warnings), blocks, configuration)


def is_number(column: pd.Series[Any], levels: Sequence[Any] | None) -> bool:
    """Whether a factor enters by its value; one whose levels are given does not."""
    return levels is None and pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _mains(column: pd.Series[Any], levels: Sequence[Any] | None) -> Iterator[Term]:
    """A number by its lowest and highest value, a category by each level against the first."""
    name = str(column.name)
    if is_number(column, levels):
        values = column.to_numpy(dtype=float)
        places = np.log(values) if values.min() > 0 else values
        centre = float(places.mean())
        low, high = float(places.min()) - centre, float(places.max()) - centre
        yield Term(name, "main", places - centre, high - low, (level_number(values.min()), level_number(values.max())), (low, high))
        return
    present = set(column)
    ordered = [level for level in levels or sorted(present, key=str) if level in present]
    for level in ordered[1:]:
        dummy = (column == level).to_numpy(dtype=float)
        centre = float(dummy.mean())
        yield Term(f"{name} = {level}", "main", dummy - centre, 1.0, (str(ordered[0]), str(level)), (-centre, 1 - centre))


def _products(mains: Sequence[Term]) -> Iterator[Term]:
    for one, other in combinations(mains, 2):
        if factor_of(one) != factor_of(other):
            column = one.column * other.column
            yield Term(f"{one.name} x {other.name}", "interaction", column - column.mean(), one.span * other.span, parents=(one, other))


def _squares(mains: Sequence[Term]) -> Iterator[Term]:
    """The middle of a range lies below the line between its ends by a quarter of the squared range times the coefficient."""
    for one in mains:
        if len(np.unique(one.column.round(12))) > 2:
            square = one.column**2
            yield Term(f"{one.name} squared", "curvature", square - square.mean(), -(one.span**2) / 4, parents=(one,))


def factor_of(main: Term) -> str:
    """Of which factor a main term is."""
    return main.name.split(" = ")[0]


def _dummies(column: pd.Series[Any]) -> Array:
    return pd.get_dummies(column.astype(str), drop_first=True).to_numpy(dtype=float)


def _told_apart(mains: Sequence[Term], others: Sequence[Term], blocks: Array) -> tuple[list[Term], list[str]]:
    """Terms that the design tells apart; products that it does not are one term, and what looks like a main effect is left out."""
    kept: list[Term] = []
    warnings = []
    for term in (*mains, *others):
        same = _same_as(term, kept, blocks)
        if same is None:
            kept.append(term)
        elif term.kind == "main":
            what = " and ".join(repr(one.name) for one, _ in same) or "the blocks"
            raise LawError(
                f"factor {term.name!r} must vary freely", f"one that goes with {what} in every trial", "add trials that break the tie"
            )
        elif term.kind == "interaction" and len(same) == 1 and same[0][0].kind == "interaction":
            one, sign = same[0]
            kept[kept.index(one)] = replace(one, name=f"{one.name} {'+' if sign > 0 else '-'} {term.name}", parents=())
            warnings.append(f"{one.name} and {term.name} are aliased: the design tells only their {'sum' if sign > 0 else 'difference'}")
        else:
            what = " and ".join(one.name for one, _ in same) or "the blocks"
            warnings.append(f"{term.name} is aliased with {what}: what is said of {what} assumes that there is no {term.name}")
    return kept, warnings


def _same_as(term: Term, kept: Sequence[Term], blocks: Array) -> list[tuple[Term, float]] | None:
    """The terms of which it is a linear function, with the sign of each; None where it is none."""
    columns = np.column_stack([np.ones(len(term.column)), blocks, *(one.column / one.column.std() for one in kept)])
    spread = float(term.column.std())
    if spread < 1e-12:
        return []
    target = term.column / spread
    found = np.linalg.lstsq(columns, target, rcond=None)[0]
    if float(np.var(target - columns @ found)) > ALIASED:
        return None
    return [(one, float(slope)) for one, slope in zip(kept, found[1 + blocks.shape[1] :], strict=True) if abs(slope) > 1e-6]


def _carried(terms: Sequence[Term], free: int) -> tuple[dict[str, list[Term]], dict[str, str]]:
    """Models that there are configurations enough for, and why others are not tried."""
    carried: dict[str, list[Term]] = {}
    not_tried: dict[str, str] = {}
    for name, kinds in LADDER.items():
        own = [term for term in terms if term.kind in kinds]
        if carried and len(own) == len(next(reversed(carried.values()))):
            not_tried[name] = "the design tells no such term from the others"
        elif len(own) + SPARE > free:
            not_tried[name] = (
                f"{len(own)} terms need at least {len(own) + SPARE} configurations (and rows, blocks aside), and there are {free}"
            )
        else:
            carried[name] = own
    return carried, not_tried
