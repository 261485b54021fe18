"""Trials that end with training: real digits, real networks, the landing zone as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.trialhouse.engine import outcomes, rows
from trialhouse.attempts import last_attempts
from trialhouse.errors import SpecError, WorkloadError
from trialhouse.landing import LandingZone
from trialhouse.registration import plan
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study, parse_study
from trialhouse.studies.designs import Trial
from trialhouse.studies.spec import Study
from trialhouse.training.trials import train_trials_for
from trialhouse.workloads.network_learner import OUTCOMES


def learning_study(settings: dict[str, Any] | None = None, factors: tuple[dict[str, Any], ...] = (), **fields: Any) -> Study:
    content = {
        "name": "learning",
        "title": "A tiny study",
        "question": "Do networks learn?",
        "workload": {"name": "lenet", "settings": settings or {"epochs": 2}},
        "factors": [
            {"name": "seed", "kind": "ordinal", "assignment": "blocked", "levels": [0]},
            *(factors or ({"name": "width", "kind": "ordinal", "levels": [2, 8]},)),
        ],
        "hardware_classes": ["host"],
        "design": {"kind": "randomised_blocks", "seed": 0},
        "graph": "scaling.dot",
        "estimands": [{"name": "effect", "treatment": "width", "contrast": {"from": 2, "to": 8}, "outcome": "error"}],
        **fields,
    }
    return parse_study(content, source="learning")


def learn(study: Study, home: Settings, **options: Any) -> tuple[list[Trial], dict[str, int]]:
    trials = plan(study, home).trials
    return trials, train_trials_for(study, trials, settings=home, **options)


def test_a_trial_lands_its_outcomes_its_curve_and_what_was_realised(home: Settings) -> None:
    trials, counts = learn(learning_study(), home)
    assert counts == {"ok": 2}
    for trial in trials:
        found = outcomes(home, trial.trial_id)
        assert set(found) == OUTCOMES
        assert found["error"] == pytest.approx(1 - found["accuracy"])
        assert found["training_flops"] > 2 * found["examples_seen"] * found["flops"]  # backward takes about twice the forward pass
        curve = [row for row in rows(home, "curves", trial.trial_id) if (row["split"], row["metric"]) == ("validation", "loss")]
        assert [row["step"] for row in curve] == [1, 2, 4, 8, 16, 32, 35]
        assert curve[-1]["value"] == pytest.approx(found["validation_loss"])
        realised = {row["factor"]: row["realised_value"] for row in rows(home, "realised", trial.trial_id)}
        assert realised == {"seed": 0, "width": trial.factors["width"]}


def test_what_landed_is_not_trained_again_unless_asked(home: Settings) -> None:
    study = learning_study()
    learn(study, home)
    assert learn(study, home)[1] == {"skipped": 2}
    trials, counts = learn(study, home, rerun=True)
    assert counts == {"ok": 2}
    first, second = outcomes(home, trials[0].trial_id, 1), outcomes(home, trials[0].trial_id, 2)
    del first["training_s"], second["training_s"]
    assert first == second


def test_a_loss_that_is_no_number_is_an_outcome(home: Settings) -> None:
    settings = {"optimiser": "sgd", "learning_rate": 1e30, "most_learning_rate": 1e30, "epochs": 3}
    trials, counts = learn(learning_study(settings), home)
    assert counts == {"diverged": 2}
    last = last_attempts(LandingZone(home.landing_dir), [trials[0].trial_id])[trials[0].trial_id]
    assert (last.failure_reason or "").startswith("loss is not finite at step ")


def test_a_trial_that_takes_too_long_is_an_outcome(home: Settings) -> None:
    assert learn(learning_study(trial_timeout_s=1e-9), home)[1] == {"timed_out": 2}


def test_a_killed_trial_leaves_a_curve_and_its_successor_comes_to_the_same(home: Settings) -> None:
    study = learning_study({"epochs": 400}, ({"name": "width", "kind": "ordinal", "levels": [8, 2]},))
    trial = next(trial for trial in plan(study, home).trials if trial.factors["width"] == 8)
    script = f"""
import trialhouse.training.trials as t
from trialhouse.settings import get_settings
from trialhouse.registration import plan
from tests.trialhouse.training.test_trained_trials import learning_study
t.STREAM_EVERY_S = 0.2
study = learning_study({{"epochs": 400}}, ({{"name": "width", "kind": "ordinal", "levels": [8, 2]}},))
trials = [trial for trial in plan(study).trials if trial.trial_id == {trial.trial_id!r}]
t.train_trials_for(study, trials)
"""
    child = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "TRIALHOUSE_HOME": str(home.home)})
    deadline = time.monotonic() + 60
    while not rows(home, "curves", trial.trial_id) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    left = rows(home, "curves", trial.trial_id)
    assert left
    assert not rows(home, "attempts", trial.trial_id)
    assert train_trials_for(study, [trial], settings=home) == {"ok": 1}
    again = [row for row in rows(home, "curves", trial.trial_id) if row["attempt"] == 2]
    key = ("split", "step", "metric")
    values = {tuple(row[name] for name in key): row["value"] for row in again}
    assert {tuple(row[name] for name in key): row["value"] for row in left}.items() <= values.items()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hardware_classes": ["server"]}, "hardware_classes must be [host] where trials are only trained"),
        ({"settings": {"n_train": 5000}}, "n_train must be at most the 1,123 training examples that there are"),
        ({"settings": {"training_flops": 10.0}}, "some number of steps must take 10 training_flops within 5%"),
        ({"settings": {"parameters": 100}}, "some width must have 100 parameters within 5% at depth 2"),
        ({"settings": {"epochs": 1, "steps": 3}}, "exactly one of epochs, steps, training_flops must be set"),
        ({"settings": {"colour": 1}}, "colour"),
        ({"factors": ({"name": "pruning_ratio", "kind": "continuous", "levels": [0, 0.5]},)}, "must be among its settings"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_runs(home: Settings, fields: dict[str, Any], message: str) -> None:
    settings, factors = fields.pop("settings", None), fields.pop("factors", ())
    width = {"name": "width", "kind": "ordinal", "levels": [2, 8]}
    with pytest.raises((SpecError, WorkloadError), match=r".") as caught:
        plan(learning_study(settings, (width, *factors), **fields), home)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_trials_that_train_together_come_to_what_they_come_to_alone(home: Settings, tmp_path: Path) -> None:
    seeds = {"name": "seed", "kind": "ordinal", "assignment": "blocked", "levels": [0, 1, 2]}
    study = learning_study({"steps": 6, "n_train": 100, "schedule": "constant"})
    study = study.model_validate({**study.content, "factors": [seeds, study.content["factors"][1]]})
    together, alone = (home.model_copy(update={"train_together": how, "home": tmp_path / how}) for how in ("always", "never"))
    trials, counts = learn(study, together)
    assert counts == {"ok": 6}
    assert learn(study, alone)[1] == {"ok": 6}
    groups = {}
    for trial in trials:
        one, other = outcomes(together, trial.trial_id), outcomes(alone, trial.trial_id)
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-3)
        assert one["training_flops"] == other["training_flops"]
        text = {row["metric"]: row["text"] for row in rows(together, "profiles", trial.trial_id)}
        groups.setdefault(text["trained_together_id"], set()).add(trial.factors["width"])
    assert sorted(groups.values(), key=str) == [{2}, {8}]
    # a group that was interrupted while it landed is trained again as a whole, and only the rest lands
    kept = next(iter(LandingZone(together.landing_dir).files("attempts")))
    kept.unlink()
    assert learn(study, together)[1] == {"skipped": 5, "ok": 1}


def test_capabilities_are_outcomes_and_one_that_cannot_be_measured_says_why(home: Settings) -> None:
    (home.home / "data").mkdir()
    (home.home / "data" / "counting.txt").write_text("".join(f"{number} and " for number in range(5000)))
    content = {"corpus": "folder", "folder": "counting.txt", "context": 16, "depth": 1, "steps": 3}
    study = learning_study(
        content,
        ({"name": "width", "kind": "ordinal", "levels": [16, 32]},),
        workload={"name": "gpt", "settings": {**content, "capabilities": ["next_token_accuracy", "bracket_choice"]}},
        graph="scaling_gpt.dot",
        estimands=[{"name": "effect", "treatment": "width", "contrast": {"from": 16, "to": 32}, "outcome": "capability_bracket_choice"}],
    )
    trials, counts = learn(study, home)
    assert counts == {"ok": 2}
    landed = {row["outcome"]: row for row in rows(home, "outcomes", trials[0].trial_id)}
    assert landed["capability_next_token_accuracy"]["value"] == landed["accuracy"]["value"]
    assert landed["capability_bracket_choice"]["value"] is None
    assert "fewer than two kinds of brackets" in landed["capability_bracket_choice"]["reason"]


def test_the_shipped_study_can_be_planned(home: Settings) -> None:
    assert len(plan(load_study("scaling_lenet", home), home).trials) == 216


def test_each_combination_of_scaling_gpt_is_one_run_with_all_lengths(home: Settings) -> None:
    study = load_study("scaling_gpt", home)
    trials = plan(study, home).trials
    runs = [tuple(trial.factors[name] for name in ("width", "depth", "n_train", "corruption")) for trial in trials]
    lengths = Counter((*run, trial.block) for run, trial in zip(runs, trials, strict=True))
    assert len(set(runs)) == len(lengths) == 4 * 2 * 3 * 2
    assert set(lengths.values()) == {len(study.factor("steps").levels)}
