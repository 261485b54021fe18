"""Laws that a study registered: the same figures as by hand, refusals that are rows, and rows that land."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.errors import SpecError
from trialhouse.raw_tables import RAW_TABLES
from trialhouse.reporting.fitted import comparison_lines
from trialhouse.scaling_laws import fit_table
from trialhouse.scaling_laws.study import check_laws, fit_study, rows_of
from trialhouse.studies.catalogue import load_study
from trialhouse.studies.page import study_page
from trialhouse.studies.spec import Study, one_line

LAW: dict[str, Any] = {"name": "rate", "form": "pure_power_law", "outcome": "loss", "data": "n_train", "by": ["learner"]}


def study(**changes: Any) -> Study:
    return Study.model_validate({**load_study("theory_rates").content, "laws": [{**LAW, **changes}]})


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    """Two learners on three seeds; one of the second's trials diverged."""
    frames = []
    for number, learner in enumerate(("least_squares", "online_sgd")):
        frame = PLANTED["pure_power_law"].table(number).rename(columns={"data": "n_train", "y": "loss"})
        frames.append(frame.assign(learner=learner, dimension=1, seed=np.tile([0, 1, 2], 12)))
    frame = pd.concat(frames, ignore_index=True)
    frame.loc[40, "loss"] = np.nan
    return frame.assign(trial_id=[f"trial_{number:016x}" for number in range(len(frame))])


def test_each_subgroup_has_the_law_that_its_table_gives(trials: pd.DataFrame) -> None:
    laws, comparisons = fit_study(study(), trials, draws=200)
    assert [law.subgroup for law in laws] == [{"learner": "least_squares"}, {"learner": "online_sgd"}]
    assert comparisons == []
    own = trials[trials["learner"] == "least_squares"]
    by_hand = fit_table(own, form="pure_power_law", outcome="loss", columns={"data": "n_train"}, cluster="seed", draws=200)
    assert laws[0].law is not None
    assert laws[0].law.parameters == by_hand.parameters
    assert laws[0].law.intervals == by_hand.intervals
    assert laws[1].law is not None
    assert laws[1].law.warnings[0] == "1 of 36 trials have no loss and are left out"


def test_a_law_that_cannot_be_fitted_is_withheld_with_the_reason(trials: pd.DataFrame) -> None:
    frame = trials.assign(loss=trials["loss"].where(trials["learner"] == "least_squares", 0.0))
    laws, _ = fit_study(study(), frame, draws=200)
    assert laws[1].law is None
    assert laws[1].to_dict()["verdict"] == "withheld"
    row = rows_of("study_0", "1", laws, [])[-1]
    assert (row["quantity"], row["estimate"], row["verdict"], row["trials"]) == ("none", None, "withheld", 0)
    assert "must be positive" in json.loads(row["reasons"])[0]


def test_rows_fit_the_raw_table_and_ids_are_unique(trials: pd.DataFrame) -> None:
    laws, comparisons = fit_study(study(compare="learner"), trials, draws=200)
    rows = rows_of("study_0", "1", laws, comparisons)
    for row in rows:
        assert set(row) == set(RAW_TABLES["laws"]) - {"fitted_at"}
        missing = {name for name, kind in RAW_TABLES["laws"].items() if "NOT NULL" in kind and name != "fitted_at" and row[name] is None}
        assert missing == set()
    assert len({row["law_id"] for row in rows}) == len(rows)
    assert [row["quantity"] for row in rows] == ["A", "beta", "A", "beta", "difference of beta", "ratio above E", "crossing"]
    assert rows_of("study_0", "1", *fit_study(study(compare="learner"), trials, draws=200)) == rows


def test_several_factors_are_compared_each_at_the_same_levels_of_the_others(trials: pd.DataFrame) -> None:
    deep = trials.assign(dimension=2, trial_id=lambda frame: frame["trial_id"] + "d")
    asked = study(by=["learner", "dimension"], compare=["learner", "dimension"])
    _, comparisons = fit_study(asked, pd.concat([trials, deep], ignore_index=True), draws=200)
    pairs = {(tuple(one.first.subgroup.values()), tuple(one.second.subgroup.values())) for one in comparisons}
    assert pairs == {
        (("least_squares", 1), ("online_sgd", 1)),
        (("least_squares", 2), ("online_sgd", 2)),
        (("least_squares", 1), ("least_squares", 2)),
        (("online_sgd", 1), ("online_sgd", 2)),
    }
    assert {one.tests for one in comparisons if one.found.quantity != "crossing"} == {8}
    assert fit_study(study(compare="learner"), trials, draws=200)[1], "one alone may stand without brackets"


def test_tests_of_one_law_are_corrected_together(trials: pd.DataFrame) -> None:
    """Three arms, of which one is better: by Holm's rule, and what does not outlast it is said to be possible chance."""
    third = trials[trials["learner"] == "online_sgd"].dropna().assign(learner="third", trial_id=lambda frame: frame["trial_id"] + "b")
    frame = pd.concat([trials, third.assign(loss=third["loss"] * 0.95)], ignore_index=True)
    _, comparisons = fit_study(study(compare="learner"), frame, draws=200)
    tested = [one for one in comparisons if one.found.quantity != "crossing"]
    assert [one.tests for one in tested] == [6] * 6
    order = sorted(tested, key=lambda one: one.found.p_value)
    by_hand = np.maximum.accumulate([min(1.0, (6 - k) * one.found.p_value) for k, one in enumerate(order)])
    assert [one.p_value_adjusted for one in order] == pytest.approx(list(by_hand))
    doubtful = replace(tested[0], found=replace(tested[0].found, p_value=0.03), p_value_adjusted=0.18)
    assert "taken alone; among the 6 tests of this law it may be chance (Holm p 0.18)" in doubtful.sentence
    assert "chance" not in replace(doubtful, p_value_adjusted=0.04).sentence
    crossing = next(one for one in comparisons if one.found.quantity == "crossing")
    assert crossing.to_dict()["p_value_adjusted"] is None
    said = "\n".join(comparison_lines([one.to_dict() for one in comparisons]))
    assert f"p {tested[0].found.p_value:.2g}, after Holm {tested[0].p_value_adjusted:.2g}" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"form": "cubic"}, "form must be auto or one of .*, got 'cubic'; fix law 'rate' of study 'theory_rates'"),
        ({"form": "chinchilla"}, "form chinchilla needs size and data, got data"),
        ({"size": "learner"}, "form pure_power_law needs one factor, got size and data"),
        ({"outcome": "perplexity"}, "columns of a law must be among .*, got 'perplexity'"),
        ({"fix": {"Q": 1}}, "must be one of A, beta, got 'Q'"),
    ],
)
def test_laws_that_cannot_be_are_refused_before_anything_runs(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check_laws(study(**changes), ["loss", "n_train", "learner"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"by": ["colour"]}, "by must name factors"),
        ({"compare": "dimension"}, "compare must be one of by"),
        ({"compare": "learner", "form": "auto"}, "compare needs a form that is named"),
        ({"data": None}, "needs the column of a factor"),
        ({"colour": "red"}, "must be a known field"),
    ],
)
def test_a_spec_that_is_none_is_refused_in_one_line(changes: dict[str, Any], said: str) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError) as error:
        study(**changes)
    assert said in str(one_line(error.value, "theory_rates.yaml"))


def test_the_page_of_a_study_names_its_laws() -> None:
    assert "| `rate` | loss by n_train | pure_power_law | learner |" in study_page(study())
    assert "| law |" not in study_page(Study.model_validate({**study().content, "laws": []}))
