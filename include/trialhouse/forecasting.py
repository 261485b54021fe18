"""From a table to forecasts and allocations: questions to laws, asked of any file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from trialhouse.errors import ForecastError, LawError
from trialhouse.scaling_laws import Law, fit_table
from trialhouse.scaling_laws.allocate import Allocation, allocate
from trialhouse.scaling_laws.cost import flops, measured, read_limits
from trialhouse.scaling_laws.forecast import Assignment, Forecast, forecast
from trialhouse.scaling_laws.held_out import held_out
from trialhouse.scaling_laws.support import FARTHEST, moves_along, read_changes, read_places
from trialhouse.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TableLaw:
    """Which law to fit to a frame; fields as in `trialhouse.scaling_laws.fit_table`."""

    outcome: str
    columns: Mapping[str, str]
    form: str = "auto"
    cluster: str | None = None
    fix: Sequence[str] = ()
    drop_highest: int = 0
    keep_transient: bool = False
    draws: int = 1000

    def fitted(self, frame: pd.DataFrame) -> Law:
        """The law of a frame."""
        return fit_table(
            frame,
            form=self.form,
            outcome=self.outcome,
            columns=self.columns,
            cluster=self.cluster,
            fixed=dict(_known(text) for text in self.fix),
            drop_highest=self.drop_highest,
            keep_transient=self.keep_transient,
            draws=self.draws,
        )


def forecast_of_table(
    table: Path,
    question: TableLaw,
    *,
    do: Sequence[str],
    at: Sequence[str] = (),
    assignment: Assignment = "unknown",
    farthest: float = FARTHEST,
    check: bool = False,
) -> Forecast:
    """Fit a law to a CSV or Parquet file and ask it what an intervention does.

    Parameters
    ----------
    do, at
        Texts such as `data=10x` and `size=1e7,data=1e9`.
    check
        Whether to hold trials out and see how well the law forecasts them.

    Raises
    ------
    TrialhouseError
        If the file, the law or the question cannot be used.
    """
    frame = read_table(table)
    law = question.fitted(frame)
    found = forecast(
        law, read_changes(do, question.columns), at=read_places(at, question.columns), assignment=assignment, farthest=farthest
    )
    return replace(found, caveats=(*found.caveats, *moves_along(frame, law)), check=held_out(law) if check else None)


def allocation_of_table(
    table: Path,
    question: TableLaw,
    *,
    budget: float,
    cost: str | None = None,
    per: float = 6.0,
    limits: Sequence[str] = (),
    farthest: float = FARTHEST,
    batch: int = 4,
    trial_budget: float | None = None,
) -> Allocation:
    """Fit a law to a CSV or Parquet file and split a budget by it.

    Parameters
    ----------
    cost
        Column of a measured cost; by default FLOPs are counted as `per` x size x data.
    limits
        Texts such as `size<=1e9` and `latency_ms<=20`.

    Raises
    ------
    TrialhouseError
        If the file, the law or the question cannot be used.
    """
    frame = read_table(table)
    law = question.fitted(frame)
    return allocate(
        law,
        budget,
        flops(law, per) if cost is None else measured(law, frame, cost),
        limits=read_limits(limits, question.columns, law, frame),
        farthest=farthest,
        batch=batch,
        trial_budget=trial_budget,
    )


def assignment_named(text: str) -> Assignment:
    """`randomised`, `observational` or `unknown`.

    Raises
    ------
    ForecastError
        For any other word.
    """
    known: tuple[Assignment, ...] = get_args(Assignment)
    if text not in known:
        raise ForecastError(f"assignment must be one of {', '.join(known)}", repr(text), "choose one")
    return next(word for word in known if word == text)


def _known(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise LawError("a fixed parameter must be NAME=VALUE", repr(text), "for example --fix E=0") from None
