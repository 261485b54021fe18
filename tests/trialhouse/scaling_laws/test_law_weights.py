"""Rows that are not equally exact: weights do what weighted regression does, and only their ratios matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.errors import LawError
from trialhouse.scaling_laws import Law, fit_table

TRIALS = np.array([1.0, 4, 9, 16])


@pytest.fixture
def means() -> pd.DataFrame:
    """Rows that are the means of so many trials."""
    return means_of(np.random.default_rng(3))


def means_of(rng: np.random.Generator, levels: int = 12) -> pd.DataFrame:
    frame = pd.DataFrame({"data": np.repeat(np.geomspace(1e2, 1e6, levels), 4), "trials": np.tile(TRIALS, levels)})
    return frame.assign(y=np.exp(2 - 0.25 * np.log(frame["data"]) + rng.normal(0, 0.1, len(frame)) / np.sqrt(frame["trials"])))


def fitted(
    frame: pd.DataFrame, weight: str | None = "trials", *, delta: float = 10.0, draws: int = 2000, form: str = "pure_power_law"
) -> Law:
    columns = {"data": "data"}
    return fit_table(frame, form=form, outcome="y", columns=columns, weight=weight, delta=delta, draws=draws, keep_transient=True)


def test_a_weighted_law_is_a_weighted_regression(means: pd.DataFrame) -> None:
    """Intervals within 6%: the dispersion is a mean over 2,000 draws, sure to about 3%."""
    roots = np.sqrt(means["trials"].to_numpy())
    design = np.column_stack([np.ones(len(means)), -np.log(means["data"])]) * roots[:, None]
    target = np.log(means["y"].to_numpy()) * roots
    inverse = np.linalg.inv(design.T @ design)
    estimate = inverse @ design.T @ target
    residuals = target - design @ estimate
    law = fitted(means)
    assert law.parameters["beta"] == pytest.approx(estimate[1], rel=1e-6)
    influence = (inverse @ design.T)[1] ** 2
    carriers = influence.sum() ** 2 / (influence**2).sum()
    robust = np.sqrt(influence @ residuals**2 * len(means) / (len(means) - 2))
    error = max(robust, np.sqrt(residuals @ residuals / (len(means) - 2) * inverse[1, 1]))
    low, high = law.intervals["beta"]
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, min(len(means) - 2, carriers - 1)) * error, rel=0.06)


def test_only_ratios_matter_and_equal_weights_are_none(means: pd.DataFrame) -> None:
    first, second = fitted(means, draws=100), fitted(means.assign(trials=7 * means["trials"]), draws=100)
    assert second.parameters == pytest.approx(first.parameters)
    assert second.intervals["beta"] == pytest.approx(first.intervals["beta"])
    alike, none = fitted(means.assign(trials=3), draws=100), fitted(means, weight=None, draws=100)
    assert (alike.parameters, alike.intervals) == (none.parameters, none.intervals)


def test_a_row_of_weight_three_pulls_as_three_rows_do(means: pd.DataFrame) -> None:
    heavy = means.assign(trials=np.where(np.arange(len(means)) % 5, 1, 3))
    copied = heavy.loc[heavy.index.repeat(heavy["trials"])]
    assert fitted(heavy, delta=1e-3, draws=100).parameters == pytest.approx(
        fitted(copied, None, delta=1e-3, draws=100).parameters, rel=1e-6
    )


def test_weights_make_intervals_short_that_still_cover() -> None:
    """Of 100 tables 95 cover, give or take 3 standard errors of 2.2; without weights intervals are 1.5 times as wide or more."""
    rng = np.random.default_rng(5)
    laws = [(fitted(frame, draws=200), fitted(frame, None, draws=200)) for frame in (means_of(rng) for _ in range(100))]
    widths = np.array([[np.diff(law.intervals["beta"])[0] for law in pair] for pair in laws])
    assert sum(law.intervals["beta"][0] <= 0.25 <= law.intervals["beta"][1] for law, _ in laws) >= 95 - 3 * 2.2
    assert np.median(widths[:, 1] / widths[:, 0]) > 1.5


def test_forms_are_chosen_and_small_trials_left_out_with_weights() -> None:
    """Rows of next to no weight are as good as not there."""
    frame = PLANTED["power_law"].table(0).assign(trials=1.0)
    wrong = frame.iloc[::4].assign(y=lambda rows: rows["y"] * 3, trials=1e-6)
    both = pd.concat([frame, wrong])
    law = fit_table(both, form="auto", outcome="y", columns={"data": "data"}, weight="trials", draws=100)
    assert law.form.name == "power_law"
    alone = fit_table(frame, form="power_law", outcome="y", columns={"data": "data"}, draws=100)
    assert law.parameters == pytest.approx(alone.parameters, rel=1e-3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (0.0, r"weights in column 'trials' must be positive numbers, got 48 of 48 rows without"),
        (np.nan, "must be positive numbers"),
        ("many", "column 'trials' must be numbers"),
    ],
)
def test_weights_that_are_none_are_refused(means: pd.DataFrame, values: object, said: str) -> None:
    with pytest.raises(LawError, match=said):
        fitted(means.assign(trials=values))
