"""The landing zone: immutable Parquet files, one per (table, unit, attempt, sequence), written by whatever measures.

A file appears under its final name only when it is complete and on disk, so a kill at any point leaves either the
whole file or nothing that anybody reads. Nothing is ever rewritten.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialhouse.errors import LandingError
from trialhouse.identity import is_id
from trialhouse.raw_tables import RAW_TABLES, SCHEMA_VERSION
from trialhouse.sealing import SEAL_KEY, UNSEALED, seal

if TYPE_CHECKING:
    import duckdb

_FILE = re.compile(r"^(?P<unit_id>[a-z]+_[0-9a-f]{16})\.(?P<attempt>\d+)\.(?P<sequence>\d+)\.parquet$")


class LandingZone:
    """Files under `root/<table>/<unit_id>.<attempt>.<sequence>.parquet`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, table: str, rows: Sequence[Mapping[str, Any]], *, unit_id: str, attempt: int = 0, sequence: int = 0) -> Path:
        """Land rows as one new file.

        Parameters
        ----------
        table
            A raw table (`trialhouse.raw_tables`).
        rows
            One mapping per row with exactly the table's columns; nullable ones may be left out.
        unit_id, attempt, sequence
            What the rows are about; together with the table they name the file.

        Returns
        -------
        Path
            The finished file.

        Raises
        ------
        LandingError
            If the table or a column is unknown, a required value is missing, a value has another type, or the file
            is there already.
        """
        columns = _columns(table)
        if not is_id(unit_id):
            raise LandingError("unit_id must be an id such as trial_0123456789abcdef", repr(unit_id), "use trialhouse.identity.content_id")
        path = self.root / table / f"{unit_id}.{attempt}.{sequence}.parquet"
        if path.exists():
            raise _not_new(table, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            _write_parquet(table, columns, rows, temporary)
            seal(temporary)
            sync(temporary)
            os.link(temporary, path)  # unlike a rename, this fails where another process was first
        except FileExistsError as error:
            raise _not_new(table, path) from error
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)
        return path

    def write_once(self, table: str, rows: Sequence[Mapping[str, Any]], *, unit_id: str, attempt: int = 0) -> None:
        """`write`, unless the table has a file of this unit: the id says that it would be the same."""
        if not self.has(table, unit_id):
            self.write(table, rows, unit_id=unit_id, attempt=attempt)

    def has(self, table: str, unit_id: str) -> bool:
        """Whether any file of that table is about this unit."""
        return unit_id in self.unit_ids(table)

    def unit_ids(self, table: str) -> set[str]:
        """The units that a table has files about."""
        return {match["unit_id"] for match in self._matches(table)}

    def next_attempt(self, unit_id: str) -> int:
        """The first attempt number, from 1, that no table has a file of: what a killed attempt left stays behind."""
        # asked once per trial, so it looks for names instead of listing folders of thousands of files
        return next(
            attempt
            for attempt in itertools.count(1)
            if not any((self.root / table / f"{unit_id}.{attempt}.0.parquet").exists() for table in RAW_TABLES)
        )

    def files(self, table: str | None = None) -> list[Path]:
        """All finished files, in a fixed order."""
        tables = sorted(RAW_TABLES) if table is None else [table]
        return [self.root / name / match.string for name in tables for match in self._matches(name)]

    def _matches(self, table: str) -> list[re.Match[str]]:
        try:
            names = sorted(entry.name for entry in os.scandir(self.root / table))
        except FileNotFoundError:
            return []
        return [match for name in names if (match := _FILE.match(name))]


def _not_new(table: str, path: Path) -> LandingError:
    expected = f"landed files are immutable; {path.name} of table {table} must be new"
    return LandingError(expected, "a second write", "raise the attempt or sequence")


def _columns(table: str) -> dict[str, str]:
    try:
        return RAW_TABLES[table]
    except KeyError:
        raise LandingError(f"table must be one of {sorted(RAW_TABLES)}", repr(table), "use a raw table") from None


def _write_parquet(table: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    import duckdb

    for row in rows:
        if unknown := sorted(set(row) - set(columns)):
            raise LandingError(f"columns of {table} must be among {list(columns)}", repr(unknown[0]), "rename or drop it")
        if empty := [name for name, kind in columns.items() if kind.endswith("NOT NULL") and row.get(name) is None]:
            raise LandingError(f"{table}.{empty[0]} must have a value in every row", "nothing", "fill it in")
    # Columns go over as lists and straight into the file: a third of the time of a table in between.
    values = {f"column_{place}": [row.get(name) for row in rows] for place, name in enumerate(columns)}
    kinds = [kind.removesuffix(" NOT NULL") for kind in columns.values()]
    select = ", ".join(
        f'unnest($column_{place}::{kind}[]) AS "{name}"' for place, (name, kind) in enumerate(zip(columns, kinds, strict=True))
    )
    metadata = f"{{trialhouse_schema_version: '{SCHEMA_VERSION}', trialhouse_table: '{table}', {SEAL_KEY}: '{UNSEALED}'}}"
    target = str(path).replace("'", "''")
    try:
        _database(os.getpid()).cursor().execute(f"COPY (SELECT {select}) TO '{target}' (FORMAT parquet, KV_METADATA {metadata})", values)
    except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
        raise LandingError(f"rows must fit raw table {table}", str(error).splitlines()[0], "fix the value") from error


@lru_cache(maxsize=1)
def _database(process_id: int) -> duckdb.DuckDBPyConnection:
    """A database in memory, made once per process (a forked child must not use its parent's): 10 ms less per file."""
    import duckdb

    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk before anything goes on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
