"""The dbt project as a whole: what it documents, and that its unit tests pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.trialhouse.warehouse.samples import build
from trialhouse.raw_tables import RAW_TABLES
from trialhouse.settings import PROJECT_DIR, Settings
from trialhouse.warehouse import models
from trialhouse.warehouse.read import STUDY_TABLES, published

PROJECT = PROJECT_DIR / "dbt_project"
MARTS = {
    "dim_hardware_classes",
    "dim_studies",
    "fct_calibration",
    "fct_configurations",
    "fct_design_checks",
    "fct_estimates",
    "fct_forecasts",
    "fct_learning_curves",
    "fct_measurement_checks",
    "fct_outcomes",
    "fct_profiles",
    "fct_refutations",
    "fct_scaling_laws",
    "fct_treatments",
    "fct_trials",
    "fct_validations",
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which nothing ever landed, built and published."""
    settings = Settings(home=tmp_path_factory.mktemp("empty"))
    build(settings)
    return settings


@pytest.fixture(scope="module")
def manifest(empty: Settings) -> dict[str, Any]:
    return json.loads((empty.warehouse_dir / "dbt_target" / "manifest.json").read_text())


def test_an_empty_warehouse_has_every_mart(empty: Settings) -> None:
    with published(empty) as connection:
        tables = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'marts'").fetchall()}
        assert tables == MARTS
        for table in MARTS:
            assert connection.execute(f"SELECT count(*) FROM marts.{table}").fetchall() == [(0,)]
        for table, order in STUDY_TABLES.items():
            connection.execute(f"SELECT study_id, {order} FROM marts.{table} ORDER BY {order}")


def test_unit_tests_of_models_pass(empty: Settings) -> None:
    lines: list[str] = []
    models._dbt(["test", "--select", "test_type:unit"], lines.append, empty)
    assert sum("of 11 PASS" in line for line in lines) == 11, "\n".join(lines)


def test_every_model_says_its_grain_first(manifest: dict[str, Any]) -> None:
    found = {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}
    assert set(found) >= MARTS
    for name, node in found.items():
        assert node["description"].startswith("One row per "), name
        assert (PROJECT / Path(node["original_file_path"])).with_suffix(".yml").is_file(), name


def test_every_mart_is_under_contract_with_every_column_described(empty: Settings, manifest: dict[str, Any]) -> None:
    with published(empty) as connection:
        for name in MARTS:
            node = manifest["nodes"][f"model.trialhouse.{name}"]
            assert node["contract"]["enforced"], name
            there = connection.execute("SELECT column_name FROM duckdb_columns() WHERE schema_name = 'marts' AND table_name = ?", [name])
            assert {row[0] for row in there.fetchall()} == set(node["columns"])
            assert all(len(column["description"]) > 3 for column in node["columns"].values()), name


def test_results_keep_every_raw_column(manifest: dict[str, Any]) -> None:
    for name in ("validations", "estimates", "refutations", "forecasts"):
        assert set(RAW_TABLES[name]) <= set(manifest["nodes"][f"model.trialhouse.fct_{name}"]["columns"])


def test_every_raw_table_is_a_source_and_every_mart_has_a_reader_or_is_documented(manifest: dict[str, Any]) -> None:
    assert {source["name"] for source in manifest["sources"].values()} == {*RAW_TABLES, "load_ledger"}
    assert {exposure["name"] for exposure in manifest["exposures"].values()} == {"causal_engine", "data_gates", "report"}


def test_results_are_tagged_with_all_that_leads_to_them(manifest: dict[str, Any]) -> None:
    tagged = {node["name"] for node in manifest["nodes"].values() if "results" in node["tags"] and node["resource_type"] == "model"}
    names = ("validations", "estimates", "refutations", "configurations", "forecasts")
    assert tagged == {"stg_laws", "fct_scaling_laws", "fct_calibration", *(f"{kind}_{name}" for kind in ("stg", "fct") for name in names)}


def test_nothing_phones_home_and_python_stays_out() -> None:
    assert yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["flags"]["send_anonymous_usage_stats"] is False
    assert not list(PROJECT.rglob("*.py"))
    # dbt imports every top-level module of that name
    assert not [path for folder in (PROJECT_DIR, PROJECT_DIR / "include", PROJECT_DIR / "dags") for path in folder.glob("dbt_*.py")]
