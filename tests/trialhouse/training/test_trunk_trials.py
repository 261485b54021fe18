"""Lengths of training that branch off one trunk: the same landed trials, for less."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.trialhouse.engine import outcomes, rows
from tests.trialhouse.training.test_trained_trials import learn, learning_study
from trialhouse.errors import SpecError, WorkloadError
from trialhouse.landing import LandingZone
from trialhouse.preview import preview
from trialhouse.registration import plan
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import parse_study
from trialhouse.studies.spec import Study
from trialhouse.training.trials import groups_of, train_trials_for
from trialhouse.workloads.gpt import GPT
from trialhouse.workloads.protocol import Lesson
from trialhouse.workloads.registry import load_learner

SETTINGS = {"width": 2, "steps": 40, "trunk_steps": 40, "batch_size": 16, "schedule": "warmup_stable_decay", "augmentation": "shift"}
STEPS = {"name": "steps", "kind": "ordinal", "levels": [8, 16, 40]}
ESTIMAND = {"name": "effect", "treatment": "steps", "contrast": {"from": 8, "to": 40}, "outcome": "error"}


def lengths(settings: dict[str, Any] | None = None) -> Study:
    study = learning_study({**SETTINGS, **(settings or {})}, (STEPS,), graph="scaling.dot", estimands=[ESTIMAND])
    blocks = {"name": "seed", "kind": "ordinal", "assignment": "blocked", "levels": [0, 1]}
    return parse_study({**study.content, "factors": [blocks, study.content["factors"][1]]}, source="learning")


def test_branches_land_what_each_lands_alone_and_say_which_trunk_they_share(home: Settings, tmp_path: Path) -> None:
    study = lengths()
    alone = home.model_copy(update={"home": tmp_path / "alone"})
    trials, counts = learn(study, home)
    assert counts == {"ok": 6}
    trunks: dict[str, set[Any]] = {}
    for trial in trials:
        assert train_trials_for(study, [trial], settings=alone) == {"ok": 1}
        one, other = outcomes(home, trial.trial_id), outcomes(alone, trial.trial_id)
        del one["training_s"], other["training_s"]
        assert one == other
        points = [{(r["split"], r["step"], r["metric"]): r["value"] for r in rows(at, "curves", trial.trial_id)} for at in (home, alone)]
        assert points[0] == points[1]
        text = {row["metric"]: row["text"] for row in rows(home, "profiles", trial.trial_id)}
        trunks.setdefault(text["trunk_id"], set()).add((trial.factors["seed"], trial.factors["steps"]))
    assert sorted(map(sorted, trunks.values())) == [[(seed, steps) for steps in (8, 16, 40)] for seed in (0, 1)]
    # of a group that was interrupted while it landed only the rest is trained again, to the same bits
    lost = next(iter(LandingZone(home.landing_dir).files("attempts")))
    trial_id = lost.name.split(".")[0]
    before = outcomes(home, trial_id)
    lost.unlink()
    assert learn(study, home)[1] == {"skipped": 5, "ok": 1}
    again = outcomes(home, trial_id, 2)
    assert {name: again[name] for name in ("loss", "validation_loss")} == {name: before[name] for name in ("loss", "validation_loss")}


def test_one_trunk_per_seed_which_is_paid_once(home: Settings) -> None:
    study = lengths()
    planned, learner = plan(study, home), load_learner(study)
    groups = groups_of(learner, planned.trials, home)
    assert sorted(len(group) for group in groups) == [3, 3]
    assert all(len({trial.factors["seed"] for trial in group}) == 1 for group in groups)
    per_step = learner.plan({"steps": 40}).training_flops / 40
    # decays of 2, 3 and 8 steps after 6, 13 and 32; alone: 8 + 16 + 40
    assert preview(planned, settings=home).cost.training_flops == pytest.approx(2 * (32 + 2 + 3 + 8) * per_step)


def test_language_models_branch_too(home: Settings) -> None:
    (home.home / "data").mkdir()
    (home.home / "data" / "counting.txt").write_text("".join(f"{number} and " for number in range(5000)))
    learner = GPT({"corpus": "folder", "folder": "counting.txt", "context": 16, "width": 16, "depth": 1, "trunk_steps": 20, "steps": 20})
    trials = [{"seed": 0, "steps": steps} for steps in (10, 20)]
    for factors, branch in zip(trials, learner.learn_branches(trials, [lambda *_: None] * 2, math.inf), strict=True):
        assert isinstance(branch, Lesson)
        assert branch.outcomes["loss"] == learner.learn(factors, lambda *_: None, math.inf).outcomes["loss"]


@pytest.mark.parametrize(
    ("settings", "seed", "message"),
    [
        ({"schedule": "constant"}, {}, "trunk_steps needs schedule warmup_stable_decay and a length by steps"),
        ({"steps": None, "epochs": 1}, {}, "trunk_steps needs schedule warmup_stable_decay and a length by steps"),
        ({"patience": 3}, {}, "branches of a trunk neither switch nor stop early"),
        ({"trunk_steps": 20}, {}, "a branch must leave its trunk of 20 steps after the warm-up and before its end"),
        ({"warmup": 0.5}, {}, "a branch must leave its trunk of 40 steps after the warm-up"),
        ({}, {"assignment": "crossed"}, "seed must be a blocked factor where trunk_steps is set"),
    ],
)  # fmt: skip
def test_what_is_no_trunk_is_refused_in_one_line(home: Settings, settings: dict[str, Any], seed: dict[str, Any], message: str) -> None:
    study = lengths(settings)
    if seed:
        blocks = {**study.content["factors"][0], **seed}
        design = {"kind": "full_factorial", "seed": 0}
        study = parse_study({**study.content, "factors": [blocks, study.content["factors"][1]], "design": design}, source="learning")
    with pytest.raises((SpecError, WorkloadError)) as caught:
        plan(study, home)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
