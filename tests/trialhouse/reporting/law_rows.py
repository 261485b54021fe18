"""Laws planted in the small warehouse of `conftest.py`: their trials, and what the engine lands of them."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.scaling_laws.asked import checks_of, rows_of_checks
from trialhouse.scaling_laws.study import fit_study, rows_of
from trialhouse.studies.spec import Study

Row = dict[str, Any]
ONE = {"name": "size", "form": "power_law", "outcome": "loss", "size": "parameters", "by": ["hardware_class"], "compare": "hardware_class"}
TWO = {"name": "both", "form": "chinchilla", "outcome": "load_ms", "size": "nonzero_parameters", "data": "flops"}
SCORED = {"scores": [{"outcome": "weights_accuracy", "chance": 0.2, "ceiling": 0.9}]}
"""What `ONE` may ask besides."""
MAP = (1.2, 3.0)
"""L0 and k on the server; the PC guesses."""
TRUTH = {"server": (0.1, 20.0, 0.5), "pc": (0.1, 30.0, 0.5)}
"""Class -> E, A and beta; the loss of the laptop goes down and up again, and the two smallest of the PC are not yet on its law."""
WHEN = datetime(2026, 11, 22, 10, 0, 0)


def with_laws(tables: dict[str, list[Row]], *laws: dict[str, Any]) -> None:
    """Ask for the laws, plant them in the trials, and land what the engine finds."""
    asked = list(laws or (ONE,))
    dim = tables["marts.dim_studies"][0]
    spec = json.loads(dim["spec"]) | {"laws": asked}
    trials = tables["marts.fct_trials"]
    for trial in trials:
        trial |= {"loss": None, "load_ms": None, "flops": None}
    rng = np.random.default_rng(0)
    for name in ("server", "pc", "laptop"):
        own = [trial for trial in trials if trial["hardware_class"] == name and not trial["is_sentinel"]][:36]
        for place, trial in enumerate(own):
            n = float(round(10 ** (2 + 4 * (place % 12) / 11)))
            e, a, beta = TRUTH.get(name, (0.1, 20.0, 0.5))
            turn = 4.0 if name == "laptop" and 2e3 < n < 3e4 else 2.0 if name == "pc" and n < 300 else 1.0
            trial |= {"parameters": n, "loss": turn * (e + a * n**-beta) * float(np.exp(rng.normal(0, 0.02)))}
            if any("scores" in law for law in asked):
                trial["weights_accuracy"] = _score(trial["loss"], name, place)
    own = [trial for trial in trials if trial["hardware_class"] == "server" and not trial["is_sentinel"]][36:85]
    for place, trial in enumerate(own):
        n, d = (float(round(10 ** (7 + 0.5 * part))) for part in divmod(place, 7))
        loss = (1.8 + 480 * n**-0.35 + 2100 * (30 * d) ** -0.37) * float(np.exp(rng.normal(0, 0.005)))
        trial |= {"nonzero_parameters": n, "flops": 30 * d, "load_ms": loss}
    dim["spec"] = json.dumps(spec)
    landed = _landed(dim["spec"], json.dumps([_plain(trial) for trial in trials if not trial["is_sentinel"]]), dim["study_id"])
    tables |= {mart: [dict(row) for row in rows] for mart, rows in landed.items()}


def _score(loss: float, name: str, place: int) -> float:
    middle, steep = MAP
    share = 0.0 if name == "pc" else 0.7 / (1 + np.exp(steep * (loss - middle)))
    return float(np.clip(0.2 + share + 0.01 * np.sin(7.0 * place), 0, 0.9))


def _plain(trial: Row) -> Row:
    names = (
        "trial_id",
        "hardware_class",
        "seed",
        "parameters",
        "nonzero_parameters",
        "flops",
        "loss",
        "load_ms",
        "position",
        "weights_accuracy",
    )
    return {name: trial[name] for name in names}


@cache
def _landed(spec: str, trials: str, study_id: str) -> dict[str, list[Row]]:
    """Rows of the three marts; fitted once per test session."""
    study, frame = Study.model_validate(json.loads(spec)), pd.DataFrame(json.loads(trials))
    laws, comparisons = fit_study(study, frame, draws=200)
    common = {"study_name": study.name, "is_current": True}
    forecasts = [{**_of_forecast(row), **common} for row in rows_of_checks(study_id, "1", checks_of(laws))]
    met = [row for forecast in forecasts for row in _met(forecast, frame)]
    return {
        "marts.fct_scaling_laws": [{**row, "fitted_at": WHEN, **common} for row in rows_of(study_id, "1", laws, comparisons)],
        "marts.fct_forecasts": forecasts,
        "marts.fct_calibration": met,
    }


def _of_forecast(row: Row) -> Row:
    return {**dict.fromkeys(("difference", "difference_low", "difference_high")), **row, "made_at": WHEN}


def _met(forecast: Row, frame: pd.DataFrame) -> list[Row]:
    """As `fct_calibration` does: trials of the same configuration."""
    own = frame[frame[forecast["outcome"]].notna()]
    for column, level in json.loads(forecast["place"]).items():
        own = own[own[column] == level] if isinstance(level, str) else own[np.isclose(own[column], level, rtol=1e-4)]
    rows = []
    for trial_id, observed in zip(own["trial_id"], own[forecast["outcome"]], strict=True):
        inside = forecast["prediction_low"] <= observed <= forecast["prediction_high"]
        error = {"error": observed - forecast["estimate"], "log_error": float(np.log(observed / forecast["estimate"]))}
        told = {"forecast_id": forecast["forecast_id"], "trial_id": trial_id, "forecast": forecast["estimate"], "observed": observed}
        rows.append({**told, **error, "is_in_interval": bool(inside)})
    return rows
