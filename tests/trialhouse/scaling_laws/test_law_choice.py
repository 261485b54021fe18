"""Forms held against each other on trials that they have not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.planted_laws import PLANTED, ladder
from trialhouse.errors import LawError
from trialhouse.scaling_laws import FORMS, fit_table
from trialhouse.scaling_laws.choice import candidates_for, choose
from trialhouse.scaling_laws.sample import make_sample


def compared(name: str, *rivals: str, noise: float | None = None, seed: int = 0):
    law = PLANTED[name]
    sample = make_sample(law.table(seed, noise), law.family, outcome="y", columns=law.columns)
    return choose([FORMS[one] for one in (name, *rivals)], sample, delta=1e-3, draws=100)


@pytest.mark.parametrize(
    ("name", "rival"), [(name, PLANTED[name].rival.name) for name in ("power_law", "exponential", "pure_coupled", "chinchilla")]
)
def test_the_right_form_forecasts_better_than_a_wrong_one(name: str, rival: str) -> None:
    choice = compared(name, rival)
    assert choice.chosen.name == name
    assert choice.alike == [name]
    assert f"{name} forecasts held-out trials best" in choice.sentence


def test_a_richer_form_that_holds_the_right_one_is_not_told_from_it() -> None:
    choice = compared("power_law", "shifted_power_law", seed=1)
    assert set(choice.alike) == {"power_law", "shifted_power_law"}
    assert choice.chosen.name == "power_law"
    assert "cannot be told apart" in choice.sentence
    assert choice.to_dict()["cannot_be_told_apart"]


def test_the_simplest_of_those_alike_is_taken_although_another_came_out_best() -> None:
    choice = compared("power_law", "shifted_power_law", seed=5)
    assert choice.alike == ["shifted_power_law", "power_law"]
    assert choice.candidates[0].error < choice.candidates[1].error
    assert choice.chosen.name == "power_law"
    assert choice.sentence.endswith("power_law has the fewest parameters")


def test_forms_that_forecast_the_same_are_not_told_apart() -> None:
    law = PLANTED["power_law"]
    sample = make_sample(law.table(0), law.family, outcome="y", columns=law.columns)
    choice = choose([law.family, replace(law.family, name="twin")], sample, delta=1e-3, draws=100)
    assert choice.candidates[1].beaten_in == 0.5
    assert choice.alike == ["power_law", "twin"]


def test_what_has_too_many_parameters_to_hold_trials_out_is_not_tried() -> None:
    assert "parameters are too many" in compared("power_law", "broken_power_law").not_tried["broken_power_law"]
    few = replace(PLANTED["power_law"], places=ladder(4, 3))
    with pytest.raises(LawError, match="enough trials must be given to hold some out"):
        fit_table(few.table(0), form="auto", outcome="y", columns={"data": "data"})


def test_auto_fits_the_form_of_the_choice() -> None:
    law = fit_table(PLANTED["power_law"].table(0), form="auto", outcome="y", columns={"data": "data"}, draws=100)
    assert law.choice is not None
    assert law.form.name == law.choice.chosen.name == "power_law"
    errors = [one.error for one in law.choice.candidates]
    assert errors == sorted(errors)
    assert law.choice.candidates[0].error < 0.03


def test_auto_takes_a_score_that_rises_for_a_score() -> None:
    frame = PLANTED["bounded"].table(0)
    law = fit_table(frame, form="auto", outcome="y", columns={"data": "data"}, draws=100)
    assert law.form.name == "bounded"
    falling = frame.assign(y=1 - frame["y"])
    assert all(form.is_log for form in candidates_for(falling, "y", {"data": "data"}))


def test_auto_leaves_a_transient_region_out_before_it_compares() -> None:
    frame = PLANTED["power_law"].table(0)
    early = frame["data"] < 1000
    frame = frame.assign(y=np.where(early, 1.15 * frame.loc[~early, "y"].max(), frame["y"]))
    law = fit_table(frame, form="auto", outcome="y", columns={"data": "data"}, draws=100)
    assert law.form.name == "power_law"
    assert any("transient region" in reason for reason in law.sample.left_out)
