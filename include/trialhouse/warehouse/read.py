"""What the domain reads back: frames of one study version, from the published copy, which no writer locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trialhouse.errors import WarehouseError
from trialhouse.identity import is_id
from trialhouse.settings import Settings, get_settings

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

STUDY_TABLES = {
    "dim_studies": "study_id",
    "dim_hardware_classes": "hardware_class",
    "fct_trials": "position",
    "fct_treatments": "trial_id, factor",
    "fct_outcomes": "trial_id, unit_kind, outcome",
    "fct_design_checks": "check_id",
    "fct_configurations": "hardware_class, configuration, computed_at",
    "fct_measurement_checks": "check_id",
    "fct_validations": "table_name, expectation, column_name, sentence, validation_id",
    "fct_estimates": "estimand, subgroup, contrast_from, contrast_to, method, estimate_id",
    "fct_scaling_laws": "law, subgroup, compared_with, quantity, law_id",
    "fct_forecasts": "law, subgroup, purpose, basis, looks_at, place, start, forecast_id",
    "fct_refutations": "estimand, subgroup, method, refuter, estimate_id",
}
"""Marts that have a `study_id`, with the order that makes their rows the same on every reading."""


def study_frame(study_id: str, settings: Settings | None = None) -> pd.DataFrame:
    """The analysis view of one study version.

    Returns
    -------
    pandas.DataFrame
        One row per trial in the study's random order: keys, one column per factor (a number where every level is one),
        outcome and indicator (0, 1 or missing).

    Raises
    ------
    WarehouseError
        If nothing was published yet, or the published copy does not have this version.
    """
    if not is_id(study_id):
        raise WarehouseError("study_id must be an id such as study_0123456789abcdef", repr(study_id), "see marts.dim_studies")
    with published(settings) as connection:
        _require_study(connection, study_id)
        return analysis_view(connection, study_id)


def analysis_view(connection: duckdb.DuckDBPyConnection, study_id: str) -> pd.DataFrame:
    """`study_frame` of a warehouse that is open; `study_id` is known to be one."""
    return _plain(connection.execute(f'SELECT * FROM analysis_versions."{study_id}" ORDER BY position, trial_id').df())


def study_curves(study_id: str, settings: Settings | None = None) -> pd.DataFrame:
    """The finished learning curves of one study version's trials, sentinels aside.

    Returns
    -------
    pandas.DataFrame
        One row per trial, split, step and metric: `trial_id`, `split`, `step`, `metric`, `value`.

    Raises
    ------
    WarehouseError
        As `study_frame`.
    """
    with published(settings) as connection:
        _require_study(connection, study_id)
        query = """
            SELECT trial_id, split, step, metric, value FROM marts.fct_learning_curves
            SEMI JOIN (SELECT trial_id FROM marts.fct_trials WHERE study_id = ? AND NOT is_sentinel) USING (trial_id)
            WHERE is_attempt_finished ORDER BY ALL
        """
        return _plain(connection.execute(query, [study_id]).df())


def study_table(table: str, study_id: str, settings: Settings | None = None) -> pd.DataFrame:
    """One study version's rows of a mart (`STUDY_TABLES`), in a fixed order.

    Raises
    ------
    WarehouseError
        As `study_frame`; also for a mart without a `study_id`.
    """
    if table not in STUDY_TABLES:
        raise WarehouseError(f"table must be one of {sorted(STUDY_TABLES)}", repr(table), "query the warehouse itself for others")
    with published(settings) as connection:
        _require_study(connection, study_id)
        rows = connection.execute(f"SELECT * FROM marts.{table} WHERE study_id = ? ORDER BY {STUDY_TABLES[table]}", [study_id])
        return _plain(rows.df())


def current_study_id(study_name: str, settings: Settings | None = None) -> str:
    """Id of the newest version of a study in the published warehouse.

    Raises
    ------
    WarehouseError
        If no version was published.
    """
    with published(settings) as connection:
        rows = connection.execute("SELECT study_id FROM marts.dim_studies WHERE study_name = ? AND is_current", [study_name]).fetchall()
    if not rows:
        raise WarehouseError("the study must be in the published warehouse", repr(study_name), f"run it: `make study STUDY={study_name}`")
    return str(rows[0][0])


def query(sql: str, settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of any SQL over the published warehouse, as plain types.

    Raises
    ------
    WarehouseError
        If there is no warehouse or the SQL is wrong: DuckDB's own first line.
    """
    import duckdb

    with published(settings) as connection:
        try:
            result = connection.execute(sql)
            names = [column[0] for column in result.description or []]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        except duckdb.Error as error:
            raise WarehouseError("SQL must be valid for the published warehouse", str(error).splitlines()[0], "correct it") from error


@contextmanager
def published(settings: Settings | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to the published warehouse. It keeps the copy that it opened, whatever is published later.

    Raises
    ------
    WarehouseError
        If there is none, or it lacks what is asked of it.
    """
    import duckdb

    path = (settings or get_settings()).warehouse
    if not path.is_file():
        raise WarehouseError("the published warehouse must be there", f"no file {path}", "run a study first")
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
    except duckdb.CatalogException as error:
        raise WarehouseError(f"{path.name} must hold the marts", str(error).splitlines()[0], "build and publish it again") from error


def _require_study(connection: duckdb.DuckDBPyConnection, study_id: str) -> None:
    if not connection.execute("SELECT 1 FROM marts.dim_studies WHERE study_id = ?", [study_id]).fetchall():
        raise WarehouseError("the study must be in the published warehouse", repr(study_id), "see marts.dim_studies for the ones that are")


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Integers with gaps as floats with NaN: numpy and statsmodels do not take pandas' own missing value."""
    from pandas.api.types import is_extension_array_dtype, is_integer_dtype

    gaps = [name for name, kind in frame.dtypes.items() if is_extension_array_dtype(kind) and is_integer_dtype(kind)]
    return frame.astype(dict.fromkeys(gaps, "float64"))
