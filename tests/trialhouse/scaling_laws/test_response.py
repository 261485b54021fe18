"""An outcome by all factors: planted interactions are found, null ones rarely, and the simplest model that does is chosen."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest

from trialhouse.errors import LawError
from trialhouse.scaling_laws.response import Effect, Response, effects_of, fit_response
from trialhouse.scaling_laws.response_forecasters import Forecaster, fold_groups
from trialhouse.scaling_laws.response_terms import told_by

FACTORS = ("width", "n_train", "method")
SCATTER = 0.02


def crossed(seeds: int = 4) -> pd.DataFrame:
    """Four widths by three amounts of data by two methods, in blocks."""
    levels = product((8, 16, 32, 64), (100, 1000, 10_000), ("plain", "tuned"), range(seeds))
    return pd.DataFrame(list(levels), columns=[*FACTORS, "seed"])


def outcome(
    frame: pd.DataFrame, rng: np.random.Generator, *, interaction: float = 0.0, curvature: float = 0.0, scatter: float = SCATTER
) -> pd.Series[float]:
    """Additive in the logarithms but for what is planted; seeds differ by a constant."""
    width, data = np.log(frame["width"]) - np.log(frame["width"]).mean(), np.log(frame["n_train"]) - np.log(frame["n_train"]).mean()
    log = 1 - 0.2 * width - 0.1 * data - 0.05 * (frame["method"] == "tuned")
    log = log + interaction * width * data + curvature * width**2 + rng.normal(0, 0.03, 100)[frame["seed"]]
    return np.exp(log + rng.normal(0, scatter, len(frame)))


def fitted(frame: pd.DataFrame, **changes: object) -> Response:
    asked = {"outcome": "loss", "factors": FACTORS, "block": "seed", "cluster": "seed"}
    return fit_response(frame, **{**asked, **changes})  # type: ignore[arg-type]


def effect(found: Response, name: str) -> Effect:
    return next(one for one in found.effects if one.term.name == name)


@pytest.fixture(scope="module")
def interacting() -> Response:
    frame = crossed()
    frame["flops"] = frame["width"] ** 2 * frame["n_train"]
    return fitted(frame.assign(loss=outcome(frame, np.random.default_rng(1), interaction=-0.03)), looks_at=["flops"])


def test_a_planted_interaction_is_found_with_its_size(interacting: Response) -> None:
    """Within three standard errors; the largest of the others is no finding after Holm."""
    span = np.log(8) * np.log(100)
    found = effect(interacting, "width x n_train")
    assert abs(found.estimate - -0.03 * span) < 3 * found.standard_error
    assert found.p_adjusted < 0.01
    assert found.low < -0.03 * span < found.high
    assert all(one.p_adjusted > 0.05 for one in interacting.effects if one.term.kind == "interaction" and one is not found)
    # do(width) at either end of the data is its average and half of the interaction less or more: -24% and -43%
    assert found.sentence == "do(width: 8 -> 64) changes loss by -23.9% at n_train 100 and by -42.9% at n_train 10,000"


def test_main_effects_are_averages_over_the_design(interacting: Response) -> None:
    for name, truth in (("width", -0.2 * np.log(8)), ("n_train", -0.1 * np.log(100)), ("method = tuned", -0.05)):
        found = effect(interacting, name)
        assert abs(found.estimate - truth) < 3 * found.standard_error


def test_cross_validation_takes_the_interactions_and_no_squares(interacting: Response) -> None:
    assert interacting.chosen == "interactions"
    errors = {one.name: one.rmse for one in (*interacting.models, *interacting.observers)}
    assert list(errors) == ["additive", "interactions", "curved", "width", "n_train", "flops"]
    # What remains is the scatter of one trial, to within what 96 of them tell (standard error 1 / sqrt(2 n), three of them),
    # and the seeds' constants.
    assert errors["interactions"] == pytest.approx(SCATTER, rel=3 / np.sqrt(2 * 96) + 0.1)
    assert errors["additive"] > 2 * errors["interactions"]
    assert min(one.rmse for one in interacting.observers) > 2 * errors["interactions"]
    assert "(RMSE of log loss); the best passive observer, who looks at flops, misses them by" in interacting.sentence


def test_a_main_effect_is_that_of_the_ends_where_levels_are_uneven() -> None:
    """What bends counts for more on the side of the gap: the contrast from 8 to 128 is of both."""
    frame = crossed().replace({"width": {32: 128, 64: 128}})
    log = np.log(frame["width"])
    own = -0.2 * log + 0.1 * (log - 3) ** 2 - 0.1 * np.log(frame["n_train"]) + np.random.default_rng(7).normal(0, 0.01, len(frame))
    found = effect(fitted(frame.assign(loss=np.exp(own))), "width")
    truth = -0.2 * np.log(16) + 0.1 * ((np.log(128) - 3) ** 2 - (np.log(8) - 3) ** 2)
    assert abs(found.estimate - truth) < 3 * found.standard_error
    assert found.standard_error < 0.01


@pytest.mark.parametrize(("excess", "error", "is_as_good"), [(0.0, 0.0, True), (0.5, 1.0, True), (2.0, 1.0, False)])
def test_the_simplest_model_within_a_standard_error_of_the_best_is_as_good(excess: float, error: float, is_as_good: bool) -> None:
    assert Forecaster("additive", 0.1, excess, error).is_as_good == is_as_good


@pytest.mark.parametrize(("planted", "chosen"), [({}, "additive"), ({"curvature": 0.05}, "curved")])
def test_cross_validation_takes_what_is_there(planted: dict[str, float], chosen: str) -> None:
    frame = crossed()
    found = fitted(frame.assign(loss=outcome(frame, np.random.default_rng(2), **planted)))
    assert found.chosen == chosen
    bend = effect(found, "width squared")
    assert abs(bend.estimate + planted.get("curvature", 0.0) * np.log(8) ** 2 / 4) < 3 * bend.standard_error


@pytest.mark.parametrize("clustered", [False, True])
def test_null_interactions_are_rarely_found(clustered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Share of 200 draws in which any of three is found after Holm's correction: .05 within three binomial standard errors of .0154."""
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels calls it in each correction, which takes longer than the rest
    frame = crossed(seeds=6)
    plan = told_by(frame, FACTORS, {}, "seed")
    clusters = frame["seed"].to_numpy(dtype=np.int64) if clustered else None
    rng = np.random.default_rng(3)
    draws = 200
    found = 0
    for _ in range(draws):
        effects = effects_of(plan, np.log(outcome(frame, rng).to_numpy()), clusters)
        found += min(one.p_adjusted for one in effects if one.term.kind == "interaction") < 0.05
    assert abs(found / draws - 0.05) < 3 * np.sqrt(0.05 * 0.95 / draws)


def test_a_passive_observer_is_misled_where_sizes_go_together() -> None:
    """Larger networks got more data: who looks at width alone gives it what data did; the model that holds data does not."""
    rng = np.random.default_rng(4)
    budget = rng.normal(size=200)
    frame = pd.DataFrame(
        {
            "width": np.exp(3 + 0.8 * budget + rng.normal(0, 0.6, 200)),
            "n_train": np.exp(7 + 1.2 * budget + rng.normal(0, 0.8, 200)),
            "method": rng.choice(["plain", "tuned"], 200),
            "seed": 0,
        }
    )
    found = fitted(frame.assign(loss=outcome(frame, rng)), block=None, cluster=None)
    width = effect(found, "width")
    truth = -0.2 * width.term.span
    assert abs(width.estimate - truth) < 3 * width.standard_error
    assert width.passive["width"] < truth - 10 * width.standard_error
    assert min(one.rmse for one in found.observers) > 3 * max(one.rmse for one in found.models)


def test_aliased_interactions_are_one_term_that_names_them() -> None:
    """A half fraction of four factors (D = ABC): each pair of two is aliased with another."""
    runs = pd.DataFrame([(a, b, c, a * b * c) for a, b, c in product((-1, 1), repeat=3)], columns=["a", "b", "c", "d"])
    frame = pd.concat([2.0**runs] * 2, ignore_index=True)
    plan = told_by(frame, ["a", "b", "c", "d"], {}, None)
    assert list(plan.models) == ["additive"]
    assert "7 terms need at least 10 configurations" in plan.not_tried["interactions"]
    assert plan.warnings[0] == "a x d and b x c are aliased: the design tells only their sum"
    assert len(plan.warnings) == 3


@pytest.mark.parametrize(("sign", "word"), [(1, "+"), (-1, "-")])
def test_aliased_interactions_are_named_by_what_the_design_tells(sign: int, word: str) -> None:
    runs = pd.DataFrame(
        [(a, b, c, sign * a * b * c, e) for a, b, c, e in product((-1, 1), (-1, 1), (-1, 1), (-1, 0, 1))], columns=list("abcde")
    )
    plan = told_by(2.0**runs, list("abcde"), {}, None)
    names = [term.name for term in plan.models[plan.largest] if term.kind == "interaction"]
    assert f"a x b {word} c x d" in names
    assert len(names) == 7


def test_an_interaction_that_looks_like_a_main_effect_is_left_out() -> None:
    runs = pd.DataFrame([(a, b, c, a * b) for a, b, c in product((-1, 1), (-1, 1), (-1, 0, 1))], columns=["a", "b", "c", "d"])
    plan = told_by(2.0**runs, ["a", "b", "c", "d"], {}, None)
    assert "a x b is aliased with d: what is said of d assumes that there is no a x b" in plan.warnings
    assert "a x b" not in [term.name for term in plan.models[plan.largest]]


def tied(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(n_train=frame["width"] ** 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.assign(loss=frame["loss"] - 10), "outcome 'loss' must be positive on the scale log"),
        (lambda frame: frame.assign(loss=1.0), "outcome 'loss' must vary"),
        (lambda frame: frame.drop(columns="method"), "column must be one of the table's, got 'method'"),
        (lambda frame: frame[frame["width"] == 8].assign(n_train=1), "at least two factors that vary, got 1"),
        (lambda frame: frame[(frame["width"] < 32) & (frame["n_train"] == 100)], "needs at least 5 configurations, got 4"),
        (tied, "factor 'n_train' must vary freely, got one that goes with 'width' in every trial"),
    ],
)
def test_what_cannot_be_told_is_refused(change: Callable[[pd.DataFrame], pd.DataFrame], said: str) -> None:
    frame = crossed()
    with pytest.raises(LawError, match=said):
        fitted(change(frame.assign(loss=outcome(frame, np.random.default_rng(5)))))


def test_a_score_is_modelled_as_it_is() -> None:
    frame = crossed()
    score = 0.5 + 0.05 * np.log(frame["width"]) + np.random.default_rng(6).normal(0, 0.01, len(frame))
    found = fitted(frame.assign(loss=score), scale="linear")
    width = effect(found, "width")
    assert abs(width.estimate - 0.05 * np.log(8)) < 3 * width.standard_error
    assert abs(width.passive["width"] - width.estimate) < 3 * width.standard_error
    json.dumps(found.to_dict(), allow_nan=False)


def test_folds_keep_configurations_and_their_repeated_units_together() -> None:
    """Ten weights, each measured at two batch sizes: both of one go together. Seeds that every configuration has join nothing."""
    weights = np.repeat(np.arange(10), 2)
    groups = fold_groups(np.arange(20), weights)
    assert len(np.unique(groups)) == 10
    assert (groups[::2] == groups[1::2]).all()
    configuration = np.repeat(np.arange(6), 3)
    assert (fold_groups(configuration, np.tile(np.arange(3), 6)) == configuration).all()
