"""The rows of one contrast, as numbers: its two arms, the strata in which both survive, covariates as dummies."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.causal.inference import Array
from trialhouse.errors import EstimationError
from trialhouse.identity import frame_id

MAX_NAMED_LEVELS = 8
"""Strata that take more levels than this to name are counted."""


@dataclass(frozen=True)
class Sample:
    """One contrast's rows.

    Parameters
    ----------
    frame
        The rows with all their columns, index 0..n-1.
    treatment, outcome
        Names of the columns.
    arms
        Length n: 0 in the control arm and 1 in the other; for a contrast of a quantity, its values.
    is_binary
        Whether there are two arms.
    values
        Length n: the outcome.
    covariates
        Names of the columns adjusted for that vary.
    encoded
        n x k: the covariates as numbers, categories as dummies; columns are named `column` or `column=level`.
    clusters
        Length n: codes of the repeated units, if there are any.
    instruments
        Columns that move the treatment and reach the outcome by no other way, where the graph names any.
    modifiers
        Columns by which effects may differ, where the graph names any.
    categorical
        Columns that are categories though they may be numbers.
    is_assigned
        Whether a design assigned the treatment, perhaps balanced over the repeated units.
    """

    frame: pd.DataFrame
    treatment: str
    outcome: str
    arms: Array
    is_binary: bool
    values: Array
    covariates: tuple[str, ...]
    encoded: pd.DataFrame
    clusters: NDArray[np.int64] | None
    instruments: tuple[str, ...] = ()
    modifiers: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    is_assigned: bool = False

    @property
    def matrix(self) -> Array:
        """`encoded` as an array."""
        return np.asarray(self.encoded.to_numpy(dtype=float))

    def columns_of(self, covariate: str) -> list[str]:
        """The encoded columns that stand for a covariate."""
        return [name for name in self.encoded.columns if name == covariate or name.startswith(f"{covariate}=")]

    @property
    def numbers(self) -> pd.DataFrame:
        """Treatment, outcome and encoded covariates under their names: what DoWhy's estimators and refuters see."""
        return pd.DataFrame({self.treatment: self.arms, self.outcome: self.values, **{name: self.encoded[name] for name in self.encoded}})

    def data_id(self, keys: Sequence[str] = ()) -> str:
        """Id of exactly these numbers, in an order that does not depend on how they were read."""
        numbers = self.numbers
        known = {f"key {key}": self.frame[key].astype(str) for key in keys if key in self.frame}
        if known:
            numbers = numbers.assign(**known).sort_values(list(known), kind="stable")
        return frame_id(numbers)


@dataclass(frozen=True)
class Survival:
    """Which strata are left, and what was lost in getting there.

    Parameters
    ----------
    rows
        Index labels of the rows kept.
    assigned, lost
        Per arm (control, other): trials measured, and those of them without the outcome.
    left_out
        Trials dropped one by one: not measured, or crashed for no reason that the treatment could give.
    stratum
        Which trials the result speaks of, in words; None where it is all of them.
    """

    rows: pd.Index
    assigned: tuple[int, int]
    lost: tuple[int, int]
    left_out: int
    stratum: str | None

    @property
    def sentence(self) -> str | None:
        """What was lost, as a caveat."""
        if self.stratum is None:
            return None
        lost, assigned = self.lost, self.assigned
        return (
            f"{lost[0]} of {assigned[0]} control and {lost[1]} of {assigned[1]} treated trials did not finish; "
            f"the effect is that in the strata where every trial of both arms did ({self.stratum})"
        )


def arms_of(column: pd.Series[Any], control: Any, level: Any) -> pd.Series[Any]:
    """0 where a column has the control level, 1 where it has the other, NaN elsewhere."""
    return pd.Series(np.select([_equals(column, control), _equals(column, level)], [0.0, 1.0], np.nan), index=column.index)


def surviving(frame: pd.DataFrame, arms: pd.Series[Any], outcome: str, strata: Sequence[str], lost_for: Collection[str]) -> Survival:
    """Keep the strata in which both arms survive completely.

    An outcome that only finished trials have (accuracy in service, latency) is missing because of the treatment: comparing
    what is left in each arm compares different trials. Strata are combinations of other assigned factors, so choosing
    among them leaves the comparison within each as it was assigned.

    Parameters
    ----------
    frame, arms
        Trials and their arm (0 or 1).
    outcome
        The column that may be missing.
    strata
        Columns whose combinations are the strata.
    lost_for
        Values of `status` that the treatment can cause. Rows without the outcome for another reason are dropped singly.
    """
    has_outcome, is_lost = _losses(frame, outcome, lost_for)
    left_out = int((~has_outcome & ~is_lost).sum())
    counted = has_outcome | is_lost
    assigned = tuple(int((counted & (arms == arm)).sum()) for arm in (0, 1))
    lost = tuple(int((is_lost & (arms == arm)).sum()) for arm in (0, 1))
    rows = frame.index[has_outcome]
    stratum = None
    if is_lost.any():
        levels = frame.loc[counted, list(strata)]
        cells = levels.groupby(list(strata), sort=False, dropna=False).ngroup() if strata else pd.Series(0, index=levels.index)
        arm_of_cell = arms[counted].groupby(cells)
        is_whole = ~is_lost[counted].groupby(cells).any() & (arm_of_cell.min() == 0) & (arm_of_cell.max() == 1)
        rows = cells.index[cells.map(is_whole)]
        stratum = _in_words(levels.groupby(cells).first() if strata else pd.DataFrame(index=[0]), is_whole)
    return Survival(rows, assigned, lost, left_out, stratum)  # type: ignore[arg-type]


def finishing(frame: pd.DataFrame, outcome: str, lost_for: Collection[str]) -> Survival:
    """The rows that have the outcome, for a treatment without arms: there are no strata in which to compare like with like."""
    has_outcome, is_lost = _losses(frame, outcome, lost_for)
    lost = int(is_lost.sum())
    left_out = int((~has_outcome & ~is_lost).sum())
    stratum = "trials that finished" if lost else None
    return Survival(frame.index[has_outcome], (len(frame) - left_out, 0), (lost, 0), left_out, stratum)


def _losses(frame: pd.DataFrame, outcome: str, lost_for: Collection[str]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Which rows have the outcome, and which lost it for a reason that the treatment can give."""
    has_outcome = frame[outcome].notna()
    is_lost = ~has_outcome & (frame["status"].isin(list(lost_for)) if "status" in frame else True)
    return has_outcome, is_lost


def make_sample(
    frame: pd.DataFrame,
    *,
    treatment: str,
    outcome: str,
    arms: pd.Series[Any],
    covariates: Sequence[str],
    categorical: Collection[str] = (),
    cluster: str | None = None,
    is_binary: bool = True,
    instruments: Sequence[str] = (),
    modifiers: Sequence[str] = (),
    is_assigned: bool = False,
) -> Sample:
    """The rows of a contrast as numbers.

    Parameters
    ----------
    frame
        The rows; none of the columns used may be missing in any of them.
    arms
        The treatment as numbers, same index.
    covariates
        Columns to adjust for; those that do not vary are dropped.
    categorical
        Those of the covariates that are categories even if they are numbers. Texts always are.
    cluster
        Column of the repeated units.
    instruments, modifiers
        Columns with these roles.
    is_assigned
        Whether a design assigned the treatment.
    """
    index = frame.index
    encoded = encode(frame, [name for name in covariates if frame[name].nunique() > 1], categorical)
    clusters = None if cluster is None else np.unique(frame[cluster].astype(str), return_inverse=True)[1].astype(np.int64)
    return Sample(
        frame=frame.reset_index(drop=True),
        treatment=treatment,
        outcome=outcome,
        arms=arms.loc[index].to_numpy(dtype=float),
        is_binary=is_binary,
        values=frame[outcome].to_numpy(dtype=float),
        covariates=tuple(name for name in covariates if frame[name].nunique() > 1),
        encoded=encoded.reset_index(drop=True),
        clusters=clusters,
        instruments=tuple(instruments),
        modifiers=tuple(modifiers),
        categorical=tuple(categorical),
        is_assigned=is_assigned,
    )


def encode(frame: pd.DataFrame, columns: Sequence[str], categorical: Collection[str] = ()) -> pd.DataFrame:
    """Columns as numbers: quantities as they are, categories as a dummy per level but the first."""
    parts: dict[str, Any] = {}
    for name in columns:
        column = frame[name]
        if name in categorical or not is_number(column):
            for level in _in_order(column.unique())[1:]:
                parts[f"{name}={label(level)}"] = (column == level).to_numpy(dtype=float)
        else:
            parts[name] = column.to_numpy(dtype=float)
    return pd.DataFrame(parts, index=frame.index)


def require_columns(frame: pd.DataFrame, *names: str) -> None:
    """Raise an `EstimationError` unless the frame has all these columns."""
    for name in names:
        if name not in frame.columns:
            known = sorted(map(str, frame.columns))
            raise EstimationError(f"the data must have the column {name!r}", f"the columns {known}", "fix the name")


def is_number(column: pd.Series[Any]) -> bool:
    """Whether a column holds quantities (truth values are not)."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def label(level: Any) -> str:
    """A level as text: `0.6`, `512`, `l1_mask`; truth values as 0 and 1."""
    if isinstance(level, bool | np.bool_):
        return str(int(level))
    if isinstance(level, int | float | np.integer | np.floating):
        return f"{float(level):.10g}"
    return str(level)


def amount(value: float, outcome: str) -> str:
    """An effect as text, with the unit that the outcome's name carries: `-3.8 ms`, `12 MiB`, `0.011`."""
    if math.isnan(value):
        return "undefined"
    if outcome.endswith("_bytes"):
        return f"{value / (1 << 20):.3g} MiB"
    return f"{value:.3g} ms" if outcome.endswith("_ms") else f"{value:.3g}"


def _in_words(cells: pd.DataFrame, is_whole: pd.Series[Any]) -> str:
    """Which combinations of levels are kept: named by as few columns as tell them from the others, counted where they are many."""
    columns = next(
        list(some)
        for size in range(len(cells.columns) + 1)
        for some in itertools.combinations(cells.columns, size)
        if size == len(cells.columns) or _tells(cells, list(some), is_whole)
    )
    groups = cells.assign(_whole=is_whole)[[*columns, "_whole"]].drop_duplicates().to_dict("records")
    names = {word: [_cell(group, columns) for group in groups if group["_whole"] == word] for word in (True, False)}
    kept, dropped = names[True], names[False]
    chosen, word = (kept, "") if len(kept) <= len(dropped) else (dropped, "all but ")
    if len(chosen) * len(columns) > MAX_NAMED_LEVELS:
        return f"{len(kept)} of {len(groups)} combinations of {', '.join(columns)}"
    return word + (" or ".join(_in_order(chosen)) or "none")


def _tells(cells: pd.DataFrame, columns: list[str], is_whole: pd.Series[Any]) -> bool:
    """Whether cells alike in these columns are all kept or all dropped."""
    return bool((is_whole.groupby([cells[name] for name in columns]).nunique() == 1).all()) if columns else is_whole.nunique() == 1


def _cell(group: Mapping[Any, Any], columns: Sequence[str]) -> str:
    return ", ".join(f"{name} = {label(group[name])}" for name in columns) or "all trials"


def _equals(column: pd.Series[Any], level: Any) -> Any:
    if is_number(column) or pd.api.types.is_bool_dtype(column):
        try:
            return np.isclose(column.to_numpy(dtype=float, na_value=np.nan), float(level), rtol=1e-9, atol=1e-12)
        except (TypeError, ValueError):
            return np.zeros(len(column), dtype=bool)
    return (column.astype(str) == label(level)).to_numpy()


def _in_order(levels: Collection[Any]) -> list[Any]:
    def key(level: Any) -> tuple[Any, ...]:
        return tuple(_sortable(part) for part in re.split(r", | = ", str(level)))

    return sorted(levels, key=key)


def _sortable(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)
