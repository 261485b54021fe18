"""The engine on tables whose truth is known: each check is shown to fail on the violation that it is for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trialhouse.causal import Results, estimate_table
from trialhouse.causal.checks.always import left_out_columns
from trialhouse.causal.sample import make_sample
from trialhouse.errors import EstimationError
from trialhouse.raw_tables import RAW_TABLES

TRUTH = 0.5
CONFOUNDED = "assignment: observational\nedges: [w -> t, w -> y, t -> y]\n"
NO_STOCK = ("left_out_columns", "sensitivity")


def observational(rows: int = 500, seed: int = 0, strength: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=rows)
    t = (rng.random(rows) < 1 / (1 + np.exp(-strength * w))).astype(int)
    return pd.DataFrame({"w": w, "t": t, "y": TRUTH * t + w + rng.normal(size=rows)})


def by_method(results: Results) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in results.estimates}


def checks(results: Results, method: str = "adjusted_linear") -> dict[str, dict[str, Any]]:
    estimate_id = by_method(results)[method]["estimate_id"]
    return {row["refuter"]: row for row in results.refutations if row["estimate_id"] == estimate_id}


@pytest.fixture(scope="module")
def sound() -> Results:
    return estimate_table(observational(), treatment="t", outcome="y", graph=CONFOUNDED)


def test_rows_are_those_of_the_raw_tables(sound: Results) -> None:
    for table, rows in (("estimates", sound.estimates), ("refutations", sound.refutations)):
        for row in rows:
            assert list(row) == list(RAW_TABLES[table])
            required = [name for name, kind in RAW_TABLES[table].items() if kind.endswith("NOT NULL")]
            assert all(row[name] is not None for name in required)
            assert not any(isinstance(value, float) and not np.isfinite(value) for value in row.values())


def test_linear_confounding_is_adjusted_for_and_released(sound: Results) -> None:
    rows = by_method(sound)
    assert [row["method"] for row in sound.primary] == ["adjusted_linear"]
    for method in ("adjusted_linear", "double_ml"):
        assert rows[method]["verdict"] == "released", rows[method]["reasons"]
        assert rows[method]["ci_low"] < TRUTH < rows[method]["ci_high"]
        assert json.loads(rows[method]["adjustment"]) == ["w"]
    assert rows["naive"]["ci_low"] > TRUTH
    assert rows["naive"]["verdict"] == "failed"
    assert "adjusting for nothing leaves a path" in rows["naive"]["reasons"]
    assert "P(w)" in rows["adjusted_linear"]["estimand_expression"]
    assert {"random_common_cause", "data_subset", "permuted_placebo", "left_out_columns", "sensitivity"} < set(checks(sound))
    # Nothing that ran could have caught an unmeasured confounder, and the caveats say so.
    assert checks(sound)["specification"]["verdict"] == "passed"


@pytest.mark.parametrize("kind", ["mediator", "collider"])
def test_adjusting_for_an_effect_of_the_treatment_fails(kind: str) -> None:
    frame = observational()
    rng = np.random.default_rng(1)
    edges = "[w -> t, w -> y, t -> y, t -> m, m -> y]" if kind == "mediator" else "[w -> t, w -> y, t -> y, t -> m, y -> m]"
    if kind == "mediator":
        frame["m"] = frame["t"] + rng.normal(size=len(frame))
        frame["y"] += frame["m"]
    else:
        frame["m"] = frame["t"] + frame["y"] + rng.normal(size=len(frame))
    graph = f"edges: {edges}"
    spoilt = estimate_table(frame, treatment="t", outcome="y", graph=graph, adjustment=["w", "m"], refuters=())
    row = by_method(spoilt)["adjusted_linear"]
    assert row["verdict"] == "failed"
    assert "m is an effect of t" in row["reasons"]
    assert checks(spoilt)["graph_rules"]["verdict"] == "failed"
    left_alone = by_method(estimate_table(frame, treatment="t", outcome="y", graph=graph, refuters=()))["adjusted_linear"]
    assert left_alone["verdict"] == "released"
    assert json.loads(left_alone["adjustment"]) == ["w"]


def test_a_set_that_leaves_a_back_door_open_fails() -> None:
    row = by_method(estimate_table(observational(), treatment="t", outcome="y", graph=CONFOUNDED, adjustment=[], refuters=()))
    assert row["adjusted_linear"]["verdict"] == "failed"
    assert "leaves a path from t to y open" in row["adjusted_linear"]["reasons"]


def test_an_unobserved_confounder_withholds() -> None:
    results = estimate_table(observational().drop(columns="w"), treatment="t", outcome="y", graph=CONFOUNDED, refuters=())
    row = by_method(results)["adjusted_linear"]
    assert row["verdict"] == "withheld"
    assert "unobserved: w" in row["reasons"]


def test_a_measured_confounder_that_the_graph_leaves_out_fails() -> None:
    results = estimate_table(observational(), treatment="t", outcome="y", graph="edges: [t -> y]", refuters=NO_STOCK)
    assert checks(results)["left_out_columns"]["verdict"] == "failed"
    assert by_method(results)["adjusted_linear"]["verdict"] == "failed"
    assert "leaves out w" in by_method(results)["adjusted_linear"]["reasons"]


@pytest.mark.parametrize("kind", ["only treatment", "only outcome", "neither"])
def test_a_column_that_is_no_common_cause_may_be_left_out(kind: str) -> None:
    """Rejected in at most 5% of 100 draws, within 2.6 standard errors."""
    rejected = 0
    for seed in range(100):
        frame = observational(200, seed)
        rng = np.random.default_rng(1000 + seed)
        frame["c"] = rng.normal(size=len(frame)) + (frame["t"] if kind == "only treatment" else 0)
        if kind == "only outcome":
            frame["y"] += frame["c"]
        sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=["w"])
        rejected += left_out_columns(sample, ["c"], is_random=False).p_value < 0.05
    assert rejected / 100 < 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 100)


def test_a_text_column_that_is_left_out_is_found() -> None:
    frame = observational()
    frame["device"] = np.where(frame["w"] > 0.5, "a", np.where(frame["w"] < -0.5, "b", "c"))
    results = estimate_table(frame.drop(columns="w"), treatment="t", outcome="y", graph="edges: [t -> y]", refuters=NO_STOCK)
    assert "leaves out device" in checks(results)["left_out_columns"]["reason"]
    assert checks(results)["left_out_columns"]["verdict"] == "failed"


def test_poor_overlap_withholds() -> None:
    results = estimate_table(observational(strength=8), treatment="t", outcome="y", graph=CONFOUNDED, refuters=())
    assert checks(results)["overlap"]["verdict"] == "failed"
    assert by_method(results)["adjusted_linear"]["verdict"] == "withheld"


def test_a_treatment_that_a_covariate_determines_withholds() -> None:
    frame = observational()
    frame["t"] = (frame["w"] > 0).astype(int)
    frame["w"] = frame["t"] * 2.0
    results = estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, refuters=())
    assert by_method(results)["adjusted_linear"]["verdict"] == "withheld"
    assert by_method(results)["adjusted_linear"]["estimate"] is None


def test_rows_that_are_no_trials_of_their_own_fail_unless_clustered() -> None:
    rng = np.random.default_rng(3)
    units = np.repeat(np.arange(20), 10)
    t = rng.permutation(np.repeat([0, 1], 10))[units]
    frame = pd.DataFrame({"config": [f"c{unit}" for unit in units], "t": t, "y": rng.normal(size=20)[units] + 0.3 * rng.normal(size=200)})
    graph = "assignment: randomised\nedges: [t -> y]"
    loose = estimate_table(frame, treatment="t", outcome="y", graph=graph, refuters=())
    assert checks(loose)["repeated_units"]["verdict"] == "failed"
    assert "give config as the cluster" in by_method(loose)["adjusted_linear"]["reasons"]
    tied = estimate_table(frame, treatment="t", outcome="y", graph=graph, cluster="config", refuters=())
    assert checks(tied)["repeated_units"]["verdict"] == "passed"
    row = by_method(tied)["adjusted_linear"]
    assert (row["verdict"], row["clusters"]) == ("released", 20)
    assert row["standard_error"] > 2 * by_method(loose)["adjusted_linear"]["standard_error"]


def test_a_treatment_that_follows_a_covariate_in_a_curve_withholds() -> None:
    """A line predicts 80% of it, which is no overlap all the same."""
    rng = np.random.default_rng(6)
    w = rng.uniform(0, 3, 300)
    frame = pd.DataFrame({"w": w, "t": np.exp(2 * w), "y": w + rng.normal(size=300)})
    (row,) = estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, refuters=()).primary
    assert "w predict 9" in row["reasons"] or "w predict 10" in row["reasons"]
    levels = frame.assign(w=frame["w"].round(), t=np.exp(2 * frame["w"].round()))
    (row,) = estimate_table(levels, treatment="t", outcome="y", graph=CONFOUNDED, refuters=()).primary
    assert "w determine t" in row["reasons"]


def test_a_wrong_shape_fails_and_recipes_disagree() -> None:
    """The outcome depends on w squared, and so does the treatment: a straight line cannot adjust for that."""
    rng = np.random.default_rng(4)
    w = rng.normal(size=600)
    t = (rng.random(600) < 1 / (1 + np.exp(-1.5 * (w**2 - 1)))).astype(int)
    frame = pd.DataFrame({"w": w, "t": t, "y": TRUTH * t + w**2 + rng.normal(size=600)})
    results = estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, refuters=())
    rows = by_method(results)
    assert rows["adjusted_linear"]["ci_low"] > TRUTH
    assert rows["double_ml"]["ci_low"] < TRUTH < rows["double_ml"]["ci_high"]
    assert checks(results)["recipe_agreement"]["verdict"] == "failed"
    assert checks(results)["specification"]["verdict"] == "failed"
    assert rows["adjusted_linear"]["verdict"] == "failed"
    assert rows["double_ml"]["verdict"] == "withheld"


def test_too_few_simulations_withhold() -> None:
    results = estimate_table(
        observational(100), treatment="t", outcome="y", graph=CONFOUNDED, refuters=("permuted_placebo",), simulations=20
    )
    assert checks(results)["permuted_placebo"]["verdict"] == "inconclusive"
    assert by_method(results)["adjusted_linear"]["verdict"] == "withheld"


def test_a_quantity_has_an_effect_per_unit_or_per_contrast() -> None:
    rng = np.random.default_rng(5)
    w = rng.normal(size=300)
    size = 10 + 2 * w + rng.normal(size=300)
    frame = pd.DataFrame({"w": w, "t": size, "y": -0.3 * size + w + rng.normal(size=300)})
    per_unit = by_method(estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, refuters=()))["adjusted_linear"]
    per_ten = by_method(estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, contrast=(5, 15), refuters=()))
    assert per_unit["ci_low"] < -0.3 < per_unit["ci_high"]
    for column in ("estimate", "standard_error", "ci_low", "ci_high"):
        assert per_ten["adjusted_linear"][column] == pytest.approx(10 * per_unit[column])
    assert per_unit["verdict"] == "released", per_unit["reasons"]
    assert "linear in t" in per_unit["estimand_expression"]


def test_a_quantity_that_covariates_predict_is_withheld() -> None:
    rng = np.random.default_rng(6)
    w = rng.normal(size=300)
    frame = pd.DataFrame({"w": w, "t": w + 0.2 * rng.normal(size=300), "y": w + rng.normal(size=300)})
    results = estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, refuters=())
    assert checks(results)["overlap"]["verdict"] == "failed"
    assert by_method(results)["adjusted_linear"]["verdict"] == "withheld"


def assigned_and_taken(rows: int = 400, hidden: float = 0.0) -> pd.DataFrame:
    """The treatment taken (t) follows the one assigned (z), a confounder (w) and perhaps a hidden cause of the outcome."""
    z, w, u, of_t, of_y = np.random.default_rng(8).normal(size=(5, rows))
    t = 1.5 * z + w + hidden * u + of_t
    return pd.DataFrame({"z": z, "w": w, "t": t, "y": TRUTH * t + w + 2 * hidden * u + of_y})


INSTRUMENTED = CONFOUNDED.replace("t -> y", "t -> y, z -> t") + "roles: {instrument: z}\n"


def test_an_instrument_checks_what_is_adjusted_for() -> None:
    sound = estimate_table(assigned_and_taken(), treatment="t", outcome="y", graph=INSTRUMENTED, refuters=())
    rows = by_method(sound)
    assert rows["adjusted_linear"]["is_primary"]
    assert rows["adjusted_linear"]["verdict"] == "released"
    assert json.loads(rows["adjusted_linear"]["adjustment"]) == ["w"]
    assert rows["instrumental_variables"]["ci_low"] < TRUTH < rows["instrumental_variables"]["ci_high"]
    assert "Cov(y, z) / Cov(t, z) given w" in rows["instrumental_variables"]["estimand_expression"]
    assert checks(sound)["durbin_wu_hausman"]["verdict"] == "passed"

    spoilt = by_method(estimate_table(assigned_and_taken(hidden=1.0), treatment="t", outcome="y", graph=INSTRUMENTED, refuters=()))
    assert {name: spoilt[name]["verdict"] for name in ("adjusted_linear", "double_ml", "double_ml_boosting")} == dict.fromkeys(
        ("adjusted_linear", "double_ml", "double_ml_boosting"), "failed"
    )
    assert spoilt["instrumental_variables"]["verdict"] == "released"
    assert spoilt["instrumental_variables"]["ci_low"] < TRUTH < spoilt["instrumental_variables"]["ci_high"]


def test_where_a_cause_is_drawn_hidden_the_instrument_answers() -> None:
    graph = INSTRUMENTED.replace("z -> t", "z -> t, u -> t, u -> y")
    results = estimate_table(assigned_and_taken(hidden=1.0), treatment="t", outcome="y", graph=graph)
    (row,) = results.primary
    assert (row["method"], row["verdict"]) == ("instrumental_variables", "released")
    assert by_method(results)["adjusted_linear"]["verdict"] == "withheld"


def test_a_modifier_has_a_row_per_level() -> None:
    rng = np.random.default_rng(5)
    x, w = rng.integers(0, 3, 600), rng.normal(size=600)
    t = (rng.random(600) < 1 / (1 + np.exp(-w))).astype(int)
    frame = pd.DataFrame({"x": x, "w": w, "t": t, "y": x * t + w + rng.normal(size=600)})
    graph = CONFOUNDED.replace("t -> y", "t -> y, x -> y") + "roles: {effect_modifier: x}\n"
    results = estimate_table(frame, treatment="t", outcome="y", graph=graph, refuters=())
    found = [row for row in results.estimates if row["method"] == "linear_dr" and row["subgroup"] is not None]
    assert [(row["subgroup_column"], row["subgroup"]) for row in found] == [("x", "0"), ("x", "1"), ("x", "2")]
    for row, truth in zip(found, (0, 1, 2), strict=True):
        assert row["ci_low"] < truth < row["ci_high"]
        assert not row["is_primary"]
    backwards = graph.replace("x -> y", "x -> y, t -> x").replace("x -> y, t -> x, ", "t -> x, x -> y, ")
    with pytest.raises(EstimationError, match="an effect modifier must come before 't', got 'x', its effect"):
        estimate_table(frame, treatment="t", outcome="y", graph=backwards, refuters=())


def test_same_seed_same_rows() -> None:
    frame = observational(100)
    first, second, other = (
        estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, refuters=("permuted_placebo", "data_subset"), seed=seed)
        for seed in (1, 1, 2)
    )

    def plain(results: Results) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if not k.endswith("_at")} for row in results.estimates + results.refutations]

    assert plain(first) == plain(second)
    assert plain(first) != plain(other)


@pytest.mark.parametrize(
    ("change", "options", "line"),
    [
        (lambda f: f, {"treatment": "x"}, "the data must have the column 'x'"),
        (lambda f: f, {"outcome": "x"}, "the data must have the column 'x'"),
        (lambda f: f, {"cluster": "x"}, "the data must have the column 'x'"),
        (lambda f: f, {"adjustment": ["x"]}, "the data must have the column 'x'"),
        (lambda f: f.assign(t=1), {}, "treatment 't' must vary, got only 1"),
        (lambda f: f.assign(y=f.y.where(f.index != 3)), {}, "column 'y' must have no missing values, got 1 of 60 rows without"),
        (lambda f: f.assign(w=f.w.where(f.index != 3)), {}, "column 'w' must have no missing values"),
        (lambda f: f.assign(y="fast"), {}, "outcome 'y' must be numbers or truth values"),
        (lambda f: f.assign(one=0), {"cluster": "one"}, "cluster 'one' must name at least two repeated units, got one"),
        (lambda f: f.assign(t=list("abc") * 20), {}, "treatment 't' has 3 levels, so a contrast must be given"),
        (lambda f: f, {"contrast": (0, 7)}, "contrast must name two levels of 't' (0, 1), got (0, 7)"),
        (lambda f: f, {"graph": "edges: [w -> y, t -> w, y -> t]"}, "must have no cycle"),
        (lambda f: f, {"graph": "edges: [w -> y]"}, "must name 't'"),
        (lambda f: f, {"graph": "edges: [w -> y, w -> t]"}, "must draw a path from 't' to 'y', got none"),
        (lambda f: f, {"refuters": ("magic",)}, "a refuter must be one of"),
        (lambda f: f, {"recipes": ("magic",)}, "a recipe must be one of"),
        (lambda f: f, {"recipes": ("causal_forest",)}, "recipe 'causal_forest' needs a node with the role effect_modifier"),
        (lambda f: f, {"nuisances": {"magic": {}}}, "a nuisance family must be one of"),
    ],
)
def test_bad_input_is_one_line(change: Callable[[pd.DataFrame], pd.DataFrame], options: dict[str, Any], line: str) -> None:
    arguments = {"treatment": "t", "outcome": "y", "graph": CONFOUNDED, **options}
    with pytest.raises(EstimationError) as caught:
        estimate_table(change(observational(60)), **arguments)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truth_values_and_texts_are_arms() -> None:
    frame = observational(200)
    as_numbers = by_method(estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, refuters=()))["adjusted_linear"]
    for column in (frame["t"].astype(bool), frame["t"].map({0: "a", 1: "b"})):
        found = by_method(estimate_table(frame.assign(t=column), treatment="t", outcome="y", graph=CONFOUNDED, refuters=()))
        assert found["adjusted_linear"]["estimate"] == pytest.approx(as_numbers["estimate"])


def test_an_effect_per_doubling_is_the_slope_on_the_logarithm() -> None:
    rng = np.random.default_rng(7)
    w, bits = rng.normal(size=200), rng.normal(10, 2, 200)
    frame = pd.DataFrame({"w": w, "t": 2.0**bits, "y": 0.3 * bits + w + rng.normal(size=200)})
    (row,) = estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, per="doubling", refuters=()).primary
    assert row["ci_low"] < 0.3 < row["ci_high"]
    assert "Effect per doubling of t." in row["estimand_expression"]
    million = by_method(estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, per=1e6, refuters=()))["adjusted_linear"]
    unit = by_method(estimate_table(frame, treatment="t", outcome="y", graph=CONFOUNDED, refuters=()))["adjusted_linear"]
    assert million["estimate"] == pytest.approx(1e6 * unit["estimate"])
    assert "Effect per +1M t." in million["estimand_expression"]
    for per, message in (("week", "per must be 'doubling' or a positive number"), (-1.0, "per must be"), ("doubling", "must be positive")):
        with pytest.raises(EstimationError, match=message):
            estimate_table(frame.assign(t=frame["t"] - 1e6), treatment="t", outcome="y", graph=CONFOUNDED, per=per, refuters=())


def test_a_direct_effect_stands_beside_the_total_one_or_is_refused() -> None:
    rng = np.random.default_rng(9)
    t, of_m, of_y = rng.integers(0, 2, 300), rng.normal(size=300), rng.normal(size=300)
    m = 2.0 * t + of_m
    frame = pd.DataFrame({"t": t, "m": m, "y": 0.5 * t + 0.25 * m + of_y})
    graph = "assignment: randomised\nedges: [t -> m, m -> y, t -> y]\n"
    results = estimate_table(frame, treatment="t", outcome="y", graph=graph, mediators=["m"], refuters=())
    rows = {row["estimand"]: row for row in results.estimates if row["method"] == "adjusted_linear"}
    assert rows["t_on_y"]["is_primary"]
    assert rows["t_on_y"]["ci_low"] < 1.0 < rows["t_on_y"]["ci_high"]
    direct = rows["t_on_y_not_through_m"]
    assert direct["ci_low"] < 0.5 < direct["ci_high"]
    assert (direct["verdict"], direct["is_primary"], json.loads(direct["adjustment"])) == ("released", False, ["m"])
    assert direct["estimand_expression"].startswith("Controlled direct effect")

    hidden = estimate_table(frame, treatment="t", outcome="y", graph=graph[:-2] + ", u -> m, u -> y]\n", mediators=["m"], refuters=())
    (row,) = [row for row in hidden.estimates if row["estimand"] == "t_on_y_not_through_m"]
    assert row["verdict"] == "withheld"
    assert "hidden: u" in row["reasons"]
    assert hidden.primary[0]["verdict"] == "released"
