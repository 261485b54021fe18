"""The loader: every file exactly once, bad files aside with the reason, nothing else held up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from trialhouse.errors import WarehouseError
from trialhouse.identity import content_id
from trialhouse.landing import LandingZone
from trialhouse.raw_tables import SCHEMA_VERSION
from trialhouse.settings import Settings
from trialhouse.warehouse import loader, schema
from trialhouse.warehouse.loader import load_landed, rebuild
from trialhouse.warehouse.writer import open_writer, writer_lock

Rows = list[tuple[Any, ...]]


def trial(number: int) -> str:
    return content_id("trial", {"number": number})


def land_samples(settings: Settings, number: int, rows: int = 5, attempt: int = 1) -> Path:
    some = [
        {"unit_id": trial(number), "unit_kind": "trial", "attempt": attempt, "metric": "latency_ms", "sequence": i, "value": number + i / 8}
        for i in range(rows)
    ]
    return LandingZone(settings.landing_dir).write("samples", some, unit_id=trial(number), attempt=attempt)


def land_attempt(settings: Settings, number: int, attempt: int = 1) -> Path:
    row = {
        "unit_id": trial(number),
        "unit_kind": "trial",
        "attempt": attempt,
        "weights_id": "weights_0123456789abcdef",
        "status": "ok",
        "host": "here",
        "started_at": "2026-01-01",
        "ended_at": "2026-01-01",
    }
    return LandingZone(settings.landing_dir).write("attempts", [row], unit_id=trial(number), attempt=attempt)


def query(settings: Settings, sql: str) -> Rows:
    with duckdb.connect(str(settings.writer_database), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def samples(settings: Settings) -> Rows:
    return query(settings, "SELECT unit_id, sequence, value FROM raw.samples ORDER BY ALL")


def expected(numbers: range | list[int], rows: int = 5) -> Rows:
    return sorted((trial(number), i, number + i / 8) for number in numbers for i in range(rows))


def rewrite(path: Path, select: str, *, table: str = "samples", version: int | str = SCHEMA_VERSION) -> None:
    """Replace a landed file by a query over itself, unsealed."""
    metadata = f"{{trialhouse_schema_version: '{version}', trialhouse_table: '{table}'}}"
    duckdb.execute(f"COPY (SELECT {select} FROM read_parquet('{path}')) TO '{path}.new' (FORMAT parquet, KV_METADATA {metadata})")
    path.with_name(f"{path.name}.new").replace(path)


def flip(path: Path, place: int = 20) -> None:
    """Flip one bit of a file's data."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_files_are_loaded_once(home: Settings) -> None:
    paths = [land_samples(home, number) for number in range(7)]
    result = load_landed(home)
    assert (result.files, result.rows, result.quarantined, result.bad_files) == (7, 35, 0, ())
    assert samples(home) == expected(range(7))
    ledger = query(home, "SELECT path, table_name, sha256, bytes, rows, schema_version, status, reason FROM raw.load_ledger ORDER BY path")
    for path, row in zip(sorted(paths), ledger, strict=True):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert row == (f"samples/{path.name}", "samples", digest, len(content), 5, SCHEMA_VERSION, "loaded", None)

    land_samples(home, 7)
    assert load_landed(home).files == 1
    assert load_landed(home).files == 0
    assert samples(home) == expected(range(8))


def test_an_empty_landing_zone_makes_all_raw_tables(home: Settings) -> None:
    assert load_landed(home).files == 0
    tables = {row[0] for row in query(home, "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'raw'")}
    assert tables == {*schema.RAW_TABLES, schema.LEDGER}


def test_many_transactions_are_as_good_as_one(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "FILES_PER_TRANSACTION", 3)
    for number in range(10):
        land_samples(home, number)
    assert load_landed(home).files == 10
    assert samples(home) == expected(range(10))
    assert query(home, "SELECT count(DISTINCT batch_id) FROM raw.load_ledger") == [(4,)]


def damage_footer(path: Path) -> None:
    """Leave both magic words, lie about the footer's length between them."""
    content = path.read_bytes()
    path.write_bytes(content[:-8] + b"\xff\xff\xff\x7f" + content[-4:])


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-50]), "begin and end with PAR1"),
    "empty": (lambda path: path.write_bytes(b""), "at least 12 bytes, got 0"),
    "text": (lambda path: path.write_text("not a Parquet file, however long it may be"), "begin and end with PAR1"),
    "bad footer": (damage_footer, "seal"),
    "missing column": (lambda path: rewrite(path, "* EXCLUDE (metric)"), "none called 'metric'"),
    "extra column": (lambda path: rewrite(path, "*, 1 AS colour"), "got also 'colour'"),
    "changed type": (lambda path: rewrite(path, "* REPLACE (value::VARCHAR AS value)"), "samples.value must be DOUBLE, got VARCHAR"),
    "other order": (lambda path: rewrite(path, "value, * EXCLUDE (value)"), "in the order"),
    "missing value": (lambda path: rewrite(path, "* REPLACE (NULL::DOUBLE AS value)"), "NOT NULL"),
    "flipped bit": (flip, "match its own seal"),
    "flipped seal": (lambda path: flip(path, path.read_bytes().rfind(b"trialhouse_sha256") + 30), "match its own seal"),
    "of another table": (lambda path: rewrite(path, "*", table="curves"), "of table samples, got curves"),
    "no metadata": (lambda path: rewrite(path, "*", version=""), "schema version must be a number, got 'none'"),
    "newer schema": (lambda path: rewrite(path, "*", version=SCHEMA_VERSION + 1), "update Trialhouse"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_quarantined_alone(home: Settings, kind: str) -> None:
    damage, reason = BAD_FILES[kind]
    paths = [land_samples(home, number) for number in range(5)]
    damage(paths[2])
    content = paths[2].read_bytes()

    result = load_landed(home)
    assert (result.files, result.rows, result.quarantined) == (4, 20, 1)
    assert reason in result.bad_files[0].reason
    assert samples(home) == expected([0, 1, 3, 4])
    assert not paths[2].exists()
    assert (home.landing_dir / "quarantine" / "samples" / paths[2].name).read_bytes() == content
    assert not LandingZone(home.landing_dir).has("samples", trial(2))
    ledger = query(home, "SELECT path, status, reason FROM raw.load_ledger WHERE status <> 'loaded'")
    assert ledger == [(f"samples/{paths[2].name}", "quarantined", result.bad_files[0].reason)]

    land_samples(home, 2)  # measured again under the same name
    again = load_landed(home)
    assert (again.files, again.quarantined) == (1, 0)
    assert samples(home) == expected(range(5))


def test_pages_that_cannot_be_decoded_are_found_among_good_files(home: Settings) -> None:
    """Without a seal only reading tells: the page is garbage, the footer is in order."""
    paths = [land_samples(home, number, rows=300) for number in range(9)]
    for number in (1, 6):
        rewrite(paths[number], "*")
        content = bytearray(paths[number].read_bytes())
        content[4:60] = b"\xff" * 56
        paths[number].write_bytes(content)
    result = load_landed(home)
    assert (result.files, result.quarantined) == (7, 2)
    assert all("readable as Parquet" in bad.reason for bad in result.bad_files)
    assert samples(home) == expected([0, 2, 3, 4, 5, 7, 8], rows=300)


def test_an_attempt_with_a_bad_file_is_not_finished(home: Settings) -> None:
    for number in range(3):
        land_attempt(home, number)
    paths = [land_samples(home, number) for number in range(3)]
    flip(paths[1])
    result = load_landed(home)
    assert {bad.path.split("/")[0] for bad in result.bad_files} == {"samples", "attempts"}
    assert query(home, "SELECT count(*) FROM raw.attempts") == [(2,)]
    landing = LandingZone(home.landing_dir)
    assert landing.unit_ids("attempts") == {trial(0), trial(2)}  # so trial 1 is run again

    attempt = landing.next_attempt(trial(1))
    land_samples(home, 1, attempt=attempt)
    land_attempt(home, 1, attempt=attempt)
    assert load_landed(home).quarantined == 0
    assert query(home, "SELECT count(*) FROM raw.attempts") == [(3,)]


def test_an_attempt_that_lands_after_its_bad_file_was_found_is_not_finished_either(home: Settings) -> None:
    flip(land_samples(home, 1))
    assert load_landed(home).quarantined == 1
    land_attempt(home, 1)
    result = load_landed(home)
    assert [bad.path.split("/")[0] for bad in result.bad_files] == ["attempts"]
    assert "got a bad samples/" in result.bad_files[0].reason

    land_samples(home, 1)  # the same file whole again, and the same word that all is there
    land_attempt(home, 1)
    assert load_landed(home).files == 2
    assert query(home, "SELECT status, count(*) FROM raw.load_ledger GROUP BY ALL ORDER BY ALL") == [("loaded", 2), ("quarantined", 1)]


def test_a_move_that_a_kill_prevented_is_made_up_for(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    path = land_samples(home, 1)
    flip(path)
    with monkeypatch.context() as patch:
        patch.setattr(loader, "_move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            load_landed(home)
    assert path.exists()
    assert load_landed(home).quarantined == 1
    assert not path.exists()
    assert query(home, "SELECT count(*) FROM raw.load_ledger") == [(1,)]


def test_a_fault_of_the_database_is_blamed_on_no_file(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        land_samples(home, number)

    def full_disk(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(loader, "_write_ledger", full_disk)  # after the rows went in
        with pytest.raises(duckdb.IOException, match="No space"):
            load_landed(home)
    assert query(home, "SELECT (SELECT count(*) FROM raw.samples), (SELECT count(*) FROM raw.load_ledger)") == [(0, 0)]
    assert load_landed(home).files == 4
    assert samples(home) == expected(range(4))


def test_older_files_are_brought_up_to_date(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted version 0 had seconds under another name and knew one metric only."""
    columns = {name: kind for name, kind in schema.RAW_TABLES["samples"].items() if name not in ("metric", "value")}
    select = "SELECT unit_id, unit_kind, attempt, 'latency_ms' AS metric, sequence, latency_s * 1000 AS value FROM landed"
    upcasts = {0: {"samples": schema.Upcast({**columns, "latency_s": "DOUBLE NOT NULL"}, select)}}
    monkeypatch.setattr(schema, "UPCASTS", upcasts)
    old = land_samples(home, 0)
    rewrite(old, "* EXCLUDE (metric, value), value / 1000 AS latency_s", version=0)
    land_samples(home, 1)
    unchanged = land_attempt(home, 2)  # a table that did not change
    rewrite(unchanged, "*", table="attempts", version=0)
    result = load_landed(home)
    assert (result.files, result.quarantined) == (3, 0)
    assert [row[:2] for row in samples(home)] == [row[:2] for row in expected(range(2))]
    assert [row[2] for row in samples(home)] == pytest.approx([row[2] for row in expected(range(2))])
    assert query(home, "SELECT schema_version, count(*) FROM raw.load_ledger GROUP BY ALL ORDER BY ALL") == [
        (0, 2),
        (schema.SCHEMA_VERSION, 1),
    ]


def test_estimates_of_schema_version_1_are_brought_up_to_date(home: Settings) -> None:
    estimate = {
        **dict.fromkeys(("estimate_id", "study_id", "data_id", "code_version", "estimand", "treatment", "outcome"), "x"),
        **{"contrast_from": "0", "contrast_to": "1", "method": "naive", "is_primary": True, "estimate": 0.5, "caveats": "[]"},
        **{"trials": 12, "verdict": "released", "estimated_at": "2026-01-01"},
    }
    path = LandingZone(home.landing_dir).write("estimates", [estimate], unit_id="estimate_0123456789abcdef")
    rewrite(path, ", ".join(schema.columns_at("estimates", 1)), table="estimates", version=1)
    result = load_landed(home)
    assert (result.files, result.quarantined) == (1, 0)
    found = query(home, "SELECT estimate, trials, caveats, method_estimand, effective_trials, seed FROM raw.estimates")
    assert found == [(0.5, 12, "[]", None, None, None)]


def test_refutations_of_schema_version_2_are_brought_up_to_date(home: Settings) -> None:
    check = {
        **{"estimate_id": "e", "study_id": "s", "refuter": "overlap", "verdict": "passed", "reason": "Arms overlap."},
        **{"statistic": 0.5, "refuted_at": "2026-01-01"},
    }
    path = LandingZone(home.landing_dir).write("refutations", [check], unit_id="estimates_0123456789abcdef")
    rewrite(path, ", ".join(schema.columns_at("refutations", 2)), table="refutations", version=2)
    assert load_landed(home).files == 1
    assert query(home, "SELECT refuter, reason, statistic, details FROM raw.refutations") == [("overlap", "Arms overlap.", 0.5, None)]


def test_laws_of_schema_version_3_are_brought_up_to_date(home: Settings) -> None:
    law = {
        **dict.fromkeys(("law_id", "study_id", "data_id", "code_version", "law", "outcome", "form"), "x"),
        **{"columns": "{}", "quantity": "beta", "estimate": 0.3, "ci_high": 0.4, "is_identified": True, "trials": 9},
        **{"verdict": "released", "fitted_at": "2026-01-01"},
    }
    path = LandingZone(home.landing_dir).write("laws", [law], unit_id="laws_0123456789abcdef")
    rewrite(path, ", ".join(schema.columns_at("laws", 3)), table="laws", version=3)
    assert load_landed(home).files == 1
    assert query(home, "SELECT estimate, ci_high, p_value, p_value_adjusted FROM raw.laws") == [(0.3, 0.4, None, None)]


def test_each_upcast_leads_to_the_columns_of_the_next_version() -> None:
    import duckdb

    for version, tables in schema.UPCASTS.items():
        for table, upcast in tables.items():
            empty = ", ".join(f"NULL::{schema.data_type(kind)} AS {name}" for name, kind in upcast.columns.items())
            found = duckdb.sql(f"WITH landed AS (SELECT {empty}) {upcast.select}")
            there = list(zip(found.columns, map(str, found.types), strict=True))
            assert there == list(schema.columns_at(table, version + 1).items())


def test_other_raw_columns_need_a_rebuild_and_a_rebuild_brings_them(home: Settings) -> None:
    for number in range(3):
        land_samples(home, number)
    load_landed(home)
    with open_writer(home) as connection:
        connection.execute("ALTER TABLE raw.samples DROP COLUMN metric")
    with pytest.raises(WarehouseError, match=r"raw\.samples must have the columns .*others \(metric\).*trialhouse\.warehouse rebuild"):
        load_landed(home)
    result = rebuild(home)
    assert (result.files, result.rows) == (3, 15)
    assert samples(home) == expected(range(3))
    assert query(home, "SELECT DISTINCT metric FROM raw.samples") == [("latency_ms",)]


def as_made_by_version_3(home: Settings) -> None:
    """Load two files, then give `raw.laws` the columns that it had."""
    for number in range(2):
        land_samples(home, number)
    load_landed(home)
    with open_writer(home) as connection:
        for column in ("p_value", "p_value_adjusted"):
            connection.execute(f"ALTER TABLE raw.laws DROP COLUMN {column}")


def test_raw_tables_of_an_older_version_are_built_anew_by_the_next_load(home: Settings) -> None:
    as_made_by_version_3(home)
    land_samples(home, 2)
    result = load_landed(home)
    assert (result.files, result.rows) == (3, 15)
    assert samples(home) == expected(range(3))
    assert query(home, "SELECT p_value FROM raw.laws") == []
    assert load_landed(home).files == 0


def test_raw_tables_of_an_older_version_stay_where_their_files_are_gone(home: Settings) -> None:
    as_made_by_version_3(home)
    gone = next(iter(LandingZone(home.landing_dir).files()))
    gone.unlink()
    with pytest.raises(WarehouseError, match=rf"in the landing zone.*got 1 that are gone, first samples/{gone.name}; put them back"):
        load_landed(home)
    assert samples(home) == expected(range(2))


def test_a_rebuild_judges_quarantined_files_anew(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = land_samples(home, 0)
    rewrite(newer, "*", version=SCHEMA_VERSION + 1)
    flip(land_samples(home, 1))
    assert load_landed(home).quarantined == 2
    for module in (loader, schema):  # Trialhouse was updated
        monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    result = rebuild(home)
    assert (result.files, result.quarantined) == (1, 1)
    assert samples(home) == expected([0])


def test_a_second_writer_waits_and_then_says_who_holds_it(home: Settings) -> None:
    with (
        writer_lock(home),
        pytest.raises(WarehouseError, match=r"free to write within 0\.2 s, got another loader or build"),
        writer_lock(home, wait_s=0.2),
    ):
        pass
    with writer_lock(home, wait_s=0.2):
        pass
