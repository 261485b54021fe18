"""What do(treatment) holds and what gives way, and what a study may say of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.trialhouse.training.test_trained_trials import learning_study
from trialhouse.errors import SpecError, WorkloadError
from trialhouse.interventions import Intervention, interventions
from trialhouse.registration import plan
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study
from trialhouse.workloads.registry import load_learner

WIDTH = {"name": "width", "kind": "ordinal", "levels": [4, 8, 16]}


def isoflop(*, flops: tuple[float, ...] = (3e9, 3e10), **asked: Any) -> Any:
    """Widths crossed with budgets of compute; the steps follow."""
    estimand = {"name": "effect", "treatment": "width", "contrast": {"from": 4, "to": 16}, "outcome": "error", **asked}
    factors = (WIDTH, {"name": "training_flops", "kind": "continuous", "levels": flops})
    return learning_study({"learning_rate_rule": "fixed"}, factors, estimands=[estimand])


def found(study: Any, home: Settings) -> Intervention:
    return interventions(study, plan(study, home).trials, load_learner(study))[0]


def test_an_isoflop_ladder_holds_depth_data_and_compute_and_solves_for_steps(home: Settings) -> None:
    study = isoflop(hold=["depth", "n_train", "training_flops"], solve="steps")
    trials = plan(study, home).trials
    assert len(trials) == 6
    learner = load_learner(study)
    for trial in trials:
        assert learner.plan(trial.factors).training_flops == pytest.approx(float(trial.factors["training_flops"]), rel=0.05)
    intervention = found(study, home)
    assert intervention.solved == ("steps",)
    assert {"depth", "n_train", "training_flops", "batch_size", "learning_rate"} <= set(intervention.held)
    assert set(intervention.gives_way) == {"parameters", "steps", "epochs"}
    assert intervention.gives_way["steps"][1] < 0.2
    assert "do(width = 16) instead of 4 holds depth, " in intervention.sentence
    assert "solved for: steps (x 0." in intervention.sentence


def test_an_effect_per_doubling_moves_the_treatment_from_its_lowest_to_its_highest_level(home: Settings) -> None:
    by_contrast = found(isoflop(hold=["depth"]), home)
    assert found(isoflop(hold=["depth"], contrast=None, per="doubling"), home) == by_contrast


def test_without_a_budget_compute_follows_the_width(home: Settings) -> None:
    intervention = found(learning_study({"epochs": 2, "learning_rate": 0.001}), home)
    assert {"steps", "epochs", "n_train"} <= set(intervention.held)
    assert {"parameters", "training_flops", "learning_rate"} <= set(intervention.gives_way), "the rate goes by width"
    assert intervention.solved == ()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"hold": ["epochs"]}, "epochs must stay the same while width goes from 4 to 16, got x 0."),
        ({"hold": ["colour"]}, "hold must name quantities or other factors: ['batch_size', "),
        ({"hold": ["width"]}, "hold must name quantities or other factors"),
        ({"solve": "width"}, "solve must be what the workload solves for while width goes from 4 to 16: ['steps'], got 'width'"),
    ],
)
def test_a_statement_that_is_not_what_happens_is_refused(home: Settings, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        plan(isoflop(**asked), home)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_compute_that_cannot_be_held_is_refused_before_anything_runs(home: Settings) -> None:
    with pytest.raises(WorkloadError, match="some number of steps must take 1e\\+06 training_flops within 5%"):
        plan(isoflop(flops=(1e6, 3e9), hold=["training_flops"], solve="steps"), home)


def test_what_is_nothing_before_and_after_stays_the_same(home: Settings) -> None:
    """A quantity may be 0 (a ridge); that is no ratio."""
    study = load_study("double_descent", home)
    found = {item.estimand: item for item in interventions(study, plan(study, home).trials, load_learner(study))}
    assert {"ridge", "n_train", "label_noise"} <= set(found["second_descent"].held)
    assert {"features", "training_flops"} <= set(found["ridge_on_error"].held)
