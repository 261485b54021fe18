"""Rows of a table, checked: whatever would make a law of something that is none is refused here, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.errors import LawError
from trialhouse.scaling_laws.forms import ROLES, Array, Form

SMALLEST = 1e-100
"""Of what is fitted by its logarithm, and one over the largest: products of powers of these are still numbers."""
TIED = 1e-6
"""Share of a factor's variance (log) that the others leave, below which it is a function of them."""


@dataclass(frozen=True)
class LawSample:
    """Points that a law is fitted to.

    Parameters
    ----------
    points
        Role -> logarithms, length n. In a form of one factor the role is `n`.
    outcome
        Length n.
    rows
        Numbers of the rows in the table, counted from 0, length n.
    clusters
        Codes of the repeated units (n), or None where rows are independent.
    columns
        Role -> name of its column.
    outcome_name
        Of the outcome's column.
    left_out
        Why -> numbers of the rows that were left out.
    weight, weight_name
        What each row counts (n), on average 1, and the name of that column; None where all count alike.
    """

    points: Mapping[str, Array]
    outcome: Array
    rows: NDArray[np.int64]
    clusters: NDArray[np.int64] | None
    columns: Mapping[str, str]
    outcome_name: str
    left_out: Mapping[str, tuple[int, ...]]
    weight: Array | None = None
    weight_name: str | None = None

    def __len__(self) -> int:
        return len(self.outcome)

    @property
    def units(self) -> int:
        """Repeated units, or rows where these are independent."""
        return len(self) if self.clusters is None else len(np.unique(self.clusters))

    @property
    def weights(self) -> Array:
        """What each row counts, length n."""
        return np.ones(len(self)) if self.weight is None else self.weight

    def residuals(self, form: Form, coordinates: Array) -> Array:
        """Outcome less curve on the form's scale (n), each times the root of its weight: all scatter as a row of weight 1 does."""
        level, _ = form.curve(coordinates[None], self.points)
        return np.asarray((form.on_scale(self.outcome) - level[0]) * np.sqrt(self.weights))

    def only(self, keep: NDArray[np.bool_], reason: str | None = None) -> LawSample:
        """Some of the points; with a reason, those that go are on record."""
        left_out = dict(self.left_out)
        if reason is not None and not keep.all():
            left_out[reason] = (*left_out.get(reason, ()), *(int(row) for row in self.rows[~keep]))
        return replace(
            self,
            points={role: values[keep] for role, values in self.points.items()},
            outcome=self.outcome[keep],
            rows=self.rows[keep],
            clusters=None if self.clusters is None else np.unique(self.clusters[keep], return_inverse=True)[1],
            left_out=left_out,
            weight=None if self.weight is None else self.weight[keep],
        )

    def resampled(self, draws: int, rng: np.random.Generator) -> Array:
        """Weights (draws x n) of a bootstrap of rows, or of whole clusters where there are any: how often a row is drawn, times its own."""
        units = self.units
        times = rng.multinomial(units, np.full(units, 1 / units), size=draws).astype(float)
        return (times if self.clusters is None else times[:, self.clusters]) * self.weights


def make_sample(
    frame: pd.DataFrame,
    form: Form,
    *,
    outcome: str,
    columns: Mapping[str, str],
    cluster: str | None = None,
    weight: str | None = None,
    drop_highest: int = 0,
) -> LawSample:
    """Check a table for a form.

    Parameters
    ----------
    frame
        One row per trial.
    form
        Which roles it needs, and whether the outcome must be positive.
    outcome, cluster, weight
        Columns.
    columns
        Key of `ROLES` -> column.
    drop_highest
        So many rows with the highest outcomes are left out, and said so.

    Raises
    ------
    LawError
        For a missing column, a missing or impossible value, or rows that cannot determine the form.
    """
    chosen = _roles(form, columns)
    for name in (outcome, *chosen.values(), *(name for name in (cluster, weight) if name)):
        if name not in frame.columns:
            raise LawError("column must be one of the table's", repr(name), f"it has {', '.join(map(str, frame.columns))}")
        if isinstance(frame[name], pd.DataFrame):
            raise LawError(f"column {name!r} must be there once", f"{frame[name].shape[1]} of that name", "drop or rename the others")
    if frame.empty:
        raise LawError("a law needs rows", "none", "add trials")
    values = _numbers(frame, outcome)
    factors = {role: _numbers(frame, column) for role, column in chosen.items()}
    _refuse(frame, outcome, values, positive=form.is_log)
    for role, column in chosen.items():
        _refuse(frame, column, factors[role], positive=True)
    if not form.is_log and not ((values >= 0) & (values <= 1)).all():
        wrong = values[(values < 0) | (values > 1)][0]
        raise LawError(f"outcome {outcome!r} of form {form.name} must be a score in [0, 1]", f"{wrong:g}", "rescale it or choose a form")
    if cluster is not None and frame[cluster].isna().any():
        missing = f"{int(frame[cluster].isna().sum())} of {len(frame)} rows without"
        raise LawError(f"column {cluster!r} must have no missing values", missing, "fill or drop those rows")
    sample = LawSample(
        points={role: np.log(numbers) for role, numbers in factors.items()},
        outcome=values,
        rows=np.arange(len(frame)),
        clusters=None if cluster is None else pd.factorize(frame[cluster])[0].astype(np.int64),
        columns=chosen,
        outcome_name=outcome,
        left_out={},
        weight=None if weight is None else _weights(frame, weight),
        weight_name=weight,
    )
    if not 0 <= drop_highest < max(len(sample), 1):
        raise LawError(f"rows to drop must be fewer than the {len(sample)} there are", drop_highest, "lower it")
    if drop_highest:
        keep = np.ones(len(sample), dtype=bool)
        keep[np.argsort(values, kind="stable")[-drop_highest:]] = False
        sample = sample.only(keep, f"the {drop_highest} highest outcomes, as asked")
    _require_enough(sample, form)
    return sample


def tied(sample: LawSample) -> dict[str, float]:
    """Role -> share of the variance of its logarithm that the other factors explain linearly; empty for one factor."""
    logs = {role: values - values.mean() for role, values in sample.points.items()}
    shares: dict[str, float] = {}
    for role, own in logs.items():
        others = [values for other, values in logs.items() if other != role]
        if not others:
            return {}
        matrix = np.column_stack(others)
        left = own - matrix @ np.linalg.lstsq(matrix, own, rcond=None)[0]
        shares[role] = 1 - float(left @ left) / float(own @ own)
    return shares


def _roles(form: Form, columns: Mapping[str, str]) -> dict[str, str]:
    options = {role: f"--{role}" for role in ROLES}
    if form.roles == ("n",):
        if len(columns) != 1:
            needed = " and ".join(options[role] for role in columns) or "none of them"
            remedy = "leave all but one out, or choose a form of several factors" if columns else "name the column of the factor"
            raise LawError(f"form {form.name} has one factor: one of {', '.join(options.values())} must be given", needed, remedy)
        return {"n": next(iter(columns.values()))}
    if set(columns) != set(form.roles):
        needed = ", ".join(options[role] for role in form.roles)
        given = ", ".join(options[role] for role in columns) or "none of them"
        raise LawError(f"form {form.name} needs exactly {needed}", given, "name these columns, or choose another form")
    return {role: columns[role] for role in form.roles}


def _numbers(frame: pd.DataFrame, column: str) -> Array:
    series: pd.Series[Any] = frame[column]
    if not pd.api.types.is_numeric_dtype(series) or pd.api.types.is_bool_dtype(series):
        wrong = np.flatnonzero(pd.to_numeric(series, errors="coerce").isna() & series.notna())
        got = (
            f"{series.iloc[wrong[0]]!r} in row {wrong[0]}, from 0" if len(wrong) else "true and false" if series.dtype == bool else "texts"
        )
        raise LawError(f"column {column!r} must be numbers", got, "correct it or choose another")
    return series.to_numpy(dtype=float, na_value=np.nan)


def _weights(frame: pd.DataFrame, column: str) -> Array:
    """Of the rows, on average 1: only their ratios matter."""
    values = _numbers(frame, column)
    bad = int((~(np.isfinite(values) & (values > 0))).sum())
    if bad:
        raise LawError(f"weights in column {column!r} must be positive numbers", f"{bad} of {len(frame)} rows without", "drop those rows")
    return np.asarray(values / values.mean())


def _refuse(frame: pd.DataFrame, column: str, values: Array, *, positive: bool) -> None:
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise LawError(f"column {column!r} must have finite numbers", f"{bad} of {len(frame)} rows without", "drop those rows, and say why")
    if positive and (values <= 0).any():
        rows = int((values <= 0).sum())
        raise LawError(
            f"column {column!r} must be positive (laws are fitted to logarithms)",
            f"{rows} of {len(frame)} rows that are not, the lowest {values.min():g}",
            "choose another column or drop those rows",
        )
    if positive and not (values.min() >= SMALLEST and values.max() <= 1 / SMALLEST):
        got = f"{values.min():g} to {values.max():g}"
        raise LawError(f"column {column!r} must lie between {SMALLEST:g} and {1 / SMALLEST:g}", got, "choose another unit")


def _require_enough(sample: LawSample, form: Form) -> None:
    parameters, rows = len(form.parameters), len(sample)
    if rows < parameters + 2:
        raise LawError(
            f"form {form.name} has {parameters} free parameters, so at least {parameters + 2} rows must be given",
            rows,
            "add trials or choose a form with fewer parameters",
        )
    for role, values in sample.points.items():
        if np.ptp(values) < 1e-9:
            only = f"only {np.exp(values[0]):g}"
            raise LawError(f"column {sample.columns[role]!r} must vary", only, "add trials with other values")
    if np.ptp(sample.outcome) <= 1e-12 * np.abs(sample.outcome).max():
        raise LawError(f"outcome {sample.outcome_name!r} must vary", f"only {sample.outcome[0]:g}", "there is no law in a constant")
    places = np.unique(np.column_stack(list(sample.points.values())).round(9), axis=0)
    if len(places) < parameters:
        raise LawError(
            f"form {form.name} has {parameters} free parameters, so trials must be at {parameters} different places or more",
            len(places),
            "add sizes, not repetitions",
        )
    for role, share in tied(sample).items():
        if 1 - share < TIED:
            others = " and ".join(repr(column) for other, column in sample.columns.items() if other != role)
            raise LawError(
                f"column {sample.columns[role]!r} must vary freely for form {form.name}",
                f"a column that is a function of {others}",
                "fit a form of one factor, which then stands for all of them, or add trials that break the tie",
            )
    if sample.clusters is not None and sample.units < 2:
        raise LawError("at least two repeated units must be given", "one", "choose another cluster column or leave it out")
