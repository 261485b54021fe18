from __future__ import annotations

import pytest
from scipy import stats

from trialhouse.reporting.dose_response import _match, dose_responses, mean_interval, wilson_interval
from trialhouse.reporting.marts import read_study


def test_mean_interval_is_students():
    values = [1.0, 2.0, 4.0, 7.0]
    low, high = stats.t.interval(0.95, 3, loc=3.5, scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((3.5, low, high))
    assert mean_interval([5.0]) == (5.0, None, None)


@pytest.mark.parametrize(("count", "of"), [(0, 6), (3, 18), (6, 6)])
def test_wilson_interval_agrees_with_scipy(count, of):
    reference = stats.binomtest(count, of).proportion_ci(method="wilson")
    assert wilson_interval(count, of) == pytest.approx((count / of, reference.low, reference.high), abs=1e-6)


def test_matching_removes_what_batch_sizes_do(make_warehouse):
    """Latency is batch size times what is left of the network, exactly: the matched ratio must be that share whatever was drawn."""

    def exact(tables):
        for row in tables["marts.fct_trials"]:
            kept = 1 - row["pruning_ratio"] if row["pruning_method"] != "l1_mask" else 1.0
            row |= {"status": "ok", "is_oom": False, "latency_ms": row["batch_size"] * kept * (1 + row["seed"])}

    data = read_study(*make_warehouse(change=exact))
    for one in dose_responses(data, "pruning_ratio", "latency_ms", 0):
        series = {line.name: {point.level: point for point in line.points} for line in one.series}
        assert list(series) == ["L1 structured", "random structured", "L1 mask"]
        assert series["L1 mask"][0.9].value == pytest.approx(100)
        for level in (0.0, 0.3, 0.6, 0.9):
            assert series["random structured"][level].value == pytest.approx(100 * (1 - level))


def test_chances_count_measured_trials_only_and_shares_finished_ones(make_warehouse):
    def half(tables):
        for row in tables["marts.fct_trials"]:
            status = ("ok", "out_of_memory", "pending")[row["seed"] % 3]
            row |= {"status": status, "is_measured": status != "pending", "is_oom": status == "out_of_memory"}
            row["accuracy"] = 0.5 if status == "ok" else None

    data = read_study(*make_warehouse(change=half))
    chance = dose_responses(data, "pruning_ratio", "is_oom", 0)[0]
    assert {point.value for line in chance.series for point in line.points} == {50.0}
    share = dose_responses(data, "pruning_ratio", "accuracy", 0)[0]
    assert {point.value for line in share.series for point in line.points} == {50.0}


def test_the_unit_is_the_block(make_warehouse):
    """Trials of one block that say the same are not independent evidence: the interval comes from the blocks alone."""

    def by_block(tables):
        for row in tables["marts.fct_trials"]:
            row |= {"status": "ok", "accuracy": 0.9 + 0.01 * row["seed"]}

    data = read_study(*make_warehouse(change=by_block))
    control = dose_responses(data, "pruning_ratio", "accuracy", 0)[0].series[0].points[0]
    expected = mean_interval([90.0 + seed for seed in range(6)])
    assert (control.value, control.low, control.high) == pytest.approx(expected)


def test_a_placebo_label_does_not_keep_a_trial_from_its_control(make_warehouse):
    data = read_study(*make_warehouse())
    keys = {_match(data, "pruning_ratio", "pruning_method", {**data.trials[0], "placebo": label}) for label in "ab"}
    assert len(keys) == 1
