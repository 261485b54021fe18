"""From published marts to landed effects: the causal engine between the warehouse's two doors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trialhouse.configurations
from trialhouse.configurations import configurations, data_id
from trialhouse.forecasting import land_checks
from trialhouse.hardware.classes import HOST
from trialhouse.identity import code_version, content_id
from trialhouse.landing import LandingZone
from trialhouse.laws import land_laws
from trialhouse.registration import Registration, registered
from trialhouse.settings import Settings, get_settings
from trialhouse.tables import read_table
from trialhouse.warehouse.read import current_study_id, study_curves, study_frame

if TYPE_CHECKING:
    import pandas as pd

    from trialhouse.causal import Results


def estimate(study_id: str, settings: Settings | None = None) -> dict[str, int]:
    """Estimate all effects that a study registered, try to refute them, compare its configurations, fit its laws, and land it all.

    The same data and code give the same estimates, which land once; history is never overwritten.

    Returns
    -------
    dict
        Verdict -> number of primary estimates.
    """
    settings = settings or get_settings()
    registration, frame = registered(study_id, settings), study_frame(study_id, settings)
    results = _results(registration, frame, settings)
    landing = LandingZone(settings.landing_dir)
    batch_id = content_id("estimates", {"estimates": sorted(row["estimate_id"] for row in results.estimates)})
    for table, rows in {"refutations": results.refutations, "estimates": results.estimates}.items():
        landing.write_once(table, rows, unit_id=batch_id)
    _land_configurations(registration, frame, landing)
    land_checks(registration, land_laws(registration, frame, landing), landing)
    return dict(Counter(row["verdict"] for row in results.primary))


def effects_of_study(study_name: str, settings: Settings | None = None) -> dict[str, Any]:
    """Estimates and refutations of a study's current version, from the published warehouse; lands nothing.

    Returns
    -------
    dict
        `estimates`, `refutations` (rows as in the marts), `verdict` and `reasons`.
    """
    settings = settings or get_settings()
    study_id = current_study_id(study_name, settings)
    return _as_json(_results(registered(study_id, settings), study_frame(study_id, settings), settings))


def effects_of_table(
    table: Path,
    *,
    treatment: str,
    outcome: str,
    graph: Path,
    cluster: str | None = None,
    per: str | None = None,
    mediators: Sequence[str] = (),
    recipes: Sequence[str] = (),
) -> dict[str, Any]:
    """The same for any CSV or Parquet file and a graph; see `trialhouse.causal.estimate_table`.

    Raises
    ------
    TrialhouseError
        If a file cannot be read or lacks a column.
    """
    from trialhouse.causal import estimate_table

    frame = read_table(table)
    return _as_json(
        estimate_table(
            frame,
            treatment=treatment,
            outcome=outcome,
            graph=graph,
            cluster=cluster,
            per=per,
            mediators=tuple(mediators),
            recipes=tuple(recipes),
        )
    )


def _results(registration: Registration, frame: pd.DataFrame, settings: Settings) -> Results:
    from trialhouse.causal import estimate_study

    study_id, workers = registration.study_id, settings.trial_workers
    is_about_curves = any(estimand.over_training for estimand in registration.study.estimands)
    curves = study_curves(study_id, settings) if is_about_curves else None
    return estimate_study(registration.study, frame, registration.graphs, study_id=study_id, workers=workers, curves=curves)


def _land_configurations(registration: Registration, frame: pd.DataFrame, landing: LandingZone) -> None:
    if registration.study.recorded is not None:
        return  # a choice between configurations rests on the accuracy of their weights, which a table does not tell
    if registration.study.hardware_classes == (HOST.name,):
        return  # nothing was put to work, so there is nothing to choose a configuration for
    version = code_version(Path(trialhouse.configurations.__file__))
    key = {"study_id": registration.study_id, "data_id": data_id(registration.study, frame), "code_version": version}
    unit_id = content_id("configurations", key)
    if landing.has("configurations", unit_id):
        return
    if rows := configurations(registration.study, frame):
        landing.write("configurations", [{**key, **row, "computed_at": datetime.now(UTC)} for row in rows], unit_id=unit_id)


def _as_json(results: Results) -> dict[str, Any]:
    """Both lists, the worst verdict of a primary estimate, and the reasons for every one that is not released."""
    verdicts = {row["verdict"] for row in results.primary}
    worst = next((word for word in ("failed", "withheld") if word in verdicts), "released")
    reasons = [reason for row in results.primary if row["verdict"] == worst for reason in json.loads(row["reasons"])]
    return {"estimates": results.estimates, "refutations": results.refutations, "verdict": worst, "reasons": reasons}
