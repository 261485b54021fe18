"""The engine on studies that nobody randomised, and on the hardware class as a treatment."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.trialhouse.causal.simulator import graphs, shipped_study, simulate
from trialhouse.causal import Results, estimate_study
from trialhouse.causal.sample import surviving
from trialhouse.reporting.findings import SURVIVORS
from trialhouse.studies.catalogue import parse_study

STUDY_ID = "study_0123456789abcdef"
TRUTH = 0.1
OBSERVED: dict[str, Any] = {
    "name": "observed",
    "title": "Runs of somebody else",
    "question": "What does a wide network do to accuracy?",
    "workload": {"name": "recorded"},
    "factors": [
        {"name": "width", "kind": "ordinal", "levels": [8, 16]},
        {"name": "batch_size", "kind": "ordinal", "levels": [4, 8]},
        {"name": "workers", "kind": "ordinal", "levels": [1, 2]},
    ],
    "hardware_classes": ["big", "small"],
    "design": {"kind": "observational", "seed": 0},
    "graph": "right.dot",
    "recorded": {
        "hardware_class": {
            "column": "machine",
            "classes": {name: {"value": name, "cpus": 1, "memory_bytes": "1 GiB"} for name in ("big", "small")},
        },
        "status": {"column": "status", "values": {"ok": "ok"}},
        "outcomes": {"accuracy": {"column": "accuracy"}},
    },
    "refuters": ["left_out_columns"],
    "estimands": [
        {"name": "right", "treatment": "width", "contrast": {"from": 8, "to": 16}, "outcome": "accuracy"},
        {"name": "wrong", "treatment": "width", "contrast": {"from": 8, "to": 16}, "outcome": "accuracy", "graph": "wrong.dot"},
    ],
}
GRAPHS = {
    "right.dot": "digraph { hardware_class -> width; hardware_class -> accuracy; batch_size -> accuracy; width -> accuracy; }",
    "wrong.dot": "digraph { workers -> width; workers -> accuracy; width -> accuracy; }",
}


def observed(rows: int = 600) -> pd.DataFrame:
    """Wide networks ran mostly on the big machine, where everything is .3 more accurate."""
    rng = np.random.default_rng(0)
    is_big = rng.random(rows) < 0.5
    is_wide = rng.random(rows) < np.where(is_big, 0.8, 0.2)
    return pd.DataFrame(
        {
            "trial_id": [f"trial_{number:04}" for number in range(rows)],
            "position": range(rows),
            "hardware_class": np.where(is_big, "big", "small"),
            "status": "ok",
            "width": np.where(is_wide, 16, 8),
            "batch_size": rng.choice([4, 8], rows),
            "workers": rng.choice([1, 2], rows),
            "accuracy": 0.3 + TRUTH * is_wide + 0.3 * is_big + rng.normal(scale=0.05, size=rows),
        }
    )


@pytest.fixture(scope="module")
def found() -> Results:
    return estimate_study(parse_study(OBSERVED, "test"), observed(), GRAPHS, study_id=STUDY_ID)


def primary(found: Results, estimand: str) -> dict[str, Any]:
    return next(row for row in found.primary if row["estimand"] == estimand)


def test_an_observational_study_adjusts_for_what_its_graph_draws(found: Results) -> None:
    row = primary(found, "right")
    assert json.loads(row["adjustment"]) == ["hardware_class", "batch_size"]  # the second for precision; workers are not drawn
    assert row["ci_low"] < TRUTH < row["ci_high"]
    assert row["verdict"] == "released"
    assert "conditional on the graph" in row["caveats"]


def test_a_graph_that_leaves_the_confounder_out_fails(found: Results) -> None:
    row = primary(found, "wrong")
    assert row["ci_low"] > TRUTH
    assert row["verdict"] == "failed"
    assert "The graph leaves out hardware_class, which goes with both width and accuracy" in row["reasons"]


def test_the_order_of_a_table_is_no_evidence(found: Results) -> None:
    """Its position is the order of hashes: not to be counted as a check that something stood up to."""
    reasons = [row["reason"] for row in found.refutations if row["refuter"] == "left_out_columns"]
    assert reasons
    assert not any("position" in reason for reason in reasons)


def test_the_hardware_class_can_be_the_treatment() -> None:
    """Large batches serve easier images here and run out of memory on the laptop; the server is better by .03 at the same batch.

    The estimate is right, and fails all the same: how many images go at once cannot change how accurate weights are.
    """
    rng = np.random.default_rng(3)
    frame = simulate()
    frame["accuracy"] += 0.2 * (frame["batch_size"] == 4096) + 0.03 * (frame["hardware_class"] == "server")
    frame["accuracy"] += rng.normal(scale=0.005, size=len(frame))
    asked = {"name": "server", "treatment": "hardware_class", "contrast": {"from": "laptop", "to": "server"}, "outcome": "accuracy"}
    study = parse_study({**shipped_study().content, "estimands": [asked], "refuters": ["left_out_columns"]}, "test")
    results = estimate_study(study, frame, graphs(), study_id=STUDY_ID)
    rows = {row["method"]: row for row in results.estimates}
    assert set(rows) == {"naive", "adjusted_linear", "double_ml"}
    assert rows["naive"]["ci_low"] > 0.03
    assert any(reason.startswith(SURVIVORS) for reason in json.loads(rows["naive"]["reasons"]))  # what the report looks for
    assert rows["naive"]["verdict"] == "withheld"
    row = rows["adjusted_linear"]
    assert row["ci_low"] < 0.03 < row["ci_high"]
    assert row["verdict"] == "failed"
    assert "batch_size goes with accuracy, which it cannot cause" in row["reasons"]
    assert (row["contrast_from"], row["contrast_to"], row["subgroup"]) == ("laptop", "server", None)
    assert "hardware_class" not in json.loads(row["adjustment"])
    assert "classes are measured one after another" in row["caveats"]


def crossed(**levels: list[Any]) -> pd.DataFrame:
    """Every combination of the levels in both arms."""
    return pd.MultiIndex.from_product([[0.0, 1.0], *levels.values()], names=["arm", *levels]).to_frame(index=False)


def test_strata_are_named_by_the_columns_that_tell_them_apart() -> None:
    frame = crossed(batch_size=[4, 8, 16], workers=[1, 2], model=["a", "b"])
    is_lost = (frame["batch_size"] == 16) & (frame["arm"] == 0)
    frame["accuracy"] = np.where(is_lost, np.nan, 0.5)
    frame["status"] = np.where(is_lost, "out_of_memory", "ok")
    found = surviving(frame, frame["arm"], "accuracy", ["batch_size", "workers", "model"], ("out_of_memory",))
    assert found.stratum == "all but batch_size = 16"
    assert len(found.rows) == 16


def test_many_strata_are_counted_and_not_named() -> None:
    frame = crossed(ratio=list(range(8)), batch_size=[4, 8, 16], workers=[1, 2])
    is_lost = ((frame["ratio"] + frame["batch_size"] / 4) % 2 == 0) & (frame["arm"] == 1)
    frame["accuracy"] = np.where(is_lost, np.nan, 0.5)
    frame["status"] = np.where(is_lost, "out_of_memory", "ok")
    found = surviving(frame, frame["arm"], "accuracy", ["ratio", "batch_size", "workers"], ("out_of_memory",))
    assert found.stratum == "12 of 24 combinations of ratio, batch_size"
    assert len(found.rows) == 48
