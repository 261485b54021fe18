"""Scores by way of a loss: planted maps that are found again, intervals that carry both steps, refusals, and 46 real benchmarks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.__main__ import app
from trialhouse.errors import ForecastError, LawError, TrialhouseError
from trialhouse.scaling_laws import FORMS, Law, fit_table
from trialhouse.scaling_laws.allocate import allocate
from trialhouse.scaling_laws.cost import flops
from trialhouse.scaling_laws.diagnostics import neighbours, turning
from trialhouse.scaling_laws.fit import DELTA, plain_law
from trialhouse.scaling_laws.forecast import forecast
from trialhouse.scaling_laws.held_out import PRODUCT, held_out
from trialhouse.scaling_laws.sample import LawSample, make_sample
from trialhouse.scaling_laws.support import Change, moves_along
from trialhouse.scaling_laws.two_step import TwoStepLaw, score_map, two_step

GADRE = Path(__file__).parents[4] / "shared" / "data" / "gadre"
BOTH = {"size": "size", "data": "data"}
MAP = {"chance": 0.25, "L0": 2.4, "k": 4.0}
LAW = PLANTED["chinchilla"]


def score_of(loss: np.ndarray) -> np.ndarray:
    return MAP["chance"] + (1 - MAP["chance"]) / (1 + np.exp(MAP["k"] * (loss - MAP["L0"])))


def table(seed: int, noise: float = 0.01) -> pd.DataFrame:
    """A loss by size and data, and a score by the loss; one standard deviation of the score is `noise`."""
    frame = LAW.table(seed).rename(columns={"y": "loss"})
    scatter = np.random.default_rng(seed + 1000).normal(0, noise, len(frame))
    return frame.assign(score=np.clip(score_of(frame["loss"].to_numpy()) + scatter, 0, 1))


def fitted(frame: pd.DataFrame, draws: int = 200, **options: float) -> tuple[Law, TwoStepLaw]:
    law = fit_table(frame, form="chinchilla", outcome="loss", columns=BOTH, draws=draws)
    return law, two_step(law, frame, "score", **options)


@pytest.fixture(scope="module")
def pair() -> tuple[Law, TwoStepLaw]:
    return fitted(table(0))


def test_derivatives_are_those_of_the_curves(pair: tuple[Law, TwoStepLaw]) -> None:
    """Central differences, of the map and of map and law together."""
    alone = score_map(0.9), np.array([[-1.1, 0.9, 1.2], [-4.0, 0.3, 0.1]]), {"n": np.log(np.linspace(1.5, 5, 9))}
    for form, laws, where in (alone, (pair[1].form, pair[1].drawn.coordinates[:5], pair[1].sample.points)):
        slopes = form.curve(laws, where)[1]
        for k in range(len(form.parameters)):
            step = np.zeros(len(form.parameters))
            step[k] = 1e-6
            numeric = (form.curve(laws + step, where)[0] - form.curve(laws - step, where)[0]) / 2e-6
            assert slopes[:, k] == pytest.approx(numeric, abs=1e-7)


def test_the_lower_tail_is_gadres_exponential() -> None:
    """Far above L0 the score is chance + (1 - chance) exp(-k (L - L0)): error = eps - k' exp(-gamma L)."""
    form = score_map().with_fixed({"chance": 0.25})
    loss = np.linspace(4, 6, 5)
    tail = form.curve(form.coordinates({"L0": 2.0, "k": 5.0})[None], {"n": np.log(loss)})[0][0] - 0.25
    assert tail == pytest.approx(0.75 * np.exp(-5 * (loss - 2)), rel=1e-3)


def test_intervals_cover_the_map_and_the_forecast() -> None:
    """Ten studies, 30 parameters of a map and 10 forecasts: at 95% as few as 24 and 7 have chances below 1 in 500."""
    hits, forecasts = [], []
    truth = score_of(np.array([1.8 + 480 / 1e10**0.35 + 2100 / 1e13**0.37]))[0]
    for seed in range(10):
        frame = table(seed)
        sample = make_sample(frame, FORMS["chinchilla"], outcome="loss", columns=BOTH)
        two = two_step(plain_law(FORMS["chinchilla"], sample, DELTA, draws=100), frame, "score")
        assert two.verdict == "released", two.reasons
        hits += [low <= MAP[name] <= high for name, (low, high) in two.intervals.items() if name in MAP]
        after = forecast(two, {"data": Change(10, True)}, at={"size": 1e10, "data": 1e12}).effect.after
        forecasts.append(after.low <= truth <= after.high)
    assert (len(hits), len(forecasts)) == (30, 10)
    assert sum(hits) > 24
    assert sum(forecasts) > 7


def test_both_steps_make_the_interval(pair: tuple[Law, TwoStepLaw]) -> None:
    """Without what is unsure about either step it is narrower."""
    _, two = pair
    width = []
    for still in ([], range(5), range(5, 8)):
        coordinates = two.drawn.coordinates.copy()
        coordinates[:, list(still)] = two.coordinates[list(still)]
        one = replace(two, drawn=replace(two.drawn, coordinates=coordinates))
        after = forecast(one, {"data": Change(10, True)}, at={"size": 1e10, "data": 1e12}, passive=()).effect.after
        width.append(after.high - after.low)
    assert width[0] > 1.05 * max(width[1:])


def test_a_forecast_is_in_units_of_the_score_and_tells_of_losses_beyond(pair: tuple[Law, TwoStepLaw]) -> None:
    _, two = pair
    found = forecast(two, {"data": Change(10, True)}, at={"size": 1e10, "data": 1e12})
    assert "score" in found.sentence
    assert 0.25 < found.effect.before.mean < found.effect.after.mean < 1
    assert set(found.passive) == {"data", PRODUCT}
    assert found.caveats[0].startswith("a loss of 2.03")
    assert "the map to score is drawn beyond" in found.caveats[0]
    inside = forecast(two, {"data": Change(2, True)}, at={"size": 1e8, "data": 1e10})
    assert not any("the map to score" in caveat for caveat in inside.caveats)
    json.dumps(two.to_dict(), allow_nan=False)


def test_it_forecasts_held_out_scores_better_than_one_step_in_the_product() -> None:
    """Where the two steps are how the scores came about."""
    found = held_out(fitted(table(3))[1])
    two, one = (found.score(basis, "extrapolation") for basis in ("causal", PRODUCT))
    assert two is not None
    assert one is not None
    assert two.rmse < 0.7 * one.rmse
    assert two.rmse < 0.03
    assert "the causal forecast is better" in found.sentences["extrapolation"]


def test_what_is_known_of_guessing_and_of_the_best_is_held() -> None:
    frame = table(0).assign(score=lambda frame: frame["score"] * 0.8)
    _, two = fitted(frame, chance=0.2, ceiling=0.8)
    assert "chance" not in two.parameters
    assert dict(two.form.fixed) == {"chance": 0.2}
    low, high = two.intervals["L0"]
    assert low <= MAP["L0"] <= high


def test_trials_without_a_score_serve_the_law_of_the_loss() -> None:
    frame = table(0)
    frame.loc[frame.index[::3], "score"] = np.nan
    law, two = fitted(frame)
    assert (len(law.sample), len(two.sample)) == (49, 32)
    assert two.parameters["alpha"] == law.parameters["alpha"]
    assert len(two.sample.left_out["no score"]) == 17


def test_a_draw_resamples_the_same_trials_for_both_steps(pair: tuple[Law, TwoStepLaw]) -> None:
    """Else an interval of the score would count the scatter of one trial twice, or cancel it."""
    loss, found = pair
    assert loss.drawn is not None
    assert found.drawn is not None
    assert np.array_equal(found.drawn.weights, loss.drawn.weights[:, np.isin(loss.sample.rows, found.sample.rows)])
    assert np.array_equal(found.drawn.coordinates[:, : len(loss.coordinates)], loss.drawn.coordinates)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="score"), "must be one of the table's, got 'score'"),
        (lambda frame: frame.assign(score=frame["score"] * 100), r"must be in \[0, 1\], got .*; rescale it"),
        (lambda frame: frame.assign(score="good"), "must be numbers"),
        (lambda frame: frame.assign(score=frame["score"].where(frame.index < 5)), "at least 6 trials with 'score', got 5"),
        (lambda frame: frame.assign(score=0.25), "must vary, got only 0.25; these trials are all at chance"),
    ],
)
def test_what_is_no_score_is_refused_in_one_line(change: object, said: str, pair: tuple[Law, TwoStepLaw]) -> None:
    with pytest.raises(LawError, match=said):
        two_step(pair[0], change(table(0)), "score")  # type: ignore[operator]


def test_so_are_levels_that_cannot_be_and_a_law_of_a_score(pair: tuple[Law, TwoStepLaw]) -> None:
    law, two = pair
    for options, said in (({"chance": 1.0}, r"must be in \[0, 1\)"), ({"ceiling": 0.0}, r"must be in \(0, 1\]")):
        with pytest.raises(LawError, match=said):
            two_step(law, table(0), "score", **options)
    with pytest.raises(LawError, match="starts from a law of a loss"):
        two_step(two, table(0), "score")
    with pytest.raises(ForecastError, match="ask the law of the loss: a score that rises as a loss falls has the same best split"):
        allocate(two, 1e21, flops(two, 6))


def test_a_score_at_chance_or_that_turns_is_withheld(pair: tuple[Law, TwoStepLaw]) -> None:
    law, frame = pair[0], table(0)
    guessing = 0.25 + np.random.default_rng(0).normal(0, 0.01, len(frame))
    at_chance = two_step(law, frame.assign(score=guessing), "score")
    assert at_chance.verdict == "withheld"
    assert "does not rise as loss falls" in at_chance.reasons[0]
    with pytest.raises(ForecastError, match="does not rise as loss falls"):
        forecast(at_chance, {"data": Change(2, True)})
    middle = frame["loss"].median()
    turned = two_step(law, frame.assign(score=frame["score"].where(frame["loss"] > middle, 0.5 * frame["score"])), "score")
    assert any("goes the other way elsewhere" in reason or "does not rise" in reason for reason in turned.reasons)


def scattered(seed: int, dip: float = 0.0) -> LawSample:
    """108 scores that scatter with heavy tails on their way, hardly at their ends; with a `dip`, lower again at the best losses."""
    rng = np.random.default_rng(seed)
    loss = np.exp(rng.uniform(np.log(0.07), np.log(2.2), 108))
    score = 0.1 + 0.9 / (1 + np.exp(2 * (loss - 1.5)))
    score = np.clip(score - dip * (loss < 0.5) + rng.standard_t(3, 108) * 0.2 * score * (1 - score), 0, 1)
    return LawSample({"n": np.log(loss)}, score, np.arange(108), None, {"n": "loss"}, "score", {})


def test_scores_that_scatter_unequally_do_not_turn_by_chance() -> None:
    """Noise by the median of neighbours called 74% of such tables turned; of 400 drawn, this calls none (95% interval: below 1%)."""
    form = score_map().with_fixed({"chance": 0.1})
    samples = [scattered(seed) for seed in range(40)]
    assert sum(turning(form, one) is not None for one in samples) > 20
    assert sum(turning(form, one, neighbours(form, one)) is not None for one in samples) <= 1
    dips = [scattered(seed, dip=0.3) for seed in range(40)]
    assert sum(turning(form, one, neighbours(form, one)) is not None for one in dips) > 30


def test_few_scores_are_levels_too() -> None:
    """Six rows are four levels; equal losses are neighbours as any."""
    form, log_loss = score_map(), np.log([1.0, 1.0, 2.0, 3.0, 3.0, 4.0])
    sample = LawSample({"n": log_loss}, np.linspace(0.9, 0.3, 6), np.arange(6), None, {"n": "loss"}, "score", {})
    found = neighbours(form, sample)
    assert found.counts.tolist() == [2, 1, 2, 1]
    assert np.isfinite(found.noise).all()
    assert turning(form, sample, found) is None


def test_an_error_is_told_from_a_score_at_chance(pair: tuple[Law, TwoStepLaw]) -> None:
    found = two_step(pair[0], table(0).assign(score=1 - table(0)["score"]), "score")
    assert found.reasons == (
        "score falls as loss falls (rank correlation 0.99): a score rises; if it is an error, ask for what is left to 1",
    )
    assert set(found.map.parameters) <= set(found.not_identified)


def test_a_score_that_the_loss_does_not_tell_all_of_says_so(pair: tuple[Law, TwoStepLaw]) -> None:
    """At equal losses larger networks, which have seen less, score higher: by .03 per factor of ten, of a noise of .01."""
    law, two = pair
    assert not any("at equal loss" in warning for warning in two.warnings)
    frame = table(0)
    found = two_step(law, frame.assign(score=frame["score"] + 0.03 * (np.log10(frame["size"]) - 8.5)), "score")
    said = "at equal loss score goes with size and data, too: loss does not tell all of it, and a forecast takes it to do so"
    assert f"map from loss to score: {said}" in found.warnings


def test_the_loss_is_no_stranger_that_goes_with_a_factor() -> None:
    frame = PLANTED["pure_power_law"].table(0).rename(columns={"y": "loss"})
    frame = frame.assign(score=score_of(frame["loss"].to_numpy() / frame["loss"].median() * 2.4), other=frame["data"] ** 2)
    law = fit_table(frame, form="pure_power_law", outcome="loss", columns={"data": "data"}, draws=100)
    (said,) = moves_along(frame, two_step(law, frame, "score"))
    assert said.startswith("'other' goes with 'data'")


def test_a_held_out_check_needs_places_for_the_law_of_the_loss_alone() -> None:
    """Five places of a law of two parameters and a map of three, the outermost held out."""
    loss = PLANTED["pure_power_law"].table(0).rename(columns={"y": "loss"})
    places = np.unique(loss["data"])[-5:]
    frame = loss[loss["data"].isin(places)].reset_index(drop=True)
    frame = frame.assign(score=score_of(frame["loss"].to_numpy() / frame["loss"].median() * 2.4))
    law = fit_table(frame, form="pure_power_law", outcome="loss", columns={"data": "data"}, draws=100)
    check = held_out(two_step(law, frame, "score"))
    assert check.fitted == 9  # three seeds at three places


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None:
        raise result.exception
    return result.output


def test_the_command_line_answers_in_scores(tmp_path: Path) -> None:
    table(0).to_csv(tmp_path / "runs.csv", index=False)
    usual = (
        "--table",
        tmp_path / "runs.csv",
        "--form",
        "chinchilla",
        "--outcome",
        "loss",
        "--size",
        "size",
        "--data",
        "data",
        "--draws",
        100,
    )
    said = run("fit", *usual, "--score", "score", "--chance", 0.25)
    assert "score = chance + (1 - chance) / (1 + exp(k (L - L0))), L = E + A / N^alpha + B / D^beta" in said
    assert "verdict: released" in said
    said = run("forecast", *usual, "--score", "score", "--do", "data=10x", "--at", "size=1e10,data=1e11", "--held-out")
    assert "score changes by +0.0" in said
    assert "extrapolation: the law misses" in said
    for wrong in (("fit", *usual, "--chance", 0.25), ("fit", "some_study", "--score", "score")):
        with pytest.raises(TrialhouseError, match=r"go with a --score|goes with --table"):
            run(*wrong)


@pytest.mark.skipif(not GADRE.exists(), reason="the benchmarks of Gadre et al. are not on this machine")
def test_gadres_benchmarks() -> None:
    """Language understanding after training on RedPajama: the largest fifth held out, two steps against one (`bounded` in N x D).

    Of all 138 pairs of training set and benchmark, 52 are released. There two steps miss less than that in 75% (by .057 against .107 in
    the median), and less than the best of three one-step observers, known only afterwards, in 56%; their 95% intervals hold 92% of the
    held-out scores, those of one step 67%. In none a score goes with size or tokens at equal loss.
    """
    runs, scores, tasks = (pd.read_csv(GADRE / f"{name}.csv") for name in ("models", "evals", "eval_metadata"))
    scores["uid"] = scores["uid"].str.removeprefix("evaluation_").str.removesuffix("_heavy")
    frame = runs[runs["train_data"] == "rpj"].merge(scores, on="uid").reset_index(drop=True)
    columns = {"size": "params", "data": "tokens"}
    law = fit_table(frame, form="chinchilla", outcome="loss__eval_data_c4_val", columns=columns, draws=200)
    better = []
    for _, task in tasks[tasks["Task Category"] == "language understanding"].iterrows():
        if (column := f"eval.{task['Eval Task']}") not in frame:
            continue
        two = two_step(law, frame, column, chance=float(task["Random baseline"]) / 100)
        if two.verdict == "released":
            check = held_out(two)
            causal, direct = (check.score(basis, "extrapolation") for basis in ("causal", PRODUCT))
            assert causal is not None
            assert direct is not None
            better.append(causal.rmse < direct.rmse)
    assert len(better) >= 4
    assert np.mean(better) >= 0.6
    at_chance = two_step(law, frame, "eval.winogender_mc_male", chance=0.5)
    assert "does not rise as loss__eval_data_c4_val falls" in at_chance.reasons[0]
