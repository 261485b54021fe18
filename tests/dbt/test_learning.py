"""Trials that only train, from the landing zone to the report: real networks on real digits."""

from __future__ import annotations

import pytest

from operators.gates import validate_study
from tests.trialhouse.training.test_trained_trials import learning_study
from tests.trialhouse.warehouse.samples import build
from trialhouse import registration
from trialhouse.causal.over_training import METHOD
from trialhouse.estimation import estimate
from trialhouse.landing import LandingZone
from trialhouse.reporting.report import write_report
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study
from trialhouse.studies.switches import evenly_spaced
from trialhouse.training.trials import train_trials, train_trials_for
from trialhouse.warehouse.read import published, study_curves


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str, list[str]]:
    """A study of four blocks whose last trial was killed in its first attempt, estimated and reported."""
    settings = Settings(home=tmp_path_factory.mktemp("learning"))
    width = {"name": "width", "kind": "ordinal", "levels": [2, 8]}
    seeds = {"name": "seed", "kind": "ordinal", "assignment": "blocked", "levels": [0, 1, 2, 3]}
    examples = {"name": "n_train", "kind": "ordinal", "levels": [100, 900]}
    study = learning_study({"epochs": 3}, (width, examples))
    effect = {**study.content["estimands"][0], "by": "n_train", "dose_response": True}
    law = {"name": "data", "form": "power_law", "outcome": "loss", "data": "n_train", "by": ["width"]}
    study = study.model_validate({**study.content, "factors": [seeds, width, examples], "estimands": [effect], "laws": [law]})
    registered = registration._land(registration.plan(study, settings), settings)
    *done, killed = registered.trials
    train_trials_for(study, done, settings=settings)
    point = {"phase": "training", "split": "validation", "step": 1, "metric": "loss", "value": 2.5}
    unit = {"unit_id": killed.trial_id, "unit_kind": "trial", "attempt": 1}
    LandingZone(settings.landing_dir).write("curves", [{**unit, **point}], unit_id=killed.trial_id, attempt=1)
    build(settings)
    return settings, registered.study_id, [trial.trial_id for trial in registered.trials]


def test_every_outcome_and_curve_is_in_the_marts(house: tuple[Settings, str, list[str]]) -> None:
    settings, study_id, trials = house
    with published(settings) as connection:
        counts = connection.execute(
            "SELECT status, count(*), count(loss), count(flops) FROM marts.fct_trials GROUP BY ALL ORDER BY 1"
        ).fetchall()
        assert counts == [("ok", 15, 15, 15), ("pending", 1, 0, 0)]
        view = connection.execute(f'SELECT * FROM analysis_versions."{study_id}"').df()
        assert {"error", "training_flops", "non_embedding_parameters", "training_s", "width", "n_train"} <= set(view.columns)
        curves = connection.execute("SELECT trial_id, is_attempt_finished, count(*) FROM marts.fct_learning_curves GROUP BY ALL").fetchall()
    assert {trial_id for trial_id, _, _ in curves} == set(trials)
    assert [(trial_id, points) for trial_id, is_finished, points in curves if not is_finished] == [(trials[-1], 1)]


def test_the_answer_says_how_networks_learnt_and_nothing_of_hardware(house: tuple[Settings, str, list[str]]) -> None:
    settings, study_id, _ = house
    assert len(validate_study(study_id, settings).failed["critical"]) == 1  # a sixteenth of the trials is missing
    assert train_trials(study_id, settings=settings) == {"skipped": 15, "ok": 1}
    small = load_study("label_cleanup", settings).with_overrides(blocks=3, changes=["steps=40", "width=2"])
    switching = registration._land(registration.plan(small, settings), settings)
    assert train_trials(switching.study_id, settings=settings) == {"ok": 12}
    build(settings)
    assert validate_study(study_id, settings).is_success
    assert sum(estimate(study_id, settings).values()) == 2
    assert sum(estimate(switching.study_id, settings).values()) == 4
    assert len(LandingZone(settings.landing_dir).files("laws")) == 1
    assert not LandingZone(settings.landing_dir).files("configurations")  # there is no class to choose one for
    build(settings)
    with published(settings) as connection:
        laws = connection.execute("SELECT subgroup, verdict, reasons FROM marts.fct_scaling_laws WHERE is_current ORDER BY 1").fetchall()
    assert [(subgroup, verdict) for subgroup, verdict, _ in laws] == [('{"width": 2}', "withheld"), ('{"width": 8}', "withheld")]
    assert all("different places or more, got 2" in reasons for *_, reasons in laws)
    text = write_report(study_id, settings.warehouse, settings.reports_dir).read_text()
    assert "Validation loss by width" in text
    assert text.index("training set 100</td>") < text.index("training set 900</td>")
    for word in ("Hardware classes", "exclusive slot", "Out-of-memory", "all classes"):
        assert word not in text
    curves = study_curves(switching.study_id, settings)
    assert len(curves) == 12 * 4 * len(set(evenly_spaced(40)) | {1, 2, 4, 8, 16, 32})
    query = f"SELECT estimand, trials, clusters FROM marts.fct_estimates WHERE is_current AND method = '{METHOD}' AND is_primary ORDER BY 1"
    with published(settings) as connection:
        assert connection.execute(query).fetchall() == [("cleaning_on_accuracy", 12, 3), ("cleaning_on_loss", 12, 3)]
    text = write_report(switching.study_id, settings.warehouse, settings.reports_dir).read_text()
    assert "Validation loss by switched at" in text
    assert "parallel trends" in text
