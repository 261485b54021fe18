"""The shape of a mechanism is the one that the world has."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trialhouse.causal.worlds import LATENCY_GRAPH, accuracies, graph, latencies
from trialhouse.causal.gcm.mechanisms import fit_mechanisms
from trialhouse.causal.gcm.regression import Features


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
    features = Features([None], 1).fit(np.linspace(1, 2, 50)[:, None])
    assert np.abs(features.transform(np.array([[0.9], [-0.1]]))).max() < 10
    frame = accuracies()
    frame["memory"] = np.exp(0.01 * frame["memory"]) - 1.5  # 1.2 and more
    mechanisms = fit_mechanisms(frame, graph(), "accuracy", categorical=["treated", "batch"], cluster="unit")
    noise = mechanisms.noise(mechanisms.values)
    noise["memory"] -= 10
    assert np.isfinite(mechanisms.outcome(noise)).all()
    assert np.abs(mechanisms.outcome(noise) - 1).max() < 1
