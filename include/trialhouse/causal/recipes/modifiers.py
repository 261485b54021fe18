"""What an effect may depend on: columns, the levels or fifths that a table of effects has a row for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.causal.inference import Array
from trialhouse.causal.sample import Sample, encode, is_number, require_columns
from trialhouse.errors import EstimationError

GROUPS = 5
"""Quantile groups of a modifier with more levels than this."""


@dataclass(frozen=True)
class Modifiers:
    """Modifiers of one sample.

    Parameters
    ----------
    matrix
        n x k: the modifiers as numbers, standardised.
    rows
        m rows: the values for which effects are told, one column per modifier.
    row_matrix
        m x k: the same as `matrix`.
    cell_of
        Length n: which combination of levels and fifths a trial has.
    row_cell
        Length m: that of each row; -1 where no trial has it.
    """

    matrix: Array
    rows: pd.DataFrame
    row_matrix: Array
    cell_of: NDArray[np.int64]
    row_cell: NDArray[np.int64]

    @property
    def trials(self) -> NDArray[np.int64]:
        """Length m: trials with the levels and fifths of each row."""
        return np.append(np.bincount(self.cell_of), 0)[self.row_cell]

    @property
    def line(self) -> Array:
        """n x (1 + k): a constant and the modifiers."""
        return np.column_stack([np.ones(len(self.matrix)), self.matrix])

    @property
    def row_line(self) -> Array:
        """m x (1 + k)."""
        return np.column_stack([np.ones(len(self.row_matrix)), self.row_matrix])


def modifiers_of(sample: Sample, names: Sequence[str], at: pd.DataFrame | None = None) -> Modifiers:
    """Read modifiers from a sample.

    Parameters
    ----------
    names
        Columns. They must come before the treatment: what the treatment changes cannot modify its effect.
    at
        Values to tell effects for, one column per modifier. By default each level of a modifier with up to five,
        the median of each fifth of one with more, and the combinations of these that occur.

    Raises
    ------
    EstimationError
        If a column is unknown, has missing values or does not vary, or `at` lacks one or names an unknown level.
    """
    frame = sample.frame
    require_columns(frame, *names)
    if not names:
        raise EstimationError("effects by modifiers need at least one modifier", "none", "name a column")
    for name in names:
        if frame[name].isna().any():
            raise EstimationError(f"modifier {name!r} must have no missing values", f"{int(frame[name].isna().sum())}", "drop those rows")
        if frame[name].nunique() < 2:
            raise EstimationError(f"modifier {name!r} must vary", "one level", "choose another modifier")
        if name in (sample.treatment, sample.outcome):
            raise EstimationError("a modifier must be neither treatment nor outcome", repr(name), "choose another modifier")
    # What is a category among the covariates, though it may be a number, is one here.
    categorical = [name for name in names if any(str(column).startswith(f"{name}=") for column in sample.encoded)]
    groups = pd.DataFrame({name: _groups(frame[name], frame[name], name in categorical) for name in names})
    cells = groups.drop_duplicates().sort_values(list(names)).reset_index(drop=True)
    numbers = {cell: number for number, cell in enumerate(cells.itertuples(index=False, name=None))}
    if at is None:
        rows = pd.DataFrame({name: cells[name].map(_value_of_group(frame[name], groups[name])) for name in names})
        row_groups = cells
    else:
        require_columns(at, *names)
        rows = at[list(names)].reset_index(drop=True)
        row_groups = pd.DataFrame({name: _groups(frame[name], rows[name], name in categorical) for name in names})
    cell_of = np.array([numbers[cell] for cell in groups.itertuples(index=False, name=None)], dtype=np.int64)
    row_cell = np.array([numbers.get(cell, -1) for cell in row_groups.itertuples(index=False, name=None)], dtype=np.int64)
    both = encode(pd.concat([frame[list(names)], rows], ignore_index=True), list(names), categorical).to_numpy(dtype=float)
    seen = both[: len(frame)]
    centre, spread = seen.mean(axis=0), seen.std(axis=0)
    both = (both - centre) / np.where(spread > 0, spread, 1.0)
    return Modifiers(both[: len(frame)], rows, both[len(frame) :], cell_of, row_cell)


def _groups(column: pd.Series[Any], values: pd.Series[Any], is_category: bool) -> Any:
    """Level or quantile group of values, by the levels and quantiles of a column; -1 beyond what was seen."""
    levels = sorted(column.unique(), key=lambda level: (str(type(level)), level))
    is_category = is_category or not is_number(column)
    if is_category or len(levels) <= GROUPS:
        codes = {level: code for code, level in enumerate(levels)}
        unknown = [value for value in values.unique() if value not in codes]
        if unknown and is_category:
            raise EstimationError(f"{column.name!r} must be one of {levels}", repr(unknown[0]), "fix the level")
        return values.map(lambda value: codes.get(value, -1)).to_numpy()
    edges = np.unique(np.quantile(column, np.linspace(0, 1, GROUPS + 1)))
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return np.where((values < edges[0]) | (values > edges[-1]), -1, places)


def _value_of_group(column: pd.Series[Any], groups: pd.Series[Any]) -> dict[Any, Any]:
    """Group -> its level, or its median."""
    by_group = column.groupby(groups)
    return dict(by_group.median() if is_number(column) else by_group.first())
