"""Configurations: averages without survivorship, the front, the choice within limits, and how sure it is."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.trialhouse.causal.simulator import shipped_study, simulate
from trialhouse.configurations import _best, _front, configurations, data_id, jeffreys_interval
from trialhouse.studies.catalogue import parse_study
from trialhouse.studies.spec import Study

MIB = 2**20


def study_with(**changes: Any) -> Study:
    return parse_study({**shipped_study().content, **changes}, source="changed")


def only_ratios(*levels: float) -> Study:
    """The shipped study at some pruning ratios, without limits and sentinels."""
    factors = [
        {**factor, "levels": levels} if factor["name"] == "pruning_ratio" else factor for factor in shipped_study().content["factors"]
    ]
    return study_with(
        factors=factors,
        design={**shipped_study().content["design"], "sentinels": None},
        limits=[],
        indicators=[],
        estimands=[{**shipped_study().content["estimands"][0], "treatment": "batch_size", "contrast": {"from": 64, "to": 512}}],
    )


def rows_of(study: Study, frame: pd.DataFrame, hardware_class: str = "laptop", **options: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of a class by (ratio, method, batch size)."""
    rows = [row for row in configurations(study, frame, **options) if row["hardware_class"] == hardware_class]
    return {tuple(json.loads(row["configuration"]).values()): row for row in rows}


def test_accuracy_is_that_of_all_weights_also_of_those_that_ran_out_of_memory() -> None:
    frame = simulate()
    row = rows_of(shipped_study(), frame)[0, "none", 4096]
    assert row["out_of_memory"] > 0
    weights = frame[(frame["pruning_ratio"] == 0)].drop_duplicates("weights_id")
    assert row["weights"] == len(weights) == 6
    assert row["accuracy"] == pytest.approx(weights["weights_accuracy"].mean())
    assert row["accuracy"] == rows_of(shipped_study(), frame, "server")[0, "none", 64]["accuracy"], "weights belong to no class"


def test_latency_memory_and_losses_are_counted_by_hand() -> None:
    frame = simulate()
    mine = frame[
        (frame["hardware_class"] == "pc")
        & (frame["pruning_ratio"] == 0.6)
        & (frame["pruning_method"] == "l1_mask")
        & (frame["batch_size"] == 512)
    ]
    row = rows_of(shipped_study(), frame, "pc")[0.6, "l1_mask", 512]
    assert (row["trials"], row["out_of_memory"]) == (len(mine), int(mine["is_oom"].sum()))
    assert row["latency_ms"] == pytest.approx(math.exp(np.log(mine["latency_ms"]).mean()))
    assert row["images_per_s"] == pytest.approx(512_000 / row["latency_ms"])
    assert row["memory_utilisation"] == pytest.approx(row["peak_memory_bytes"] / 1.2e9)
    assert row["latency_low_ms"] < row["latency_ms"] < row["latency_high_ms"]


def test_the_best_keeps_the_limits_and_never_ran_out_of_memory() -> None:
    frame = simulate()
    slow = study_with(limits=[])
    best = [key for key, row in rows_of(slow, frame).items() if row["is_best"]]
    limited = study_with(limits=[{"outcome": "latency_ms", "at_most": 1.0}, {"outcome": "memory_utilisation", "at_most": 0.5}])
    rows = rows_of(limited, frame)
    chosen = next(row for row in rows.values() if row["is_best"])
    assert chosen["latency_ms"] <= 1.0
    assert chosen["memory_utilisation"] <= 0.5
    assert chosen["accuracy"] == max(row["accuracy"] for row in rows.values() if row["is_within_limits"])
    assert all(row["out_of_memory"] == 0 for row in rows.values() if row["is_within_limits"])
    assert len(best) == 1
    nowhere = rows_of(study_with(limits=[{"outcome": "latency_ms", "at_most": 1e-6}]), frame)
    assert not any(row["is_best"] or row["is_within_limits"] for row in nowhere.values())
    elsewhere = study_with(limits=[{"outcome": "latency_ms", "at_most": 1e-6, "hardware_class": "server"}])
    assert any(row["is_best"] for row in rows_of(elsewhere, frame).values()), "a class's limit binds no other"


def test_shares_of_draws_are_shares_and_a_clear_choice_is_clear() -> None:
    study, frame = study_with(limits=[]), simulate()
    rows = rows_of(study, frame)
    assert sum(row["best_share"] for row in rows.values()) == pytest.approx(1.0)
    frame.loc[frame["pruning_ratio"] == 0, "weights_accuracy"] += 0.5
    clear = rows_of(study, frame)
    assert sum(row["best_share"] for key, row in clear.items() if key[0] == 0) == pytest.approx(1.0)


def test_equals_share_the_choice_evenly() -> None:
    """Three methods at one ratio with the same expected accuracy: over many studies each is best in a third of the draws."""
    study = only_ratios(0.6)
    shares = []
    for seed in range(60):
        frame = simulate(study, seed=seed, hardware_classes=("server",))
        rows = rows_of(study, frame, "server", draws=400)
        shares.append(sum(row["best_share"] for key, row in rows.items() if key[1] == "l1_mask"))
    assert abs(np.mean(shares) - 1 / 3) < 3 * np.std(shares, ddof=1) / math.sqrt(len(shares))


def test_intervals_of_accuracy_cover_the_truth_as_often_as_they_say() -> None:
    """Six blocks, block effects shared by all configurations: 95% intervals, 300 studies, three standard errors of tolerance."""
    study = only_ratios(0, 0.6)
    repeats, covered = 300, 0
    for seed in range(repeats):
        frame = simulate(study, seed=seed, hardware_classes=("server",))
        row = rows_of(study, frame, "server", draws=1000)[0.6, "l1_mask", 64]
        covered += row["accuracy_low"] <= 0.95 - 0.1 * 0.6 <= row["accuracy_high"]
    assert abs(covered / repeats - 0.95) < 3 * math.sqrt(0.95 * 0.05 / repeats)


def test_held_out_accuracy_does_not_flatter_itself() -> None:
    """Nine configurations that are truly equal: the best average is too good, the held-out one is not."""
    study = only_ratios(0.6)
    flattered, honest = [], []
    for seed in range(60):
        best = next(
            row
            for row in rows_of(study, simulate(study, seed=seed, hardware_classes=("server",)), "server", draws=50).values()
            if row["is_best"]
        )
        flattered.append(best["accuracy"] - 0.89)
        honest.append(best["held_out_accuracy"] - 0.89)
    difference = np.array(flattered) - np.array(honest)
    assert difference.mean() > 3 * difference.std(ddof=1) / math.sqrt(len(difference))
    assert abs(np.mean(honest)) < 3 * np.std(honest, ddof=1) / math.sqrt(len(honest))


def test_where_nothing_tells_the_error_no_share_is_made_up() -> None:
    frame = simulate()
    one_block = rows_of(shipped_study(), frame[frame["block"] == "0"])
    assert {row["best_share"] for row in one_block.values()} == {None}
    assert {row["accuracy_low"] for row in one_block.values()} == {None}
    assert configurations(shipped_study(), frame.assign(status="pending")) == []


def test_the_front_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(0)
    accuracy, latency = rng.random((20, 12)).round(1), rng.random((20, 12)).round(1)
    found = _front(accuracy, latency)
    for row, (acc, lat) in enumerate(zip(accuracy, latency, strict=True)):
        for i in range(12):
            beaten = any(acc[j] >= acc[i] and lat[j] <= lat[i] and (acc[j] > acc[i] or lat[j] < lat[i]) for j in range(12))
            assert found[row, i] == (not beaten)


def test_among_equals_the_one_with_most_images_per_second_is_best() -> None:
    accuracy, time = np.array([[0.9, 0.9, 0.8]]), np.array([[2.0, 1.0, 0.1]])
    within = np.array([[True, True, True]])
    assert _best(accuracy, time, within).tolist() == [1]
    assert _best(accuracy, time, ~within).tolist() == [-1]


def test_jeffreys_interval_is_that_of_the_beta_distribution() -> None:
    from scipy.stats import beta

    for count, of in itertools.product(range(4), (3, 7)):
        low, high = jeffreys_interval(count, of)
        assert low == (0 if count == 0 else pytest.approx(beta.ppf(0.025, count + 0.5, of - count + 0.5)))
        assert high == (1 if count == of else pytest.approx(beta.ppf(0.975, count + 0.5, of - count + 0.5)))


def test_the_data_id_does_not_depend_on_the_order_of_rows() -> None:
    study, frame = shipped_study(), simulate()
    assert data_id(study, frame) == data_id(study, frame.sample(frac=1, random_state=1))
    assert data_id(study, frame) != data_id(study, frame.assign(latency_ms=frame["latency_ms"] + 1))
