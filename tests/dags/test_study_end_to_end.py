"""A small study through a real Airflow, as a person would run it: to the answer, again, and into a failed gate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tests.ports import free_port
from tests.trialhouse.test_records import GRAPH, SPEC, table
from trialhouse.orchestration.supervisor import LocalAirflow
from trialhouse.settings import PROJECT_DIR, Settings
from trialhouse.workloads.protocol import OUTCOMES

pytestmark = pytest.mark.airflow

SMALL = {
    "title": "A small study",
    "workload": {"name": "small_cnn", "settings": {"width": 8, "pretraining_epochs": 1, "finetuning_epochs": 1}},
    "factors": [
        {"name": "seed", "kind": "ordinal", "assignment": "blocked", "levels": [0, 1, 2, 3]},
        {"name": "pruning_ratio", "kind": "continuous", "levels": [0, 0.5], "minimum": 0, "maximum": 1},
        {
            "name": "pruning_method",
            "kind": "categorical",
            "levels": ["l1_structured"],
            "applies_when": {"factor": "pruning_ratio", "above": 0},
            "otherwise": "none",
        },
        {"name": "batch_size", "kind": "ordinal", "assignment": "fixed", "levels": [64]},
        {"name": "placebo", "kind": "categorical", "assignment": "placebo", "levels": ["a", "b"]},
    ],
    "design": {
        "kind": "randomised_blocks",
        "seed": 1,
        "sentinels": {"every": 4, "factors": {"seed": 0, "pruning_ratio": 0, "pruning_method": "none"}},
    },
    "hardware_classes": ["pc", "laptop"],
    "indicators": [],
    "estimands": [
        {
            "name": "pruning_on_memory",
            "treatment": "pruning_ratio",
            "contrast": {"from": 0, "to": 0.5},
            "outcome": "parameters",
            "by": "hardware_class",
        }
    ],
}
TRIALS = 4 * 2 * 2
SENTINELS = 3 * 2
ALL = TRIALS + SENTINELS


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home of its own with two user studies, and its Airflow kept up: each run joins it."""
    home = tmp_path_factory.mktemp("home")
    studies = home / "studies"
    studies.mkdir()
    shipped = yaml.safe_load((PROJECT_DIR / "include/studies/pruning_digits.yaml").read_text())
    small = {**shipped, **SMALL, "name": "small"}
    (studies / "small.yaml").write_text(yaml.safe_dump(small))
    (studies / "gated.yaml").write_text(yaml.safe_dump({**small, "name": "gated", "gates": {"min_trials_per_arm": 1000}}))
    (studies / "pruning.dot").write_text((PROJECT_DIR / "include/studies/pruning.dot").read_text())
    (studies / "elsewhere.yaml").write_text(yaml.safe_dump(SPEC))
    (studies / "elsewhere.dot").write_text(GRAPH)
    settings = Settings(home=home, studies_dir=studies, airflow_port=free_port())
    with LocalAirflow(settings):
        yield settings


def run(settings: Settings, study: str) -> subprocess.CompletedProcess[str]:
    return command(settings, "run", study, "--json")


def command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "TRIALHOUSE_HOME": str(settings.home),
        "TRIALHOUSE_STUDIES_DIR": str(settings.studies_dir),
        "TRIALHOUSE_AIRFLOW_PORT": str(settings.airflow_port),
    }
    whole = [sys.executable, "-m", "trialhouse", *arguments]
    return subprocess.run(whole, env=environment, cwd=settings.home, capture_output=True, text=True, check=False, timeout=300)


def rows(settings: Settings, sql: str) -> list[Any]:
    with duckdb.connect(str(settings.warehouse), read_only=True) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def first(settings: Settings) -> dict[str, Any]:
    """The first run, with somebody querying the warehouse all the while."""
    seen: list[int] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.3):
            if settings.warehouse.exists():
                seen.append(rows(settings, "SELECT count(*) FROM raw.assignments")[0][0])

    reader = threading.Thread(target=look)
    reader.start()
    done = run(settings, "small")
    is_over.set()
    reader.join()
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "seen": seen}


def test_it_ends_with_an_answer(settings: Settings, first: dict[str, Any]) -> None:
    assert first["state"] == "estimated"
    assert first["trials"] == {"total": TRIALS, "ok": TRIALS}
    found = {finding["headline"]["subgroup"]: finding["headline"] for finding in first["findings"]}
    assert set(found) == {"pc", "laptop"}
    # half of the channels of both layers go: the parameters are counted, so this is arithmetic and not luck
    full, pruned = rows(settings, "SELECT avg(parameters) FROM marts.fct_trials GROUP BY pruning_ratio ORDER BY pruning_ratio")
    assert found["pc"]["estimate"] == pytest.approx(pruned[0] - full[0])
    assert Path(first["report"]).read_text().startswith("<!DOCTYPE html>")


def test_every_trial_is_there_exactly_once(settings: Settings, first: dict[str, Any]) -> None:
    assert rows(settings, "SELECT count(*), count(DISTINCT trial_id) FROM marts.fct_trials WHERE study_name = 'small'") == [(ALL, ALL)]
    assert rows(settings, "SELECT count(*), count(DISTINCT unit_id) FROM raw.attempts WHERE unit_kind = 'trial'") == [(ALL, ALL)]
    assert rows(settings, "SELECT DISTINCT status FROM raw.load_ledger") == [("loaded",)]
    landed = sum(1 for _ in settings.landing_dir.rglob("*.parquet"))
    assert rows(settings, "SELECT count(*) FROM raw.load_ledger") == [(landed,)]


def test_sentinels_are_measured_and_part_of_no_comparison(settings: Settings, first: dict[str, Any]) -> None:
    assert rows(settings, "SELECT count(*) FROM marts.fct_trials WHERE is_sentinel") == [(SENTINELS,)]
    assert rows(settings, "SELECT count(*), count(DISTINCT placebo) FROM analysis.small") == [(TRIALS, 2)]
    checks = dict(
        rows(
            settings,
            "SELECT check_id, trials FROM marts.fct_measurement_checks WHERE check_name IN ('repeatability', 'accuracy_agreement')",
        )
    )
    assert checks == {
        f"{name}|{hardware_class}": count
        for hardware_class in ("pc", "laptop")
        for name, count in (
            ("repeatability|latency_ms", 3),
            ("repeatability|peak_memory_bytes", 3),
            ("accuracy_agreement|accuracy", ALL // 2),
        )
    }
    assert "Can these measurements be trusted?" in Path(first["report"]).read_text()


def test_questions_were_registered_before_the_first_trial(settings: Settings, first: dict[str, Any]) -> None:
    registered, began = rows(settings, "SELECT min(registered_at), (SELECT min(started_at) FROM raw.attempts) FROM raw.study_versions")[0]
    assert registered < began
    assert rows(settings, "SELECT is_changed_after_first_trial FROM marts.dim_studies WHERE study_name = 'small'") == [(False,)]


def test_every_outcome_that_can_be_asked_about_is_a_column_of_the_analysis_view(settings: Settings, first: dict[str, Any]) -> None:
    columns = {name for (name,) in rows(settings, "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'analysis'")}
    assert columns >= OUTCOMES


def test_measurements_did_not_overlap(settings: Settings, first: dict[str, Any]) -> None:
    overlaps = """
        SELECT count(*) FROM raw.attempts AS a JOIN raw.attempts AS b
        ON a.unit_id < b.unit_id AND a.started_at < b.ended_at AND b.started_at < a.ended_at
        WHERE a.unit_kind = 'trial'
    """
    assert rows(settings, overlaps) == [(0,)]


def test_the_warehouse_could_be_queried_meanwhile(first: dict[str, Any]) -> None:
    assert len(first["seen"]) > 5
    assert set(first["seen"]) == {ALL}, "the assignment is there before any trial, and stays"


def test_a_second_run_reuses_what_landed(settings: Settings, first: dict[str, Any]) -> None:
    before = rows(settings, "SELECT unit_id, attempt, ended_at FROM raw.attempts ORDER BY ALL")
    estimates = rows(settings, "SELECT estimate_id FROM raw.estimates ORDER BY ALL")
    done = run(settings, "small")
    assert done.returncode == 0, done.stderr
    assert rows(settings, "SELECT unit_id, attempt, ended_at FROM raw.attempts ORDER BY ALL") == before
    assert rows(settings, "SELECT estimate_id FROM raw.estimates ORDER BY ALL") == estimates, "equal data give equal estimates, once"


@pytest.fixture(scope="module")
def gated(settings: Settings, first: dict[str, Any]) -> dict[str, Any]:
    """The run of a study that was paused in the UI."""
    with LocalAirflow(settings) as guest, guest.client() as client:
        client._ok("PATCH", "/api/v2/dags/gated", json={"is_paused": True})
        done = run(settings, "gated")
        return {"done": done, "is_paused": client._ok("GET", "/api/v2/dags/gated")["is_paused"]}


def test_a_study_that_was_paused_runs_when_told_to_and_says_so(gated: dict[str, Any]) -> None:
    assert "gated was paused in the Airflow UI: it is not any more" in gated["done"].stderr
    assert not gated["is_paused"]


def test_a_failed_gate_stops_its_study_and_no_other(settings: Settings, gated: dict[str, Any]) -> None:
    done = gated["done"]
    assert done.returncode == 1
    assert "1000" in done.stderr, "the terminal names the gate"
    answer = json.loads(done.stdout)
    assert answer["state"] == "gates_failed"
    failed = rows(settings, "SELECT study_name, sentence FROM marts.fct_validations WHERE NOT is_success AND severity = 'critical'")
    assert failed
    assert {name for name, _ in failed} == {"gated"}
    assert rows(settings, "SELECT DISTINCT study_name FROM marts.fct_estimates") == [("small",)]
    assert "No effect was estimated" in Path(answer["report"]).read_text()


def test_a_recorded_study_is_imported_and_then_goes_the_same_way(settings: Settings) -> None:
    before = run(settings, "elsewhere")
    assert before.returncode == 2
    assert before.stderr.strip().endswith("run `trialhouse import elsewhere --table FILE`")
    table().to_csv(settings.home / "runs.csv", index=False)
    imported = command(settings, "import", "elsewhere", "--table", str(settings.home / "runs.csv"))
    assert imported.returncode == 0, imported.stderr
    assert "16 trials landed; 1 rows of runs.csv are none of this study" in imported.stdout
    done = run(settings, "elsewhere")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["trials"] == {"total": 16, "ok": 14, "out_of_memory": 2}
    found = {finding["headline"]["estimand"]: finding["headline"] for finding in answer["findings"]}
    assert set(found) == {"width_on_accuracy", "class_on_accuracy"}
    report = Path(answer["report"]).read_text()
    assert "were run elsewhere and read from a table" in report
    assert "None: the trials had been run before the questions were registered" in report
