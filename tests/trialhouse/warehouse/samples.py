"""Trials that nobody ran: rows as a measured study lands them, made up from a formula, for tests of what comes after."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from trialhouse.identity import content_id
from trialhouse.landing import LandingZone
from trialhouse.registration import Registration, register
from trialhouse.settings import Settings
from trialhouse.studies.designs import Trial
from trialhouse.warehouse.loader import load_landed
from trialhouse.warehouse.models import build_models
from trialhouse.warehouse.publish import publish

Row = dict[str, Any]
Change = Callable[[str, Row], Row | None]

CALLS = 20
"""Timed calls per trial."""


def land_study(
    settings: Settings,
    name: str = "pruning_digits",
    *,
    statuses: Mapping[str, str | None] | None = None,
    change: Change | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Registration:
    """Register a study and land an attempt of every trial.

    Parameters
    ----------
    statuses
        trial_id -> status of its attempt, `ok` where not named; None: it was not attempted.
    change
        Given a table and a row, the row to land instead; None: leave it out.
    """
    registration = register(name, overrides, settings)
    land_trials(settings, registration.trials, statuses=statuses, change=change)
    return registration


def land_trials(
    settings: Settings,
    trials: list[Trial],
    *,
    attempt: int = 1,
    statuses: Mapping[str, str | None] | None = None,
    change: Change | None = None,
    made: Collection[str] = (),
) -> None:
    """Land one attempt of the trials and of their weights (but for those `made` already), all rows of a table in one file."""
    statuses = statuses or {}
    rng = np.random.default_rng(7)
    rows: dict[str, list[Row]] = {"outcomes": [], "samples": [], "curves": [], "profiles": [], "realised": [], "attempts": []}

    accuracies: dict[str, float] = {}

    def land(table: str, row: Row) -> None:
        changed = change(table, row) if change else row
        if changed is not None:
            rows[table].append(changed)

    for weights_id, trial in {trial.weights_id: trial for trial in trials if trial.weights_id not in made}.items():
        unit = {"unit_id": weights_id, "unit_kind": "weights", "attempt": attempt}
        ratio = float(trial.factors["pruning_ratio"])
        kept = 1 - ratio if trial.factors["pruning_method"] != "l1_mask" else 1.0
        values = {
            "accuracy": 0.97 - 0.1 * ratio**2 + 0.005 * rng.standard_normal(),
            "accuracy_before_finetuning": 0.97 - 0.7 * ratio,
            "loss": 0.1 + 0.3 * ratio**2,
            "loss_before_finetuning": 0.1 + 2 * ratio,
            "parameters": round(50_000 * kept),
            "nonzero_parameters": round(50_000 * (1 - ratio)),
            "flops": round(2e6 * kept),
            "flops_share": kept,
            "macs": round(1e6 * kept),
        }
        accuracies[weights_id] = float(values["accuracy"])
        for outcome, value in values.items():
            land("outcomes", {**unit, "outcome": outcome, "value": float(value)})
        for step in range(3):
            curve = {**unit, "phase": "fine_tuning", "split": "train", "step": step, "metric": "loss"}
            land("curves", {**curve, "value": 1.0 / (1 + step)})
        land("realised", {**unit, "factor": "pruning_ratio", "realised": f"{ratio:.2f}", "realised_value": round(ratio, 2)})
        land("attempts", _attempt(unit, trial, "ok", None))
    for trial in trials:
        status = statuses.get(trial.trial_id, "ok")
        if status is None:
            continue
        unit = {"unit_id": trial.trial_id, "unit_kind": "trial", "attempt": attempt}
        batch, ratio = float(trial.factors["batch_size"]), float(trial.factors["pruning_ratio"])
        memory = 3e7 + batch * 5e3 * (1 - 0.5 * ratio)
        land("outcomes", {**unit, "outcome": "peak_memory_bytes", "value": float(round(memory))})
        land("outcomes", {**unit, "outcome": "memory_utilisation", "value": memory / 1e8})
        land("profiles", {**unit, "metric": "cpu_frequency_mhz", "value": None, "reason": "this machine does not tell"})
        if status == "ok":
            land("outcomes", {**unit, "outcome": "load_ms", "value": 2.0})
            land("profiles", {**unit, "metric": "latency_cpu_share", "value": 0.95})
            if trial.weights_id in accuracies:
                land("outcomes", {**unit, "outcome": "accuracy_as_served", "value": accuracies[trial.weights_id]})
            for metric in ("sampled_latency_ms", "unsampled_latency_ms"):
                land("profiles", {**unit, "metric": metric, "value": float(np.exp(0.05 * rng.standard_normal()))})
            land("outcomes", {**unit, "outcome": "throughput_images_per_s", "value": 500.0})
            latency = (0.5 + 0.01 * batch * (1 - 0.5 * ratio)) * np.exp(0.05 * rng.standard_normal(CALLS))
            for sequence, value in enumerate(latency.tolist()):
                land("samples", {**unit, "metric": "latency_ms", "sequence": sequence, "value": value})
        land("attempts", _attempt(unit, trial, status, trial.hardware_class))
    landing = LandingZone(settings.landing_dir)
    unit_id = content_id("made", {"trials": [trial.trial_id for trial in trials]})
    for table, some in rows.items():
        landing.write(table, some, unit_id=unit_id, attempt=attempt)


def _attempt(unit: Row, trial: Trial, status: str, hardware_class: str | None) -> Row:
    now = datetime.now(UTC) + timedelta(seconds=trial.position)
    return {
        **unit,
        "weights_id": trial.weights_id,
        "hardware_class": hardware_class,
        "status": status,
        "failure_reason": None if status == "ok" else f"it was {status}",
        "host": "here",
        "slot_order": trial.position if unit["unit_kind"] == "trial" else None,
        "started_at": now,
        "ended_at": now + timedelta(seconds=1),
    }


def build(settings: Settings, select: str | None = None) -> None:
    """Load, build and publish, as the warehouse tasks of a study do."""
    load_landed(settings)
    build_models(select, line=lambda _: None, settings=settings)
    publish(settings)
