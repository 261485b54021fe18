"""Benchmarks at toy size: they run, and write down what the contract says."""

from __future__ import annotations

import json

from tests.benchmarks import bench_landing
from tests.benchmarks.bench_pipeline_overhead import beside, covered
from trialhouse.settings import Settings


def test_landing_writes_its_result(home: Settings) -> None:
    ratio = bench_landing.run(files=4, rows_per_file=500, repeats=3)
    result = json.loads((home.bench_dir / "landing.json").read_text())
    assert set(result) == {"name", "value", "unit", "goal", "is_met", "detail", "environment"}
    assert result["name"] == "landing"
    assert abs(result["value"] - ratio) < 1e-3
    assert result["is_met"] == (ratio <= bench_landing.GOAL)
    assert result["detail"]["rows"] == 2000
    assert len(result["detail"]["duckdb_s"]) == len(result["detail"]["loader_s"]) == 3
    assert set(result["environment"]) == {"python", "platform", "cpus", "versions"}


def test_time_without_trials_is_what_no_interval_covers() -> None:
    trials = [(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)]
    assert covered(trials) == 4.0
    assert beside([(2.5, 5.5)], trials) == 2.0
    assert covered([]) == 0.0
