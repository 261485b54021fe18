"""Questions to laws, of any file or of a study between the warehouse's two doors: forecasts, allocations, and the record of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from trialhouse.errors import ForecastError
from trialhouse.identity import code_version, content_id
from trialhouse.landing import LandingZone
from trialhouse.laws import CODE, TableLaw
from trialhouse.registration import Registration, registered
from trialhouse.scaling_laws import Law
from trialhouse.scaling_laws.allocate import Allocation, allocate
from trialhouse.scaling_laws.asked import (
    StudyForecast,
    checks_of,
    forecast_study,
    laws_about,
    rows_of_checks,
    rows_of_forecast,
    rows_of_law,
)
from trialhouse.scaling_laws.cost import Powers, flops, measured, read_limits, training_flops
from trialhouse.scaling_laws.forecast import Assignment, Forecast, forecast
from trialhouse.scaling_laws.held_out import checked
from trialhouse.scaling_laws.study import StudyLaw
from trialhouse.scaling_laws.support import FARTHEST, moves_along, read_changes, read_places
from trialhouse.settings import Settings, get_settings
from trialhouse.tables import read_table
from trialhouse.warehouse.read import current_study_id, study_frame

if TYPE_CHECKING:
    import pandas as pd


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
    done, why_not = checked(law) if check else (None, ())
    return replace(found, caveats=(*found.caveats, *moves_along(frame, law), *why_not), check=done)


@dataclass(frozen=True)
class Purse:
    """A budget and what goes with it.

    Parameters
    ----------
    budget
        In FLOPs, or in units of `cost`.
    cost
        Column of a measured cost, whose dependence on the factors is fitted to the trials; by default the FLOPs that trials counted
        themselves (`training_flops`), else 6 x size x data.
    per, examples_per_step
        Count FLOPs as `per` x size x data, or `per` x size x steps x `examples_per_step`.
    limits
        Texts such as `size<=1e9` and `latency_ms<=20`.
    farthest, batch, trial_budget
        As in `trialhouse.scaling_laws.allocate.allocate`.
    """

    budget: float
    cost: str | None = None
    per: float | None = None
    limits: Sequence[str] = ()
    farthest: float = FARTHEST
    batch: int = 4
    trial_budget: float | None = None
    examples_per_step: float | None = None

    def split(self, law: Law, frame: pd.DataFrame, names: Mapping[str, str]) -> Allocation:
        """By a law of a frame; `names` is what its columns may be called."""
        return allocate(
            law,
            self.budget,
            self._cost(law, frame),
            limits=read_limits(self.limits, names, law, frame),
            farthest=self.farthest,
            batch=self.batch,
            trial_budget=self.trial_budget,
        )

    def _cost(self, law: Law, frame: pd.DataFrame) -> Powers:
        is_counted = self.per is not None or self.examples_per_step is not None
        if self.cost is not None and is_counted:
            both = "also --flops-per-example-parameter or --examples-per-step"
            raise ForecastError("--cost says all that a trial costs", both, "leave one of them out")
        if self.cost is not None:
            return measured(law, frame, self.cost)
        if not is_counted:
            return training_flops(law, frame)
        return flops(law, 6 if self.per is None else self.per, self.examples_per_step)


def allocation_of_table(table: Path, question: TableLaw, purse: Purse) -> Allocation:
    """Fit a law to a CSV or Parquet file and split a budget by it.

    Raises
    ------
    TrialhouseError
        If the file, the law or the question cannot be used.
    """
    frame = read_table(table)
    return purse.split(question.fitted(frame), frame, question.columns)


@dataclass(frozen=True)
class StudyAllocation:
    """A budget split by a law of a study.

    Parameters
    ----------
    study_id, trials
        The version, and its analysis view.
    law
        Which of its laws.
    purse, found
        What was asked, and the answer.
    """

    study_id: str
    trials: pd.DataFrame
    law: StudyLaw
    purse: Purse
    found: Allocation


def forecast_of_study(
    study_name: str,
    *,
    do: Sequence[str],
    at: Sequence[str] = (),
    law: str | None = None,
    where: Sequence[str] = (),
    score: str | None = None,
    farthest: float = FARTHEST,
    check: bool = False,
    draws: int = 1000,
    settings: Settings | None = None,
) -> list[StudyForecast]:
    """Ask the laws of a study's current version what an intervention does, and land the answers, for `fct_calibration` to judge.

    Parameters
    ----------
    do, at, check
        As in `forecast_of_table`.
    law, where
        Which law and which subgroups; by default all that have the factors.
    score
        Answer in this one of the scores that the laws ask for.

    Raises
    ------
    TrialhouseError
        If the study or the question cannot be used, or no law can answer.
    """
    settings = settings or get_settings()
    study_id = current_study_id(study_name, settings)
    study, frame = registered(study_id, settings).study, study_frame(study_id, settings)
    factors = [text.partition("=")[0].strip() for text in ",".join([*do, *at]).split(",")]
    laws = laws_about(study, frame, factors=factors, law=law, where=where, score=score, draws=draws)
    found = forecast_study(study, frame, laws, do=do, at=at, farthest=farthest, check=check)
    land_forecasts(study_id, found, LandingZone(settings.landing_dir))
    return found


def land_forecasts(study_id: str, found: Sequence[StudyForecast], landing: LandingZone) -> list[list[str]]:
    """Put forecasts on record; the same data and code land once. Returns the ids of each: its own, then those of passive observers."""
    rows = [rows_of_forecast(study_id, code_version(*CODE), one) for one in found]
    _land([row for own in rows for row in own], landing)
    return [[row["forecast_id"] for row in own] for own in rows]


def allocation_of_study(
    study_name: str,
    purse: Purse,
    *,
    law: str | None = None,
    where: Sequence[str] = (),
    draws: int = 1000,
    settings: Settings | None = None,
) -> StudyAllocation:
    """Split a budget by a law of a study's current version.

    Raises
    ------
    TrialhouseError
        If the study or the question cannot be used, or several laws of two factors could answer.
    """
    settings = settings or get_settings()
    study_id = current_study_id(study_name, settings)
    study, frame = registered(study_id, settings).study, study_frame(study_id, settings)
    able = [one for one in laws_about(study, frame, law=law, where=where, draws=draws) if len(one.question.columns) > 1]
    if len(able) != 1:
        names = "; ".join(f"--law {one.question.name}, {one.name}" for one in able) or "none"
        remedy = "choose with --law and --where" if able else "add a law of two factors or more to the 'laws' of its YAML"
        raise ForecastError("a budget is split by one law of two factors or more", names, remedy)
    one = able[0]
    if one.law is None:
        raise ForecastError("a budget needs a law", str(one.refusal), "add trials")
    found = purse.split(one.law, rows_of_law(frame, one.question.outcome, one.subgroup), one.question.columns)
    return StudyAllocation(study_id, frame, one, purse, found)


def land_checks(registration: Registration, laws: Sequence[StudyLaw], landing: LandingZone) -> None:
    """Hold trials out of each law of a study, and land how they would have been forecast; the same data and code land once."""
    _land(rows_of_checks(registration.study_id, code_version(*CODE), checks_of(laws)), landing)


def _land(rows: Sequence[Mapping[str, Any]], landing: LandingZone) -> None:
    unit_id = content_id("forecasts", {"forecasts": sorted(row["forecast_id"] for row in rows)})
    now = datetime.now(UTC)
    if rows:
        landing.write_once("forecasts", [{**row, "made_at": now} for row in rows], unit_id=unit_id)


def assignment_named(text: str) -> Assignment:
    """`randomised`, `consequence`, `observational` or `unknown`.

    Raises
    ------
    ForecastError
        For any other word.
    """
    known: tuple[Assignment, ...] = get_args(Assignment)
    if text not in known:
        raise ForecastError(f"assignment must be one of {', '.join(known)}", repr(text), "choose one")
    return next(word for word in known if word == text)
