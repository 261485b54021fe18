"""Rows that are not equally exact: weights do what weighted regression does, and only their ratios matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.errors import LawError
from trialhouse.scaling_laws import FORMS, Law, fit_table
from trialhouse.scaling_laws.choice import choose
from trialhouse.scaling_laws.diagnostics import transient
from trialhouse.scaling_laws.intervals import degrees_of_freedom
from trialhouse.scaling_laws.sample import LawSample, make_sample
from trialhouse.scaling_laws.search import _loss_and_gradient, ranked_starts
from trialhouse.scaling_laws.solver import objective
from trialhouse.scaling_laws.two_step import two_step

TRIALS = np.array([1.0, 4, 9, 16])


@pytest.fixture
def means() -> pd.DataFrame:
    """Rows that are the means of so many trials."""
    return means_of(np.random.default_rng(3))


def means_of(rng: np.random.Generator, levels: int = 12) -> pd.DataFrame:
    frame = pd.DataFrame({"data": np.repeat(np.geomspace(1e2, 1e6, levels), 4), "trials": np.tile(TRIALS, levels)})
    return frame.assign(y=np.exp(2 - 0.25 * np.log(frame["data"]) + rng.normal(0, 0.1, len(frame)) / np.sqrt(frame["trials"])))


def fitted(
    frame: pd.DataFrame, weight: str | None = "trials", *, form: str = "pure_power_law", delta: float = 10.0, draws: int = 2000
) -> Law:
    columns = {"data": "data"}
    return fit_table(frame, form=form, outcome="y", columns=columns, weight=weight, delta=delta, draws=draws, keep_transient=True)


def sampled(frame: pd.DataFrame) -> LawSample:
    return make_sample(frame, FORMS["power_law"], outcome="y", columns={"data": "data"}, weight="trials")


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
    assert degrees_of_freedom(law.form, law.sample, law.coordinates)[1] == pytest.approx(carriers - 1, rel=1e-3)
    robust = np.sqrt(influence @ residuals**2 * len(means) / (len(means) - 2))
    error = max(robust, np.sqrt(residuals @ residuals / (len(means) - 2) * inverse[1, 1]))
    low, high = law.intervals["beta"]
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, min(len(means) - 2, carriers - 1)) * error, rel=0.06)


def test_only_ratios_matter_and_equal_weights_are_none(means: pd.DataFrame) -> None:
    first, second = fitted(means, draws=100), fitted(means.assign(trials=7 * means["trials"]), draws=100)
    assert second.parameters == pytest.approx(first.parameters)
    assert second.objective == pytest.approx(first.objective)
    assert second.intervals["beta"] == pytest.approx(first.intervals["beta"])
    alike, none = fitted(means.assign(trials=3), draws=100), fitted(means, weight=None, draws=100)
    assert (alike.parameters, alike.intervals) == (none.parameters, none.intervals)


def test_a_row_of_weight_three_pulls_as_three_rows_do(means: pd.DataFrame) -> None:
    heavy = means.assign(trials=np.where(np.arange(len(means)) % 5, 1, 3))
    copied = heavy.loc[heavy.index.repeat(heavy["trials"])]
    first, second = fitted(heavy, delta=1e-3, draws=100), fitted(copied, None, delta=1e-3, draws=100)
    assert first.parameters == pytest.approx(second.parameters, rel=1e-6)
    stop = first.search["mean_scaled_stop"]
    there, sample = first.form.coordinates(stop["parameters"])[None], first.sample
    loss = objective(first.form, there, sample.points, np.log(sample.outcome), 1e-3, sample.weights)
    assert stop["objective"] == pytest.approx(loss[0], rel=1e-6), "it is told beside the lowest, of the same loss"


def test_starts_are_ranked_by_the_weighted_loss(spoilt: pd.DataFrame) -> None:
    form, sample = FORMS["power_law"], sampled(spoilt)
    starts = ranked_starts(form, sample.points, sample.outcome, 1e-3, weights=sample.weights)
    losses = objective(form, starts, sample.points, np.log(sample.outcome), 1e-3, sample.weights)
    assert (np.diff(losses) >= 0).all()
    alike = objective(form, starts, sample.points, np.log(sample.outcome), 1e-3)
    assert (np.diff(alike) < 0).any(), "without weights they would be in another order"


def test_the_gradient_is_that_of_the_weighted_loss(spoilt: pd.DataFrame) -> None:
    form, sample = FORMS["power_law"], sampled(spoilt)
    at = form.coordinates({"E": 0.4, "A": 15, "beta": 0.35})
    given = (form, sample.points, np.log(sample.outcome), 0.5, sample.weights, 1.0)
    loss, gradient = _loss_and_gradient(at, *given)
    assert loss == pytest.approx(objective(form, at[None], sample.points, np.log(sample.outcome), 0.5, sample.weights)[0])
    moved = [[_loss_and_gradient(at + side * 1e-5 * one, *given)[0] for side in (1, -1)] for one in np.eye(3)]
    assert gradient == pytest.approx(np.array([(up - down) / 2e-5 for up, down in moved]), rel=1e-4)


def test_a_map_to_a_score_is_that_of_the_rows_that_count() -> None:
    law = PLANTED["chinchilla"]
    frame = law.table(0).assign(trials=1.0)
    chance = np.random.default_rng(0)
    frame = frame.assign(score=0.5 + 0.5 / (1 + np.exp(2 * (frame["y"] - 2.5))) + chance.normal(0, 0.01, len(frame)))
    wrong = frame.assign(score=0.55, trials=1e-6)
    maps = []
    for rows in (frame, pd.concat([frame, wrong, wrong], ignore_index=True)):
        loss = fit_table(rows, form="chinchilla", outcome="y", columns=law.columns, weight="trials", draws=100)
        maps.append(two_step(loss, rows, "score", chance=0.5).map)
    assert maps[1].parameters == pytest.approx(maps[0].parameters, rel=1e-3)


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


@pytest.fixture
def clean() -> pd.DataFrame:
    """A power law whose four smallest levels are not on it yet."""
    frame = PLANTED["power_law"].table(0).assign(trials=1.0)
    return frame.assign(y=np.where(frame["data"] < frame["data"].unique()[4], 0.7 * frame["y"], frame["y"]))


@pytest.fixture
def spoilt(clean: pd.DataFrame) -> pd.DataFrame:
    """With twice as many rows of another curve and of next to no weight, which should be as good as not there."""
    other = clean.assign(y=1 + 3 * np.exp(-clean["data"] / 2e4), trials=1e-6)
    return pd.concat([clean, other, other.assign(y=1.01 * other["y"])], ignore_index=True)


def test_forms_are_chosen_with_weights(clean: pd.DataFrame, spoilt: pd.DataFrame) -> None:
    forms = [FORMS[name] for name in ("power_law", "exponential", "pure_power_law")]
    alone, both = (choose(forms, sampled(frame), delta=1e-3, draws=50).candidates for frame in (clean, spoilt))
    assert [one.form.name for one in both] == [one.form.name for one in alone]
    assert [one.error for one in both] == pytest.approx([one.error for one in alone], rel=1e-3)


def test_small_trials_are_left_out_with_weights(clean: pd.DataFrame, spoilt: pd.DataFrame) -> None:
    alone, both = (transient(FORMS["power_law"], sampled(frame), 1e-3, 0) for frame in (clean, spoilt))
    assert alone.points["n"].min() > np.log(clean["data"].unique()[3])
    assert both.points["n"].min() == alone.points["n"].min()


def test_a_law_is_that_of_the_rows_that_count(clean: pd.DataFrame, spoilt: pd.DataFrame) -> None:
    alone, both = (fitted(frame[frame["data"] > 5e3], form="power_law", delta=1e-3, draws=100) for frame in (clean, spoilt))
    assert both.parameters == pytest.approx(alone.parameters, rel=1e-3)
    assert both.refitted(both.sample, draws=50).parameters == pytest.approx(both.parameters, rel=1e-6)
    assert "trials" in both.about, "what goes along with the factors is looked for among other columns"


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
