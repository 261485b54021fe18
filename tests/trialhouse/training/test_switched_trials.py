"""Switch studies from their YAML to landed curves: what may switch, what a trial's key says, and the shipped study."""

from __future__ import annotations

from typing import Any

import pytest

from tests.trialhouse.engine import outcomes, rows
from tests.trialhouse.training.test_trained_trials import learn, learning_study
from trialhouse.errors import SpecError, WorkloadError
from trialhouse.registration import plan
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study, parse_study
from trialhouse.studies.spec import Study
from trialhouse.studies.switches import evenly_spaced
from trialhouse.training.trials import groups_of, train_trials_for
from trialhouse.workloads.lenet import LeNet
from trialhouse.workloads.registry import load_learner

SETTINGS = {"width": 2, "steps": 40, "batch_size": 16, "schedule": "constant", "label_noise": 0.5, "switch": {"label_noise": 0}}
SWITCHED_AT = {"name": "switched_at", "kind": "ordinal", "levels": [0.5, 1]}
ESTIMAND = {"name": "effect", "treatment": "switched_at", "contrast": {"from": 1, "to": 0.5}, "outcome": "validation_loss"}


def switching(settings: dict[str, Any] | None = None, factor: dict[str, Any] | None = None, **estimand: Any) -> Study:
    return learning_study(
        {**SETTINGS, **(settings or {})},
        ({**SWITCHED_AT, **(factor or {})},),
        graph="label_cleanup.dot",
        estimands=[{**ESTIMAND, **estimand}],
    )


def curve(home: Settings, trial_id: str) -> dict[int, float]:
    found = rows(home, "curves", trial_id)
    return {row["step"]: row["value"] for row in found if (row["split"], row["metric"]) == ("validation", "loss")}


def test_trials_are_the_same_until_one_switches_and_its_curve_is_dense(home: Settings) -> None:
    trials, counts = learn(switching(), home)
    assert counts == {"ok": 2}
    never, half = sorted(trials, key=lambda trial: -float(trial.factors["switched_at"]))
    assert never.weights_id != half.weights_id
    one, other = curve(home, never.trial_id), curve(home, half.trial_id)
    assert set(one) == set(other) >= {*evenly_spaced(40), 1, 2, 4, 8, 16, 32}
    assert {step: one[step] for step in one if step <= 20} == {step: other[step] for step in other if step <= 20}
    assert all(one[step] != other[step] for step in one if step > 20)
    realised = {row["factor"]: row["realised_value"] for row in rows(home, "realised", half.trial_id)}
    assert realised["switched_at"] == 0.5


def test_a_trials_key_says_what_it_switches_to_and_when(home: Settings) -> None:
    def ids(study: Study) -> set[str]:
        return {trial.trial_id for trial in plan(study, home).trials}

    assert not ids(switching()) & ids(switching({"switch": {"label_noise": 0.1}}))
    assert not ids(switching()) & ids(switching({"switch": {"label_noise": 0, "augmentation": "shift"}}))
    assert len(ids(switching()) & ids(switching(factor={"levels": [0.25, 1]}, contrast={"from": 1, "to": 0.25}))) == 1


def test_what_a_run_has_seen_counts_both_parts(home: Settings) -> None:
    study = switching({"switch": {"batch_size": 48, "n_train": 400, "learning_rate": 0.001}, "n_train": 200, "label_noise": 0})
    trials, _ = learn(study, home)
    half = next(trial for trial in trials if trial.factors["switched_at"] == 0.5)
    found = outcomes(home, half.trial_id)
    assert found["examples_seen"] == 20 * 16 + 20 * 48
    assert found["epochs_seen"] == pytest.approx(20 * 16 / 200 + 20 * 48 / 400)
    planned = load_learner(study).plan(half.factors)
    assert planned.training_flops == found["training_flops"]
    assert planned.quantities["epochs"] == pytest.approx(found["epochs_seen"])


def test_trials_of_a_switch_study_are_all_trained_alone(home: Settings) -> None:
    study = switching()
    content = {**study.content, "factors": [{**study.content["factors"][0], "levels": [0, 1]}, study.content["factors"][1]]}
    study = parse_study(content, source="learning")
    groups = groups_of(load_learner(study), plan(study, home).trials, home.model_copy(update={"train_together": "always"}))
    assert sorted([trial.factors["switched_at"] for trial in group] for group in groups) == [[0.5], [0.5], [1], [1]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"settings": {"switch": {"width": 8}}}, "switch must name settings that can change while a network trains"),
        ({"settings": {"switch": {"feature_noise": 0}}}, "'feature_noise'; remove it from workload.settings.switch"),
        ({"settings": {"switch": {"label_noise": 2}}}, "label_noise"),
        ({"settings": {"switch": None}}, "switched_at below 1 needs a switch, got none"),
        ({"settings": {"patience": 2}}, "a trial that switches must make all its steps"),
        ({"settings": {"steps": None, "epochs": 1, "switch": {"batch_size": 8}}}, "must say how long it trains by steps"),
        ({"settings": {"steps": 1}}, "must fall between two of its steps"),
        ({"over_training": True, "outcome": "error"}, "the outcome over training must be one of"),
        ({"over_training": True, "contrast": {"from": 0.5, "to": 1}}, "must stand for the trials that never switch"),
        ({"over_training": True, "adjustment": []}, "takes neither adjustment"),
        ({"factor": {"name": "width", "levels": [2, 4]}, "over_training": True, "treatment": "width", "contrast": {"from": 2, "to": 4}},
         "over_training needs the treatment 'switched_at' or an indicator of it"),
    ],
)  # fmt: skip
def test_what_cannot_switch_or_be_asked_is_refused_in_one_line(home: Settings, fields: dict[str, Any], message: str) -> None:
    with pytest.raises((SpecError, WorkloadError)) as caught:
        plan(switching(**fields), home)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_shipped_switch_study_runs(home: Settings) -> None:
    study = load_study("label_cleanup", home)
    assert len(plan(study, home).trials) == 48
    small = study.with_overrides(blocks=1, changes=["steps=40"])
    trials = plan(small, home).trials
    assert train_trials_for(small, trials, settings=home) == {"ok": 4}
    assert {estimand.outcome for estimand in study.estimands} <= set(outcomes(home, trials[0].trial_id))
    curves = {float(trial.factors["switched_at"]): curve(home, trial.trial_id) for trial in trials}
    for switched_at, points in curves.items():
        assert {step for step in points if points[step] != curves[1.0][step]} == {step for step in points if step > 40 * switched_at}


def test_language_models_can_switch_the_quality_of_text() -> None:
    from trialhouse.workloads.gpt import GPT

    assert {"corruption", "unique_share", "learning_rate"} <= GPT.switchable
    assert not {"width", "depth", "context", "vocabulary"} & (GPT.switchable | LeNet.switchable)
