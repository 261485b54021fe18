"""The runs of the source's authors through the same registration, marts and engine as our own studies.

The table has no licence and is not part of the repository: these tests skip where it is absent. Its truth is known, since the
factorial over server, PC and laptop is complete.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from tests.authors.confounded import confounded
from tests.trialhouse.warehouse.samples import build
from trialhouse.causal import Results, estimate_study
from trialhouse.registration import import_table
from trialhouse.settings import Settings
from trialhouse.warehouse.read import study_frame

HERE = Path(__file__).parent
TABLE = Path("/work/shared/data/e0294_pruning/pruning_runs.csv")
STOCK = ("random_common_cause", "data_subset", "permuted_placebo")

pytestmark = pytest.mark.skipif(not TABLE.is_file(), reason="the authors' table is not here")


class Found(NamedTuple):
    frame: pd.DataFrame
    results: Results

    def row(self, estimand: str, method: str = "adjusted_linear", **wanted: Any) -> dict[str, Any]:
        wanted = {"estimand": estimand, "method": method, **wanted}
        rows = [row for row in self.results.estimates if all(row[key] == value for key, value in wanted.items())]
        assert len(rows) == 1, wanted
        return rows[0]

    def checks(self, row: dict[str, Any]) -> dict[str, str]:
        return {item["refuter"]: item["verdict"] for item in self.results.refutations if item["estimate_id"] == row["estimate_id"]}


def truth() -> float:
    """The plain contrast of the balanced factorial."""
    table = pd.read_csv(TABLE)
    factorial = table[table["platform"].isin(["Server", "PC", "Laptop"])]
    is_high = factorial["prune_ratio"] > 0.3
    return float(factorial[is_high]["oom"].mean() - factorial[~is_high]["oom"].mean())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """Both studies, imported, built and estimated."""
    home = tmp_path_factory.mktemp("authors")
    settings = Settings(home=home, studies_dir=HERE)
    confounded(pd.read_csv(TABLE)).to_csv(home / "confounded.csv", index=False)
    tables = {"pruning_authors": TABLE, "pruning_authors_confounded": home / "confounded.csv"}
    imported = {name: import_table(name, table, settings)[0] for name, table in tables.items()}
    build(settings)
    result = {}
    for name, registration in imported.items():
        frame = study_frame(registration.study_id, settings)
        estimated = estimate_study(registration.study, frame, registration.graphs, study_id=registration.study_id, workers=2)
        result[name] = Found(frame, estimated)
    return result


@pytest.fixture(scope="module")
def factorial(found: dict[str, Found]) -> Found:
    return found["pruning_authors"]


@pytest.fixture(scope="module")
def observed(found: dict[str, Found]) -> Found:
    return found["pruning_authors_confounded"]


def test_the_whole_factorial_is_in_the_marts(factorial: Found) -> None:
    assert factorial.frame["status"].value_counts().to_dict() == {"ok": 5904, "out_of_memory": 998, "timed_out": 10}
    assert factorial.frame["accuracy"].max() <= 1  # the table has percentages
    assert factorial.frame.groupby("hardware_class").size().to_dict() == {"server": 2304, "pc": 2304, "laptop": 2304}


def test_a_high_ratio_raises_the_chance_of_running_out_of_memory_by_a_hundredth_all_of_it_on_the_laptop(factorial: Found) -> None:
    overall = factorial.row("high_pruning_on_out_of_memory")
    assert overall["estimate"] == pytest.approx(truth()) == pytest.approx(0.016, abs=5e-4)
    assert overall["verdict"] == "released"
    by_class = {name: factorial.row("high_pruning_on_out_of_memory_by_class", subgroup=name) for name in ("server", "pc", "laptop")}
    assert {name: round(row["estimate"], 3) for name, row in by_class.items()} == {"server": 0.0, "pc": 0.0, "laptop": 0.049}
    assert by_class["laptop"]["ci_low"] > 0
    assert all(row["ci_low"] < 0 < row["ci_high"] for name, row in by_class.items() if name != "laptop")


def test_most_of_the_server_s_accuracy_is_survivorship(factorial: Found) -> None:
    naive, adjusted = factorial.row("server_on_accuracy", "naive"), factorial.row("server_on_accuracy")
    assert naive["estimate"] == pytest.approx(0.054, abs=5e-4)
    assert naive["verdict"] == "withheld"
    assert "Compares survivors only: 720 of 2304 control and 0 of 2304 treated trials did not finish" in naive["reasons"]
    assert adjusted["estimate"] == pytest.approx(0.0156, abs=5e-5)  # 1,584 configurations finished on both machines
    assert (adjusted["verdict"], adjusted["trials"]) == ("released", 2 * 1584)
    assert adjusted["stratum"] == "396 of 576 combinations of model, pruning_method, pruning_ratio, batch_size"
    assert "a class is a whole machine" in adjusted["caveats"]


def test_the_right_graph_finds_the_truth_where_treatment_was_confounded(observed: Found) -> None:
    naive, right = (observed.row("adjusting_for_machine_and_batch", method) for method in ("naive", "adjusted_linear"))
    assert naive["estimate"] == pytest.approx(0.23, abs=0.01)
    assert naive["verdict"] == "failed"
    assert right["ci_low"] < truth() < right["ci_high"]
    assert right["ci_high"] < naive["estimate"] / 2
    assert right["verdict"] == "released", right["reasons"]
    assert {"batch_size", "hardware_class"} <= set(json.loads(right["adjustment"]))


def test_the_wrong_graph_fails_though_the_source_s_three_refuters_pass_it(observed: Found) -> None:
    wrong = observed.row("adjusting_for_workers_only")
    assert wrong["estimate"] == pytest.approx(0.23, abs=0.01)
    assert not wrong["ci_low"] < truth() < wrong["ci_high"]
    checks = observed.checks(wrong)
    assert {name: checks[name] for name in STOCK} == dict.fromkeys(STOCK, "passed")
    assert checks["left_out_columns"] == "failed"
    assert wrong["verdict"] == "failed"
    assert "The graph leaves out batch_size, hardware_class" in wrong["reasons"]


def test_runs_that_nobody_assigned_are_said_to_rest_on_the_graph(observed: Found) -> None:
    right = observed.row("adjusting_for_machine_and_batch")
    assert "conditional on the graph" in right["caveats"]
    assert "if the graph is right" in right["estimand_expression"]
