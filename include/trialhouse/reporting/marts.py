"""What the published warehouse holds about one study. The only SQL of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialhouse.errors import WarehouseError
from trialhouse.reporting.formats import as_number
from trialhouse.warehouse.read import analysis_view

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]


@dataclass(frozen=True)
class StudyData:
    """One study version's rows of the marts, each in a fixed order.

    Parameters
    ----------
    study
        Its row of `dim_studies`.
    spec
        The registered spec.
    graphs
        Name -> text of each registered graph file.
    hardware_classes
        Its rows of `dim_hardware_classes`, in the spec's order.
    trials
        Its rows of `fct_trials` with one more key per factor, in the order of measurement; without sentinels.
    sentinels
        How many trials are sentinels: one fixed combination, measured again and again.
    measurement_checks
        Its rows of `fct_measurement_checks`.
    validations
        Its rows of `fct_validations` from the newest validation.
    estimates, refutations, configurations
        Its current rows of `fct_estimates`, `fct_refutations` and `fct_configurations`.
    """

    study: Row
    spec: Mapping[str, Any]
    graphs: Mapping[str, str]
    hardware_classes: Sequence[Row]
    trials: Sequence[Row]
    sentinels: int
    measurement_checks: Sequence[Row]
    validations: Sequence[Row]
    estimates: Sequence[Row]
    refutations: Sequence[Row]
    configurations: Sequence[Row]
    curves: Sequence[Row] = ()
    """Validation loss by step, of trials that end with training."""
    laws: Sequence[Row] = ()
    """Its current rows of `fct_scaling_laws`."""
    held_out: Sequence[Row] = ()
    """What these laws, frozen, said of trials that were held out: rows of `fct_calibration`, with the sentence of their forecast."""
    frame: pd.DataFrame | None = None
    """Its analysis view, where it asks for laws."""

    @property
    def is_trained(self) -> bool:
        """Whether its trials end with training: nothing is put to work on a class of hardware."""
        return list(self.spec["hardware_classes"]) == ["host"]

    @property
    def everywhere(self) -> str:
        """What an effect without a subgroup speaks of."""
        return "all classes" if len(self.spec["hardware_classes"]) > 1 else "all trials"

    def order(self, level: str | None) -> tuple[int, float, str]:
        """Sorts subgroups: hardware classes as the spec has them, then numbers by size, then names."""
        classes, value = list(self.spec["hardware_classes"]), as_number(level)
        if level is not None and level in classes:
            return (0, classes.index(level), level)
        return (2, 0.0, level or "") if value is None else (1, value, "")

    @property
    def factors(self) -> dict[str, Mapping[str, Any]]:
        return {factor["name"]: factor for factor in self.spec["factors"]}

    @property
    def indicators(self) -> dict[str, Mapping[str, Any]]:
        return {indicator["name"]: indicator for indicator in self.spec.get("indicators", ())}

    @property
    def estimands(self) -> dict[str, Mapping[str, Any]]:
        return {estimand["name"]: estimand for estimand in self.spec["estimands"]}

    def checks_of(self, estimate_id: str) -> list[Row]:
        """The rows of `refutations` that belong to an estimate."""
        return self._checks.get(estimate_id, [])

    @cached_property
    def _checks(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.refutations:
            found.setdefault(row["estimate_id"], []).append(row)
        return found

    def value(self, trial: Row, column: str) -> Any:
        """A trial's factor, outcome or indicator (1.0 or 0.0); None where it is missing."""
        indicator = self.indicators.get(column)
        if indicator is None:
            return trial.get(column)
        measured = trial.get(indicator["column"])
        if measured is None:
            return None
        is_above = indicator["above"] is not None
        return float(measured > indicator["above"] if is_above else measured < indicator["below"])


def details_of(check: Row) -> list[dict[str, Any]]:
    """The rows that a check's reason sums up; none where it landed none."""
    text = check.get("details")
    rows: list[dict[str, Any]] = json.loads(text) if text else []
    return rows


def read_study(study_id: str, warehouse: Path) -> StudyData:
    """Read one study version from the published warehouse, which is opened read-only.

    Raises
    ------
    WarehouseError
        If there is no such file, it lacks the marts, or it does not know the study.
    """
    import duckdb

    if not warehouse.is_file():
        raise WarehouseError("the published warehouse must be there", f"no file {warehouse}", "run `make study` first")
    try:
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            return _read(study_id, connection)
    except duckdb.Error as error:
        first_line = str(error).splitlines()[0]
        raise WarehouseError(f"{warehouse.name} must hold the marts", first_line, "run `make study` to rebuild it") from error


def _read(study_id: str, connection: Any) -> StudyData:
    def rows(sql: str, *parameters: Any) -> list[dict[str, Any]]:
        cursor = connection.execute(sql, list(parameters))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    studies = rows("select * from marts.dim_studies where study_id = ?", study_id)
    if not studies:
        raise WarehouseError("the study must be in the published warehouse", repr(study_id), "see marts.dim_studies for the ones that are")
    study = studies[0]
    spec = json.loads(study["spec"])
    every_trial = rows("select * from marts.fct_trials where study_id = ? order by position, trial_id", study_id)
    trials = [trial for trial in every_trial if not trial["is_sentinel"]]
    _add_factors(trials, spec, study_id, rows)
    classes = rows("select * from marts.dim_hardware_classes where study_id = ?", study_id)
    order = {name: place for place, name in enumerate(spec["hardware_classes"])}
    return StudyData(
        study=study,
        spec=spec,
        graphs=json.loads(study.get("graph") or "{}"),
        hardware_classes=sorted(classes, key=lambda row: order.get(row["hardware_class"], len(order))),
        trials=trials,
        sentinels=len(every_trial) - len(trials),
        measurement_checks=rows("select * from marts.fct_measurement_checks where study_id = ? order by check_id", study_id),
        validations=rows(
            """
            select * from marts.fct_validations where study_id = ? and is_current
            order by is_success, severity, table_name, expectation, column_name, sentence
            """,
            study_id,
        ),
        estimates=rows(
            """
            select * from marts.fct_estimates where study_id = ? and is_current
            order by estimand, subgroup, contrast_from, contrast_to, method, estimate_id
            """,
            study_id,
        ),
        refutations=rows(
            """
            select * from marts.fct_refutations where study_id = ? and is_current
            order by estimand, subgroup, method, refuter, estimate_id
            """,
            study_id,
        ),
        configurations=rows(
            """
            select * from marts.fct_configurations where study_id = ? and is_current
            order by hardware_class, configuration
            """,
            study_id,
        ),
        curves=rows(
            """
            select trial_id, step, value from marts.fct_learning_curves
            semi join (select trial_id from marts.fct_trials where study_id = ? and not is_sentinel) using (trial_id)
            where split = 'validation' and metric = 'loss' and value is not null
            order by trial_id, step
            """,
            study_id,
        ),
        **(_laws(study_id, connection, rows) if spec.get("laws") or spec.get("responses") else {}),
    )


def _laws(study_id: str, connection: Any, rows: Any) -> dict[str, Any]:
    """What only studies that ask for laws have."""
    return {
        "laws": rows(
            """
            select * from marts.fct_scaling_laws where study_id = ? and is_current
            order by law, subgroup, compared_with, quantity, law_id
            """,
            study_id,
        ),
        "held_out": rows(
            """
            select
                forecasts.data_id, forecasts.law, forecasts.outcome, forecasts.purpose, forecasts.basis, forecasts.looks_at,
                forecasts.place, forecasts.sentence, met.trial_id, met.forecast, met.observed, met.error, met.log_error, met.is_in_interval
            from marts.fct_calibration as met
            join marts.fct_forecasts as forecasts using (forecast_id)
            semi join (select distinct law, data_id, code_version from marts.fct_scaling_laws where study_id = ? and is_current) as laws
                on forecasts.law = laws.law and forecasts.data_id = laws.data_id and forecasts.code_version = laws.code_version
            where forecasts.study_id = ? and forecasts.purpose <> 'asked'
            order by forecasts.law, forecasts.data_id, forecasts.purpose, forecasts.basis, forecasts.looks_at, forecasts.place, met.trial_id
            """,
            study_id,
            study_id,
        ),
        "frame": analysis_view(connection, study_id),
    }


def _add_factors(trials: list[dict[str, Any]], spec: Mapping[str, Any], study_id: str, rows: Any) -> None:
    """Factors and asked-for outcomes that are no column of `fct_trials` come from the version's analysis view."""
    if not trials:
        return
    view = {row["column_name"] for row in rows(f"describe analysis_versions.{_quoted(study_id)}")}
    asked = [item["name"] for item in spec["factors"]] + [item["outcome"] for item in spec["estimands"]]
    missing = [name for name in dict.fromkeys(asked) if name not in trials[0] and name in view]
    if not missing:
        return
    columns = ", ".join(_quoted(name) for name in ("trial_id", *missing))
    by_trial = {row["trial_id"]: row for row in rows(f"select {columns} from analysis_versions.{_quoted(study_id)}")}
    for trial in trials:
        trial.update(by_trial[trial["trial_id"]])


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
