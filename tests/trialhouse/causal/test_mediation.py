"""Direct effects whose truth is known: identified by the graph or refused, and warned of where one number will not do."""

from __future__ import annotations

import functools
import math

import numpy as np
import pandas as pd
import pytest

from tests.trialhouse.causal.simulator import graphs, simulate
from trialhouse.causal.mediation import DirectEffect, direct_effect, joint_adjustment
from trialhouse.causal.model import CausalGraph, read_graph
from trialhouse.causal.sample import make_sample
from trialhouse.errors import EstimationError

DIRECT, THROUGH = 0.5, 1.2
PLAIN = "t -> m; t -> y; m -> y; c -> m; c -> y"


@functools.cache
def graph_of(edges: str) -> CausalGraph:
    return read_graph(f"digraph {{ {edges} }}", "g.dot")


def draw(rng: np.random.Generator, rows: int, *, interaction: float = 0.0, bend: float = 0.0, units: int | None = None) -> pd.DataFrame:
    """An assigned treatment, a mediator, and c, which moves mediator and outcome alike."""
    unit = np.arange(rows) if units is None else np.repeat(np.arange(units), rows // units)
    t = rng.permutation(np.arange(rows) % 2).astype(float)
    c = rng.normal(size=rows)
    m = THROUGH * t + c + rng.normal(size=rows)
    of_unit = rng.normal(size=unit.max() + 1)[unit] if units else 0
    y = DIRECT * t + m + 2 * c + interaction * t * m + bend * m**2 + rng.normal(size=rows) + of_unit
    return pd.DataFrame({"t": t, "m": m, "c": c, "y": y, "unit": unit})


def found(frame: pd.DataFrame, edges: str = PLAIN, cluster: str | None = None) -> DirectEffect:
    sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=(), cluster=cluster)
    return direct_effect(sample, graph_of(edges), ["m"])


@pytest.mark.parametrize(("rows", "units"), [(36, None), (36, 6)])
def test_direct_and_total_effects_cover_their_truths(rows: int, units: int | None) -> None:
    rng, draws = np.random.default_rng(0), 120
    covered, warned = np.zeros(2), 0
    for _ in range(draws):
        result = found(draw(rng, rows, units=units), cluster="unit" if units else None)
        for place, (inference, truth) in enumerate(((result.total, DIRECT + THROUGH), (result.direct, DIRECT))):
            covered[place] += inference.ci_low <= truth <= inference.ci_high
        warned += result.checks[0].verdict != "passed"
    margin = 2.6 * math.sqrt(0.95 * 0.05 / draws)
    assert (covered / draws > 0.95 - margin).all()
    assert warned / draws < 0.05 + margin


def test_what_moves_mediator_and_outcome_must_be_adjusted_for() -> None:
    """Left out although drawn nowhere, c biases the direct effect: holding the mediator ties it to the treatment."""
    frame = draw(np.random.default_rng(1), 2_000)
    assert found(frame).adjustment == ("c",)
    assert found(frame).direct.ci_low < DIRECT < found(frame).direct.ci_high
    assert found(frame, "t -> m; t -> y; m -> y").direct.ci_high < DIRECT
    assert "Adjusted for c." in found(frame).expression
    assert "Controlled direct effect: E[y | do(t = 1, m = m)] - E[y | do(t = 0, m = m)]" in found(frame).expression


def test_a_hidden_cause_of_mediator_and_outcome_refuses() -> None:
    frame = draw(np.random.default_rng(1), 100).drop(columns="c")
    with pytest.raises(EstimationError, match=r"every path from m, t to y that is no effect must be closed .*\(hidden: c\)") as refusal:
        found(frame)
    assert "\n" not in str(refusal.value)


def test_joint_adjustment_on_graphs() -> None:
    # A common cause of treatment and mediator only is closed by holding the treatment.
    assert joint_adjustment(graph_of("t -> m; m -> y; h -> t; h -> m"), "t", "y", ["m"], ["t", "m", "y"]) == ()
    # A second mediator, not held, is part of the direct effect; it may not be adjusted for.
    both = "t -> m; t -> n; m -> y; n -> y"
    assert joint_adjustment(graph_of(both), "t", "y", ["m"], ["t", "m", "n", "y"]) == ()
    # Where what the treatment moves confounds mediator and outcome, no adjustment helps ...
    tangled = "t -> l; l -> m; l -> y; m -> y; t -> m"
    with pytest.raises(EstimationError, match="effects of what is held"):
        joint_adjustment(graph_of(tangled), "t", "y", ["m"], ["t", "l", "m", "y"])
    # ... but holding it too does.
    assert joint_adjustment(graph_of(tangled), "t", "y", ["l", "m"], ["t", "l", "m", "y"]) == ()
    # What adds precision is kept, unless it is an effect of what is held.
    nodes = ["t", "m", "c", "y", "x", "side", "undrawn"]
    with_causes = graph_of(f"{PLAIN}; x -> y; m -> y; y -> side")
    assert joint_adjustment(with_causes, "t", "y", ["m"], nodes, ["x", "side", "undrawn"]) == ("c", "undrawn", "x")
    # A confounder of the treatment is adjusted for too.
    assert joint_adjustment(graph_of(f"{PLAIN}; w -> t; w -> y"), "t", "y", ["m"], ["t", "m", "c", "w", "y"]) == ("c", "w")


@pytest.mark.parametrize(
    ("mediator", "said"), [("c", r"must be one of \['m'\]"), ("absent", "must name 'absent'"), ("y", "must be one of")]
)
def test_a_mediator_must_be_one(mediator: str, said: str) -> None:
    with pytest.raises(EstimationError, match=said):
        joint_adjustment(graph_of(PLAIN), "t", "y", [mediator], ["t", "m", "c", "y"])


def test_a_mediator_with_gaps_is_refused() -> None:
    frame = draw(np.random.default_rng(2), 50)
    frame.loc[0, "m"] = np.nan
    with pytest.raises(EstimationError, match="mediator 'm' must be a column without gaps"):
        found(frame)


def test_an_interaction_is_warned_of() -> None:
    result = found(draw(np.random.default_rng(3), 500, interaction=1.0))
    check = result.checks[0]
    assert (check.verdict, check.consequence, check.name) == ("inconclusive", "none", "mediator_interaction")
    assert "depends on where m is held" in check.reason
    # The one reported is that at the mean of the mediator.
    assert result.direct.ci_low < DIRECT + THROUGH / 2 < result.direct.ci_high


def test_a_bent_mediator_withholds() -> None:
    check = found(draw(np.random.default_rng(3), 500, bend=0.5)).checks[0]
    assert (check.verdict, check.consequence) == ("inconclusive", "withheld")
    assert "y bends in m" in check.reason


def test_a_mediator_that_follows_from_the_treatment_leaves_no_direct_effect() -> None:
    frame = draw(np.random.default_rng(4), 60).assign(m=lambda data: 1e6 * (1 - 0.5 * data["t"]))
    result = found(frame)
    assert math.isnan(result.direct.estimate)
    assert result.direct.note == "m, c determine t: with them held it cannot be another"
    assert "taken as the same everywhere" in result.checks[0].reason


def test_pruning_saves_time_through_flops_only() -> None:
    """The shipped pruning study, as simulated: masks and channels tell FLOPs from what else a ratio does, which is nothing."""
    frame = simulate(seed=0, hardware_classes=("server",))
    frame = frame[frame["pruning_ratio"].isin([0.3, 0.6]) & (frame["batch_size"] == frame["batch_size"].max())].reset_index(drop=True)
    sample = make_sample(
        frame,
        treatment="pruning_ratio",
        outcome="latency_ms",
        arms=(frame["pruning_ratio"] == 0.6).astype(float),
        covariates=("seed", "pruning_method"),
        categorical=("seed",),
        cluster="block",
    )
    result = direct_effect(sample, read_graph(graphs()["pruning.dot"], "pruning.dot"), ["flops"], categorical=("seed",))
    assert result.adjustment == ("pruning_method", "seed")
    assert result.total.ci_high < 0
    assert result.direct.ci_low < 0 < result.direct.ci_high
    assert abs(result.direct.estimate) < 0.3 * abs(result.total.estimate)
    assert "taken as the same everywhere" in result.checks[0].reason
