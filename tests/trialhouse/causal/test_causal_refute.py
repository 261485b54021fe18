"""Recipes, sensitivity and the rules of the verdict, against the libraries that they come from."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from dowhy.causal_estimator import CausalEstimate
from dowhy.causal_estimators.linear_regression_estimator import LinearRegressionEstimator
from dowhy.causal_refuters.linear_sensitivity_analyzer import LinearSensitivityAnalyzer

from trialhouse.causal.checks.always import recipe_agreement, repeated_units
from trialhouse.causal.checks.sensitivity import benchmarks, robustness_value
from trialhouse.causal.identify import identify
from trialhouse.causal.inference import least_squares
from trialhouse.causal.model import causal_model, read_graph
from trialhouse.causal.nuisances import FAMILIES, check_families, second_degree
from trialhouse.causal.recipes import RECIPES, check_recipes, fit_recipe
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.sample import Sample, amount, make_sample
from trialhouse.causal.verdict import Check, decide, holm
from trialhouse.errors import EstimationError

GRAPH = read_graph("digraph { w -> t; w -> y; v -> y; v -> t; t -> y }", "g.dot")


@pytest.fixture(scope="module")
def sample() -> Sample:
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(2, 80))
    t = (rng.random(80) < 1 / (1 + np.exp(-w - 0.5 * v))).astype(float)
    frame = pd.DataFrame({"w": w, "v": v, "t": t, "y": 0.5 * t + w + 0.3 * v + rng.normal(size=80)})
    return make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=["v", "w"])


def dowhys_own(sample: Sample) -> CausalEstimate:
    identification = identify(causal_model(sample.frame, GRAPH, "t", "y"), GRAPH, treatment="t", outcome="y")
    estimand = identification.estimand
    estimand.set_identifier_method("backdoor")
    estimand.set_adjustment_set(list(sample.encoded.columns), "backdoor")  # in this order
    estimator = LinearRegressionEstimator(estimand)
    estimator.fit(sample.numbers)
    own = estimator.estimate_effect(sample.numbers, treatment_value=1, control_value=0, target_units="ate")
    own.add_estimator(estimator)
    return own


def test_least_squares_is_dowhys_linear_regression(sample: Sample) -> None:
    found = fit_recipe("adjusted_linear", sample)
    assert found.inference.estimate == pytest.approx(dowhys_own(sample).value, rel=1e-9)
    assert found.partialled is not None
    assert found.partialled.slope == pytest.approx(found.inference.estimate, rel=1e-9)


def test_a_span_multiplies_effect_and_interval(sample: Sample) -> None:
    one, ten = (fit_recipe("adjusted_linear", sample, span=span).inference for span in (1.0, 10.0))
    assert (ten.estimate, ten.ci_low, ten.ci_high) == pytest.approx((10 * one.estimate, 10 * one.ci_low, 10 * one.ci_high))


def test_sensitivity_is_that_of_dowhy(sample: Sample) -> None:
    found, own = fit_recipe("adjusted_linear", sample), dowhys_own(sample)
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


def test_double_ml_is_the_median_of_linear_dml(sample: Sample) -> None:
    from econml.dml import LinearDML
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import KFold

    ours = fit_recipe("double_ml", sample, seed=11)
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
    found = Fit("adjusted_linear", least_squares(sample.arms, sample.values, sample.matrix))
    assert repeated_units(sample, found, None).verdict == "passed"


def bent(rows: int, seed: int = 0) -> Sample:
    """Confounded by |w|, which no line can take out."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=rows)
    t = np.abs(w) + rng.normal(size=rows)
    frame = pd.DataFrame({"w": w, "t": t, "y": 0.5 * t + np.abs(w) + rng.normal(size=rows)})
    return make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=["w"], is_binary=False)


def test_families_that_can_bend_find_what_a_line_cannot() -> None:
    sample = bent(500)
    line = fit_recipe("adjusted_linear", sample)
    assert line.inference.ci_low > 0.5
    for recipe in ("double_ml", "double_ml_boosting", "double_ml_forest"):
        found = fit_recipe(recipe, sample)
        assert found.inference.ci_low < 0.5 < found.inference.ci_high
        assert min(found.nuisance_r2) > 0.1  # |w| explains .27 and .40
        check = next(recipe_agreement(line, [found]))
        assert (check.verdict, check.consequence) == ("failed", "withheld")
    settings = {"boosting": {"max_iter": 1, "learning_rate": 0.01}}
    stiff = fit_recipe("double_ml_boosting", sample, nuisances=settings)
    assert next(recipe_agreement(line, [stiff])).verdict == "passed"


def test_every_recipe_says_what_it_estimates_and_repeats_bit_by_bit() -> None:
    sample = bent(60)
    for name, recipe in RECIPES.items():
        assert recipe.estimand
        if recipe.needs is None and not recipe.has_effects:
            first, second = (fit_recipe(name, sample, seed=3).inference for _ in range(2))
            assert repr(first) == repr(second)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_recipes(("magic",)), "a recipe must be one of"),
        (lambda: check_families({"magic": {}}), "a nuisance family must be one of"),
        (lambda: check_families({"boosting": {"depth": 3}}), "a setting of boosting must be one of"),
    ],
)
def test_unknown_recipes_and_settings_are_refused(check: Callable[[], None], message: str) -> None:
    with pytest.raises(EstimationError, match=message):
        check()
    check_families({family: {} for family in FAMILIES})


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
