"""Scores that the laws of a study ask for: the table's numbers, on the study's repeated units, on record, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from tests.benchmarks.planted_laws import PLANTED
from trialhouse import forecasting, laws
from trialhouse.__main__ import app
from trialhouse.errors import ForecastError, LawError, SpecError, TrialhouseError
from trialhouse.landing import LandingZone
from trialhouse.raw_tables import RAW_TABLES
from trialhouse.reporting.fitted import law_lines, law_rows
from trialhouse.scaling_laws import fit_table
from trialhouse.scaling_laws.asked import checks_of, forecast_study, laws_about, rows_of_checks, rows_of_forecast
from trialhouse.scaling_laws.restored import restored_map
from trialhouse.scaling_laws.study import StudyLaw, check_laws, fit_study, rows_by_law, rows_of
from trialhouse.scaling_laws.two_step import TwoStepLaw, two_step
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study
from trialhouse.studies.page import study_page
from trialhouse.studies.spec import Study, one_line

COLUMNS = {"size": "parameters", "data": "n_train"}
ACCURACY = {"outcome": "accuracy", "chance": 0.25}
LAW: dict[str, Any] = {"name": "both", "form": "chinchilla", "outcome": "loss", **COLUMNS, "scores": [ACCURACY]}
DRAWS = 100


def study(**changes: Any) -> Study:
    return Study.model_validate({**load_study("scaling_lenet").content, "laws": [{**LAW, **changes}], "responses": []})


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    """49 places, one trial for each of three seeds, whose losses and scores share something; one trial has no score, one no loss."""
    frames = []
    for seed in range(3):
        frame = PLANTED["chinchilla"].table(seed).rename(columns={"size": "parameters", "data": "n_train", "y": "loss"})
        rng = np.random.default_rng(seed)
        score = 0.25 + 0.75 / (1 + np.exp(4 * (frame["loss"] - 2.4))) + rng.normal(0, 0.01) + rng.normal(0, 0.01, len(frame))
        frames.append(frame.assign(accuracy=np.clip(score, 0, 1), seed=seed))
    frame = pd.concat(frames, ignore_index=True)
    frame.loc[40, "accuracy"] = np.nan
    frame.loc[41, "loss"] = np.nan
    order = np.random.default_rng(0).permutation(len(frame))
    return frame.assign(trial_id=[f"trial_{number:04d}" for number in order], training_flops=frame["parameters"] * frame["n_train"])


@pytest.fixture(scope="module")
def found(trials: pd.DataFrame) -> list[StudyLaw]:
    return fit_study(study(), trials, draws=DRAWS)[0]


@pytest.fixture(scope="module")
def by_hand(trials: pd.DataFrame) -> TwoStepLaw:
    """As `trialhouse fit --table --cluster seed --score accuracy` does it."""
    table = trials[trials["loss"].notna()].sort_values("trial_id").reset_index(drop=True)
    law = fit_table(table, form="chinchilla", outcome="loss", columns=COLUMNS, cluster="seed", draws=DRAWS)
    return two_step(law, table, "accuracy", chance=0.25)


def test_a_score_is_that_of_the_table_on_the_studys_repeated_units(found: list[StudyLaw], by_hand: TwoStepLaw) -> None:
    loss, score = found
    assert (loss.outcome, score.outcome) == ("loss", "accuracy")
    assert isinstance(score.law, TwoStepLaw)
    assert score.law.parameters == by_hand.parameters
    assert score.law.intervals == by_hand.intervals
    assert score.law.map.intervals["L0"] == by_hand.intervals["L0"]
    assert score.law.map.sample.units == 3
    drawn = score.law.map.drawn
    assert drawn is not None
    for unit in range(3):  # whole seeds are drawn
        assert np.ptp(drawn.weights[:, score.law.map.sample.clusters == unit], axis=1).max() == 0
    assert "1 of 146 trials have no accuracy and serve the law of loss alone" in score.law.map.warnings


def test_a_forecast_in_scores_is_that_of_the_table(trials: pd.DataFrame, found: list[StudyLaw], by_hand: TwoStepLaw) -> None:
    (asked,) = forecast_study(study(), trials, found[1:], do=["data=10x"])
    assert asked.found is not None
    ours = forecasting.forecast(by_hand, {"n_train": forecasting.read_changes(["data=10x"], COLUMNS)["n_train"]})
    assert asked.found.effect == ours.effect
    assert asked.found.passive == ours.passive
    assert asked.found.sentence == ours.sentence
    assert "accuracy" in asked.found.sentence
    assert "loss tells accuracy alike, whatever changed it" in asked.found.rests_on["causal"]


def test_without_a_score_it_is_the_loss_that_is_forecast(trials: pd.DataFrame) -> None:
    asked = study(form="pure_power_law", size=None)
    (law,) = laws_about(asked, trials, factors=["data"], draws=DRAWS)
    assert (law.outcome, law.score) == ("loss", None)


def test_forecasts_of_loss_and_score_are_two_on_record(trials: pd.DataFrame, found: list[StudyLaw]) -> None:
    rows = {}
    for law in found:
        (asked,) = forecast_study(study(), trials, [law], do=["data=2x"])
        rows[law.outcome] = [*rows_of_forecast("study_0", "1", asked), *rows_of_checks("study_0", "1", checks_of([law]))]
    assert all({row["outcome"] for row in own} == {outcome} for outcome, own in rows.items())
    assert {row["purpose"] for row in rows["accuracy"]} == {"asked", "interpolation", "extrapolation"}
    ids = [row["forecast_id"] for own in rows.values() for row in own]
    assert len(set(ids)) == len(ids)
    assert all(0 <= row["prediction_low"] <= row["estimate"] <= row["prediction_high"] <= 1 for row in rows["accuracy"])
    forms = {(row["basis"], row["form"]) for row in rows["accuracy"]}
    assert forms == {("causal", "chinchilla and score_map"), ("correlational", "bounded")}
    assert set(rows["accuracy"][0]) <= set(RAW_TABLES["forecasts"])


def test_rows_of_a_map_fit_the_raw_table(found: list[StudyLaw]) -> None:
    rows = rows_of("study_0", "1", found, [])
    assert len({row["law_id"] for row in rows}) == len(rows)
    own = [row for row in rows if row["outcome"] == "accuracy"]
    assert [row["quantity"] for row in own] == ["L0", "k"]
    for row in own:
        assert set(row) == set(RAW_TABLES["laws"]) - {"fitted_at"}
        assert (row["law"], row["form"], row["columns"], row["trials"]) == ("both", "score_map", '{"loss": "loss"}', 145)
        assert row["formula"] == "score = chance + (1 - chance) / (1 + exp(k (L - L0)))"
        assert row["ci_low"] < row["estimate"] < row["ci_high"]
        assert row["verdict"] == "released"
    assert [row["quantity"] for row in rows if row["outcome"] == "loss"] == ["E", "A", "alpha", "B", "beta"]


def test_a_map_stands_by_itself_where_the_law_of_the_loss_is_withheld(trials: pd.DataFrame) -> None:
    """Few sizes, whose part cannot be told from what is irreducible; what the loss tells of the score can be."""
    few = trials[trials["parameters"] < 3.2e7]
    laws, _ = fit_study(study(), few, draws=DRAWS)
    loss, score = laws
    assert loss.to_dict()["verdict"] == "withheld"
    assert score.to_dict()["verdict"] == "withheld"  # of what is forecast by both steps
    assert score.to_dict()["map"]["verdict"] == "released"
    assert {row["verdict"] for row in rows_of("study_0", "1", [score], [])} == {"released"}
    said = list(law_lines(score.to_dict()))
    assert said[0] == "law both of all trials: from loss to accuracy"
    assert "known: chance 0.25" in said
    assert said[-1] == "no forecast of accuracy: the law of loss is withheld"
    assert [row["parameter"] for row in law_rows(score.to_dict())] == ["L0", "k"]
    with pytest.raises(ForecastError, match="one that is withheld"):
        forecast_study(study(), few, [score], do=["data=2x"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="accuracy"), "needs at least 5 trials with 'accuracy', got 0"),
        (lambda frame: frame.assign(accuracy=100 * frame["accuracy"]), r"must be in \[0, 1\]"),
        (
            lambda frame: frame.assign(accuracy=frame["accuracy"].where(frame["seed"] == 1)),
            "must be of at least two repeated units, got one",
        ),
        (lambda frame: frame.assign(accuracy=1 - frame["accuracy"]), "accuracy falls as loss falls .* ask for what is left to 1"),
        (lambda frame: frame.assign(loss=-frame["loss"]), "its law of loss has no curve: .* must be positive"),
    ],
)
def test_what_cannot_be_mapped_is_withheld_with_the_reason(change: Any, said: str, trials: pd.DataFrame) -> None:
    score = fit_study(study(), change(trials), draws=DRAWS)[0][1]
    rows = rows_of("study_0", "1", [score], [])
    assert {row["verdict"] for row in rows} == {"withheld"}
    assert not any(row["is_identified"] for row in rows)
    (reason,) = json.loads(rows[0]["reasons"])
    with pytest.raises(LawError, match=said):
        raise LawError(reason, "nothing")
    assert any(line.startswith("- ") for line in law_lines(score.to_dict()))


def test_a_landed_map_is_drawn_again_from_its_trials(trials: pd.DataFrame, found: list[StudyLaw]) -> None:
    asked = study()
    (group,) = rows_by_law(asked, asked.laws[0], trials)
    score = asked.laws[0].scores[0]
    assert isinstance(found[1].law, TwoStepLaw)
    own = found[1].law.map
    again = restored_map(group, score, form="chinchilla", loss=own.objective, draws=DRAWS)
    assert again.parameters == pytest.approx(own.parameters, rel=1e-9)
    assert again.drawn is not None
    assert own.drawn is not None
    assert again.drawn.coordinates == pytest.approx(own.drawn.coordinates, rel=1e-6)
    assert (group.data_id(), group.data_id(score)) == (found[0].data_id, found[1].data_id)
    with pytest.raises(LawError, match="fit the law again"):
        restored_map(group, score, form="chinchilla", loss=1.01 * own.objective, draws=DRAWS)


def test_arms_are_compared_by_their_losses_alone(trials: pd.DataFrame) -> None:
    both = pd.concat([trials.assign(epochs=6), trials.assign(epochs=12, loss=0.9 * trials["loss"], trial_id=trials["trial_id"] + "b")])
    alone = study(form="pure_power_law", size=None, by=["epochs"], compare="epochs", scores=[])
    scored = study(form="pure_power_law", size=None, by=["epochs"], compare="epochs")
    assert [one.to_dict() for one in fit_study(scored, both, draws=DRAWS)[1]] == [
        one.to_dict() for one in fit_study(alone, both, draws=DRAWS)[1]
    ]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([{"outcome": "accuracy", "chance": 0.9, "ceiling": 0.8}], "chance must be below the ceiling 0.8, got 0.9; fix score 'accuracy'"),
        ([{"outcome": "accuracy", "ceiling": 1.5}], "ceiling"),
        ([ACCURACY, ACCURACY], "each score must be a column of its own, got 'accuracy' twice; fix law 'both'"),
        ([{"outcome": "loss"}], "got 'loss' twice"),
        ([{"outcome": "accuracy", "floor": 0}], "must be a known field"),
    ],
)
def test_scores_that_are_none_are_refused_in_one_line(scores: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        study(scores=scores)
    assert said in str(one_line(error.value, "mine.yaml"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"scores": [{"outcome": "capability_arithmetic"}]},
            r"scores of a law must be among \['accuracy', .*\], got 'capability_arithmetic'",
        ),
        ({"scores": [{"outcome": "width"}]}, "scores of a law must be among .*, got 'width'; fix law 'both' of study 'scaling_lenet'"),
        ({"form": "bounded", "size": None, "outcome": "error"}, "scores go with a law of a loss, got form bounded, which is of a score"),
    ],
)
def test_scores_are_checked_before_anything_runs(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check_laws(study(**changes), ["accuracy", "error", "loss", "n_train", "parameters", "width"])
    check_laws(study(), ["accuracy", "error", "loss", "n_train", "parameters", "width"])


def test_a_study_without_scores_is_what_it_was() -> None:
    assert "scores" not in study(scores=[]).content["laws"][0]
    assert study().content["laws"][0]["scores"] == [{"outcome": "accuracy", "chance": 0.25, "ceiling": 1.0}]
    assert "| `both` | loss by parameters and n_train, which tells accuracy | chinchilla |" in study_page(study())


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.mark.usefixtures("home")
def test_the_command_line_asks_a_study_as_it_asks_a_table(
    trials: pd.DataFrame, home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = study(form="pure_power_law", size=None)
    for module in (forecasting, laws):
        monkeypatch.setattr(module, "current_study_id", lambda *_: "study_0000000000000000")
        monkeypatch.setattr(module, "registered", lambda *_: SimpleNamespace(study=asked))
        monkeypatch.setattr(module, "study_frame", lambda *_: trials)
    table = tmp_path / "trials.csv"
    own = ["trial_id", "n_train", "loss", "accuracy", "seed"]
    trials.loc[trials["loss"].notna(), own].sort_values("trial_id").to_csv(table, index=False)
    columns = ("--form", "pure_power_law", "--outcome", "loss", "--data", "n_train", "--cluster", "seed")
    question = ("--do", "data=10x", "--score", "accuracy", "--draws", DRAWS, "--held-out", "--json")
    by_table = json.loads(run("forecast", "--table", table, *columns, *question, "--chance", 0.25))
    (by_study,) = json.loads(run("forecast", "scaling_lenet", *question))["forecasts"]
    same = ("sentence", "outcome", "form", "start", "end", "before", "after", "difference_interval", "reach", "held_out")
    assert {name: by_study[name] for name in same} == {name: by_table[name] for name in same}
    assert len(LandingZone(home.landing_dir).files("forecasts")) == 1

    fitted = run("fit", "scaling_lenet", "--draws", DRAWS)
    assert "law both of all trials: from loss to accuracy\nscore_map: score = chance + (1 - chance)" in fitted
    by_table = json.loads(run("fit", "--table", table, *columns, "--score", "accuracy", "--chance", 0.25, "--draws", DRAWS, "--json"))
    by_study = json.loads(run("fit", "scaling_lenet", "--draws", DRAWS, "--json"))["laws"][1]
    assert by_study["warnings"].pop(0) == "1 of 147 trials have no loss and are left out"  # of which the table knows nothing
    assert {**by_study, "search": by_table["search"]}.items() >= by_table.items()
    assert by_study["map"]["parameters"]["k"] == by_table["parameters"]["k"]

    with pytest.raises(ForecastError, match=r"one that a law of study 'scaling_lenet' asks for \(both: accuracy\), got 'error'; add it"):
        run("forecast", "scaling_lenet", "--do", "data=2x", "--score", "error")
    for option in (("--chance", 0.25), ("--ceiling", 0.9)):
        with pytest.raises(TrialhouseError, match=f"{option[0]} goes with --table"):
            run("forecast", "scaling_lenet", "--do", "data=2x", "--score", "accuracy", *option)
