"""The shipped studies that only train: each can be planned, spans what it says, and its cheapest trial runs."""

from __future__ import annotations

import pytest

from tests.trialhouse.engine import outcomes
from trialhouse.registration import plan
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study, parse_study
from trialhouse.training.trials import train_trials_for
from trialhouse.workloads.registry import load_learner


@pytest.mark.parametrize(
    ("name", "factor", "count"),
    [
        ("data_quality", "n_train", 160),
        ("double_descent", "features", 156),
        ("learning_curves", "n_train", 144),
        ("theory_rates", "n_train", 480),
        ("variance_limited", "abundance", 60),
    ],
)
def test_a_shipped_study_spans_two_orders_of_magnitude_and_runs(name: str, factor: str, count: int, home: Settings) -> None:
    study = load_study(name, home)
    trials = plan(study, home).trials
    assert len(trials) == count
    levels = [float(level) for level in study.factor(factor).levels]
    assert max(levels) >= 100 * min(levels)
    settings = {**study.workload.settings, **({"steps": 20} if "steps" in study.workload.settings else {})}
    study = parse_study({**study.content, "workload": {"name": study.workload.name, "settings": settings}}, source=name)
    learner, trials = load_learner(study), plan(study, home).trials
    cheapest = min(trials, key=lambda trial: learner.plan(trial.factors).training_flops)
    assert train_trials_for(study, [cheapest], settings=home) == {"ok": 1}
    assert {estimand.outcome for estimand in study.estimands} <= set(outcomes(home, cheapest.trial_id))


def test_the_largest_amount_of_data_of_learning_curves_is_one_pass(home: Settings) -> None:
    study = load_study("learning_curves", home)
    learner, settings = load_learner(study), study.workload.settings
    assert settings["steps"] * settings["batch_size"] == max(study.factor("n_train").levels)
    realised = learner.plan({"n_train": 48_000, "epochs": 1.0}).realised
    assert realised["epochs"] == 1.0
