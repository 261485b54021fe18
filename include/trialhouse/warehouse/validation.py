"""What the data gates look at, and where their results go. What they expect is in `expectations/*.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trialhouse.identity import content_id
from trialhouse.landing import LandingZone
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.spec import Gates
from trialhouse.warehouse.read import study_frame, study_table

if TYPE_CHECKING:
    import pandas as pd

KEYS = {
    "fct_trials": ["trial_id"],
    "fct_outcomes": ["trial_id", "outcome"],
    "fct_design_checks": ["check_id"],
    "fct_measurement_checks": ["check_id"],
}
"""Validated table -> the columns that name a failing row."""


@dataclass(frozen=True)
class StudyData:
    """What the gates of one study version need.

    Parameters
    ----------
    study_id, study_name
        The version.
    frames
        Validated table -> its rows, with the columns that the suites need besides.
    parameters
        The study's gates and what else its registration says: suite parameters.
    is_assigned
        Whether a design assigned the treatments; false for an observational study.
    """

    study_id: str
    study_name: str
    frames: Mapping[str, pd.DataFrame]
    parameters: Mapping[str, Any]
    is_assigned: bool = True


def study_data(study_id: str, settings: Settings | None = None) -> StudyData:
    """Read one study version from the published warehouse.

    Raises
    ------
    WarehouseError
        If it is not there.
    """
    study = study_table("dim_studies", study_id, settings).iloc[0]
    spec = json.loads(study["spec"])
    parameters = {**Gates.model_validate(spec["gates"]).model_dump(), "trials": int(study["trials"])}
    trials = study_table("fct_trials", study_id, settings)
    outcomes = study_table("fct_outcomes", study_id, settings)
    checks = study_table("fct_design_checks", study_id, settings)
    return StudyData(
        study_id=study_id,
        study_name=str(study["study_name"]),
        frames={
            "fct_trials": trials.assign(missing_outcomes=trials["trial_id"].map(_missing_outcomes(study_frame(study_id, settings), spec))),
            "fct_outcomes": outcomes.assign(
                is_explained=outcomes[["value", "text", "reason"]].notna().any(axis=1) | ~outcomes["is_finite"]
            ),
            "fct_design_checks": _one_column_per_check(checks, parameters["sample_ratio_alpha"]),
            "fct_measurement_checks": _measurement_columns(study_table("fct_measurement_checks", study_id, settings)),
        },
        parameters=parameters,
        is_assigned=spec["design"]["kind"] != "observational",
    )


def land_validation(data: StudyData, rows: Sequence[Mapping[str, Any]], settings: Settings | None = None) -> str:
    """Land the results of one call under an id made of them and of the data; the same results on the same data land once.

    Parameters
    ----------
    data
        What was validated.
    rows
        Columns of `raw.validations` but `validation_id`, `study_id` and `validated_at`.

    Returns
    -------
    str
        The validation's id.
    """
    validation_id = content_id("validation", {"study_id": data.study_id, "data": _hashes(data), "results": rows})
    common = {"validation_id": validation_id, "study_id": data.study_id, "validated_at": datetime.now(UTC)}
    landing = LandingZone((settings or get_settings()).landing_dir)
    landing.write_once("validations", [{**common, **row} for row in rows], unit_id=validation_id)
    return validation_id


def _hashes(data: StudyData) -> dict[str, str]:
    """SHA-256 of each frame's values: old results on new data must not pass for the newest word."""
    import pandas as pd

    return {
        table: hashlib.sha256(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()).hexdigest()
        for table, frame in data.frames.items()
    }


def _missing_outcomes(frame: pd.DataFrame, spec: Mapping[str, Any]) -> pd.Series[Any]:
    """For each trial (by its id) the outcomes that an estimand asks for and that it lacks though it finished; None if it lacks none."""
    import pandas as pd

    indicators = {indicator["name"]: indicator["column"] for indicator in spec["indicators"]}
    asked = sorted({indicators.get(estimand["outcome"], estimand["outcome"]) for estimand in spec["estimands"]})
    lacking = frame.reindex(columns=asked).isna().mul(frame["status"] == "ok", axis=0)
    names = [", ".join(name for name in asked if row[name]) or None for row in lacking.to_dict("records")]
    return pd.Series(names, index=frame["trial_id"], dtype="object")


def _one_column_per_check(checks: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The long table with one more column for each check's value, missing in the rows of others, and what chance says to it."""
    import numpy as np
    from scipy import stats

    columns = {name: checks["value"].where(checks["check_name"] == name) for name in sorted(set(checks["check_name"]))}
    chi_squared = checks["value"].where(checks["check_name"] == "sample_ratio")
    difference = checks["value"].where(checks["check_name"] == "balance")
    balance_p_value = 2 * stats.norm.sf(difference / checks["standard_error"])
    return checks.assign(
        **columns,
        sample_ratio_p_value=stats.chi2.sf(chi_squared, checks["degrees_of_freedom"]),
        unexplained_imbalance=np.where(balance_p_value < alpha, difference, np.where(difference.isna(), np.nan, 0.0)),
    )


def _measurement_columns(checks: pd.DataFrame) -> pd.DataFrame:
    """The long table with a column for each limit, missing in the rows of other checks."""
    import pandas as pd
    from scipy import stats

    error, freedom = checks["standard_error"].astype(float), checks["degrees_of_freedom"].astype(float)
    p_value = 2 * stats.t.sf((checks["value"] / error).abs(), freedom)
    low = checks["value"] - stats.t.ppf(0.975, freedom) * error
    name = checks["check_name"]
    return checks.assign(
        accuracy_agreement=checks["value"].where(name == "accuracy_agreement"),
        drift_p_value=pd.Series(p_value, index=checks.index).where(name == "drift"),
        sampling_overhead_low=low.where(name == "sampling_overhead"),
    )
