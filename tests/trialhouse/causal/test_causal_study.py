"""The shipped study on made-up measurements with known effects."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.trialhouse.causal.simulator import ACCURACY_SLOPE, graphs, shipped_study, simulate
from trialhouse.causal import Results, estimate_study
from trialhouse.causal.answer import answer
from trialhouse.causal.model import read_graph
from trialhouse.causal.question import Comparison, Question
from trialhouse.causal.study import _questions
from trialhouse.errors import EstimationError
from trialhouse.raw_tables import RAW_TABLES
from trialhouse.studies.catalogue import parse_study
from trialhouse.studies.spec import Study

BOUNDS = ("trimming_bounds", "worst_case_bounds")
STUDY_ID = "study_0123456789abcdef"


def changed(**changes: Any) -> Study:
    return parse_study({**shipped_study().content, **changes}, "test")


def estimand(**changes: Any) -> dict[str, Any]:
    return {
        "name": "question",
        "treatment": "pruning_ratio",
        "contrast": {"from": 0, "to": 0.6},
        "outcome": "accuracy",
        "by": "hardware_class",
        **changes,
    }


def one(**changes: Any) -> Study:
    """A study with this estimand alone, and no refuters that take time."""
    return changed(estimands=[estimand(**changes)], refuters=["left_out_columns"])


def rows(results: Results, **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in results.estimates if all(row[key] == value for key, value in wanted.items())]


def checks(results: Results, row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["refuter"]: check for check in results.refutations if check["estimate_id"] == row["estimate_id"]}


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return simulate()


@pytest.fixture(scope="module")
def results(trials: pd.DataFrame) -> Results:
    return estimate_study(shipped_study(), trials, graphs(), study_id=STUDY_ID, workers=2)


def test_rows_fit_the_raw_tables(results: Results) -> None:
    for table, found in (("estimates", results.estimates), ("refutations", results.refutations)):
        assert all(list(row) == list(RAW_TABLES[table]) for row in found)
    ids = [row["estimate_id"] for row in results.estimates]
    assert len(set(ids)) == len(ids)


def test_every_class_has_three_recipes_other_levels_and_methods(results: Results) -> None:
    found = rows(results, estimand="pruning_on_accuracy", subgroup="laptop")
    assert [(row["method"], row["contrast_from"], row["contrast_to"], row["is_primary"]) for row in found] == [
        ("naive", "0", "0.6", False),
        ("adjusted_linear", "0", "0.6", True),
        ("double_ml", "0", "0.6", False),
        ("adjusted_linear", "0", "0.3", False),
        ("adjusted_linear", "0", "0.9", False),
    ]
    methods = rows(results, estimand="pruning_on_accuracy", subgroup_column="hardware_class, pruning_method")
    assert len(methods) == 9
    assert methods[0]["subgroup"] == "server, l1_structured"
    assert not any(row["is_primary"] for row in methods)
    assert len(results.primary) == 13  # four questions in three classes, and the binary one that is primary


def test_primary_estimates_are_attacked_and_released(results: Results) -> None:
    for row in results.primary:
        found = checks(results, row)
        always = {"graph_rules", "overlap", "recipe_agreement", "repeated_units", "placebo_arms", "implied_independences"}
        assert always | set(shipped_study().refuters) == set(found) - {"negative_control_treatment", "robust_shift", *BOUNDS}
        assert ("trimming_bounds" in found) == (row["stratum"] is not None)
        assert ("negative_control_treatment" in found) == (row["outcome"] == "accuracy")
        assert row["verdict"] == "released", row["reasons"]
        assert row["clusters"] == 6


def test_an_effect_per_so_much_is_the_slope_over_all_levels(trials: pd.DataFrame) -> None:
    results = estimate_study(one(contrast=None, per=0.3, by=None), trials, graphs(), study_id=STUDY_ID)
    (row,) = results.primary
    assert (row["contrast_from"], row["contrast_to"], row["per"]) == ("0", "1", "0.3")
    assert "Effect per +0.3 pruning_ratio." in row["estimand_expression"]
    assert row["ci_low"] < 0.3 * ACCURACY_SLOPE < row["ci_high"]
    assert row["trials"] == rows(results, method="naive")[0]["trials"] > 150
    (whole,) = estimate_study(one(contrast=None, per=0.6, by=None), trials, graphs(), study_id=STUDY_ID).primary
    assert whole["estimate"] == pytest.approx(2 * row["estimate"])


def test_trials_of_one_arm_are_no_repeated_unit() -> None:
    """Their treatment is the same by definition, and where a line does not fit it quite they go together."""
    factors = [{"name": name, "kind": "ordinal", "levels": levels} for name, levels in (("width", [1, 2, 4, 8]), ("depth", [1, 2]))]
    content = {
        **{
            "name": "arms",
            "title": "Arms",
            "question": "What does width do?",
            "workload": {"name": "recorded"},
            "hardware_classes": ["m"],
            "graph": "g.dot",
        },
        "factors": factors,
        "design": {"kind": "full_factorial", "seed": 0, "replicates": 10},
        "recorded": {
            "key": ["row"],
            "hardware_class": {"column": "host", "classes": {"m": {"value": "m", "cpus": 1, "memory_bytes": "1 GiB"}}},
            "status": {"column": "status", "values": {"OK": "ok"}},
            "outcomes": {"error": {"column": "error"}},
        },
        "refuters": ["left_out_columns"],
        "estimands": [{"name": "q", "treatment": "width", "per": "doubling", "outcome": "error"}],
    }
    cells = [(width, depth) for width in (1, 2, 4, 8) for depth in (1, 2)] * 10
    trials = pd.DataFrame(cells, columns=["width", "depth"])
    bend = (trials["width"] - 3) ** 2 / 20
    trials["error"] = bend + 0.2 * trials["depth"] + np.random.default_rng(0).normal(0, 0.1, len(trials))
    trials["arm"] = trials["width"].astype(str) + "/" + trials["depth"].astype(str)
    trials["trial_id"] = [f"trial_{number:016x}" for number in range(len(trials))]
    trials = trials.assign(weights_id=trials["trial_id"], hardware_class="m", status="ok", block="all", position=0)
    graph = {"g.dot": "digraph { width -> error; depth -> error }"}
    results = estimate_study(parse_study(content, "test"), trials, graph, study_id=STUDY_ID)
    assert checks(results, results.primary[0])["repeated_units"]["verdict"] == "not_applicable"


def test_an_effect_per_doubling_is_that_of_the_logarithm(trials: pd.DataFrame) -> None:
    made = trials.assign(latency_ms=5 + 2.0 * np.log2(trials["batch_size"].astype(float)) + 0.01 * np.sin(trials["position"]))
    asked = one(treatment="batch_size", contrast=None, per="doubling", by=None, outcome="latency_ms")
    (row,) = estimate_study(asked, made.assign(status="ok"), graphs(), study_id=STUDY_ID).primary
    assert row["per"] == "doubling"
    assert row["estimate"] == pytest.approx(2.0, abs=0.01)


def test_known_effects_are_found(results: Results) -> None:
    for row in rows(results, estimand="pruning_on_accuracy", is_primary=True):
        assert row["ci_low"] < 0.6 * ACCURACY_SLOPE < row["ci_high"]
        assert row["ci_high"] - row["ci_low"] < 0.03
    naive, adjusted, double = rows(results, estimand="pruning_on_accuracy", subgroup="server", contrast_to="0.6")
    assert naive["estimate"] == pytest.approx(adjusted["estimate"], abs=1e-9)  # the design is balanced
    assert double["estimate"] == pytest.approx(adjusted["estimate"], abs=adjusted["standard_error"])


def test_the_estimand_is_in_words_and_symbols(results: Results) -> None:
    row = rows(results, estimand="pruning_on_accuracy", subgroup="laptop", is_primary=True)[0]
    text = row["estimand_expression"]
    assert "E[accuracy | do(pruning_ratio = 0.6), hardware_class = laptop]" in text
    assert "assigned by the design" in text
    assert "precision only: seed, batch_size" in text
    assert "Averaged over pruning_method as assigned" in text
    assert json.loads(row["adjustment"]) == ["seed", "batch_size"]
    assert any("share 18 sets of weights" in caveat for caveat in json.loads(row["caveats"]))


def test_out_of_memory_nowhere_is_an_exact_answer_with_width(results: Results) -> None:
    row = rows(results, estimand="pruning_on_out_of_memory", subgroup="server", is_primary=True)[0]
    assert (row["estimate"], row["trials"], row["verdict"]) == (0, 36, "released")
    assert row["ci_low"] < -0.15
    assert row["ci_high"] > 0.15
    assert "no trial has is_oom = 1" in row["caveats"]
    assert "rule of three" in row["caveats"]


def test_out_of_memory_that_is_determined_has_an_interval_with_width(trials: pd.DataFrame) -> None:
    """The control always runs out of memory at the largest batch, the other arm never: every block says the same."""
    frame = trials.copy()
    frame["is_oom"] = ((frame["pruning_ratio"] == 0) & (frame["batch_size"] == 4096)).astype(int)
    found = estimate_study(one(outcome="is_oom"), frame, graphs(), study_id=STUDY_ID)
    for method in ("naive", "adjusted_linear", "double_ml"):
        row = rows(found, subgroup="laptop", method=method)[0]
        assert row["estimate"] == pytest.approx(-1 / 3)
        assert -0.7 < row["ci_low"] < -0.4
        assert -0.25 < row["ci_high"] < -0.05
        assert "every repeated unit shows the same" in row["caveats"]


def test_an_outcome_that_the_treatment_determines_has_no_interval_and_says_so(trials: pd.DataFrame) -> None:
    frame = trials.assign(flops=1e6 * (1 - trials["pruning_ratio"]))
    row = rows(estimate_study(one(outcome="flops"), frame, graphs(), study_id=STUDY_ID), is_primary=True)[0]
    assert row["estimate"] == pytest.approx(-6e5)
    assert (row["ci_low"], row["ci_high"], row["standard_error"]) == (None, None, None)
    assert "no interval" in row["caveats"]


def test_survivors_are_compared_within_strata_where_both_arms_survive(trials: pd.DataFrame) -> None:
    """Large batches serve easier images here (a planted difference of .2), and mostly the control loses them."""
    frame = trials.copy()
    frame["accuracy"] += 0.2 * (frame["batch_size"] == 4096)
    found = estimate_study(one(), frame, graphs(), study_id=STUDY_ID)
    naive, adjusted, _ = rows(found, subgroup="laptop", contrast_to="0.6", subgroup_column="hardware_class")
    truth = 0.6 * ACCURACY_SLOPE
    assert not naive["ci_low"] < truth < naive["ci_high"]
    assert naive["verdict"] == "withheld"
    assert "survivors" in naive["reasons"]
    assert adjusted["ci_low"] < truth < adjusted["ci_high"]
    assert adjusted["verdict"] == "released"
    assert adjusted["stratum"] == "all but batch_size = 4096"
    assert "6 of 18 control and 2 of 18 treated trials did not finish" in adjusted["caveats"]
    assert rows(found, subgroup="server", method="adjusted_linear", contrast_to="0.6")[0]["stratum"] is None


def test_no_surviving_stratum_withholds_and_stops_nothing_else(trials: pd.DataFrame) -> None:
    frame = trials.copy()
    is_lost = (frame["hardware_class"] == "laptop") & (frame["pruning_ratio"] == 0)
    frame.loc[is_lost, "status"] = "out_of_memory"
    found = estimate_study(one(), frame, graphs(), study_id=STUDY_ID)
    row = rows(found, subgroup="laptop", is_primary=True)[0]
    assert (row["estimate"], row["verdict"], row["trials"]) == (None, "withheld", 0)
    assert "in no stratum did every trial of both arms finish (18 of 18 control" in row["reasons"]
    assert rows(found, subgroup="server", is_primary=True)[0]["verdict"] == "released"


def test_crashes_and_pending_trials_are_left_out_singly(trials: pd.DataFrame) -> None:
    frame = trials.copy()
    server = frame.index[(frame["hardware_class"] == "server") & frame["pruning_ratio"].isin([0, 0.6])]
    frame.loc[server[0], "status"] = "crashed"
    frame.loc[server[1], "status"] = "pending"
    row = rows(estimate_study(one(), frame, graphs(), study_id=STUDY_ID), subgroup="server", is_primary=True)[0]
    assert (row["trials"], row["stratum"], row["verdict"]) == (34, None, "released")
    assert "1 trials that crashed" in row["caveats"]


def test_what_was_measured_before_memory_ran_out_does_not_count(trials: pd.DataFrame) -> None:
    row = rows(estimate_study(one(outcome="peak_memory_bytes"), trials, graphs(), study_id=STUDY_ID), subgroup="laptop", is_primary=True)
    assert row[0]["stratum"] == "all but batch_size = 4096"


def test_adjusting_for_a_mediator_fails(trials: pd.DataFrame) -> None:
    found = estimate_study(one(outcome="latency_ms", adjustment=["flops"]), trials, graphs(), study_id=STUDY_ID)
    row = rows(found, subgroup="server", is_primary=True)[0]
    assert row["verdict"] == "failed"
    assert "flops is an effect of pruning_ratio" in row["reasons"]


def test_adjusting_for_a_factor_that_the_control_has_no_level_of_withholds(trials: pd.DataFrame) -> None:
    found = estimate_study(one(adjustment=["pruning_method"]), trials, graphs(), study_id=STUDY_ID)
    row = rows(found, subgroup="server", subgroup_column="hardware_class", is_primary=True)[0]
    assert (row["estimate"], row["verdict"]) == (None, "withheld")
    assert "pruning_method determine pruning_ratio" in row["reasons"]


def test_a_drift_that_goes_with_the_treatment_is_found(trials: pd.DataFrame) -> None:
    """Measured in order of pruning instead of at random, on a machine that slows down."""
    frame = trials.sort_values("pruning_ratio", kind="stable").reset_index(drop=True)
    frame["slot_order"] = frame["position"] = np.arange(len(frame)) + np.random.default_rng(0).permutation(len(frame)) % 40
    frame["latency_ms"] += frame["slot_order"]
    found = estimate_study(one(outcome="latency_ms"), frame, graphs(), study_id=STUDY_ID)
    row = rows(found, subgroup="server", is_primary=True)[0]
    assert checks(found, row)["left_out_columns"]["verdict"] == "failed"
    assert row["verdict"] == "failed"


def test_the_binary_question_says_what_its_arms_are(results: Results) -> None:
    row = rows(results, estimand="high_pruning_on_high_accuracy_loss", is_primary=True)[0]
    assert "0 stands for pruning_ratio in {0, 0.3}, 1 stands for pruning_ratio in {0.6, 0.9}" in row["estimand_expression"]
    assert row["stratum"] == "all but batch_size = 4096, hardware_class = laptop"
    assert row["estimate"] > 0.3
    assert not rows(results, estimand="high_pruning_on_high_memory", is_primary=True)


def test_the_binary_effect_is_the_difference_of_shares(trials: pd.DataFrame, results: Results) -> None:
    done = trials[(trials["status"] == "ok") & ~((trials["hardware_class"] == "laptop") & (trials["batch_size"] == 4096))]
    is_low = done["accuracy"] < 0.9
    share = is_low.groupby(done["pruning_ratio"] > 0.5).mean()
    row = rows(results, estimand="high_pruning_on_high_accuracy_loss", is_primary=True)[0]
    assert row["estimate"] == pytest.approx(share[True] - share[False], abs=1e-6)


def test_the_same_bits_whatever_the_workers_and_the_order_of_rows(trials: pd.DataFrame, results: Results) -> None:
    study = changed(estimands=[estimand(), estimand(name="other", outcome="is_oom")])
    shuffled = trials.sample(frac=1, random_state=1)
    runs = [
        estimate_study(study, frame, graphs(), study_id=STUDY_ID, workers=workers)
        for frame, workers in ((trials, 1), (trials, 2), (shuffled, 1))
    ]
    first, *others = [
        [{key: value for key, value in row.items() if not key.endswith("_at")} for row in run.estimates + run.refutations] for run in runs
    ]
    for other in others:
        assert other == first


def test_the_data_id_follows_the_numbers(trials: pd.DataFrame) -> None:
    found = estimate_study(one(), trials, graphs(), study_id=STUDY_ID)
    frame = trials.copy()
    frame.loc[(frame["hardware_class"] == "server") & (frame["pruning_ratio"] == 0.6), "accuracy"] += 1e-6
    again = estimate_study(one(), frame, graphs(), study_id=STUDY_ID)
    for name, is_same in (("server", False), ("pc", True)):
        pair = [rows(run, subgroup=name, is_primary=True)[0] for run in (found, again)]
        assert (pair[0]["data_id"] == pair[1]["data_id"]) is is_same
        assert (pair[0]["estimate_id"] == pair[1]["estimate_id"]) is is_same


def test_a_method_is_compared_with_the_control_that_all_methods_share(trials: pd.DataFrame) -> None:
    of_method = one(treatment="pruning_method", contrast={"from": "none", "to": "l1_mask"}, outcome="latency_ms")
    row = rows(estimate_study(of_method, trials, graphs(), study_id=STUDY_ID), subgroup="server", is_primary=True)[0]
    assert json.loads(row["adjustment"]) == ["seed", "batch_size"]  # the ratio goes with the method: 0 where there is none
    assert "Averaged over pruning_ratio" in row["estimand_expression"]
    assert row["ci_low"] < 0 < row["ci_high"]  # masks make nothing faster
    by_method = estimate_study(one(by="pruning_method", outcome="is_oom"), trials, graphs(), study_id=STUDY_ID)
    assert [row["subgroup"] for row in rows(by_method, is_primary=True)] == ["l1_structured", "random_structured", "l1_mask"]
    assert all(row["trials"] == 54 + 18 for row in rows(by_method, is_primary=True))


def test_a_condition_from_above_works_as_one_from_below(trials: pd.DataFrame) -> None:
    content = one().content
    factors, design = list(content["factors"]), {**content["design"], "sentinels": None}
    factors[1] = {**factors[1], "name": "kept_share", "levels": [1, 0.7, 0.4, 0.1], "minimum": 0, "maximum": 1.1}
    factors[2] = {**factors[2], "applies_when": {"factor": "kept_share", "below": 1}}
    factors[3] = {**factors[3], "balanced_within": ["kept_share"]}
    asked = estimand(treatment="kept_share", contrast={"from": 1, "to": 0.4})
    mirrored = changed(factors=factors, design=design, estimands=[asked], indicators=[], refuters=["left_out_columns"])
    graph = {name: text.replace("pruning_ratio", "kept_share") for name, text in graphs().items()}
    frame = trials.assign(kept_share=(1 - trials["pruning_ratio"]).round(6)).drop(columns="pruning_ratio")
    columns = ("method", "subgroup", "subgroup_column", "trials", "estimate", "ci_low", "ci_high")
    ours, theirs = (
        [tuple(row[name] for name in columns) for row in found.estimates if row["method"] != "double_ml"]
        for found in (
            estimate_study(mirrored, frame, graph, study_id=STUDY_ID),
            estimate_study(one(), trials, graphs(), study_id=STUDY_ID),
        )
    )
    assert len(ours) == 3 * (2 + 3)  # naive and adjusted, and each method alone
    for mine, other in zip(ours, theirs, strict=True):
        assert mine[:4] == other[:4]
        assert mine[4:] == pytest.approx(other[4:])


def test_two_blocks_cannot_be_told_from_their_chance(trials: pd.DataFrame) -> None:
    found = estimate_study(one(treatment="seed", contrast={"from": 0, "to": 1}), trials, graphs(), study_id=STUDY_ID)
    assert {row["verdict"] for row in found.estimates} == {"withheld"}
    assert all(row["ci_low"] is None for row in found.estimates)


def test_a_quantity_whose_trials_are_lost_is_withheld() -> None:
    content = shipped_study().content
    factors = [{**factor, "assignment": "fixed", "levels": [0]} if factor["name"] == "seed" else factor for factor in content["factors"]]
    factors[1] = {**factors[1], "levels": [0, 0.9]}
    study = parse_study(
        {
            **content,
            "factors": factors,
            "design": {"kind": "latin_hypercube", "seed": 1, "points": 40},
            "estimands": [estimand(contrast={"from": 0, "to": 0.5})],
            "refuters": ["left_out_columns"],
        },
        "test",
    )
    simulated = simulate(study)
    lost = int(((simulated["hardware_class"] == "laptop") & (simulated["status"] == "out_of_memory")).sum())
    assert 0 < lost < 20
    found = estimate_study(study, simulated, graphs(), study_id=STUDY_ID)
    server, laptop = (rows(found, subgroup=name, is_primary=True)[0] for name in ("server", "laptop"))
    assert server["verdict"] == "released"
    assert server["ci_low"] < 0.5 * ACCURACY_SLOPE < server["ci_high"]
    assert "linear in pruning_ratio" in server["estimand_expression"]
    assert laptop["verdict"] == "withheld"
    assert f"{lost} of 40 trials did not finish" in laptop["reasons"]


def test_without_blocks_shared_weights_are_the_repeated_units(trials: pd.DataFrame) -> None:
    content = shipped_study().content
    factors = [{**factor, "assignment": "crossed"} if factor["name"] == "seed" else factor for factor in content["factors"]]
    study = parse_study(
        {
            **content,
            "factors": factors,
            "design": {"kind": "full_factorial", "seed": 1},
            "estimands": [estimand()],
            "refuters": ["left_out_columns"],
        },
        "test",
    )
    row = rows(estimate_study(study, trials, graphs(), study_id=STUDY_ID), subgroup="server", is_primary=True)[0]
    assert row["clusters"] == 24


@pytest.mark.parametrize(
    ("study", "change", "line"),
    [
        (one(), {"drop": "accuracy"}, "the data must have the column 'accuracy'"),
        (one(), {"drop": "batch_size"}, "the data must have the column 'batch_size'"),
        (one(outcome="loss"), {}, "the data must have the column 'loss'"),
        (one(outcome="weights_accuracy"), {}, "pruning.dot must name 'weights_accuracy'"),
        (one(graph="other.dot"), {}, "the graph of estimand 'question' must be given"),
        (one(), {"graph": "digraph { pruning_ratio -> flops; seed -> accuracy }"}, "must draw a path from 'pruning_ratio' to 'accuracy'"),
        (one(), {"graph": "digraph { pruning_ratio -> accuracy; accuracy -> pruning_ratio }"}, "must have no cycle"),
        (changed(refuters=["magic"]), {}, "a refuter must be one of"),
        (one(), {"status": "pending"}, "trials must be measured before effects are estimated, got none measured"),
    ],
)
def test_what_cannot_be_estimated_is_one_line(trials: pd.DataFrame, study: Study, change: dict[str, str], line: str) -> None:
    frame = trials.drop(columns=change.get("drop", []))
    if "status" in change:
        frame = frame.assign(status=change["status"])
    texts = {"pruning.dot": change["graph"]} if "graph" in change else graphs()
    with pytest.raises(EstimationError) as caught:
        estimate_study(study, frame, texts, study_id=STUDY_ID)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_primary_intervals_cover_over_many_draws() -> None:
    """200 draws of the measurements, each with its own assignment of batch sizes and methods' noise; 6 blocks."""
    study = one()
    covered = 0
    draws = 200
    for seed in range(draws):
        drawn = study.model_copy(update={"design": study.design.model_copy(update={"seed": seed})})
        frame = simulate(drawn, seed=seed, hardware_classes=("server",))
        question = _questions(study, study.estimands[0], frame, graphs(), STUDY_ID)[0]
        found = answer(_bare(question), datetime.now(UTC)).estimates[0]
        covered += found["ci_low"] <= 0.6 * ACCURACY_SLOPE <= found["ci_high"]
    assert abs(covered / draws - 0.95) < 2.6 * np.sqrt(0.95 * 0.05 / draws)


def _bare(question: Question) -> Question:
    from dataclasses import replace

    return replace(question, comparisons=(Comparison(0, 0.6, ("adjusted_linear",)),), refuters=())


def test_the_shipped_graph_draws_what_the_study_asks() -> None:
    graph = read_graph(graphs()["pruning.dot"], "pruning.dot")
    for item in shipped_study().estimands:
        if item.treatment in graph.digraph:
            assert item.outcome in graph.descendants(item.treatment)
