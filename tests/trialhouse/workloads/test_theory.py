"""Learners whose rates theory gives: the slopes of their learning curves, and where theory gives it, the risk itself.

Tolerances are four standard errors over seeds, which are independent.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from trialhouse.errors import WorkloadError
from trialhouse.learning.engine import TimedOutError
from trialhouse.studies.catalogue import load_study, study_files
from trialhouse.studies.spec import Factor
from trialhouse.workloads.theory import Theory, expected_risk, rate

SEEDS = range(6)


def silent(*_: object) -> None: ...


def risks(sizes: list[int], **settings: Any) -> npt.NDArray[np.float64]:
    """Excess risk by seed and n."""
    learner = Theory(settings)
    return np.array(
        [[learner.learn({"n_train": n, "seed": seed}, silent, math.inf).outcomes["excess_risk"] for n in sizes] for seed in SEEDS]
    )


@pytest.mark.parametrize(
    ("learner", "dimension", "smoothness", "exponent"),
    [
        ("nearest_neighbour", 1, 1.0, 2),
        ("nearest_neighbour", 2, 1.0, 1),
        ("nearest_neighbour", 4, 1.0, 1 / 2),
        ("kernel_smoother", 1, 1.0, 2 / 3),
        ("kernel_smoother", 1, 1.5, 3 / 4),
        ("kernel_smoother", 2, 1.0, 1 / 2),
        ("least_squares", 8, 1.0, 1),
        ("online_sgd", 8, 1.0, 1),
    ],
)
def test_the_learning_curve_has_the_exponent_of_theory(learner: str, dimension: int, smoothness: float, exponent: float) -> None:
    settings = {"learner": learner, "dimension": dimension, "smoothness": smoothness, "repetitions": 8}
    assert rate(Theory(settings).settings) == pytest.approx(exponent)
    sizes = [250, 1000, 4000]
    slopes = np.polyfit(np.log(sizes), np.log(risks(sizes, **settings)).T, 1)[0]
    error = slopes.std(ddof=1) / math.sqrt(len(slopes))
    assert error < 0.06
    assert -slopes.mean() == pytest.approx(exponent, abs=4 * error)


def by_formula(n: int, **settings: Any) -> float:
    """The formula's risk."""
    risk = expected_risk(Theory({**settings, "n_train": n}).settings)
    assert risk is not None
    return risk


def check(found: npt.NDArray[np.float64], expected: float) -> None:
    error = found.std(ddof=1) / math.sqrt(found.size)
    assert error < 0.1 * expected
    assert found.mean() == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize(("n", "dimension"), [(100, 1), (2000, 1), (2000, 2), (30, 3), (100, 4), (2000, 4)])
def test_the_risk_of_the_nearest_neighbour_is_that_of_the_formula_at_few_examples_too(n: int, dimension: int) -> None:
    settings = {"learner": "nearest_neighbour", "dimension": dimension, "repetitions": 16}
    check(risks([n], **settings), by_formula(n, **settings))


def test_the_risk_of_the_nearest_neighbour_tends_to_half_the_squared_distance_to_it() -> None:
    ball, n = math.pi**2 / 2, 10_000_000  # in four dimensions, where it takes longest
    squared_distance = math.gamma(1 + 2 / 4) * (n * ball) ** (-2 / 4)
    # the mean squared slope in the neighbour's direction is 1 / (2 d)
    assert by_formula(n, learner="nearest_neighbour", dimension=4) == pytest.approx(squared_distance / 8, rel=0.01)


@pytest.mark.parametrize(
    ("learner", "slopes"),
    [
        ("nearest_neighbour", [1.994, 0.995, 0.657, 0.484]),
        ("least_squares", [1.004, 1.006, 1.008, 1.010]),
        ("online_sgd", [1.032, 1.030, 1.031, 1.033]),
    ],
)
def test_the_slopes_that_theory_rates_documents_are_those_of_the_formulas(learner: str, slopes: list[float]) -> None:
    study = load_study("theory_rates")
    sizes = [float(level) for level in study.factor("n_train").levels]
    for dimension, slope in zip(study.factor("dimension").levels, slopes, strict=True):
        there = [by_formula(int(n), learner=learner, dimension=dimension) for n in sizes]
        assert -np.polyfit(np.log(sizes), np.log(there), 1)[0] == pytest.approx(slope, abs=5e-4)
    assert f"{learner} {', '.join(f'{slope:.3f}' for slope in slopes)}" in study_files()["theory_rates"].read_text()


def test_noise_is_a_floor_of_the_nearest_neighbour() -> None:
    check(risks([2000], learner="nearest_neighbour", dimension=1, noise=0.5, repetitions=4), 0.25)


def test_the_risk_of_least_squares_is_exact() -> None:
    settings = {"learner": "least_squares", "dimension": 5, "noise": 2.0, "repetitions": 200}
    assert by_formula(60, **settings) == pytest.approx(4 * 5 / (60 - 5 - 1))
    check(risks([60], **settings), by_formula(60, **settings))


def test_the_risk_of_online_sgd_is_that_of_its_recursion() -> None:
    settings = {"learner": "online_sgd", "dimension": 5, "repetitions": 100}
    check(risks([200], **settings), by_formula(200, **settings))


def test_a_trial_is_a_function_of_its_factors() -> None:
    learner = Theory({"repetitions": 2})
    first, again = (learner.learn({"seed": 3, "n_train": 50}, silent, math.inf) for _ in range(2))
    assert {**first.outcomes, "training_s": 0} == {**again.outcomes, "training_s": 0}
    assert set(first.outcomes) == Theory.outcomes
    assert first.outcomes["log10_excess_risk"] == pytest.approx(math.log10(first.outcomes["excess_risk"]))
    assert first.outcomes["training_flops"] == learner.plan({"seed": 3, "n_train": 50}).training_flops
    assert first.outcomes["excess_risk"] != learner.learn({"seed": 4, "n_train": 50}, silent, math.inf).outcomes["excess_risk"]


def test_a_trial_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(TimedOutError):
        Theory({"n_train": 1000, "repetitions": 10_000}).learn({}, silent, 0.01)


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        ("colour", (1, 2), "factors of workload 'theory' must be among its settings"),
        ("smoothness", (1, 2), "setting 'smoothness' of workload 'theory': input should be less than 2, got 2"),
    ],
)
def test_what_cannot_be_learned_is_one_line(name: str, levels: tuple[int, ...], message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        Theory({}).check([Factor(name=name, kind="ordinal", levels=levels)])
    assert message in str(caught.value)


def test_fewer_examples_than_coefficients_are_refused_before_anything_runs() -> None:
    with pytest.raises(WorkloadError, match="n_train of least squares must be at least dimension"):
        Theory({"dimension": 50}).plan({"n_train": 51})
