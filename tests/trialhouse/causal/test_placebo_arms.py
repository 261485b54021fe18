"""A/A arms: the engine finds differences between equal treatments as often as it says, and says so where it finds one."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tests.trialhouse.causal.simulator import graphs, shipped_study, simulate
from trialhouse.causal import Results, estimate_study
from trialhouse.causal.checks.always import placebo_arms
from trialhouse.causal.inference import exact_interval
from trialhouse.causal.sample import Sample, arms_of, make_sample
from trialhouse.studies.catalogue import parse_study

STUDIES = 200
OUTCOMES = ("accuracy", "latency_ms", "peak_memory_bytes")


def contrast(frame: pd.DataFrame, outcome: str, cluster: str | None = "block") -> Sample:
    """The shipped study's contrast of one outcome, as the primary recipe sees it."""
    arms = arms_of(frame["pruning_ratio"], 0, 0.6)
    covariates = ("seed", "batch_size")
    return make_sample(
        frame[arms.notna()],
        treatment="pruning_ratio",
        outcome=outcome,
        arms=arms,
        covariates=covariates,
        categorical=covariates,
        cluster=cluster,
    )


def test_equal_treatments_differ_in_five_of_a_hundred_simulated_studies() -> None:
    """Each study has an assignment, labels and noise of its own; its false positives per outcome are binomial."""
    rejected = dict.fromkeys(OUTCOMES, 0)
    for seed in range(STUDIES):
        trials = simulate(shipped_study().with_overrides(design_seed=seed), seed=seed, hardware_classes=("server",))
        for outcome in OUTCOMES:
            p_value = placebo_arms(contrast(trials, outcome), "placebo").p_value
            assert p_value is not None
            rejected[outcome] += p_value < 0.05
    for outcome, count in rejected.items():
        low, high = exact_interval(count, STUDIES)
        assert low < 0.05 < high, (outcome, count)


def study_results(trials: pd.DataFrame) -> Results:
    estimands = [item for item in shipped_study().content["estimands"] if item["name"] == "pruning_on_latency"]
    study = parse_study({**shipped_study().content, "estimands": estimands, "refuters": []}, "test")
    return estimate_study(study, trials, graphs(), study_id="study_0123456789abcdef")


def placebo_rows(results: Results) -> list[dict[str, object]]:
    return [row for row in results.refutations if row["refuter"] == "placebo_arms"]


def test_every_primary_estimate_is_compared_with_equal_treatments() -> None:
    results = study_results(simulate())
    rows = placebo_rows(results)
    assert {row["estimate_id"] for row in rows} == {row["estimate_id"] for row in results.primary}
    assert [row["verdict"] for row in rows] == ["passed"] * 3
    assert all(row["p_value"] is not None for row in rows)


def test_a_measurement_that_the_label_reaches_fails_the_estimate() -> None:
    trials = simulate()
    trials["latency_ms"] += np.where(trials["placebo"] == "b", 60.0, 0.0) * (trials["hardware_class"] == "server")
    results = study_results(trials)
    verdicts = {row["subgroup"]: row for row in results.primary}
    assert {name: row["verdict"] for name, row in verdicts.items()} == {"server": "failed", "pc": "released", "laptop": "released"}
    reason = json.loads(verdicts["server"]["reasons"])[0]
    assert "The same treatment twice (placebo b against a) differs by" in reason
    assert "after Holm" in reason


def test_errors_that_ignore_what_trials_share_are_found_out() -> None:
    """Twenty trials that share one of twelve weights are taken for independent: differences between equal arms come too often."""
    rejected = {True: 0, False: 0}
    rng = np.random.default_rng(0)
    for _ in range(STUDIES):
        unit = np.repeat(np.arange(12), 20)
        label = rng.permutation(np.repeat(["a", "b"], 6))[unit]
        frame = pd.DataFrame({"unit": unit, "label": label, "t": rng.permutation(240) % 2, "y": rng.normal(size=12)[unit]})
        frame["y"] += rng.normal(size=240)
        for is_clustered in rejected:
            cluster = "unit" if is_clustered else None
            sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=[], cluster=cluster)
            rejected[is_clustered] += (placebo_arms(sample, "label").p_value or 1) < 0.05
    assert rejected[False] > 0.3 * STUDIES
    low, high = exact_interval(rejected[True], STUDIES)
    assert low < 0.05 < high


@pytest.mark.parametrize("spoil", ["one label only", "no label", "nothing varies"])
def test_what_cannot_be_compared_is_not_applicable(spoil: str) -> None:
    trials = simulate(hardware_classes=("server",))
    if spoil == "one label only":
        trials["placebo"] = "a"
    elif spoil == "no label":
        trials.loc[3, "placebo"] = None
    else:
        trials["latency_ms"] = 1.0
    check = placebo_arms(contrast(trials, "latency_ms"), "placebo")
    assert (check.verdict, check.p_value) == ("not_applicable", None)


def test_the_exact_interval_is_clopper_and_pearsons() -> None:
    # 0 of 20: the upper limit is 1 - (.025)^(1/20); symmetric at the other end
    assert exact_interval(0, 20) == pytest.approx((0, 1 - 0.025 ** (1 / 20)))
    assert exact_interval(20, 20) == pytest.approx((0.025 ** (1 / 20), 1))
    low, high = exact_interval(10, 200)
    assert (round(low, 4), round(high, 4)) == (0.0242, 0.0900)
    assert exact_interval(0, 0) == (0.0, 1.0)
