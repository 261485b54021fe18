"""Implied independences: those that the effect rests on, calibrated on sound graphs, broken by what spoils the effect."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tests.trialhouse.causal.simulator import graphs, simulate
from trialhouse.causal.checks.implications import MAX_IMPLICATIONS, implications, implied_independences
from trialhouse.causal.model import CausalGraph, read_graph
from trialhouse.causal.sample import Sample, make_sample
from trialhouse.causal.verdict import Check

GRAPH = read_graph("digraph { z -> t; w -> t; w -> y; x -> y; t -> y; t -> m; m -> y; y -> late }", "g.dot")
OBSERVED = ("z", "w", "x", "t", "y", "m", "late")


def draw(rng: np.random.Generator, rows: int, kind: str = "sound", units: int | None = None) -> pd.DataFrame:
    unit = np.arange(rows) if units is None else np.repeat(np.arange(units), rows // units)

    def noise() -> np.ndarray:
        own = rng.normal(size=rows)
        return own if units is None else (own + rng.normal(size=unit.max() + 1)[unit]) / math.sqrt(2)

    w, x, u = noise(), noise(), noise()
    z = rng.normal(size=unit.max() + 1)[unit]
    bend = 2 * np.tanh(2 * w) if kind == "bent" else w
    hidden = 0.6 if kind == "hidden" else 0.0
    if kind == "reversed":
        y = bend + x + noise()
        t = 0.6 * z + 0.5 * y + bend + noise()
    else:
        t = z + bend + hidden * u + math.sqrt(1 - hidden**2) * noise() + (0.6 * x if kind == "undrawn" else 0)
        y = 0.5 * t + bend + x + hidden * u + noise()
    return pd.DataFrame({"z": z, "w": w, "x": x, "t": t, "y": y, "unit": unit})


def sample_of(frame: pd.DataFrame, cluster: str | None = None, covariates: tuple[str, ...] = ("w", "x")) -> Sample:
    return make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=covariates, cluster=cluster, is_binary=False)


def check_of(frame: pd.DataFrame, cluster: str | None = None, **options: object) -> Check:
    return implied_independences(sample_of(frame, cluster), GRAPH, needed=("w",), precision=("x",), **options)  # type: ignore[arg-type]


def test_only_what_the_effect_rests_on_is_tested() -> None:
    found = implications(GRAPH, "t", "y", needed=("w",), precision=("x",), observed=OBSERVED)
    assert [(one.column, one.side, one.given) for one in found] == [("z", "outcome", ("w", "x", "t")), ("x", "treatment", ("w",))]
    # A treatment that was assigned has no causes to be told from; an instrument of it may still go with the outcome.
    randomised = implications(GRAPH, "t", "y", needed=("w",), precision=("x",), observed=OBSERVED, is_random=True)
    assert [one.column for one in randomised] == ["z"]
    # A hidden common cause that is drawn excludes nothing.
    drawn = read_graph("digraph { z -> t; u -> t; u -> y; t -> y }", "g.dot")
    assert implications(drawn, "t", "y", needed=(), precision=(), observed=("z", "t", "y")) == []


@pytest.mark.parametrize(("rows", "units"), [(36, None), (100, None), (36, 6), (100, 20)])
def test_a_sound_graph_is_rejected_no_more_than_by_chance(rows: int, units: int | None) -> None:
    rng, draws = np.random.default_rng(0), 100
    checks = [check_of(draw(rng, rows, units=units), "unit" if units else None) for _ in range(draws)]
    assert all(check.p_value is not None for check in checks)
    assert sum((check.p_value or 0) < 0.05 for check in checks) / draws < 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / draws)


def test_a_sound_graph_of_curves_is_rejected_no_more_than_by_chance() -> None:
    rng, draws = np.random.default_rng(1), 60
    checks = [check_of(draw(rng, 500, "bent")) for _ in range(draws)]
    assert sum((check.p_value or 0) < 0.05 for check in checks) / draws < 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("reversed", "x goes with t given w, which the graph excludes"),
        ("hidden", "t and y share a hidden cause"),
        ("undrawn", "x is a common cause that is not adjusted for"),
    ],
)
def test_what_spoils_the_effect_is_found(kind: str, said: str) -> None:
    rng, draws = np.random.default_rng(2), 30
    checks = [check_of(draw(rng, 500, kind)) for _ in range(draws)]
    assert sum((check.p_value or 1) < 0.05 for check in checks) / draws >= 0.9
    assert sum(said in check.reason for check in checks) / draws >= 0.9
    assert checks[0].is_test
    assert checks[0].has_power


def test_what_another_check_tests_is_not_tested_twice() -> None:
    frame = draw(np.random.default_rng(3), 100)
    assert "z does not go with y" in check_of(frame).reason
    assert "z does not" not in check_of(frame, elsewhere=["z"]).reason
    alone = implied_independences(
        sample_of(frame, covariates=("w",)), GRAPH, needed=("w",), is_random=True, elsewhere=["z"], categorical=("unit",)
    )
    assert (alone.verdict, alone.p_value) == ("not_applicable", None)


def test_large_graphs_are_tested_in_part() -> None:
    causes = [f"z{index:02}" for index in range(20)]
    graph = read_graph("digraph { t -> y; " + "".join(f"{name} -> t; " for name in causes) + "}", "g.dot")
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(rng.normal(size=(200, 20)), columns=causes)
    frame["t"] = frame.sum(axis=1) + rng.normal(size=200)
    frame["y"] = frame["t"] + rng.normal(size=200)
    check = implied_independences(sample_of(frame, covariates=()), graph, needed=())
    assert check.reason.count("does not go with") == MAX_IMPLICATIONS
    assert "8 more were not tried" in check.reason


@pytest.mark.parametrize("outcome", ["weights_accuracy", "latency_ms"])
def test_blocked_designs_give_no_false_alarm(outcome: str) -> None:
    """The shipped pruning study: factors are balanced within its six blocks, and must not be taken for causes of each other."""
    drawn = read_graph(graphs()["pruning.dot"], "pruning.dot")
    graph = CausalGraph(drawn.digraph).with_outcome("weights_accuracy", "accuracy")
    frame = simulate(seed=0)
    frame = frame[frame["pruning_ratio"].isin([0.3, 0.6])].dropna(subset=[outcome]).reset_index(drop=True)
    precision = ("seed", "pruning_method", "batch_size", "hardware_class")
    sample = make_sample(
        frame,
        treatment="pruning_ratio",
        outcome=outcome,
        arms=(frame["pruning_ratio"] == 0.6).astype(float),
        covariates=precision,
        categorical=precision,
        cluster="block",
    )
    observed = implied_independences(sample, graph, needed=(), precision=precision, categorical=precision)
    assert "batch_size does not go with pruning_ratio" in observed.reason or "pruning_method does not go" in observed.reason
    assert (observed.verdict, observed.p_value) == ("passed", pytest.approx(1))
    assigned = implied_independences(sample, graph, needed=(), precision=precision, categorical=precision, is_random=True)
    assert assigned.verdict == "not_applicable"
    # Nor is a factor that only exists in one arm held against the design.
    nested = frame.assign(pruning_method=np.where(sample.arms == 1, frame["pruning_method"], "none"))
    sample = make_sample(
        nested, treatment="pruning_ratio", outcome=outcome, arms=pd.Series(sample.arms), covariates=("seed", "batch_size"), cluster="block"
    )
    assert implied_independences(sample, graph, needed=(), precision=("seed", "batch_size")).p_value == 0
    assert implied_independences(sample, graph, needed=(), precision=("seed", "batch_size"), is_random=True).verdict == "not_applicable"
