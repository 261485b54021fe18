"""DoWhy's refuters drive our estimator: the same numbers as its own estimator gives, and simulations that differ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dowhy.causal_estimators.linear_regression_estimator import LinearRegressionEstimator
from dowhy.causal_refuters import refute_data_subset, refute_placebo_treatment, refute_random_common_cause
from dowhy.causal_refuters.linear_sensitivity_analyzer import LinearSensitivityAnalyzer
from dowhy.causal_refuters.placebo_treatment_refuter import PlaceboType

from trialhouse.causal.estimate import Estimate, estimate, second_degree
from trialhouse.causal.identify import Identification, identify
from trialhouse.causal.inference import least_squares
from trialhouse.causal.model import causal_model, read_graph
from trialhouse.causal.refute import STOCK_REFUTERS, arrangements, expected_different, numpy_seed, repeated_units, stock_refuter
from trialhouse.causal.sample import Sample, amount, make_sample
from trialhouse.causal.sensitivity import benchmarks, robustness_value
from trialhouse.causal.verdict import Check, decide, holm

GRAPH = read_graph("digraph { w -> t; w -> y; v -> y; v -> t; t -> y }", "g.dot")


@pytest.fixture(scope="module")
def fitted() -> tuple[Sample, Identification, Estimate]:
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(2, 80))
    t = (rng.random(80) < 1 / (1 + np.exp(-w - 0.5 * v))).astype(float)
    frame = pd.DataFrame({"w": w, "v": v, "t": t, "y": 0.5 * t + w + 0.3 * v + rng.normal(size=80)})
    identification = identify(causal_model(frame, GRAPH, "t", "y"), GRAPH, treatment="t", outcome="y")
    sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=identification.columns)
    return sample, identification, estimate(sample, identification, "adjusted_linear")


def dowhys_own(sample: Sample, found: Estimate) -> Any:
    estimator = LinearRegressionEstimator(found.dowhy_estimate.target_estimand)
    estimator.fit(sample.numbers)
    own = estimator.estimate_effect(sample.numbers, treatment_value=1, control_value=0, target_units="ate")
    own.add_estimator(estimator)
    return own


@pytest.mark.parametrize("name", STOCK_REFUTERS)
def test_refuters_say_what_they_say_with_dowhys_own_estimator(name: str, fitted: tuple[Sample, Identification, Estimate]) -> None:
    sample, _, found = fitted
    own = dowhys_own(sample, found)
    assert found.dowhy_estimate.value == pytest.approx(own.value, rel=1e-9)
    functions = {
        "random_common_cause": refute_random_common_cause,
        "data_subset": refute_data_subset,
        "permuted_placebo": refute_placebo_treatment,
    }
    special = {"treatment_names": ["t"], "placebo_type": PlaceboType.PERMUTE} if name == "permuted_placebo" else {}
    with numpy_seed(3):
        slow = functions[name](
            data=sample.numbers, target_estimand=own.target_estimand, estimate=own, num_simulations=100, n_jobs=1, **special
        )
    fast = stock_refuter(name, sample, found, 100, 3)
    assert fast.statistic == pytest.approx(slow.new_effect, rel=1e-7)
    assert fast.p_value == pytest.approx(slow.refutation_result["p_value"])


@pytest.mark.parametrize("name", STOCK_REFUTERS)
def test_simulations_differ_from_each_other_and_repeat_bit_by_bit(name: str, fitted: tuple[Sample, Identification, Estimate]) -> None:
    sample, _, found = fitted
    np.random.seed(99)
    before = np.random.get_state()[1].copy()
    first, second = (stock_refuter(name, sample, found, 100, 3) for _ in range(2))
    assert first == second
    assert first != stock_refuter(name, sample, found, 100, 4)
    assert len(found.dowhy_estimate.estimator.draws) == 100
    assert (np.random.get_state()[1] == before).all()


def test_repeated_simulations_are_not_counted_as_many(
    fitted: tuple[Sample, Identification, Estimate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What DoWhy does when it is given an integer seed: every simulation is the same."""
    sample, _, found = fitted
    monkeypatch.setattr(np.random, "randn", lambda rows: np.arange(rows, dtype=float))
    check = stock_refuter("random_common_cause", sample, found, 100, 3)
    assert check.verdict == "inconclusive"
    assert decide([check]).word == "withheld"


def test_few_trials_have_few_shuffles_and_that_is_no_fault_of_the_estimate() -> None:
    """Six pairs: 924 shuffles, of which 100 draws hit about 95 different ones; in some every pair has one arm only."""
    blocks = np.repeat([f"b{number}" for number in range(6)], 2)
    arms = np.tile([0.0, 1.0], 6)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"w": blocks, "t": arms, "y": arms + rng.normal(size=12)})
    graph = read_graph("digraph { w -> y; t -> y }", "g.dot")
    identification = identify(causal_model(frame, graph, "t", "y"), graph, treatment="t", outcome="y")
    sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=("w",))
    found = estimate(sample, identification, "adjusted_linear")
    assert arrangements(arms) == pytest.approx(924)
    assert expected_different(100, 924) == pytest.approx(94.8, abs=0.1)
    assert {stock_refuter("permuted_placebo", sample, found, 100, seed).verdict for seed in range(12)} == {"passed", "not_applicable"}


def test_an_estimator_that_makes_up_effects_fails_the_placebo(
    fitted: tuple[Sample, Identification, Estimate], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, _, found = fitted
    honest = type(found.dowhy_estimate.estimator).estimate_effect

    def biased(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = honest(self, *args, **kwargs)
        result.value += 3
        return result

    monkeypatch.setattr(type(found.dowhy_estimate.estimator), "estimate_effect", biased)
    check = stock_refuter("permuted_placebo", sample, found, 100, 3)
    assert decide([check]).word == "failed"


def test_sensitivity_is_that_of_dowhy(fitted: tuple[Sample, Identification, Estimate]) -> None:
    sample, _, found = fitted
    own = dowhys_own(sample, found)
    order = list(sample.encoded.columns)
    for column in ("w", "v"):
        analyzer = LinearSensitivityAnalyzer(
            estimator=own.estimator,
            data=sample.numbers,
            treatment_name=["t"],
            benchmark_common_causes=[column],
            frac_strength_treatment=[1],
            frac_strength_outcome=[1],
            common_causes_order=order,
        )
        analyzer.check_sensitivity(plot=False)
        ours = next(item for item in benchmarks(sample, found.inference) if item.column == column)
        assert robustness_value(found.inference.partial_r2) == pytest.approx(float(analyzer.stats["robustness_value"]))
        expected = abs(found.inference.estimate) - float(np.ravel(analyzer.benchmarking_results["bias_adjusted_estimate"])[0])
        assert ours.bias == pytest.approx(expected, rel=1e-6)


def test_double_ml_is_the_median_of_linear_dml(fitted: tuple[Sample, Identification, Estimate]) -> None:
    from econml.dml import LinearDML
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import KFold

    sample, identification, _ = fitted
    ours = estimate(sample, identification, "double_ml", seed=11)
    features = second_degree(sample.matrix)
    assert features.shape[1] == 5  # two columns, their squares and their product
    slopes = []
    for repeat in range(5):
        splits = list(KFold(5, shuffle=True, random_state=11 + repeat).split(features))
        lasso = LassoCV(alphas=20, max_iter=2_000)
        learner = LinearDML(model_y=lasso, model_t=lasso, cv=splits, random_state=11 + repeat)
        learner.fit(sample.values, sample.arms, W=features / features.std(axis=0), inference=None)
        slopes.append(float(learner.intercept_))
    assert ours.inference.estimate == pytest.approx(np.median(slopes), rel=1e-6)


def test_repeated_units_pass_where_rows_do_not_go_together() -> None:
    rng = np.random.default_rng(5)
    units = np.repeat(np.arange(20), 5)
    frame = pd.DataFrame({"unit": units, "t": rng.permutation(np.repeat([0.0, 1.0], 10))[units], "y": rng.normal(size=100)})
    sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=[])
    found = Estimate("adjusted_linear", least_squares(sample.arms, sample.values, sample.matrix), (), None)  # type: ignore[arg-type]
    assert repeated_units(sample, found, None).verdict == "passed"


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_rules_of_the_verdict() -> None:
    good = Check("a", "passed", "fine", p_value=0.02, is_test=True, has_power=True)
    calm = [Check(name, "passed", "fine", p_value=0.9, is_test=True) for name in "bcd"]
    assert decide([good]).word == "failed"
    assert decide([good, *calm]).word == "released"  # .02 is .08 after Holm over four tests
    assert [check.verdict for check in decide([good, *calm]).checks] == ["passed"] * 4
    overlap = Check("overlap", "failed", "poor", consequence="withheld")
    assert decide([overlap, *calm]).word == "withheld"
    assert decide([overlap, Check("graph_rules", "failed", "broken")]).word == "failed"
    caveat = Check("sensitivity", "inconclusive", "weak", consequence="none", has_power=True)
    assert decide([caveat, *calm], ["small"]).word == "released"
    assert decide([caveat, *calm], ["small"]).caveats[:2] == ("small", "weak")
    assert "not refuted" in decide(calm).caveats[-1]
    assert decide(calm, is_random=True).caveats == ()


@pytest.mark.parametrize(
    ("value", "outcome", "text"),
    [
        (-12.345, "latency_ms", "-12.3 ms"),
        (3 << 20, "peak_memory_bytes", "3 MiB"),
        (0.0111, "accuracy", "0.0111"),
        (math.nan, "x", "undefined"),
    ],
)
def test_numbers_in_reasons_have_the_unit_of_their_outcome(value: float, outcome: str, text: str) -> None:
    assert amount(value, outcome) == text
