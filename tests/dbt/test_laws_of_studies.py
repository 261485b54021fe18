"""Trials that ran, and their law: the same by `trialhouse fit` of the study and of its table."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from tests.trialhouse.warehouse.samples import build
from trialhouse import registration
from trialhouse.__main__ import app
from trialhouse.landing import LandingZone
from trialhouse.laws import land_laws
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study
from trialhouse.studies.spec import Study
from trialhouse.training.trials import train_trials
from trialhouse.warehouse.read import study_frame


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["fit", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.mark.usefixtures("home")
def test_the_study_and_the_table_give_the_same_law(home: Settings, tmp_path: Path) -> None:
    changes = ["learner=nearest_neighbour,online_sgd", "dimension=1", "n_train=100,200,400,800"]
    asked = [{"name": "together", "outcome": "excess_risk"}]
    shipped = Study.model_validate({**load_study("theory_rates").content, "responses": asked})
    study = shipped.with_overrides(blocks=2, changes=changes)
    registered = registration._land(registration.plan(study, home), home)
    assert train_trials(registered.study_id, settings=home) == {"ok": 16}
    build(home)
    for _ in range(2):  # the second lands nothing
        land_laws(registered, study_frame(registered.study_id, home), LandingZone(home.landing_dir))
    assert len(LandingZone(home.landing_dir).files("laws")) == 1
    one = json.loads(run("theory_rates", "--json"))["laws"]
    assert [law["subgroup"] for law in one] == [{"learner": learner, "dimension": 1} for learner in ("nearest_neighbour", "online_sgd")]
    frame = study_frame(registered.study_id, home).sort_values("trial_id")
    own = frame[frame["learner"] == "nearest_neighbour"]
    own[["n_train", "excess_risk", "seed"]].to_csv(tmp_path / "own.csv", index=False, float_format="%.17g")
    options = ("--form", "pure_power_law", "--outcome", "excess_risk", "--data", "n_train", "--cluster", "seed", "--json")
    table = json.loads(run("--table", tmp_path / "own.csv", *options))
    assert table["parameters"] == pytest.approx(one[0]["parameters"], rel=1e-9)
    assert table["intervals"]["beta"] == pytest.approx(one[0]["intervals"]["beta"], rel=1e-9)
    said = run("theory_rates")
    assert said.count("law rate of learner = ") == 2
    assert "response together of all trials: excess_risk by all assigned factors" in said
    (response,) = json.loads(run("theory_rates", "--json"))["responses"]
    assert [one["quantity"] for one in response["effects"]][:2] == ["learner = online_sgd", "n_train"]
    file = LandingZone(home.landing_dir).files("laws")[0]
    landed = dict(duckdb.execute(f"SELECT quantity, estimate FROM '{file}' WHERE law = 'together'").fetchall())
    assert landed == {one["quantity"]: one["estimate"] for one in response["effects"]}
