"""Negative controls: placed by the graph, calibrated where nothing is hidden, failing where a common cause is."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from trialhouse.causal.checks.association import association, with_curves
from trialhouse.causal.checks.negative_controls import negative_control_outcome, negative_control_treatment, place_controls
from trialhouse.causal.model import read_graph
from trialhouse.causal.sample import Sample, make_sample


def draw(rng: np.random.Generator, rows: int, *, hidden: float = 0.0, units: int | None = None) -> pd.DataFrame:
    """w is adjusted for; u, hidden, moves treatment, outcome and both controls; `exposure` moves nothing else."""
    unit = np.arange(rows) if units is None else np.repeat(np.arange(units), rows // units)

    def noise() -> np.ndarray:
        own = rng.normal(size=rows)
        return own if units is None else (own + rng.normal(size=unit.max() + 1)[unit]) / math.sqrt(2)

    w, u = rng.normal(size=rows), noise()
    t = w + hidden * u + noise()
    return pd.DataFrame(
        {
            "w": w,
            "t": t,
            "y": 0.5 * t + w + hidden * u + noise(),
            "other": w + hidden * u + noise(),
            "exposure": w + hidden * u + noise(),
            "unit": unit,
        }
    )


def sample_of(frame: pd.DataFrame, cluster: str | None = None) -> Sample:
    return make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=("w",), cluster=cluster, is_binary=False)


def rejections(draws: int, rows: int, *, hidden: float, units: int | None = None, seed: int = 0) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    samples = [sample_of(draw(rng, rows, hidden=hidden, units=units), "unit" if units else None) for _ in range(draws)]
    of_outcome = [negative_control_outcome(sample, ["other"]) for sample in samples]
    of_treatment = [negative_control_treatment(sample, ["exposure"]) for sample in samples]
    return tuple(sum((check.p_value or 0) < 0.05 for check in checks) / draws for checks in (of_outcome, of_treatment))  # type: ignore[return-value]


@pytest.mark.parametrize(("rows", "units"), [(36, None), (100, None), (36, 12)])
def test_nothing_hidden_rejects_no_more_than_chance(rows: int, units: int | None) -> None:
    draws = 120
    for share in rejections(draws, rows, hidden=0, units=units):
        assert share < 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / draws)


def test_a_hidden_common_cause_is_found() -> None:
    """It explains a fifth of what w leaves of treatment and outcome."""
    assert min(rejections(40, 500, hidden=0.5)) >= 0.95


def test_a_failing_control_says_what_it_means() -> None:
    sample = sample_of(draw(np.random.default_rng(0), 500, hidden=1))
    check = negative_control_outcome(sample, ["other"])
    assert check.is_test
    assert check.has_power
    assert check.reason == "other goes with t, which cannot cause it: a common cause is not adjusted for"
    assert "exposure goes with y, which it cannot cause" in negative_control_treatment(sample, ["exposure"]).reason


def test_a_control_without_anything_to_say_is_not_applicable() -> None:
    frame = draw(np.random.default_rng(0), 50).assign(constant=1.0, gaps=np.nan, copied=lambda data: data["w"])
    sample = sample_of(frame)
    for controls in ([], ["constant"], ["gaps"], ["copied"], ["absent"]):
        assert negative_control_outcome(sample, controls).verdict == "not_applicable"


def test_equal_accuracy_on_every_class_passes_and_a_fixed_difference_does_not() -> None:
    """Weights have one accuracy, wherever they are measured: a negative-control treatment that is exactly null."""
    rng = np.random.default_rng(1)
    weights = np.repeat(np.arange(24), 3)
    frame = pd.DataFrame({"block": weights // 4, "t": (weights % 2).astype(float), "hardware_class": np.tile(["a", "b", "c"], 24)})
    frame["y"] = rng.normal(size=24)[weights]
    adjusted = {"treatment": "t", "outcome": "y", "covariates": ("block", "hardware_class"), "categorical": ("block",), "cluster": "block"}
    sound = negative_control_treatment(make_sample(frame, arms=frame["t"], **adjusted), ["hardware_class"])  # type: ignore[arg-type]
    assert (sound.verdict, sound.p_value) == ("passed", 1.0)
    frame["y"] += 0.01 * (frame["hardware_class"] == "c")
    broken = negative_control_treatment(make_sample(frame, arms=frame["t"], **adjusted), ["hardware_class"])  # type: ignore[arg-type]
    assert broken.p_value is not None
    assert broken.p_value < 0.001


def test_the_graph_places_a_control() -> None:
    edges = "w -> t; w -> y; t -> y; w -> other; t -> effect; effect -> y; v -> t; v -> exposure; t -> side; h -> side; h -> y"
    graph = read_graph(f"digraph {{ {edges}; apart }}", "g.dot")
    found = place_controls(graph, "t", "y", ["w"], ["other", "apart", "exposure", "effect", "side", "y"])
    assert found.outcomes == ("other", "apart")
    assert found.treatments == ("exposure",)
    assert [sentence.split()[-1] for sentence in found.unusable] == ["y", "y", "about"]
    # Not adjusted for w, the graph itself lets the control outcome go with the treatment.
    assert place_controls(graph, "t", "y", [], ["other"]).outcomes == ()


def test_curves_take_as_many_terms_as_rows_carry() -> None:
    rng = np.random.default_rng(2)
    given = np.column_stack([rng.normal(size=(500, 2)), rng.integers(0, 2, 500)])
    assert with_curves(given).shape[1] == 3 + 2 + 3 + 2 * 6
    assert with_curves(given[:100]).shape[1] == 3 + 2 + 3
    assert with_curves(given[:50]).shape[1] == 3 + 2
    assert with_curves(given[:36]).shape[1] == 3
    assert with_curves(given[:, :0]).shape == (500, 0)


def test_columns_that_bend_alike_are_independent_given_what_bends_them() -> None:
    """Straight lines see an association that is none."""
    rng = np.random.default_rng(3)
    w = rng.normal(size=(500, 2))
    bend = np.maximum(w[:, 0], w[:, 1]) + np.tanh(2 * w[:, 0])
    one, other = bend + rng.normal(size=500), bend + rng.normal(size=500)
    assert association(one[:, None], other, w) < 0.001
    assert association(one[:, None], other, with_curves(w)) > 0.05
