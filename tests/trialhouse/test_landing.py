"""The landing zone: whole files or none, never twice, never rows that the raw table could not take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from trialhouse.errors import LandingError
from trialhouse.landing import LandingZone
from trialhouse.raw_tables import RAW_TABLES

TRIAL = "trial_0123456789abcdef"


def sample(**changes: Any) -> dict[str, Any]:
    return {"unit_id": TRIAL, "unit_kind": "trial", "attempt": 1, "metric": "latency_ms", "sequence": 0, "value": 1.5, **changes}


@pytest.fixture
def zone(tmp_path: Path) -> LandingZone:
    return LandingZone(tmp_path)


def test_rows_come_back_as_written(zone: LandingZone) -> None:
    rows = [sample(sequence=i, value=i / 7) for i in range(1001)]  # more than one statement
    path = zone.write("samples", rows, unit_id=TRIAL, attempt=1)
    assert path.name == f"{TRIAL}.1.0.parquet"
    back = duckdb.sql(f"SELECT sequence, value FROM '{path}' ORDER BY sequence").fetchall()
    assert back == [(i, i / 7) for i in range(1001)]
    kinds = duckdb.sql(f"SELECT name, duckdb_type FROM parquet_schema('{path}') WHERE name <> 'duckdb_schema'").fetchall()
    assert [name for name, _ in kinds] == list(RAW_TABLES["samples"])


def test_times_are_stored_in_utc(zone: LandingZone) -> None:
    at = datetime(2026, 11, 22, 12, 0, tzinfo=timezone(timedelta(hours=5)))
    row = {
        "unit_id": TRIAL,
        "unit_kind": "trial",
        "attempt": 1,
        "weights_id": "weights_0123456789abcdef",
        "status": "ok",
        "host": "here",
        "started_at": at,
        "ended_at": at,
    }
    path = zone.write("attempts", [row], unit_id=TRIAL, attempt=1)
    assert duckdb.sql(f"SELECT started_at FROM '{path}'").fetchall() == [(at.astimezone(UTC).replace(tzinfo=None),)]


def test_numbers_of_both_kinds_and_gaps_keep_their_values(zone: LandingZone) -> None:
    values = [16130, 0.5, None, 3, True, 1 << 40]
    rows = [
        {"unit_id": TRIAL, "unit_kind": "trial", "attempt": 1, "outcome": str(place), "value": value} for place, value in enumerate(values)
    ]
    path = zone.write("outcomes", rows, unit_id=TRIAL, attempt=1)
    back = duckdb.sql(f"SELECT value, text FROM '{path}' ORDER BY outcome").fetchall()
    assert back == [(None if value is None else float(value), None) for value in values]


def test_no_row_is_a_file_with_the_table_s_columns(zone: LandingZone) -> None:
    path = zone.write("samples", [], unit_id=TRIAL, attempt=1)
    assert duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("sample", sample(), "table must be one of"),
        ("samples", sample(colour="red"), "'colour'"),
        ("samples", sample(value=None), r"samples\.value must have a value in every row"),
        ("samples", sample(value="fast"), "Could not convert"),
    ],
)
def test_rows_that_do_not_fit_are_one_line_and_leave_nothing(zone: LandingZone, table: str, row: dict[str, Any], message: str) -> None:
    with pytest.raises(LandingError, match=message) as error:
        zone.write(table, [row], unit_id=TRIAL)
    assert "\n" not in str(error.value)
    assert [path for path in zone.root.rglob("*") if path.is_file()] == []


def test_a_unit_id_cannot_climb_out_of_the_folder(zone: LandingZone) -> None:
    with pytest.raises(LandingError, match="unit_id must be an id"):
        zone.write("samples", [sample()], unit_id="../../etc/passwd")


def test_files_are_never_rewritten(zone: LandingZone) -> None:
    path = zone.write("samples", [sample()], unit_id=TRIAL, attempt=1)
    before = path.read_bytes()
    with pytest.raises(LandingError, match="immutable"):
        zone.write("samples", [sample(value=9.0)], unit_id=TRIAL, attempt=1)
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_unfinished_files_are_not_seen_and_attempts_count_on(zone: LandingZone) -> None:
    zone.write("samples", [sample()], unit_id=TRIAL, attempt=1)
    (zone.root / "samples" / f".{TRIAL}.2.0.parquet.17.tmp").write_bytes(b"half")
    assert [path.name for path in zone.files()] == [f"{TRIAL}.1.0.parquet"]
    assert zone.unit_ids("samples") == {TRIAL}
    assert zone.has("samples", TRIAL)
    assert not zone.has("attempts", TRIAL)
    assert zone.next_attempt(TRIAL) == 2
    assert zone.next_attempt("trial_ffffffffffffffff") == 1
