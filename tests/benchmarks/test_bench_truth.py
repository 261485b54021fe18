"""The truth bench in short: linear recipes cover, sound cases are released, faults flagged. In full: `make bench BENCH=truth`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks import bench_truth
from tests.benchmarks.scenarios import SCENARIOS

DRAWS = 200


def coverage(scenario: str, size: object) -> float:
    rows = [row for number in range(DRAWS) for row in bench_truth.one_draw(scenario, size, number, is_full=False)]
    return float(np.mean([row["is_covered"] for row in rows]))


@pytest.mark.parametrize(
    ("scenario", "size", "least", "most"),
    [
        ("randomised", 12, 0.93, 0.99),
        ("clustered", (6, 6), 0.93, 1.0),
        ("linear_confounding", 36, 0.93, 1.0),
        ("clustered_untold", (20, 5), 0.0, 0.90),
    ],
)
def test_linear_recipes_cover_as_they_say(scenario: str, size: object, least: float, most: float) -> None:
    """Within two Monte-Carlo errors; without its clusters the same design does not cover, so the test can fail."""
    error = 2 * math.sqrt(0.05 * 0.95 / DRAWS)
    assert least - error <= coverage(scenario, size) <= most + error


@pytest.mark.parametrize(
    ("scenario", "size", "words"),
    [
        ("linear_confounding", 100, {"released"}),
        ("sound_instrument", 500, {"released"}),
        ("omitted_confounder", 500, {"failed"}),
        ("reverse_causation", 500, {"failed"}),
        ("mediator_as_control", 36, {"failed"}),
        ("collider_as_control", 36, {"failed"}),
        ("deterministic_overlap", 500, {"withheld"}),
        ("thin_overlap", 500, {"withheld"}),
        ("confounding_tanh", 500, {"failed", "withheld"}),
        ("confounding_sin_and_step", 500, {"failed", "withheld"}),
    ],
)
def test_verdicts_are_what_a_scenario_calls_for(scenario: str, size: object, words: set[str]) -> None:
    (row,) = [row for row in bench_truth.one_draw(scenario, size, 1) if row["is_primary"]]
    assert row["verdict"] in words


def test_a_draw_is_the_same_every_time_and_bears_the_columns_that_readers_rely_on() -> None:
    first, second = (pd.DataFrame(bench_truth.one_draw("weak_instrument", 200, 3)) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    contract = {"scenario", "recipe", "n", "draw", "estimand", "truth", "estimate", "ci_low", "ci_high", "is_covered", "verdict"}
    assert contract <= set(first)
    assert "anderson_rubin" in set(first["recipe"])
    scored = bench_truth.score(first)
    assert list(scored["must"]) == ["Anderson-Rubin set covers >= .93"]
    assert {threshold.scenario for threshold in bench_truth.THRESHOLDS} <= set(SCENARIOS)


def test_a_scenario_that_is_run_again_replaces_its_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "truth.parquet"
    first = pd.DataFrame({"scenario": ["a", "a", "b"], "draw": [0, 1, 0]})
    bench_truth.keep(first, path)
    kept = bench_truth.keep(pd.DataFrame({"scenario": ["a"], "draw": [7]}), path)
    assert list(kept.itertuples(index=False, name=None)) == [("b", 0), ("a", 7)]
    assert [file.name for file in path.parent.iterdir()] == ["truth.parquet"]


def test_the_documented_table_has_every_threshold_and_every_scenario() -> None:
    """It is what the bench wrote when it was last run whole."""
    told = (Path(bench_truth.__file__).parents[2] / "include" / "trialhouse" / "causal" / "truth.md").read_text(encoding="utf-8")
    for threshold in bench_truth.THRESHOLDS:
        assert f"| {threshold.scenario} | " in told
        assert f" | {threshold.what} | " in told
    for name in SCENARIOS:
        assert f"\n| {name} | " in told
    assert " | NO |" not in told
