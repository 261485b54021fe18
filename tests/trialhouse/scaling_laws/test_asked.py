"""Questions to the laws of a study, on trials made from a formula: who can answer, what goes on record, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from trialhouse.errors import ForecastError
from trialhouse.forecasting import Purse
from trialhouse.raw_tables import RAW_TABLES
from trialhouse.scaling_laws.asked import (
    assignment_of,
    checks_of,
    forecast_study,
    laws_about,
    rows_of_checks,
    rows_of_forecast,
    rows_of_law,
)
from trialhouse.scaling_laws.observer import PRODUCT
from trialhouse.studies.catalogue import load_study
from trialhouse.studies.spec import Study


def study_with(*laws: dict[str, object]) -> Study:
    plain = load_study("scaling_lenet")
    return plain.model_validate({**plain.content, "laws": list(laws)})


BOTH = {"name": "both", "form": "pure_coupled", "outcome": "error", "size": "width", "data": "n_train"}
ALONE = {"name": "alone", "form": "pure_power_law", "outcome": "error", "data": "n_train", "by": ["epochs"]}
STUDY = study_with(BOTH, ALONE)


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    """Six widths, six amounts of data, two numbers of epochs and three seeds of (A / w^.6 + B / n^.6)^.7."""
    grid = pd.MultiIndex.from_product(
        [np.geomspace(4, 128, 6).round(), np.geomspace(100, 3200, 6).round(), [6, 12], [0, 1, 2]],
        names=["width", "n_train", "epochs", "seed"],
    )
    frame = grid.to_frame(index=False)
    rng = np.random.default_rng(0)
    error = (1 / frame["width"] ** 0.6 + 12 / frame["n_train"] ** 0.6) ** 0.7 * np.where(frame["epochs"] == 6, 1.0, 0.9)
    frame = frame.assign(
        error=error * np.exp(rng.normal(0, 0.02, len(frame))),
        training_flops=900 * frame["width"] ** 1.5 * frame["n_train"],
        trial_id=[f"trial_{number:04d}" for number in rng.permutation(len(frame))],
    )
    frame.loc[frame["trial_id"] == "trial_0007", "error"] = np.nan
    return frame


def test_a_law_of_two_factors_holds_the_other_one(trials: pd.DataFrame) -> None:
    laws = laws_about(STUDY, trials, factors=["n_train", "width"], draws=100)
    assert [one.name for one in laws] == ["all trials"]
    (found,) = forecast_study(STUDY, trials, laws, do=["data=2x"], at=["size=16"], check=True)
    assert found.found is not None
    assert found.found.start == {"width": 16, "n_train": 3200}
    assert found.found.assignment == "randomised"
    rows = rows_of_forecast("study_1", "0", found)
    assert [(row["basis"], row["looks_at"]) for row in rows] == [
        ("causal", None),
        ("correlational", "n_train"),
        ("correlational", PRODUCT),
    ]
    assert json.loads(rows[0]["place"]) == {"n_train": 6400, "width": 16}
    assert rows[0]["sentence"] == found.found.sentence
    assert len({row["forecast_id"] for row in rows}) == 3
    required = {name for name, kind in RAW_TABLES["forecasts"].items() if kind.endswith("NOT NULL")} - {"made_at"}
    assert all(required <= {name for name, value in row.items() if value is not None} <= set(RAW_TABLES["forecasts"]) for row in rows)


def test_an_observer_is_on_record_with_the_form_that_it_had(trials: pd.DataFrame) -> None:
    """Three amounts of data are too few for an irreducible loss, which who looks at the product of both can tell."""
    few = trials[trials["n_train"].isin(sorted(trials["n_train"].unique())[-3:]) & (trials["epochs"] == 12)]
    (found,) = forecast_study(STUDY, few, laws_about(STUDY, few, law="both", draws=100), do=["data=2x"])
    forms = {row["looks_at"]: row["form"] for row in rows_of_forecast("study_1", "0", found)}
    assert forms == {None: "pure_coupled", "n_train": "pure_power_law", PRODUCT: "power_law"}


def test_each_subgroup_answers_for_itself_and_its_place_says_so(trials: pd.DataFrame) -> None:
    laws = laws_about(STUDY, trials, factors=["data"], law="alone", draws=100)
    found = forecast_study(STUDY, trials, laws, do=["data=2x"])
    assert [dict(one.law.subgroup) for one in found] == [{"epochs": 6}, {"epochs": 12}]
    places = [json.loads(row["place"]) for one in found for row in rows_of_forecast("study_1", "0", one)]
    assert places == [{"epochs": 6, "n_train": 6400}, {"epochs": 12, "n_train": 6400}]
    (only,) = laws_about(STUDY, trials, law="alone", where=["epochs=12"], draws=100)
    assert dict(only.subgroup) == {"epochs": 12}
    assert rows_of_law(trials, only.question.outcome, only.subgroup)["epochs"].unique().tolist() == [12]


def test_a_subgroup_with_too_few_places_to_hold_any_out_says_so_beside_one_that_has_enough(trials: pd.DataFrame) -> None:
    sizes = sorted(trials["n_train"].unique())
    few = trials[((trials["epochs"] == 12) | trials["n_train"].isin(sizes[:3])) & (trials["width"] == 16)]
    found = forecast_study(STUDY, few, laws_about(STUDY, few, law="alone", draws=100), do=["data=2x"], check=True)
    first, second = (one.found for one in found)
    assert first is not None
    assert second is not None
    assert first.check is None
    assert "no held-out check: a held-out check of pure_power_law needs trials at more than 2 places" in first.caveats[-1]
    assert second.check is not None


def test_a_subgroup_that_cannot_answer_says_why_beside_one_that_can(trials: pd.DataFrame) -> None:
    wrong = trials.assign(error=np.where((trials["epochs"] == 6) & (trials["width"] == 4), -1.0, trials["error"]))
    found = forecast_study(STUDY, wrong, laws_about(STUDY, wrong, law="alone", draws=100), do=["data=2x"])
    assert found[0].refusal is not None
    assert "must be positive" in found[0].refusal
    assert found[1].found is not None
    assert rows_of_forecast("study_1", "0", found[0]) == []


def test_held_out_trials_go_on_record_by_every_forecaster(trials: pd.DataFrame) -> None:
    checks = checks_of(laws_about(STUDY, trials, law="both", draws=100))
    rows = rows_of_checks("study_1", "0", checks)
    assert {row["purpose"] for row in rows} == {"interpolation", "extrapolation"}
    assert {row["looks_at"] for row in rows} == {None, "width", "n_train", PRODUCT}
    assert len({row["forecast_id"] for row in rows}) == len(rows)
    beyond = [row["reach"] for row in rows if row["purpose"] == "extrapolation"]
    assert min(beyond) > 0.05
    assert all(row["trials"] < len(trials) for row in rows)


def test_a_law_that_is_withheld_is_not_checked(trials: pd.DataFrame) -> None:
    noise = np.exp(np.random.default_rng(1).normal(0, 0.1, len(trials)))
    laws = laws_about(STUDY, trials.assign(error=np.where(trials["epochs"] == 6, noise, trials["error"])), law="alone", draws=100)
    assert [bool(one.reasons) for one in laws] == [True, False]
    assert [dict(law.subgroup) for law, _ in checks_of(laws)] == [{"epochs": 12}]


def test_a_budget_in_the_trials_own_flops(trials: pd.DataFrame) -> None:
    (law,) = laws_about(STUDY, trials, law="both", draws=100)
    assert law.law is not None
    found = Purse(1e9, cost="training_flops").split(law.law, rows_of_law(trials, law.question.outcome, law.subgroup), law.question.columns)
    assert found.cost.exponents == pytest.approx({"size": 1.5, "data": 1.0}, abs=1e-6)
    assert 900 * found.place["width"] ** 1.5 * found.place["n_train"] == pytest.approx(1e9, rel=1e-6)


def test_how_factors_came_about() -> None:
    assert assignment_of(STUDY, ["width", "n_train"]) == "randomised"
    assert assignment_of(STUDY, ["parameters", "n_train"]) == "consequence"
    assert assignment_of(STUDY, ["seed"]) == "observational"  # a block is no treatment
    assert assignment_of(load_study("confounded_vs_randomised"), ["width"]) == "observational"


def test_a_measured_size_is_a_consequence_and_said_so(trials: pd.DataFrame) -> None:
    study = study_with({**BOTH, "size": "parameters"})
    frame = trials.assign(parameters=100 * trials["width"] ** 1.5)
    (found,) = forecast_study(study, frame, laws_about(study, frame, draws=100), do=["data=2x"])
    assert found.found is not None
    assert found.found.assignment == "consequence"
    assert "parameters and n_train were assigned by a design, or follow from what it assigned" in found.found.rests_on["causal"]
    assert any(caveat.startswith("parameters is no factor of the study") for caveat in found.found.caveats)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"factors": ["depth"]}, r"about a law of study 'scaling_lenet' \(both: width, n_train; alone: n_train\), got 'depth'"),
        ({"law": "none"}, "got 'none'"),
        ({"law": "alone", "where": ["epochs=7"]}, r"must name a subgroup of the law \(epochs = 6; epochs = 12\)"),
        ({"law": "alone", "where": ["epochs"]}, "NAME=LEVEL"),
    ],
)
def test_questions_about_no_law_are_refused(trials: pd.DataFrame, options: dict[str, object], said: str) -> None:
    with pytest.raises(ForecastError, match=said):
        laws_about(STUDY, trials, draws=100, **options)  # type: ignore[arg-type]


def test_a_study_without_laws_is_refused(trials: pd.DataFrame) -> None:
    with pytest.raises(ForecastError, match="must ask for laws, got none"):
        laws_about(load_study("pruning_digits"), trials)
