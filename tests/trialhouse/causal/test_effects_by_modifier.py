"""Effects by modifiers, where the truth is a line or a step: effects found, and what each recipe refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from threadpoolctl import threadpool_limits

from trialhouse.causal.inference import least_squares
from trialhouse.causal.recipes.by_modifier import ESTIMANDS, RECIPES, effects_by
from trialhouse.causal.recipes.forests import causal_forest
from trialhouse.causal.recipes.heterogeneity import average_of, group_effects, linear_dml, linear_dr
from trialhouse.causal.recipes.meta_learners import meta_learner
from trialhouse.causal.recipes.modifiers import modifiers_of
from trialhouse.causal.sample import Sample, make_sample
from trialhouse.errors import EstimationError

SMALL_FOREST = {"n_estimators": 40}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the engine."""
    with threadpool_limits(1):
        yield


def draw(rows: int = 500, seed: int = 0, *, shape: str = "line", is_binary: bool = True, units: bool = False) -> Sample:
    """Effects .5 + .5 x, or 0 below and 1 above x = 0; treatment and outcome both rise with x and w. The average effect is .5."""
    rng = np.random.default_rng(seed)
    x, w = rng.uniform(-1, 1, rows), rng.normal(size=rows)
    effects = 0.5 + 0.5 * x if shape == "line" else (x > 0).astype(float)
    push = 0.8 * w + 0.8 * x
    t = (rng.random(rows) < expit(push)).astype(float) if is_binary else push + rng.normal(size=rows)
    frame = pd.DataFrame({"x": x, "w": w, "t": t, "y": effects * t + w + x + rng.normal(size=rows)})
    frame["device"] = np.where(x > 0, "server", "laptop")
    frame["unit"] = np.arange(rows) // 4
    cluster = "unit" if units else None
    return make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=["w", "x"], cluster=cluster, is_binary=is_binary)


def errors_off(effects: pd.DataFrame, truth: np.ndarray) -> np.ndarray:
    """Distance from the truth in standard errors, from intervals of 1.96 of them."""
    return np.abs((effects["effect"] - truth) / ((effects["ci_high"] - effects["ci_low"]) / 3.92)).to_numpy()


@pytest.mark.parametrize("recipe", [linear_dr, linear_dml])
def test_a_line_is_found_where_adjustment_for_nothing_is_wrong(recipe: object) -> None:
    """Five effects and the average within four standard errors; adjustment for nothing is beyond."""
    sample = draw()
    fit = recipe(sample, ["x"], repeats=2)  # type: ignore[operator]
    assert (errors_off(fit.effects, 0.5 + 0.5 * fit.effects["x"]) < 4).all()
    assert abs(fit.inference.estimate - 0.5) < 4 * fit.inference.standard_error
    assert fit.effects["effect"].is_monotonic_increasing
    assert fit.effects["n"].sum() == 500
    nothing = make_sample(sample.frame, treatment="t", outcome="y", arms=sample.frame["t"], covariates=[])
    naive = least_squares(nothing.arms, nothing.values, nothing.matrix)
    assert abs(naive.estimate - 0.5) > 4 * naive.standard_error


def test_the_average_is_right_though_the_model_says_that_there_is_no_effect() -> None:
    rng = np.random.default_rng(4)
    sample = draw(2_000)
    known = expit(0.8 * sample.frame["w"] + 0.8 * sample.frame["x"]).to_numpy()
    residual = 0.5 * (sample.arms - known) + rng.normal(size=2_000)
    average = average_of(sample, np.zeros(2_000), sample.arms - known, residual)
    assert abs(average.estimate - 0.5) < 4 * average.standard_error < 0.5


def test_a_quantity_has_a_line_too() -> None:
    fit = linear_dml(draw(is_binary=False), ["x"], repeats=2)
    assert (errors_off(fit.effects, 0.5 + 0.5 * fit.effects["x"]) < 4).all()
    assert abs(fit.inference.estimate - 0.5) < 4 * fit.inference.standard_error
    assert "two arms" in str(linear_dr(draw(is_binary=False), ["x"]).inference.note)


def test_groups_and_a_forest_find_a_step_that_a_line_misses() -> None:
    """Far from the step, where a line overshoots: x near -.25 and .25."""
    sample = draw(1_000, shape="step")
    near = pd.DataFrame({"x": [-0.25, 0.25]})
    truth = np.array([0.0, 1.0])
    line = linear_dr(sample, ["x"], at=near, repeats=1)
    assert (errors_off(line.effects, truth) > 2.5).all()
    assert (errors_off(causal_forest(sample, ["x"], at=near, forest=SMALL_FOREST).effects, truth) < 4).all()
    groups = group_effects(sample, ["device"], repeats=1)
    assert groups.effects["device"].tolist() == ["laptop", "server"]
    assert (errors_off(groups.effects, truth) < 4).all()
    # Scores of the groups are those of the line: their average is the same number.
    assert groups.inference.estimate == pytest.approx(linear_dr(sample, ["device"], repeats=1).inference.estimate)


def test_errors_allow_for_repeated_units() -> None:
    frame = draw(200).frame
    many = pd.concat([frame.assign(unit=np.arange(200))] * 4, ignore_index=True)
    names = {"treatment": "t", "outcome": "y", "arms": many["t"], "covariates": ["w", "x"]}
    clustered, taken_for_new = make_sample(many, **names, cluster="unit"), make_sample(many, **names)
    for recipe in (linear_dr, linear_dml):
        wide, narrow = (recipe(sample, ["x"], repeats=1).effects for sample in (clustered, taken_for_new))
        # Four copies of each row: errors twice as large, but for the splits.
        assert ((wide["ci_high"] - wide["ci_low"]) > 1.5 * (narrow["ci_high"] - narrow["ci_low"])).all()
    forest = causal_forest(clustered, ["x"], forest=SMALL_FOREST)
    assert forest.effects["ci_low"].isna().all()
    assert forest.effects["effect"].notna().all()
    assert any("repeated units" in caveat for caveat in forest.caveats)
    assert forest.inference.clusters == 200


@pytest.mark.parametrize("kind", ["s", "t", "x", "dr"])
def test_meta_learners_give_points_only(kind: str) -> None:
    fit = meta_learner(draw(400, shape="step"), ["device"], kind=kind)
    assert fit.effects["ci_low"].isna().all()
    assert fit.effects.loc[1, "effect"] > fit.effects.loc[0, "effect"]
    assert "no errors" in str(fit.inference.note)
    assert fit.effects.equals(meta_learner(draw(400, shape="step"), ["device"], kind=kind).effects)


def test_bootstrap_intervals_are_labelled() -> None:
    fit = meta_learner(draw(240, units=True), ["device"], kind="t", bootstrap=12)
    assert (fit.effects["ci_low"] < fit.effects["ci_high"]).all()
    assert any("leave out the learners' bias" in caveat for caveat in fit.caveats)


@pytest.mark.parametrize("recipe", ["causal_forest", "t_learner", "x_learner", "s_learner", "dr_learner"])
def test_what_is_not_calibrated_in_small_samples_is_refused(recipe: str) -> None:
    with pytest.raises(EstimationError, match=r"at least .* trials, not 36"):
        effects_by(draw(36), ["x"], recipe)
    assert RECIPES[recipe](draw(36), ["x"]).effects is None


def test_lines_need_rows_or_units_for_their_coefficients() -> None:
    assert not linear_dr(draw(36), ["x"], repeats=1).inference.note
    with pytest.raises(EstimationError, match="need at least 20 trials, not 18"):
        effects_by(draw(18), ["x"])
    with pytest.raises(EstimationError, match="need at least 20 repeated units, not 15"):
        effects_by(draw(60, units=True), ["x"])


def test_the_same_seed_gives_the_same_bits_and_every_recipe_says_what_it_estimates() -> None:
    sample = draw(60)
    pd.testing.assert_frame_equal(effects_by(sample, ["x"], seed=1), effects_by(sample, ["x"], seed=1))
    assert set(RECIPES) == set(ESTIMANDS)
    with pytest.raises(EstimationError, match="recipe must be one of"):
        effects_by(sample, ["x"], "magic")


def test_rows_are_levels_and_fifths_and_their_combinations() -> None:
    sample = draw(100)
    seen = modifiers_of(sample, ["device", "x"])
    # Two devices split x at 0: the five fifths of x meet both devices in one of them at most.
    assert set(seen.rows["device"]) == {"laptop", "server"}
    assert 5 <= len(seen.rows) <= 6
    assert seen.trials.sum() == 100
    assert modifiers_of(sample, ["x"]).trials.tolist() == [20] * 5
    medians = [np.median(part) for part in np.array_split(np.sort(sample.frame["x"]), 5)]
    assert modifiers_of(sample, ["x"]).rows["x"].tolist() == pytest.approx(medians)


def test_beyond_what_was_seen_there_is_no_effect() -> None:
    sample = draw(200)
    at = pd.DataFrame({"x": [-0.95, -0.85, 0.0, 7.0]})
    effects = linear_dr(sample, ["x"], at=at, repeats=1).effects
    assert effects["n"].tolist() == [40, 40, 40, 0]
    assert effects["effect"].notna().tolist() == [True, True, True, False]
    groups = group_effects(sample, ["x"], at=at, repeats=1).effects
    assert groups.loc[0, "effect"] == groups.loc[1, "effect"]  # both lie in the lowest fifth
    assert math.isnan(groups.loc[3, "effect"])


def test_a_number_that_is_a_category_among_the_covariates_is_one_among_the_modifiers() -> None:
    frame = draw(90).frame.assign(code=np.arange(90) % 9)
    named = {"treatment": "t", "outcome": "y", "arms": frame["t"], "covariates": ["x", "code"]}
    assert len(modifiers_of(make_sample(frame, **named), ["code"]).rows) == 5
    assert modifiers_of(make_sample(frame, **named, categorical=["code"]), ["code"]).rows["code"].tolist() == list(range(9))


@pytest.mark.parametrize("recipe", [linear_dr, linear_dml])
def test_blocks_that_are_adjusted_for_are_taken_out_where_they_are_balanced(recipe: object) -> None:
    rng = np.random.default_rng(3)
    block = np.repeat(np.arange(24), 8)
    x, t = np.tile(np.repeat([0.0, 1.0], 4), 24), np.tile([0.0, 1.0], 96)
    y = (1 + x) * t + 5 * rng.normal(size=24)[block] + 0.3 * rng.normal(size=192)
    frame = pd.DataFrame({"x": x, "t": t, "y": y, "block": block.astype(str)})
    names = {"treatment": "t", "outcome": "y", "covariates": ["x", "block"], "cluster": "block"}
    fit = recipe(make_sample(frame, arms=frame["t"], **names), ["x"], repeats=1)  # type: ignore[operator]
    assert (errors_off(fit.effects, np.array([1.0, 2.0])) < 4).all()
    # Blocks differ with a standard deviation of 5; within one, four trials a side leave .3 sqrt(2 / 96) = .04.
    assert ((fit.effects["ci_high"] - fit.effects["ci_low"]) < 0.4).all()
    frame.loc[0, "t"] = 1.0
    assert "repeated units" in str(recipe(make_sample(frame, arms=frame["t"], **names), ["x"]).inference.note)  # type: ignore[operator]


def test_modifiers_are_checked() -> None:
    sample = draw(60)
    for names, expected in (
        ([], "at least one modifier"),
        (["colour"], "must have the column 'colour'"),
        (["t"], "neither treatment nor outcome"),
    ):
        with pytest.raises(EstimationError, match=expected):
            modifiers_of(sample, names)
    sample.frame["constant"] = 1
    with pytest.raises(EstimationError, match="must vary"):
        modifiers_of(sample, ["constant"])
    sample.frame.loc[0, "x"] = math.nan
    with pytest.raises(EstimationError, match="no missing values"):
        modifiers_of(sample, ["x"])
    with pytest.raises(EstimationError, match="'phone'"):
        modifiers_of(draw(60), ["device"], pd.DataFrame({"device": ["phone"]}))
