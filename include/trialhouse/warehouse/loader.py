"""Bring landed files to `raw`, each exactly once.

One process at a time loads, some hundred files per transaction; a file's rows and its line in the ledger commit
together, so a kill at any point leaves a file wholly loaded or not at all. A file that cannot be read or that has other
columns than its table is moved to `landing/quarantine/<table>/`, with the reason in the ledger; it holds up no other file
but the one that says that its attempt (or study version) is complete, which goes with it. What has left the landing zone
counts as not landed, so the next run of the study measures it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialhouse.errors import WarehouseError
from trialhouse.identity import content_id
from trialhouse.landing import LandingZone
from trialhouse.raw_tables import RAW_TABLES, SCHEMA_VERSION
from trialhouse.sealing import hash_and_check
from trialhouse.settings import Settings, get_settings
from trialhouse.warehouse.schema import LEDGER, LEDGER_COLUMNS, columns_at, create_raw, is_of_an_older_version, select_upcast
from trialhouse.warehouse.writer import open_writer, writer_lock

if TYPE_CHECKING:
    import duckdb

FILES_PER_TRANSACTION = 1000
"""10,000 small files took 15-24 s at 1,000 per transaction, 43 s at 100 and 91 s at one."""

QUARANTINE = "quarantine"

COMPLETING_TABLES = ("study_versions", "attempts")
"""Their files land last and say that everything else about the unit has landed."""


@dataclass(frozen=True)
class Quarantined:
    """A file that was not loaded, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class LoadResult:
    """What one call of the loader did.

    Parameters
    ----------
    files, rows
        How many were loaded.
    quarantined
        How many files were not.
    bad_files
        Those, with the reasons.
    """

    files: int
    rows: int
    quarantined: int = 0
    bad_files: tuple[Quarantined, ...] = ()


@dataclass(frozen=True)
class _File:
    """A landed file under judgement; a reason means quarantine."""

    path: Path
    name: str
    table: str
    sha256: str = ""
    bytes: int = 0
    rows: int | None = None
    schema_version: int | None = None
    reason: str | None = None


def load_landed(settings: Settings | None = None) -> LoadResult:
    """Load every finished landing file that is not in the ledger yet.

    Raw tables that an older version of Trialhouse made are built anew from the landing zone, if all that they hold is still there.

    Raises
    ------
    WarehouseError
        If the database stays locked, has raw tables of no version that this one knows, or does not hold what was committed.
    duckdb.Error
        If the database cannot be written (a full disk); nothing is lost, the next call goes on.
    """
    settings = settings or get_settings()
    landing = LandingZone(settings.landing_dir)
    with open_writer(settings) as connection:
        if not is_of_an_older_version(connection):
            return _load_new(connection, landing)
        _check_landed(connection, landing)
    return rebuild(settings)


def _load_new(connection: duckdb.DuckDBPyConnection, landing: LandingZone) -> LoadResult:
    create_raw(connection)
    ledger = connection.execute(f"SELECT path, sha256, status FROM raw.{LEDGER}").fetchall()
    loaded = {path for path, _, status in ledger if status == "loaded"}
    condemned = {(path, sha256) for path, sha256, status in ledger if status == "quarantined"}
    missing = {path for path, _ in condemned} - loaded
    new = [file for file in map(_file, landing.files()) if file.name not in loaded]
    new.sort(key=lambda file: file.table in COMPLETING_TABLES)
    results = [
        _load_batch(connection, landing.root, new[start : start + FILES_PER_TRANSACTION], condemned, missing)
        for start in range(0, len(new), FILES_PER_TRANSACTION)
    ]
    return LoadResult(
        files=sum(result.files for result in results),
        rows=sum(result.rows for result in results),
        quarantined=sum(result.quarantined for result in results),
        bad_files=tuple(item for result in results for item in result.bad_files),
    )


def rebuild(settings: Settings | None = None) -> LoadResult:
    """Throw the writer's database away and load the whole landing zone again; quarantined files are judged anew.

    This is how a change of the raw tables reaches the database. The marts come back with the next build; readers keep
    the published copy until then.

    Raises
    ------
    WarehouseError
        As `load_landed`.
    """
    settings = settings or get_settings()
    with writer_lock(settings):
        quarantine = settings.landing_dir / QUARANTINE
        for path in sorted(quarantine.glob("*/*.parquet")):
            back = settings.landing_dir / path.relative_to(quarantine)
            if not back.exists():
                path.rename(back)
        for path in (settings.writer_database, settings.writer_database.with_name(f"{settings.writer_database.name}.wal")):
            path.unlink(missing_ok=True)
    return load_landed(settings)


def _check_landed(connection: duckdb.DuckDBPyConnection, landing: LandingZone) -> None:
    """Refuse to build raw tables anew where files that were loaded have left the landing zone: their rows would be lost."""
    there = {_file(path).name for path in landing.files()}
    loaded = connection.execute(f"SELECT path FROM raw.{LEDGER} WHERE status = 'loaded' ORDER BY path").fetchall()
    if lost := [path for (path,) in loaded if path not in there]:
        raise WarehouseError(
            "all files that an older version of Trialhouse loaded must be in the landing zone, to build the raw tables anew",
            f"{len(lost)} that are gone, first {lost[0]}",
            "put them back, or do without them: python -m trialhouse.warehouse rebuild",
        )


def _file(path: Path) -> _File:
    return _File(path, f"{path.parent.name}/{path.name}", path.parent.name)


def _load_batch(
    connection: duckdb.DuckDBPyConnection, root: Path, files: Sequence[_File], condemned: set[tuple[str, str]], missing: set[str]
) -> LoadResult:
    """Judge some files, load the good ones and write all of them down, in one transaction.

    `condemned` are (name, sha256) that the ledger has as quarantined; `missing` are names that were quarantined and have
    not come back, kept up to date here.
    """
    import duckdb

    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        judged = list(pool.map(_hash, files))
    judged = _judge_schemas(judged)
    while True:
        missing.difference_update(file.name for file in judged if file.reason is None)
        missing.update(file.name for file in judged if file.reason is not None)
        judged = [_judge_completeness(file, missing) for file in judged]
        good = [file for file in judged if file.reason is None]
        bad = [file for file in judged if file.reason is not None]
        try:
            _commit(connection, good, good + [file for file in bad if (file.name, file.sha256) not in condemned])
            break
        except (duckdb.Error, WarehouseError):
            # Whose fault: a file that cannot be read on its own, in memory, is to blame; with none, it is the database.
            guilty = {file.name: file.reason for file in _find_unreadable(good)}
            if not guilty:
                raise
            judged = [replace(file, reason=guilty.get(file.name, file.reason)) for file in judged]
    for file in bad:
        _move(file.path, root / QUARANTINE / file.table / file.path.name)
    return LoadResult(
        files=len(good),
        rows=sum(file.rows or 0 for file in good),
        quarantined=len(bad),
        bad_files=tuple(Quarantined(file.name, file.reason or "") for file in bad),
    )


def _judge_completeness(file: _File, missing: set[str]) -> _File:
    """A file that calls its unit complete cannot stay where another file of the unit is missing."""
    if file.reason is not None or file.table not in COMPLETING_TABLES:
        return file
    unit = file.path.name.split(".")[:2]
    lost = sorted(name for name in missing if name != file.name and name.split("/")[1].split(".")[:2] == unit)
    return replace(file, reason=f"all files of {'.'.join(unit)} must be good, got a bad {lost[0]}; run the study again") if lost else file


def _hash(file: _File) -> _File:
    content = file.path.read_bytes()
    sha256, is_intact = hash_and_check(content)
    reason = None
    if len(content) < 12:
        reason = f"a Parquet file must have at least 12 bytes, got {len(content)}; run the study again"
    elif content[:4] != b"PAR1" or content[-4:] != b"PAR1":
        reason = "a Parquet file must begin and end with PAR1, got other bytes (truncated, or another format); run the study again"
    elif is_intact is False:
        reason = "the file's bytes must match its own seal, got another SHA-256 (bytes changed after it was written); run the study again"
    return replace(file, sha256=sha256, bytes=len(content), reason=reason)


def _judge_schemas(files: Sequence[_File]) -> list[_File]:
    """Compare every readable file's table, schema version and columns with what its folder calls for."""
    import duckdb

    result = {file.name: file for file in files}
    with duckdb.connect(":memory:") as scratch:

        def judge(some: Sequence[_File]) -> None:
            paths = [str(file.path) for file in some]
            rows = dict(scratch.execute("SELECT file_name, num_rows FROM parquet_file_metadata(?)", [paths]).fetchall())
            keys: dict[str, dict[str, str]] = defaultdict(dict)
            for path, key, value in scratch.execute("SELECT * FROM parquet_kv_metadata(?)", [paths]).fetchall():
                keys[path][key.decode(errors="replace")] = value.decode(errors="replace")
            columns: dict[str, dict[str, str]] = defaultdict(dict)
            for path, name, kind in scratch.execute(
                "SELECT file_name, name, duckdb_type FROM parquet_schema(?) WHERE column_id > 0 ORDER BY file_name, column_id", [paths]
            ).fetchall():
                columns[path][name] = kind
            for file in some:
                path = str(file.path)
                version = keys[path].get("trialhouse_schema_version", "")
                result[file.name] = replace(
                    file,
                    rows=rows[path],
                    schema_version=int(version) if version.isdigit() else None,
                    reason=_schema_fault(file.table, keys[path].get("trialhouse_table"), version, columns[path]),
                )

        for file in _bisect([file for file in files if file.reason is None], judge):
            result[file.name] = file
    return list(result.values())


def _schema_fault(table: str, table_there: str | None, version: str, columns: dict[str, str]) -> str | None:
    """One line on what is wrong with a file's metadata or columns; None if it fits."""
    if table_there != table:
        return f"a file in {table}/ must be of table {table}, got {table_there}; move it to its folder and rebuild"
    if not version.isdigit():
        return f"schema version must be a number, got {version or 'none'!r}; run the study again"
    if int(version) > SCHEMA_VERSION:
        remedy = "update Trialhouse, then python -m trialhouse.warehouse rebuild"
        return f"schema version must be at most {SCHEMA_VERSION}, got {version}; {remedy}"
    expected = columns_at(table, int(version))
    if missing := [name for name in expected if name not in columns]:
        return f"columns of {table} must be {list(expected)}, got none called {missing[0]!r}; run the study again"
    if extra := [name for name in columns if name not in expected]:
        return f"columns of {table} must be {list(expected)}, got also {extra[0]!r}; run the study again"
    if retyped := [name for name, kind in expected.items() if columns[name] != kind]:
        return f"{table}.{retyped[0]} must be {expected[retyped[0]]}, got {columns[retyped[0]]}; run the study again"
    if list(columns) != list(expected):
        return f"columns of {table} must be in the order {list(expected)}, got {list(columns)}; run the study again"
    return None


def _find_unreadable(files: Sequence[_File]) -> list[_File]:
    """Those that cannot be read whole or break a constraint of their table, with the reason, tried in memory."""
    import duckdb

    with duckdb.connect(":memory:") as scratch:
        create_raw(scratch)

        def judge(some: Sequence[_File]) -> None:
            try:
                scratch.execute("BEGIN")
                for file in some:
                    if _insert(scratch, [file]) != file.rows:
                        raise duckdb.InvalidInputException(f"the rows that the footer promises must be there: {file.rows}")
            finally:
                scratch.execute("ROLLBACK")

        return _bisect(files, judge)


def _bisect(files: Sequence[_File], judge: Callable[[Sequence[_File]], None]) -> list[_File]:
    """Files that `judge` cannot do alone, with DuckDB's error as the reason; log2(n) calls for each of them."""
    import duckdb

    if not files:
        return []
    try:
        judge(files)
    except (duckdb.OutOfMemoryException, duckdb.FatalException, duckdb.InternalException):
        raise
    except duckdb.Error as error:
        if len(files) == 1:
            fault = str(error).splitlines()[0].replace(str(files[0].path), files[0].path.name)
            return [replace(files[0], reason=f"the file must be readable as Parquet, got {fault}; run the study again")]
        middle = len(files) // 2
        return _bisect(files[:middle], judge) + _bisect(files[middle:], judge)
    return []


def _commit(connection: duckdb.DuckDBPyConnection, good: Sequence[_File], news: Sequence[_File]) -> None:
    """Rows of the good files and ledger lines of the new ones, together or not at all."""
    import duckdb

    tables = sorted({file.table for file in good})
    before = {table: _count(connection, table) for table in tables}
    expected = {table: before[table] + sum(file.rows or 0 for file in good if file.table == table) for table in tables}
    connection.execute("BEGIN")
    try:
        for table, version in sorted({(file.table, file.schema_version or 0) for file in good}):
            _insert(connection, [file for file in good if (file.table, file.schema_version) == (table, version)])
        _check_counts(connection, expected)
        _write_ledger(connection, news)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # the error may have ended the transaction already
            connection.execute("ROLLBACK")
        raise
    # A COMMIT after an error inside the transaction rolls back without a word, so look.
    _check_counts(connection, expected)


def _insert(connection: duckdb.DuckDBPyConnection, files: Sequence[_File]) -> int:
    """Insert files of one table and schema version; the number of rows."""
    table, version = files[0].table, files[0].schema_version or 0
    names = ", ".join(f'"{name}"' for name in RAW_TABLES[table])
    query = f'INSERT INTO raw."{table}" ({names}) {select_upcast(table, version)}'
    row = connection.execute(query, [[str(file.path) for file in files]]).fetchone()
    return int(row[0]) if row else 0


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = connection.execute(f'SELECT count(*) FROM raw."{table}"').fetchone()
    return int(row[0]) if row else 0


def _check_counts(connection: duckdb.DuckDBPyConnection, expected: dict[str, int]) -> None:
    for table, rows in expected.items():
        if (there := _count(connection, table)) != rows:
            raise WarehouseError(
                f"raw.{table} must have {rows} rows after loading", there, "rebuild: python -m trialhouse.warehouse rebuild"
            )


def _write_ledger(connection: duckdb.DuckDBPyConnection, files: Sequence[_File]) -> None:
    batch_id = content_id("batch", {"files": [[file.name, file.sha256] for file in files]})
    now = datetime.now(UTC).replace(tzinfo=None)
    lists: list[list[Any]] = [
        [file.name for file in files],
        [file.table for file in files],
        [file.sha256 for file in files],
        [file.bytes for file in files],
        [file.rows for file in files],
        [file.schema_version for file in files],
        [batch_id] * len(files),
        ["loaded" if file.reason is None else "quarantined" for file in files],
        [file.reason for file in files],
        [now] * len(files),
    ]
    # Lists and unnest: one statement; a statement per row costs a millisecond each. A quarantined file may turn out well later.
    marks = ", ".join(f"unnest(?::{kind.split()[0]}[])" for kind in LEDGER_COLUMNS.values())
    connection.execute(f"INSERT OR REPLACE INTO raw.{LEDGER} SELECT {marks}", lists)


def _move(path: Path, target: Path) -> None:
    """Move a file out of the landing zone; an older one of the same name there stays as it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    number = 0
    while target.with_suffix(f".{number}.parquet" if number else ".parquet").exists():
        number += 1
    path.replace(target.with_suffix(f".{number}.parquet" if number else ".parquet"))
