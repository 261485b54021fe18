"""Responses that a study registered: what its spec says is what is fitted, refusals are rows, and rows fit the raw table."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trialhouse.errors import SpecError
from trialhouse.raw_tables import RAW_TABLES
from trialhouse.reporting.fitted import response_lines, response_rows
from trialhouse.scaling_laws.response import fit_response
from trialhouse.scaling_laws.response_study import StudyResponse, check_responses, responses_of
from trialhouse.scaling_laws.response_study import response_rows as rows_of
from trialhouse.studies.catalogue import load_study
from trialhouse.studies.page import study_page
from trialhouse.studies.spec import Study

RESPONSE: dict[str, Any] = {"name": "all", "outcome": "loss", "looks_at": ["training_flops"]}


def study(shipped: str = "compute_optimal_gpt", /, **changes: Any) -> Study:
    return Study.model_validate({**load_study(shipped).content, "responses": [{**RESPONSE, **changes}]})


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    """Width, steps and seeds of `compute_optimal_gpt`, where each depends on the other; one trial diverged, one is pending."""
    frame = pd.DataFrame(product((8, 16, 32, 64), (100, 400, 1600), range(3)), columns=["width", "steps", "seed"])
    log = 1 - 0.1 * np.log(frame["width"]) - 0.05 * np.log(frame["steps"]) * np.log(frame["width"] / 8)
    frame["loss"] = np.exp(log + np.random.default_rng(0).normal(0, 0.01, len(frame)))
    frame["training_flops"] = 6.0 * frame["width"] ** 2 * frame["steps"]
    frame["block"] = frame["seed"].astype(str)
    frame["trial_id"] = [f"trial_{number:016x}" for number in range(len(frame))]
    frame["status"] = "ok"
    frame.loc[5, ["loss", "status"]] = np.nan, "diverged"
    return pd.concat([frame, frame[:1].assign(loss=np.nan, status="pending", trial_id="trial_later")], ignore_index=True)


@pytest.fixture(scope="module")
def found(trials: pd.DataFrame) -> list[StudyResponse]:
    return responses_of(study(), trials.sample(frac=1, random_state=0))


def test_a_study_gives_what_its_table_gives(found: list[StudyResponse], trials: pd.DataFrame) -> None:
    (one,) = found
    own = trials.dropna(subset="loss")
    by_hand = fit_response(
        own, outcome="loss", factors=["width", "steps"], block="seed", cluster="seed", looks_at=["training_flops"]
    ).to_dict()
    told = one.to_dict()
    assert told["effects"] == by_hand["effects"]
    assert told["choice"] == by_hand["choice"]
    assert told["warnings"] == [
        "1 of 36 trials have no loss and are left out: effects are among those that have one",
        "only 3 repeated units tell how sure all this is: intervals have 2 degrees of freedom",
    ]


def test_words_and_rows_tell_the_same(found: list[StudyResponse]) -> None:
    told = found[0].to_dict()
    rows = rows_of("study_0", "1", found)
    assert [row["quantity"] for row in rows] == ["width", "steps", "width x steps", "width squared", "steps squared"]
    for row, effect in zip(rows, told["effects"], strict=True):
        assert set(row) == set(RAW_TABLES["laws"]) - {"fitted_at"}
        assert (row["estimate"], [row["ci_low"], row["ci_high"]]) == (effect["estimate"], effect["interval"])
        assert (row["law"], row["form"], row["verdict"], row["is_identified"]) == ("all", told["form"], "released", True)
        assert not {name for name, kind in RAW_TABLES["laws"].items() if "NOT NULL" in kind and name != "fitted_at" and row[name] is None}
    assert len({row["law_id"] for row in rows}) == len(rows)
    assert json.loads(rows[0]["columns"]) == {"factors": ["width", "steps"]}
    choice = json.loads(rows[0]["choice"])
    assert choice["effects"]["width"]["passive"] == told["effects"][0]["passive"]
    lines = list(response_lines(told))
    assert lines[0] == "response all of all trials: loss by all assigned factors"
    assert f"choice: {choice['sentence']}" in lines
    assert [line for line in lines if line.startswith("- do(width: 8 -> 64) changes loss by ")]
    assert response_rows(told)[0]["levels"] == "8 -> 64"
    assert "training_flops: -" in response_rows(told)[0]["passive"]


def test_too_many_lost_trials_are_no_response(trials: pd.DataFrame) -> None:
    (one,) = responses_of(study(), trials.assign(loss=trials["loss"].where(trials["width"] < 64)))
    assert one.found is None
    assert "95% of the trials of a response must have loss" in one.reasons[0]
    assert "27 of 36" not in one.reasons[0]  # the one that diverged is lost as well
    (row,) = rows_of("study_0", "1", [one])
    assert (row["quantity"], row["form"], row["estimate"], row["verdict"], row["trials"]) == ("none", "none", None, "withheld", 0)
    assert list(response_lines(one.to_dict()))[1:] == ["verdict: withheld", f"- {one.reasons[0]}"]


def confounded() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    levels = list(product(("observational", "randomised"), (8, 16, 32), (250, 500, 1100), (5, 10, 20), range(4)))
    frame = pd.DataFrame(levels, columns=["half", "width", "n_train", "epochs", "seed"])
    log = -0.5 * np.log(frame["width"]) - 0.5 * np.log(frame["n_train"])
    ids = [f"trial_{number:016x}" for number in range(len(frame))]
    return frame.assign(loss=np.exp(log + rng.normal(0, 0.1, len(frame))), status="ok", trial_id=ids, block=frame["seed"].astype(str))


def test_what_nobody_assigned_is_refused_and_its_randomised_twin_is_not() -> None:
    found = responses_of(study("confounded_vs_randomised", by=["half"], looks_at=[]), confounded())
    assert [dict(one.subgroup) for one in found] == [{"half": "observational"}, {"half": "randomised"}]
    assert "needs factors that a design assigned" in found[0].reasons[0]
    assert found[1].found is not None
    assert found[1].found.chosen == "additive"


def test_trials_to_which_a_factor_does_not_apply_are_left_out() -> None:
    levels = product(("server",), (0.0, 0.3, 0.6, 0.9), ("l1_structured", "random_structured"), (64, 512, 4096), range(3))
    frame = pd.DataFrame(levels, columns=["hardware_class", "pruning_ratio", "pruning_method", "batch_size", "seed"])
    frame.loc[frame["pruning_ratio"] == 0, "pruning_method"] = "none"
    scatter = np.random.default_rng(2).normal(0, 0.1, len(frame))
    frame = frame.assign(loss=np.exp(-frame["pruning_ratio"] + scatter), status="ok", block=frame["seed"].astype(str))
    frame["trial_id"] = [f"trial_{number:016x}" for number in range(len(frame))]
    found = responses_of(study("pruning_digits", by=["hardware_class"], looks_at=[]), frame)
    assert found[0].found is not None
    assert found[0].found.warnings[0] == "18 trials to which not every factor applies are left out"
    mains = [one.term.name for one in found[0].found.effects if one.term.kind == "main"]
    assert mains == ["pruning_ratio", "pruning_method = random_structured", "batch_size"]


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("compute_optimal_gpt", {"by": ["colour"]}, "by must name factors"),
        ("compute_optimal_gpt", {"name": "size_and_text"}, "needs a name of its own, got that of a law"),
        ("compute_optimal_gpt", {"scale": "cubic"}, "scale"),
        ("pruning_digits", {}, "by must name hardware_class"),
    ],
)
def test_specs_that_cannot_be_are_refused(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        study(name, **changes)


def test_columns_that_there_are_not_are_refused_before_anything_runs() -> None:
    with pytest.raises(SpecError, match=r"columns of a response must be among .*, got 'training_flops'; fix response 'all'"):
        check_responses(study(), ["loss", "width", "steps"])


def test_a_study_without_responses_keeps_its_id() -> None:
    assert "responses" not in load_study("pruning_digits").content
    assert "responses" in study().content
    assert "| `all` | loss by all factors together | all trials |" in study_page(study())
