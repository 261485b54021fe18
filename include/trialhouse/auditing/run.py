"""The audit itself: forecast, register, train, build, score."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np

from trialhouse.auditing.candidates import Candidate, candidates, version_of
from trialhouse.auditing.score import Audit, scored
from trialhouse.errors import ForecastError, ServiceError
from trialhouse.forecasting import StudyAllocation, land_forecasts
from trialhouse.landing import LandingZone
from trialhouse.preview import preview
from trialhouse.registration import Registration, plan, register_version, registered
from trialhouse.scaling_laws.asked import StudyForecast, forecast_study
from trialhouse.settings import Settings, get_settings, inherited_environment
from trialhouse.studies.spec import Study
from trialhouse.training.trials import train_trials
from trialhouse.warehouse.loader import load_landed
from trialhouse.warehouse.models import build_models
from trialhouse.warehouse.publish import publish

MINUTES = 30.0
"""Longest training that is begun unless more is allowed."""


def audit(
    allocation: StudyAllocation, *, minutes: float = MINUTES, say: Callable[[str], object] = print, settings: Settings | None = None
) -> Audit:
    """Run the recommended split of a budget beside its rivals, each in every block of the study, and score what was forecast of them.

    Parameters
    ----------
    allocation
        By a law of a study.
    minutes
        Longest training, by the speed of trials that landed, that is begun.
    say
        Receives a line before each step that takes long.

    Notes
    -----
    Rivals spend the same: published rules, and half and twice the size, each at the nearest trial that the workload can run. All settings
    are the study's own, a trunk included: a law of branches (`trunk_steps`) is about branches, and a trial on its own schedule would be
    another treatment. So are its blocks: what is forecast are new configurations of seeds that the law has met, and what luck a seed has is
    in both. Forecasts land before the trials are registered. These are another version of the study with listed points, registered and
    trained like any; the version that was asked stays the current one.

    Raises
    ------
    TrialhouseError
        Before anything lands, if the study cannot be run here, its factors do not lead to the recommended split, or that takes too long.
    """
    settings = settings or get_settings()
    asked = registered(allocation.study_id, settings)
    chosen, left_out = candidates(allocation, asked.study)
    forecasts = _forecasts(allocation, asked.study, chosen, left_out)
    chosen = [candidate for candidate, _ in forecasts]
    planned = plan(version_of(asked.study, allocation, chosen), settings)
    say(_require_affordable(planned, minutes, settings))
    landing = LandingZone(settings.landing_dir)
    forecast_ids = land_forecasts(asked.study_id, [forecast for _, forecast in forecasts], landing)
    if not landing.has("study_versions", planned.study_id):
        register_version(planned, settings)
    register_version(asked, settings)  # stays the current one
    _train(planned, settings)
    say("loading the trials and building the tables")
    load_landed(settings)
    build_models(line=lambda _: None, settings=settings)
    publish(settings)
    return scored(allocation, planned, forecasts, forecast_ids, left_out, settings)


def _forecasts(
    allocation: StudyAllocation, study: Study, chosen: Sequence[Candidate], left_out: dict[str, str]
) -> list[tuple[Candidate, StudyForecast]]:
    """What the law says of each: rivals from the recommended split, that one from the first rival."""

    def asked(end: Candidate, start: Candidate) -> StudyForecast:
        do, at = ([f"{column}={value!r}" for column, value in one.place.items()] for one in (end, start))
        return forecast_study(study, allocation.trials, [allocation.law], do=do, at=at, farthest=allocation.purse.farthest)[0]

    recommended, *rivals = chosen
    found = []
    for rival in rivals:
        try:
            found.append((rival, asked(rival, recommended)))
        except ForecastError as error:
            left_out[rival.name] = str(error)
    if not found:
        raise ForecastError("a recommended split is audited beside rivals that can be forecast", "; ".join(left_out.values()))
    return [(recommended, asked(recommended, found[0][0])), *found]


def _require_affordable(planned: Registration, minutes: float, settings: Settings) -> str:
    """What it takes, in words; ForecastError where that is too much, or not known."""
    cost = preview(planned, settings=settings).cost
    told = f"{cost.trials - cost.landed} trials to be run"
    if cost.minutes is None:
        raise ForecastError(
            "an audit must be known to be affordable", f"{told}, at an unknown speed", "no landed trial says how fast they train"
        )
    told += f", about {cost.minutes:.1f} minutes on {cost.workers} workers ({cost.rate_from})"
    if cost.minutes > minutes:
        remedy = f"say --run-minutes {np.ceil(cost.minutes):.0f}, or lower the budget"
        raise ForecastError(f"an audit must take at most {minutes:g} minutes", told, remedy)
    return f"audit: {cost.trials} trials of {planned.study_id}; {told}"


def _train(planned: Registration, settings: Settings) -> None:
    """By as many processes as the DAG of a study has, each taking what no other has; what landed is not trained again."""
    landed = LandingZone(settings.landing_dir).unit_ids("attempts")
    workers = min(settings.trial_workers, sum(trial.trial_id not in landed for trial in planned.trials))
    if workers < 2:
        train_trials(planned.study_id, settings=settings)
        return
    command = [sys.executable, "-c", f"from trialhouse.training.trials import train_trials; train_trials({planned.study_id!r})"]
    given = {f"TRIALHOUSE_{name.upper()}": str(value) for name, value in settings if value is not None}
    processes = [subprocess.Popen(command, env={**inherited_environment(), **given}) for _ in range(workers)]
    try:
        statuses = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.kill()
    if failed := [status for status in statuses if status]:
        raise ServiceError("workers must train until no trial is left", f"exit status {failed[0]}", "run it again: what landed is kept")
