"""The raw tables in the database, the ledger of loaded files, and the one place where older files are brought up to date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trialhouse.errors import WarehouseError
from trialhouse.raw_tables import RAW_TABLES, SCHEMA_VERSION

if TYPE_CHECKING:
    import duckdb

LEDGER = "load_ledger"
LEDGER_COLUMNS: dict[str, str] = {
    "path": "VARCHAR NOT NULL",  # relative to the landing zone
    "table_name": "VARCHAR NOT NULL",
    "sha256": "VARCHAR NOT NULL",
    "bytes": "BIGINT NOT NULL",
    "rows": "BIGINT",  # null where the file could not be read
    "schema_version": "INTEGER",
    "batch_id": "VARCHAR NOT NULL",  # one per transaction
    "status": "VARCHAR NOT NULL",  # loaded, quarantined
    "reason": "VARCHAR",
    "loaded_at": "TIMESTAMP NOT NULL",
}
"""One row per file that the loader has judged; it commits together with the file's rows."""


@dataclass(frozen=True)
class Upcast:
    """How one table's files of one schema version become files of the next.

    Parameters
    ----------
    columns
        The table's columns in the old version, name -> type as in `RAW_TABLES`.
    select
        SQL over a relation called `landed` that yields the columns of the next version, in order.
    """

    columns: dict[str, str]
    select: str


_ESTIMATES_1 = {
    **dict.fromkeys(("estimate_id", "study_id", "data_id", "code_version", "estimand", "treatment", "outcome"), "VARCHAR NOT NULL"),
    **dict.fromkeys(("subgroup_column", "subgroup"), "VARCHAR"),
    **dict.fromkeys(("contrast_from", "contrast_to", "method"), "VARCHAR NOT NULL"),
    "is_primary": "BOOLEAN NOT NULL",
    **dict.fromkeys(("adjustment", "estimand_expression"), "VARCHAR"),
    **dict.fromkeys(("estimate", "standard_error", "ci_low", "ci_high", "p_value"), "DOUBLE"),
    "trials": "INTEGER NOT NULL",
    "clusters": "INTEGER",
    "stratum": "VARCHAR",
    "verdict": "VARCHAR NOT NULL",
    **dict.fromkeys(("reasons", "caveats"), "VARCHAR"),
    "estimated_at": "TIMESTAMP NOT NULL",
}
_ESTIMATES_2 = {
    **dict(list(_ESTIMATES_1.items())[:15]),
    "method_estimand": "VARCHAR",
    **dict.fromkeys(("estimate", "standard_error", "ci_low", "ci_high", "p_value", "p_value_adjusted"), "DOUBLE"),
    "confidence_set": "VARCHAR",
    "trials": "INTEGER NOT NULL",
    "clusters": "INTEGER",
    **dict.fromkeys(("effective_trials", "nuisance_r2_treatment", "nuisance_r2_outcome"), "DOUBLE"),
    "stratum": "VARCHAR",
    "verdict": "VARCHAR NOT NULL",
    **dict.fromkeys(("reasons", "caveats"), "VARCHAR"),
    "seed": "BIGINT",
    "library_versions": "VARCHAR",
    "estimated_at": "TIMESTAMP NOT NULL",
}
_REFUTATIONS_2 = {
    **dict.fromkeys(("estimate_id", "study_id", "refuter", "verdict", "reason"), "VARCHAR NOT NULL"),
    **dict.fromkeys(("statistic", "p_value"), "DOUBLE"),
    "simulations": "INTEGER",
    "refuted_at": "TIMESTAMP NOT NULL",
}
_LAWS_3 = {
    **dict.fromkeys(("law_id", "study_id", "data_id", "code_version", "law", "outcome", "columns"), "VARCHAR NOT NULL"),
    **dict.fromkeys(("subgroup", "compared_with"), "VARCHAR"),
    "form": "VARCHAR NOT NULL",
    "formula": "VARCHAR",
    "quantity": "VARCHAR NOT NULL",
    **dict.fromkeys(("estimate", "standard_error", "ci_low", "ci_high"), "DOUBLE"),
    "is_identified": "BOOLEAN NOT NULL",
    "trials": "INTEGER NOT NULL",
    "objective": "DOUBLE",
    "verdict": "VARCHAR NOT NULL",
    **dict.fromkeys(("reasons", "warnings", "sentence", "choice"), "VARCHAR"),
    "fitted_at": "TIMESTAMP NOT NULL",
}

UPCASTS: dict[int, dict[str, Upcast]] = {
    # What a recipe estimates, on what it rests and with which versions: not known of older estimates.
    1: {
        "estimates": Upcast(
            columns=_ESTIMATES_1,
            select=(
                "SELECT * EXCLUDE (estimate, standard_error, ci_low, ci_high, p_value, trials, clusters, stratum, verdict, reasons,"
                " caveats, estimated_at), NULL::VARCHAR AS method_estimand, estimate, standard_error, ci_low, ci_high, p_value,"
                " NULL::DOUBLE AS p_value_adjusted, NULL::VARCHAR AS confidence_set, trials, clusters, NULL::DOUBLE AS effective_trials,"
                " NULL::DOUBLE AS nuisance_r2_treatment, NULL::DOUBLE AS nuisance_r2_outcome, stratum, verdict, reasons, caveats,"
                " NULL::BIGINT AS seed, NULL::VARCHAR AS library_versions, estimated_at FROM landed"
            ),
        )
    },
    # No effect was asked for per doubling or so many units; the rows behind a check were not kept.
    2: {
        "estimates": Upcast(_ESTIMATES_2, "SELECT * EXCLUDE (estimated_at), NULL::VARCHAR AS per, estimated_at FROM landed"),
        "refutations": Upcast(_REFUTATIONS_2, "SELECT * EXCLUDE (refuted_at), NULL::VARCHAR AS details, refuted_at FROM landed"),
    },
    # Differences of laws had intervals, no p-values.
    3: {
        "laws": Upcast(
            columns=_LAWS_3,
            select=(
                "SELECT law_id, study_id, data_id, code_version, law, outcome, columns, subgroup, compared_with, form, formula, quantity,"
                " estimate, standard_error, ci_low, ci_high, NULL::DOUBLE AS p_value, NULL::DOUBLE AS p_value_adjusted, is_identified,"
                " trials, objective, verdict, reasons, warnings, sentence, choice, fitted_at FROM landed"
            ),
        )
    },
}
"""Schema version -> table -> upcast to the version after it. A table that did not change in a version is left out of it."""


def columns_at(table: str, version: int) -> dict[str, str]:
    """A raw table's columns, name -> DuckDB type without constraints, as files of that schema version have them."""
    for later in range(version, SCHEMA_VERSION):
        if table in UPCASTS.get(later, {}):
            return {name: data_type(kind) for name, kind in UPCASTS[later][table].columns.items()}
    return {name: data_type(kind) for name, kind in RAW_TABLES[table].items()}


def select_upcast(table: str, version: int) -> str:
    """SQL that reads files of that schema version (a list of paths as the one parameter) with today's columns."""
    query = "SELECT * FROM read_parquet(?, hive_partitioning = false)"
    for step in range(version, SCHEMA_VERSION):
        if table in UPCASTS.get(step, {}):
            query = f"WITH landed AS ({query}) {UPCASTS[step][table].select}"
    return query


def create_raw(connection: duckdb.DuckDBPyConnection) -> None:
    """Create what is missing of schema `raw`.

    Raises
    ------
    WarehouseError
        If a raw table has other columns than this version's: `raw` is never altered, it is rebuilt.
    """
    connection.execute("CREATE SCHEMA IF NOT EXISTS raw")
    connection.execute(f"CREATE TABLE IF NOT EXISTS raw.{LEDGER} ({_definition(LEDGER_COLUMNS)}, PRIMARY KEY (path, sha256))")
    for table, columns in RAW_TABLES.items():
        connection.execute(f'CREATE TABLE IF NOT EXISTS raw."{table}" ({_definition(columns)})')
    found = _raw_columns(connection)
    for table, columns in {**RAW_TABLES, LEDGER: LEDGER_COLUMNS}.items():
        there, expected = found[table], {name: data_type(kind) for name, kind in columns.items()}
        if there != expected:
            differing = sorted(dict(set(there.items()) ^ set(expected.items())))
            raise WarehouseError(
                f"raw.{table} must have the columns of this version of Trialhouse",
                f"others ({', '.join(differing) or 'in another order'})",
                "rebuild it from the landing zone: python -m trialhouse.warehouse rebuild",
            )


def is_of_an_older_version(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the raw tables are those that an older schema version would have made, all of the same one."""
    found = {table: columns for table, columns in _raw_columns(connection).items() if table in RAW_TABLES}
    fitting = [
        version
        for version in range(min(UPCASTS, default=SCHEMA_VERSION), SCHEMA_VERSION + 1)
        if all(columns == columns_at(table, version) for table, columns in found.items())
    ]
    return bool(fitting) and fitting[-1] < SCHEMA_VERSION


def _raw_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Table of schema `raw` -> column -> type."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = 'raw' ORDER BY table_oid, column_index"
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    return found


def data_type(definition: str) -> str:
    """`"VARCHAR NOT NULL"` -> `"VARCHAR"`."""
    return definition.split()[0]


def _definition(columns: dict[str, str]) -> str:
    return ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
