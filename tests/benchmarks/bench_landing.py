"""What exactly-once costs: the loader's time over DuckDB's own read of the same files.

    python -m tests.benchmarks.bench_landing

The loader hashes every file, checks seals and schemas, enforces NOT NULL, keeps a ledger and counts; the yardstick is
`CREATE TABLE AS SELECT * FROM read_parquet([...])` into a new file of its own. Both are timed from opening the database to
closing it, in turns, on files that were just written (in the page cache), without limits on threads.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from tests.benchmarks.record import record
from trialhouse.identity import content_id
from trialhouse.raw_tables import RAW_TABLES, SCHEMA_VERSION
from trialhouse.sealing import SEAL_KEY, UNSEALED, seal
from trialhouse.settings import Settings
from trialhouse.warehouse.loader import load_landed

GOAL = 1.5


def run(files: int = 100, rows_per_file: int = 100_000, repeats: int = 5) -> float:
    """Write the files, time both `repeats` times in turns, record the ratio of the medians and return it."""
    with tempfile.TemporaryDirectory(prefix="bench_landing") as folder:
        settings = Settings(home=Path(folder))
        paths = _write_files(settings.landing_dir / "samples", files, rows_per_file)
        yardstick, loader = [], []
        for _ in range(repeats):
            yardstick.append(_time_duckdb(settings, paths))
            loader.append(_time_loader(settings, files, files * rows_per_file))
        size = sum(path.stat().st_size for path in paths)
    ratio = statistics.median(loader) / statistics.median(yardstick)
    detail = {
        "files": files,
        "rows": files * rows_per_file,
        "bytes": size,
        "duckdb_s": [round(value, 4) for value in yardstick],
        "loader_s": [round(value, 4) for value in loader],
        "rows_per_s": round(files * rows_per_file / statistics.median(loader)),
    }
    record("landing", round(ratio, 4), "loader time / DuckDB's own", f"<= {GOAL}", ratio <= GOAL, detail, ["duckdb"])
    return ratio


def _write_files(folder: Path, files: int, rows_per_file: int) -> list[Path]:
    """Latency samples, one trial per file, as the landing zone writes them (it builds its rows one by one in Python)."""
    folder.mkdir(parents=True)
    paths = []
    columns = ", ".join(f'"{name}"::{kind.split()[0]} AS "{name}"' for name, kind in RAW_TABLES["samples"].items())
    metadata = f"{{trialhouse_schema_version: '{SCHEMA_VERSION}', trialhouse_table: 'samples', {SEAL_KEY}: '{UNSEALED}'}}"
    with duckdb.connect(":memory:") as connection:
        connection.execute("SELECT setseed(0.5)")
        for number in range(files):
            trial_id = content_id("trial", {"number": number})
            rows = f"""SELECT '{trial_id}' AS unit_id, 'trial' AS unit_kind, 1 AS attempt, 'latency_ms' AS metric,
                       range AS sequence, 1 + 9 * random() AS value FROM range({rows_per_file})"""
            path = folder / f"{trial_id}.1.0.parquet"
            connection.execute(f"COPY (SELECT {columns} FROM ({rows})) TO '{path}' (FORMAT parquet, KV_METADATA {metadata})")
            seal(path)
            paths.append(path)
    return paths


def _time_duckdb(settings: Settings, paths: list[Path]) -> float:
    database = settings.home / "yardstick.duckdb"
    database.unlink(missing_ok=True)
    start = time.perf_counter()
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE samples AS SELECT * FROM read_parquet(?)", [[str(path) for path in paths]])
    return time.perf_counter() - start


def _time_loader(settings: Settings, files: int, rows: int) -> float:
    shutil.rmtree(settings.warehouse_dir, ignore_errors=True)
    start = time.perf_counter()
    result = load_landed(settings)
    elapsed = time.perf_counter() - start
    assert (result.files, result.rows, result.quarantined) == (files, rows, 0)
    return elapsed


def main() -> int:
    """Run with the sizes of the command line; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rows-per-file", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    return 0 if run(arguments.files, arguments.rows_per_file, arguments.repeats) <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
