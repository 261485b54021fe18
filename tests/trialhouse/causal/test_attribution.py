"""Attribution: sums, planted root causes and arrow strengths against what is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.trialhouse.causal.worlds import LATENCY_GRAPH, accuracies, graph, latencies
from trialhouse.causal.gcm import attribution
from trialhouse.causal.gcm.attribution import Attribution, arrow_strengths, attribute, merged
from trialhouse.causal.gcm.mechanisms import Mechanisms, fit_mechanisms

CATEGORICAL = ("treated", "batch")


def fitted(frame: pd.DataFrame, target: str = "accuracy") -> Mechanisms:
    return fit_mechanisms(frame, graph(), target, categorical=CATEGORICAL, cluster="unit")


def by_cause(found: Attribution) -> dict[str, float]:
    return {" ".join(item.causes): item.contribution for item in found.contributions}


def test_contributions_add_up_to_the_difference_from_the_average() -> None:
    frame = accuracies()
    mechanisms = fitted(frame)
    for row in (0, 17, 101):
        found = attribute(mechanisms, row)
        assert found.monte_carlo_error == 0
        assert sum(by_cause(found).values()) == pytest.approx(found.value - found.reference, abs=1e-12)
        assert found.reference == pytest.approx(frame["accuracy"].mean())


def test_contributions_are_those_of_the_world() -> None:
    """In a linear world a cause's Shapley value is its total effect times its distance from the mean."""
    frame = accuracies(noise=0.0005)
    row = int(frame.index[(frame["treated"] == 1) & (frame["batch"] == 4)][0])
    found = attribute(fitted(frame), row)
    known = {
        "treated": -0.02 * (1 - frame["treated"].mean()),
        "batch": 0.01 * (4 - frame["batch"].mean()),
        "memory": 0.001 * (frame["memory"] - 100 - 10 * frame["batch"] - 30 * frame["treated"])[row],
    }
    # four standard errors of an effect by way of memory: .001 times 2 x 5 / sqrt(192), and the rows' mean noise
    for cause, truth in known.items():
        assert by_cause(found)[cause] == pytest.approx(truth, abs=4 * 0.001 * 2 * 5 / np.sqrt(len(frame)))


@pytest.mark.parametrize("node", ["memory", "accuracy"])
def test_a_planted_root_cause_comes_first(node: str) -> None:
    """One trial's memory, or its accuracy itself, is off by twenty standard deviations for no reason that the graph knows."""
    frame = accuracies()
    row = 33
    if node == "memory":
        frame.loc[row, "memory"] += 100
        frame.loc[row, "accuracy"] += 0.001 * 100
    else:
        frame.loc[row, "accuracy"] -= 0.1
    first = attribute(fitted(frame), row).contributions[0]
    assert first.causes == (node,)
    assert first.is_noise
    assert first.rank == pytest.approx(1 - 1 / len(frame))  # larger than in all others
    assert abs(first.contribution) == pytest.approx(0.1, abs=0.02)


def test_a_factor_is_the_root_cause_where_nothing_else_is_unusual() -> None:
    frame = accuracies()
    row = int(frame.index[(frame["treated"] == 1) & (frame["batch"] == 1)][0])
    first = attribute(fitted(frame, "memory"), row).contributions
    assert {item.causes for item in first[:2]} == {("treated",), ("batch",)}


def test_tied_factors_have_one_contribution() -> None:
    found = attribute(fitted(accuracies()), 5, tied=[("treated", "batch")])
    assert next(item.levels for item in found.contributions if item.causes == ("treated", "batch")) is not None
    assert sum(by_cause(found).values()) == pytest.approx(found.value - found.reference, abs=1e-12)


def test_merged_groups_keep_their_order() -> None:
    assert merged([("a",), ("b",), ("c",), ("d",)], [("b", "d"), ("d", "a")]) == [("a", "b", "d"), ("c",)]


def test_a_chance_is_shared_out_too() -> None:
    frame = accuracies()
    rng = np.random.default_rng(3)
    frame["is_oom"] = (rng.uniform(size=len(frame)) < np.where((frame["batch"] == 4) & (frame["treated"] == 0), 0.95, 0.03)).astype(int)
    text = "edges: [batch -> is_oom, treated -> is_oom]"
    mechanisms = fit_mechanisms(frame, graph(text), "is_oom", categorical=CATEGORICAL, cluster="unit")
    row = int(frame.index[(frame["is_oom"] == 1) & (frame["batch"] == 4) & (frame["treated"] == 0)][0])
    found = attribute(mechanisms, row)
    assert mechanisms.is_share
    assert found.contributions[0].causes == ("batch",)
    assert sum(by_cause(found).values()) == pytest.approx(1 - frame["is_oom"].mean(), abs=1e-9)


def test_random_orders_add_up_and_state_their_error(monkeypatch: pytest.MonkeyPatch) -> None:
    mechanisms = fit_mechanisms(latencies(), graph(LATENCY_GRAPH), "latency_ms", categorical=["batch"], cluster="unit")
    exact = attribute(mechanisms, 4)
    monkeypatch.setattr(attribution, "MAX_EXACT", 1)
    monkeypatch.setattr(attribution, "ORDERS", 3)
    drawn = attribute(mechanisms, 4)
    assert sum(by_cause(drawn).values()) == pytest.approx(drawn.value - drawn.reference, abs=1e-9)
    assert drawn.monte_carlo_error > 0
    # the largest error of three, each from five repeats: t(4) at 99.9% is 8.6
    for cause, value in by_cause(exact).items():
        assert by_cause(drawn)[cause] == pytest.approx(value, abs=8.6 * drawn.monte_carlo_error)


def test_the_same_rows_give_the_same_bits() -> None:
    first, second = (attribute(fitted(accuracies()), 7) for _ in range(2))
    assert first == second
    assert arrow_strengths(fitted(accuracies())) == arrow_strengths(fitted(accuracies()))


def test_numpys_global_state_is_put_back() -> None:
    np.random.seed(1)
    expected = np.random.uniform()
    np.random.seed(1)
    arrow_strengths(fitted(accuracies()))
    assert np.random.uniform() == expected


def test_an_arrow_is_as_strong_as_what_it_carries() -> None:
    """In a linear world: the squared coefficient times the cause's variance (Janzing et al. 2013, with variances)."""
    frame = accuracies()
    found = {item.causes: item for item in arrow_strengths(fitted(frame, "memory"))}
    for cause, coefficient in {"treated": 30.0, "batch": 10.0}.items():
        strength = found[(cause,)]
        truth = coefficient**2 * frame[cause].var(ddof=0)
        # relative error of a fitted coefficient of 10 (SE .3) twice, and of the sampled rows
        assert strength.variance == pytest.approx(truth, abs=0.15 * truth + 4 * strength.error)
        assert strength.share == pytest.approx(strength.variance / frame["memory"].var(ddof=0))


def test_arrows_that_no_data_tell_apart_are_cut_together() -> None:
    frame = accuracies()
    frame["memory"] = 100 + 10 * frame["batch"] + 30 * frame["treated"]
    frame["accuracy"] = 0.9 + 0.001 * frame["memory"] + np.random.default_rng(0).normal(0, 0.01, len(frame))
    assert {frozenset(item.causes) for item in arrow_strengths(fitted(frame))} == {frozenset({"memory", "treated"})}
