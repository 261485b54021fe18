"""Counterfactuals against worlds in which they are known, and against trials measured both ways."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tests.trialhouse.causal.worlds import EFFECT, LATENCY_GRAPH, SLOWNESS, accuracies, graph, latencies
from trialhouse.causal.gcm import counterfactual as counterfactuals
from trialhouse.causal.gcm.counterfactual import Counterfactual, counterfactual, read_levels
from trialhouse.causal.gcm.mechanisms import Mechanisms, fit_mechanisms
from trialhouse.errors import EstimationError


def fitted(frame: pd.DataFrame) -> Mechanisms:
    return fit_mechanisms(frame, graph(), "accuracy", categorical=["treated", "batch"], cluster="unit")


def of_latency(frame: pd.DataFrame) -> Mechanisms:
    return fit_mechanisms(frame, graph(LATENCY_GRAPH), "latency_ms", categorical=["batch"], cluster="unit")


def had(mechanisms: Mechanisms, row: int, cluster: str | None = "unit", **do: str) -> Counterfactual:
    return counterfactual(mechanisms, row, read_levels(mechanisms, do), cluster=cluster)


def test_the_known_counterfactual_is_found() -> None:
    """Whatever else is particular to a trial, treating it changes its accuracy by -.02."""
    frame = accuracies()
    mechanisms = fitted(frame)
    for row in np.flatnonzero(frame["treated"] == 0)[:3]:
        found = had(mechanisms, int(row), treated="1")
        # four standard errors: accuracy's noise .002 and memory's .001 x 5, over two arms of 96
        error = 4 * np.hypot(0.002, 0.005) * np.sqrt(2 / 96)
        assert found.value - found.factual == pytest.approx(EFFECT, abs=error)
        assert found.ci_low < found.value < found.ci_high


def test_intervals_cover_the_known_counterfactual(monkeypatch: pytest.MonkeyPatch) -> None:
    """95% nominal over 24 simulated studies of eight units: at least 19 (binomial, p = .001)."""
    monkeypatch.setattr(counterfactuals, "MIN_PAIRS", 10**9)  # no check, which takes longer than the rest
    covered = 0
    for seed in range(24):
        frame = accuracies(seed, units=8, members=6)
        frame["accuracy"] -= 0.001 * frame["memory"]  # of which -.05 is left
        text = graph("edges: [treated -> accuracy, batch -> accuracy]")
        mechanisms = fit_mechanisms(frame, text, "accuracy", categorical=["treated", "batch"], cluster="unit")
        found = had(mechanisms, int(np.flatnonzero(frame["treated"] == 0)[0]), treated="1")
        covered += found.ci_low <= found.factual - 0.05 <= found.ci_high
    assert covered >= 19


def test_what_is_particular_to_a_trial_is_carried_over() -> None:
    """The noise that two measurements share is .1, their own .02: without abduction the miss would be five times as large."""
    frame = latencies(units=20)
    mechanisms = of_latency(frame)
    is_server = (frame["device"] == "server").to_numpy()
    noise = mechanisms.noise(mechanisms.values[is_server])
    found = mechanisms.outcome(noise, read_levels(mechanisms, {"device": "laptop"}))
    truth = (frame["batch"] * SLOWNESS["laptop"] * np.exp(frame["common"]))[is_server]
    assert np.sqrt(np.mean(np.log(found / truth) ** 2)) < 0.03


def test_the_check_tells_how_far_counterfactuals_miss_what_was_measured() -> None:
    """A counterfactual carries the .02 of its own trial and misses the .02 of the other: sqrt(2) x .02 in all, and no more."""
    frame = latencies(units=30)
    found = had(of_latency(frame), 0, device="laptop")
    assert found.check is not None
    assert found.check.pairs == 90
    # 90% quantile of |N(0, s)| is 1.645 s; its standard error over 90 pairs is about 12% of it
    assert found.check.reach == pytest.approx(1.645 * np.sqrt(2) * 0.02, rel=0.4)
    assert found.check.missed < 0.1 * found.check.difference
    assert found.range_low < found.value < found.range_high
    assert found.measured == {"trial_0001": frame["latency_ms"][1]}
    assert found.range_low < frame["latency_ms"][1] < found.range_high


def test_the_check_finds_out_that_noise_is_not_shared() -> None:
    """Where nothing is particular to a configuration, carrying its noise over misses by sqrt(2) times that noise."""
    frame = latencies(units=30, shared=0.0, own=0.2)
    check = had(of_latency(frame), 0, device="laptop").check
    assert check is not None
    assert check.reach == pytest.approx(1.645 * np.sqrt(2) * 0.2, rel=0.4)


def test_the_check_never_sees_the_trial_that_it_predicts() -> None:
    """One laptop measurement is off by a factor of 100: a model that had seen it would miss it by less."""
    frame = latencies(units=3, shared=0.0, own=0.01)
    frame = frame[~((frame["device"] == "laptop") & (frame["unit"] < 2))].reset_index(drop=True)
    place = int(np.flatnonzero((frame["device"] == "laptop") & (frame["batch"] == 8))[0])
    frame.loc[place, "latency_ms"] *= 100
    check = had(of_latency(frame), place - 1, device="laptop").check
    assert check is not None
    assert check.pairs == 3
    assert check.reach > 0.75 * math.log(100)  # between the second largest miss and the largest


def test_a_chance_follows_what_happened() -> None:
    """Noise that made it happen at a chance of .9 makes it happen at .3 in a third of the cases; see `_predicted`."""
    rng = np.random.default_rng(0)
    treated = rng.integers(0, 2, 2_000)
    frame = pd.DataFrame({"treated": treated, "is_oom": (rng.uniform(size=2_000) < np.where(treated == 1, 0.9, 0.3)).astype(int)})
    mechanisms = fit_mechanisms(frame, graph("edges: [treated -> is_oom]"), "is_oom", categorical=["treated"])
    lost = int(np.flatnonzero((treated == 1) & (frame["is_oom"] == 1))[0])
    kept = int(np.flatnonzero((treated == 0) & (frame["is_oom"] == 0))[0])
    assert had(mechanisms, lost, cluster="treated", treated="0").value == pytest.approx(0.3 / 0.9, abs=0.04)
    assert had(mechanisms, kept, cluster="treated", treated="1").value == pytest.approx(0.6 / 0.7, abs=0.04)


def test_a_chance_is_never_surer_than_its_check() -> None:
    rows = [
        {"unit": u, "device": d, "batch": b, "is_oom": int(d == "laptop" and b == 8)} for u in range(6) for d in SLOWNESS for b in (1, 8)
    ]
    text = "edges: [device -> is_oom, batch -> is_oom]"
    mechanisms = fit_mechanisms(pd.DataFrame(rows), graph(text), "is_oom", categorical=["batch"], cluster="unit")
    row = next(place for place, item in enumerate(rows) if item["is_oom"])
    found = had(mechanisms, row, device="server")
    assert found.value < 0.1
    assert found.check is not None
    assert (found.check.pairs, found.check.missed) == (12, 0)
    assert found.check.missed_at_most == pytest.approx(1 - 0.025 ** (1 / 12))
    assert found.ci_high > found.check.missed_at_most


def test_a_chance_without_a_check_has_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counterfactuals, "MIN_PAIRS", 10**9)
    frame = latencies()
    frame["is_slow"] = (frame["latency_ms"] > 8).astype(int)
    text = "edges: [device -> is_slow, batch -> is_slow]"
    found = had(fit_mechanisms(frame, graph(text), "is_slow", categorical=["batch"], cluster="unit"), 0, device="laptop")
    assert found.check is None
    assert math.isnan(found.ci_low)


def test_pairs_need_not_share_a_unit_where_none_do() -> None:
    frame = latencies(units=12)
    frame = frame[(frame["device"] == "server") == (frame["unit"] % 2 == 0)].reset_index(drop=True)
    check = had(of_latency(frame), 0, device="laptop").check
    assert check is not None
    assert (check.pairs, check.within) == (18, None)
    # the other unit's .1 beside the trial's own .1, and measurement noise: what one unit tells of another
    assert check.reach == pytest.approx(1.645 * np.sqrt(2 * (0.1**2 + 0.02**2)), rel=0.6)


def test_a_level_that_lacks_in_a_leave_out_is_no_part_of_the_interval() -> None:
    frame = latencies()
    frame = frame[(frame["device"] == "server") | (frame["unit"] == 0)].reset_index(drop=True)
    assert math.isfinite(had(of_latency(frame), 10, device="laptop").value)


def test_the_same_rows_give_the_same_bits() -> None:
    first, second = (had(of_latency(latencies()), 3, device="server") for _ in range(2))
    assert first == second


def test_levels_that_no_trial_had_together_are_told() -> None:
    frame = latencies()
    frame = frame[~((frame["device"] == "laptop") & (frame["batch"] == 8))].reset_index(drop=True)
    row = int(np.flatnonzero(frame["batch"] == 8)[0])
    assert had(of_latency(frame), row, device="laptop").untried == ("device=laptop with batch=8",)


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ({"device": "phone"}, r"device must be set to what trials that have latency_ms had: \['laptop', 'server'\], got 'phone'"),
        ({"batch": "4"}, r"batch must be set to what trials that have latency_ms had: \['1', '2', '8'\], got '4'"),
        ({"latency_ms": "1"}, "must be a factor that causes latency_ms.*got 'latency_ms', which has causes of its own"),
        ({"colour": "red"}, "must be a factor that causes latency_ms.*got 'colour', which does not"),
    ],
)
def test_what_was_never_tried_is_refused_in_one_line(do: dict[str, str], message: str) -> None:
    with pytest.raises(EstimationError, match=message) as error:
        read_levels(of_latency(latencies()), do)
    assert "\n" not in str(error.value)


def test_a_factor_may_be_set_although_it_has_causes() -> None:
    """Setting it cuts it off from them: accuracy follows memory by .001 a unit, and what treatment does by way of memory is gone."""
    frame = accuracies()
    mechanisms = fitted(frame)
    with pytest.raises(EstimationError, match="got 'memory', which has causes of its own"):
        read_levels(mechanisms, {"memory": "120"})
    levels = read_levels(mechanisms, {"memory": "120"}, factors=["memory"])
    found = counterfactual(mechanisms, 0, levels, cluster="unit")
    change = 0.001 * (120 - frame["memory"][0])
    assert found.value - found.factual == pytest.approx(change, abs=0.1 * abs(change) + 0.0005)


def test_a_quantity_may_be_set_between_the_values_that_were_tried() -> None:
    frame = latencies()
    frame["batch"] = frame["batch"] * np.random.default_rng(0).uniform(1, 1.1, len(frame))
    mechanisms = fit_mechanisms(frame, graph(LATENCY_GRAPH), "latency_ms", cluster="unit")
    assert read_levels(mechanisms, {"batch": "3.5"}) == {"batch": 3.5}
    with pytest.raises(EstimationError, match=r"batch must be set to what trials that have latency_ms had: .* to .*, got '30'"):
        read_levels(mechanisms, {"batch": "30"})


def test_a_combination_of_tied_factors_must_have_been_tried() -> None:
    frame = latencies()
    frame = frame[~((frame["device"] == "laptop") & (frame["batch"] == 8))].reset_index(drop=True)
    mechanisms = of_latency(frame)
    row = int(np.flatnonzero(frame["batch"] == 8)[0])
    with pytest.raises(EstimationError, match=r"(device and batch|batch and device) must be set to a combination that was tried"):
        counterfactual(mechanisms, row, read_levels(mechanisms, {"device": "laptop"}), tied=[("device", "batch")])
