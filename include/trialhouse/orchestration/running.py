"""`trialhouse run` and `trialhouse up`: a study through Airflow to its answer, or Airflow until Ctrl-C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from trialhouse.errors import ServiceError
from trialhouse.landing import LandingZone
from trialhouse.orchestration.airflow_config import load_secrets
from trialhouse.orchestration.client import AirflowClient
from trialhouse.orchestration.progress import Counts, show_progress
from trialhouse.orchestration.supervisor import LocalAirflow
from trialhouse.registration import Registration, plan
from trialhouse.reporting.answer import Answer, answer
from trialhouse.reporting.formats import joined
from trialhouse.reporting.terminal import render_text
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.catalogue import load_study


@dataclass(frozen=True)
class Outcome:
    """How a study's run ended.

    Parameters
    ----------
    state
        The run's state in Airflow: ``success`` or ``failed``.
    answer
        What may be said now; None where the run did not come to that.
    report
        The report's file.
    run_url
        The run's page in the Airflow UI.
    """

    state: str
    answer: Answer | None
    report: Path
    run_url: str


def run_study(name: str, conf: Mapping[str, Any], console: Console) -> Outcome:
    """Run a study's DAG through the Airflow of this home, started where it is not up, and show it until it ends.

    Parameters
    ----------
    name
        The study.
    conf
        The trigger form's fields (`blocks`, `hardware_classes`, `replicates`, `changes`, `rerun`); those left out keep their defaults.
    console
        Where progress is shown.

    Raises
    ------
    TrialhouseError
        Before anything starts, if the study cannot be run; later, if Airflow fails.
    """
    settings = get_settings()
    overrides = {key: value for key, value in conf.items() if key != "rerun"}
    planned = plan(load_study(name).with_overrides(**overrides), settings)
    console.print(f"{planned.study.title}\n{len(planned.trials)} trials on {', '.join(planned.study.hardware_classes)}\n", highlight=False)
    with LocalAirflow(settings, lambda line: console.print(line, style="dim", highlight=False)) as airflow, airflow.client() as client:
        _read(client, name, airflow)
        if client.unpause(name):
            console.print(f"{name} was paused in the Airflow UI: it is not any more, nor is its schedule", highlight=False)
        run_id = _run_id(client, name, conf, is_fresh=airflow.is_owner)
        if airflow.is_owner and (others := [dag_id for dag_id in client.active_dags() if dag_id != name]):
            told = f"cut off before the end, and going on now before this one: {joined(others)}"
            console.print(f"{told} (`make up`, then mark as failed what should not)", highlight=False)
        state = show_progress(client, name, run_id, lambda: _counts(planned, settings), check=airflow.check, console=console)
        url = client.run_url(name, run_id)
    report = settings.reports_dir / name / "index.html"
    has_answer = settings.warehouse.exists() and LandingZone(settings.landing_dir).has("study_versions", planned.study_id)
    return Outcome(state, answer(planned.study_id, settings.warehouse) if has_answer else None, report, url)


def show(outcome: Outcome, console: Console) -> None:
    """Print the answer, then where to look further."""
    settings = get_settings()
    if outcome.answer is not None:
        console.print(
            render_text(outcome.answer, console.width, has_colour=console.is_terminal), highlight=False, markup=False, soft_wrap=True
        )
    console.print(f"report     {outcome.report}", highlight=False, soft_wrap=True)
    console.print(
        f'warehouse  {settings.warehouse}  (trialhouse query "FROM marts.fct_trials")', highlight=False, markup=False, soft_wrap=True
    )
    console.print(f"Airflow UI {outcome.run_url}  (`make up` starts it)", highlight=False, soft_wrap=True)


def stay_up(console: Console) -> None:
    """Start Airflow on loopback, say where and how to log in, and stay until Ctrl-C."""
    settings = get_settings()
    with LocalAirflow(settings, lambda line: console.print(line, style="dim", highlight=False)) as airflow:
        if not airflow.is_owner:
            raise ServiceError("only one command at a time can keep Airflow up", f"one that runs at {airflow.url}", "use that one")
        secret = load_secrets(settings)
        console.print(f"Airflow is up: {airflow.url}\nuser {secret.user}, password {secret.password}\nCtrl-C stops it.", highlight=False)
        airflow.wait()


def _read(client: AirflowClient, dag_id: str, airflow: LocalAirflow) -> None:
    """Have Airflow read the study as it is now: one that was up already may have read it before its last change."""
    since = airflow.started_at
    if not airflow.is_owner:
        client.wait_for_dag(dag_id)
        since = datetime.now(UTC)
        client.read_again(dag_id)
    client.wait_for_dag(dag_id, parsed_after=since)


def _run_id(client: AirflowClient, dag_id: str, conf: Mapping[str, Any], *, is_fresh: bool) -> str:
    """A new run. One that another command just triggered with the same choices is watched instead of queued again."""
    if is_fresh:
        client.abandon_stale_runs(dag_id)
    same = [run_id for run_id, other in client.active_runs(dag_id).items() if other == dict(conf)]
    return same[0] if same else client.trigger(dag_id, conf)


def _counts(planned: Registration, settings: Settings) -> Counts:
    """Trials of the study that landed, by class: counted in the landing zone, since the warehouse learns of them later."""
    landed = LandingZone(settings.landing_dir).unit_ids("attempts")
    classes = planned.study.hardware_classes
    total = {name: sum(trial.hardware_class == name for trial in planned.trials) for name in classes}
    if planned.study.recorded is not None:
        return Counts(total, total)  # what was imported is there as a whole
    done = {name: sum(trial.hardware_class == name and trial.trial_id in landed for trial in planned.trials) for name in classes}
    return Counts(done, total)
