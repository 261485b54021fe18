"""Fitted mechanisms: which nodes they have, which shape, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trialhouse.causal.worlds import LATENCY_GRAPH, accuracies, graph, latencies
from trialhouse.causal.mechanisms import Mechanisms, _Features, fit_mechanisms, jackknife
from trialhouse.errors import EstimationError


def fitted(seed: int = 0) -> Mechanisms:
    return fit_mechanisms(accuracies(seed), graph(), "accuracy", categorical=["treated", "batch"], cluster="unit")


def test_noise_is_worked_out_and_makes_the_outcome_again() -> None:
    mechanisms = fitted()
    frame = accuracies()
    noise = mechanisms.noise(mechanisms.values)
    np.testing.assert_allclose(mechanisms.outcome(noise), frame["accuracy"], rtol=1e-12)
    # what is left of memory is its own noise, up to what 192 rows tell of four coefficients
    true = frame["memory"] - 100 - 10 * frame["batch"] - 30 * frame["treated"]
    assert np.corrcoef(noise["memory"], true)[0, 1] > 0.98
    assert noise["memory"].std() == pytest.approx(5, abs=3 * 5 / np.sqrt(2 * len(frame)))  # SD of a standard deviation


def test_a_node_without_a_column_is_left_out_and_named() -> None:
    mechanisms = fitted()
    assert [(item.node, item.reason) for item in mechanisms.left_out] == [
        ("hidden", "it has no column; what it does is not explained here")
    ]
    assert mechanisms.caveats == ()  # it moves one node only
    assert set(mechanisms.roots) == {"treated", "batch"}


def test_causes_of_a_node_that_is_missing_stand_for_it() -> None:
    frame = accuracies()
    frame.loc[frame.index % 3 == 0, "memory"] = np.nan
    mechanisms = fit_mechanisms(frame, graph(), "accuracy", categorical=["treated", "batch"], cluster="unit")
    assert set(mechanisms.digraph.predecessors("accuracy")) == {"treated", "batch"}
    assert len(mechanisms.rows) == len(frame)
    told = {item.node: item.reason for item in mechanisms.left_out}
    assert told["memory"] == "it is missing in 64 of the 192 trials; its causes (batch, treated) stand for it"


def test_what_does_not_vary_passes_nothing_on() -> None:
    text = "edges: [a -> finished, b -> y, finished -> y]"
    frame = accuracies().rename(columns={"treated": "a", "batch": "b", "accuracy": "y"}).assign(finished=1)
    mechanisms = fit_mechanisms(frame, graph(text), "y", categorical=["a", "b"])
    assert set(mechanisms.digraph.edges) == {("b", "y")}
    assert mechanisms.left_out[0].reason == "it is 1 in every trial that has y: the answer speaks of such trials only"


@pytest.mark.parametrize(
    ("text", "caveat"),
    [
        ("edges: [hidden -> treated, hidden -> batch, treated -> accuracy, batch -> accuracy]", "batch, treated went together"),
        ("edges: [hidden -> treated, hidden -> accuracy, treated -> accuracy]", "hidden is not seen and moves accuracy, treated"),
    ],
)
def test_a_hidden_common_cause_is_a_caveat(text: str, caveat: str) -> None:
    mechanisms = fit_mechanisms(accuracies(), graph(text), "accuracy", categorical=["treated", "batch"])
    assert len(mechanisms.caveats) == 1
    assert mechanisms.caveats[0].startswith(caveat)


def test_the_scale_is_the_one_on_which_noise_adds_up() -> None:
    frame = latencies(units=12)
    factors = fit_mechanisms(frame, graph(LATENCY_GRAPH), "latency_ms", categorical=["batch"], cluster="unit")
    assert factors.forms["latency_ms"].scale == "log"
    frame["latency_ms"] = 5 + 5 * frame["batch"] + 9 * (frame["device"] == "laptop") + np.random.default_rng(0).normal(0, 1, len(frame))
    amounts = fit_mechanisms(frame, graph(LATENCY_GRAPH), "latency_ms", categorical=["batch"], cluster="unit")
    assert amounts.forms["latency_ms"].scale == "identity"


def test_products_are_used_where_effects_depend_on_one_another() -> None:
    frame = accuracies()
    frame["accuracy"] = frame["treated"] * frame["batch"] + np.random.default_rng(0).normal(0, 0.1, len(frame))
    text = "edges: [treated -> accuracy, batch -> accuracy]"
    mechanisms = fit_mechanisms(frame, graph(text), "accuracy", categorical=["treated", "batch"], cluster="unit")
    assert mechanisms.forms["accuracy"].degree == 2
    assert mechanisms.forms["accuracy"].explained == pytest.approx(1 - 0.01 / frame["accuracy"].var(), abs=0.01)


def test_a_cause_below_all_that_was_seen_does_not_run_away() -> None:
    """Regression columns have logarithms of positive causes, which attribution can make smaller than any cause was."""
    features = _Features([None], 1).fit(np.linspace(1, 2, 50)[:, None])
    assert np.abs(features.transform(np.array([[0.9], [-0.1]]))).max() < 10
    frame = accuracies()
    frame["memory"] = np.exp(0.01 * frame["memory"]) - 1.5  # 1.2 and more
    mechanisms = fit_mechanisms(frame, graph(), "accuracy", categorical=["treated", "batch"], cluster="unit")
    noise = mechanisms.noise(mechanisms.values)
    noise["memory"] -= 10
    assert np.isfinite(mechanisms.outcome(noise)).all()
    assert np.abs(mechanisms.outcome(noise) - 1).max() < 1


def test_a_determined_node_is_known_for_one() -> None:
    frame = accuracies()
    frame["memory"] = 100 + 10 * frame["batch"] + 30 * frame["treated"] * frame["batch"]
    mechanisms = fit_mechanisms(frame, graph(), "accuracy", categorical=["treated", "batch"], cluster="unit")
    assert mechanisms.forms["memory"].is_determined
    assert not mechanisms.forms["accuracy"].is_determined


def test_the_jackknife_is_that_of_a_mean() -> None:
    """Leaving one of n values out gives the standard error of their mean, exactly."""
    values = np.random.default_rng(0).normal(size=9)
    low, high = jackknife(np.array([values.mean()]), [np.array([np.delete(values, place).mean()]) for place in range(9)])
    half = 2.306004 * values.std(ddof=1) / 3  # t quantile of 8 degrees of freedom
    assert (low[0], high[0]) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "target", "message"),
    [
        ({}, "nothing", "world.yaml must name 'nothing'"),
        ({"accuracy": "good"}, "accuracy", "the outcome 'accuracy' must be a number, or 0 and 1, got texts"),
        ({"accuracy": 0.5}, "accuracy", "must have 'accuracy', and differ in it, got 192 with 1 different values"),
        ({"treated": 1, "batch": 1.0}, "memory", "something that causes 'memory' by world.yaml must have been measured, got nothing"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(change: dict[str, object], target: str, message: str) -> None:
    with pytest.raises(EstimationError, match=message) as error:
        fit_mechanisms(accuracies().assign(**change), graph(), target, categorical=["treated", "batch"])
    assert "\n" not in str(error.value)
