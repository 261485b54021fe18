"""Fitted mechanisms: which nodes they have, which shape, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trialhouse.causal.worlds import accuracies, graph
from trialhouse.causal.gcm.mechanisms import Mechanisms, fit_mechanisms, jackknife
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
