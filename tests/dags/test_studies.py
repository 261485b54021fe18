"""The DAGs: one per study, wired as the house wants it; a broken YAML breaks its own DAG only and says why there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trialhouse.settings import PROJECT_DIR

INSPECT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
print(json.dumps({
    "errors": bag.import_errors,
    "dags": {
        dag_id: {
            "description": dag.description,
            "doc": dag.doc_md,
            "tags": sorted(dag.tags),
            "params": {name: dag.params[name] for name in dag.params},
            "may_be_empty": [name for name in dag.params if "null" in dag.params.get_param(name).schema["type"]],
            "tasks": {
                task.task_id: {
                    "type": task.task_type,
                    "pool": task.pool,
                    "queue": task.queue,
                    "rule": str(getattr(task.trigger_rule, "value", task.trigger_rule)),
                    "upstream": sorted(task.upstream_task_ids),
                    "retries": task.retries,
                }
                for task in dag.tasks
            },
        }
        for dag_id, dag in bag.dags.items()
    },
}))
"""


def dags_with(studies_dir: Path, home: Path) -> dict[str, Any]:
    """What Airflow reads from the DAG folder, in a process of its own: its configuration is fixed at import."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "TRIALHOUSE_HOME": str(home),
        "TRIALHOUSE_STUDIES_DIR": str(studies_dir),
    }
    command = [sys.executable, "-c", INSPECT, str(PROJECT_DIR / "dags")]
    done = subprocess.run(command, env=environment, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout.strip().splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("home")
    studies = home / "studies"
    studies.mkdir()
    content = yaml.safe_load((PROJECT_DIR / "include/studies/pruning_digits.yaml").read_text())
    (studies / "weekly.yaml").write_text(yaml.safe_dump({**content, "name": "weekly", "schedule": "@weekly"}))
    (studies / "broken.yaml").write_text(yaml.safe_dump({**content, "name": "broken", "colour": "red"}))
    recorded = PROJECT_DIR / "tests" / "authors" / "pruning_authors.yaml"
    (studies / recorded.name).write_text(recorded.read_text())
    return dags_with(studies, home)


def test_every_file_is_read(found: dict[str, Any]) -> None:
    assert found["errors"] == {}
    assert {"pruning_digits", "weekly", "broken", "warehouse_upkeep"} <= set(found["dags"])


def test_a_broken_yaml_says_why_in_its_own_dag(found: dict[str, Any]) -> None:
    broken = found["dags"]["broken"]
    assert list(broken["tasks"]) == ["read_study"]
    assert "colour must be a known field" in broken["doc"]
    assert "broken" in broken["tags"]
    assert len(found["dags"]["weekly"]["tasks"]) > 5


def test_a_study_is_explained_and_has_a_form(found: dict[str, Any]) -> None:
    dag = found["dags"]["pruning_digits"]
    assert "pruning_on_latency" in dag["doc"]
    assert dag["params"]["hardware_classes"] == ["server", "pc", "laptop"]
    assert dag["params"]["blocks"] == 6
    assert dag["params"]["rerun"] is False
    assert dag["params"]["changes"] == []
    assert dag["may_be_empty"] == ["changes"], "the form marks all others as required"


def test_whatever_writes_the_warehouse_takes_the_one_slot_pool(found: dict[str, Any]) -> None:
    for dag in found["dags"].values():
        for task in dag["tasks"].values():
            is_writer = task["type"] in {"LoadLandedFilesOperator", "BuildModelsOperator", "PublishWarehouseOperator"}
            assert not is_writer or task["pool"] == "duckdb_writer"


def test_trials_run_in_their_class_s_queue_and_alone(found: dict[str, Any]) -> None:
    tasks = found["dags"]["pruning_digits"]["tasks"]
    for name in ("server", "pc", "laptop"):
        task = tasks[f"profile.{name}"]
        assert (task["queue"], task["pool"]) == (name, "profiling")
        assert task["retries"] >= 1
        assert "record.publish" in task["upstream"], "the study's own dbt build must not run beside a measurement"


def test_a_failed_gate_stops_estimation_but_not_the_report(found: dict[str, Any]) -> None:
    tasks = found["dags"]["pruning_digits"]["tasks"]
    assert tasks["estimate"]["upstream"] == ["validate"]
    assert tasks["estimate"]["rule"] == "all_success"
    assert tasks["results.load"]["rule"] == "all_done_min_one_success"
    assert {"validate", "estimate", "report"} <= set(tasks["done"]["upstream"])
    assert tasks["done"]["rule"] == "all_success"


def test_a_recorded_study_has_nothing_to_train_or_measure_and_takes_its_table(found: dict[str, Any]) -> None:
    dag = found["dags"]["pruning_authors"]
    assert set(dag["params"]) == {"table"}
    assert dag["params"]["table"] is None, "it need not be there: the import may have landed before"
    assert "broken" not in dag["tags"]
    types = {name: task["type"] for name, task in dag["tasks"].items()}
    assert types["register"] == "ImportTableOperator"
    assert not {"MakeWeightsOperator", "ProfileTrialsOperator"} & set(types.values())
    tail = [task for task in found["dags"]["pruning_digits"]["tasks"] if task.startswith(("trials", "results")) or task in types]
    assert set(types) == set(tail), "from its trials on it goes the way of every study"
    assert dag["tasks"]["trials.load"]["upstream"] == ["register"]
    assert {"validate", "estimate", "report"} <= set(dag["tasks"]["done"]["upstream"])


def test_laws_are_asked_in_a_form_that_names_them(found: dict[str, Any]) -> None:
    dag = found["dags"]["forecast"]
    empty = {"at": [], "where": [], "law": None, "score": None, "check": False}
    assert dag["params"] == {"study": "compute_optimal_gpt", "do": ["data=2x"], **empty}
    assert set(dag["may_be_empty"]) == {"at", "where", "law", "score"}
    assert dag["tasks"]["results.load"]["upstream"] == ["forecast"]
    assert "pruning_digits" not in str(dag["params"])


def test_a_budget_is_split_in_a_form_of_studies_that_can(found: dict[str, Any]) -> None:
    dag = found["dags"]["allocate"]
    assert dag["params"] == {"study": "compute_optimal_gpt", "budget": 1e12, "where": [], "law": None, "cost": None, "limits": []}
    assert set(dag["may_be_empty"]) == {"where", "law", "cost", "limits"}
    assert list(dag["tasks"]) == ["allocate"]
    assert "learning_curves" not in str(dag["params"]), "its laws are of one factor"
