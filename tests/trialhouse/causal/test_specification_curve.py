"""A specification curve holds every choice that the graph allows, and none that it does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trialhouse.causal.checks.specification_curve import MAX_SETS, allowed_sets, specification_curve, summary
from trialhouse.causal.model import read_graph

GRAPH = read_graph("digraph { w -> t; w -> y; v -> y; t -> m; m -> y; t -> c; y -> c }", "g.dot")


def draw(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(2, rows))
    t = (w + rng.normal(size=rows) > 0).astype(float)
    return pd.DataFrame({"w": w, "v": v, "t": t, "y": 20 + 2 * t + w + v + rng.normal(size=rows), "m": t, "c": t})


def test_only_sets_that_the_graph_allows() -> None:
    assert allowed_sets(GRAPH, "t", "y", draw().columns) == [("w",), ("v", "w")]
    assert allowed_sets(GRAPH, "t", "y", ["v", "t", "y"]) == []
    instrument = read_graph('digraph { z [role="instrument"]; z -> t; w -> t; w -> y; t -> y }', "g.dot")
    assert allowed_sets(instrument, "t", "y", ["w", "z", "t", "y"]) == [("w",)]
    many = read_graph("digraph { " + " ".join(f"x{number} -> y;" for number in range(9)) + " t -> y }", "g.dot")
    found = allowed_sets(many, "t", "y", [f"x{number}" for number in range(9)])
    assert len(found) == MAX_SETS
    assert found[0] == ()
    assert found[-1] == tuple(f"x{number}" for number in range(9))


def test_every_choice_has_a_row_and_a_fair_one_the_truth() -> None:
    frame = draw()
    frame.loc[frame.index[frame["t"] == 1][0], "y"] = 90.0
    sets = allowed_sets(GRAPH, "t", "y", frame.columns)
    curve = specification_curve(frame, treatment="t", outcome="y", arms=frame["t"], adjustments=sets)
    assert len(curve) == 2 * 2 * 2
    assert set(map(tuple, curve[["adjustment", "transformation", "outliers"]].to_numpy())) == {
        (adjustment, transformation, outliers)
        for adjustment in ("w", "v, w")
        for transformation in ("none", "log")
        for outliers in ("all trials", "without far-out trials")
    }
    fair = curve[(curve["transformation"] == "none") & (curve["outliers"] == "without far-out trials")]
    assert ((fair["ci_low"] < 2) & (fair["ci_high"] > 2)).all()
    assert (fair["trials"] == 199).all()
    logs = curve[(curve["transformation"] == "log") & (curve["outliers"] == "without far-out trials")]
    assert logs["estimate"].to_numpy() == pytest.approx(2, abs=0.6)
    assert curve["estimate"].is_monotonic_increasing
    said = summary(curve, 2.0, "latency_ms")
    assert said.startswith("Under 8 sensible choices the estimate lies between ")
    assert "8 have the reported sign" in said


def test_the_outcome_may_be_negative_and_recipes_more_than_one() -> None:
    frame = draw().assign(y=lambda data: data["y"] - 20)
    curve = specification_curve(
        frame, treatment="t", outcome="y", arms=frame["t"], adjustments=[(), ("w",)], recipes=("adjusted_linear", "double_ml"), span=2.0
    )
    assert set(curve["transformation"]) == {"none"}
    found = curve.set_index(["recipe", "adjustment"])["estimate"]
    assert found["adjusted_linear", "nothing"] > found["adjusted_linear", "w"] + 1  # w confounds
    assert found["double_ml", "w"] == pytest.approx(found["adjusted_linear", "w"], abs=0.5)
