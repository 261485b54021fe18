"""Forecasts from trials that ran to the marts, and what came out of later trials beside them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from operators.forecasting import ForecastOperator
from tests.trialhouse.warehouse.samples import build
from trialhouse import registration
from trialhouse.__main__ import app
from trialhouse.errors import ForecastError
from trialhouse.forecasting import land_checks
from trialhouse.landing import LandingZone
from trialhouse.laws import land_laws
from trialhouse.registration import Registration
from trialhouse.reporting.law_panels import law_sections
from trialhouse.reporting.marts import read_study
from trialhouse.reporting.plots import Line
from trialhouse.reporting.report import write_report
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study
from trialhouse.training.trials import train_trials
from trialhouse.warehouse.read import published, study_frame

COMMON = ("learner=nearest_neighbour,online_sgd", "dimension=1")


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None:
        raise result.exception
    return result.output


def trained(home: Settings, examples: str) -> Registration:
    study = load_study("theory_rates").with_overrides(blocks=3, changes=[*COMMON, f"n_train={examples}"])
    registered = registration._land(registration.plan(study, home), home)
    train_trials(registered.study_id, settings=home)
    build(home)
    return registered


def the_report_draws_what_landed(registration: Registration, home: Settings) -> None:
    data = read_study(registration.study_id, home.warehouse)
    (section,) = law_sections(data)
    assert section.reasons == ()
    assert all(any(isinstance(layer, Line) for layer in plot.layers) for plot in section.curves.plots)
    assert [(row.kind, row.trials) for row in section.held_out_rows] == [("interpolation", 3), ("extrapolation", 3)] * 2
    path = write_report(registration.study_id, home.warehouse, home.reports_dir)
    beta = next(row for row in data.laws if row["quantity"] == "beta" and "nearest" in row["subgroup"])
    assert f"n_train^−{beta['estimate']:.2f}" in path.read_text()
    assert (path.parent / "figures" / "rate_curves_1_nearest_neighbour.png").is_file()


@pytest.mark.usefixtures("home")
def test_a_forecast_is_kept_and_meets_what_comes_out(home: Settings) -> None:
    first = trained(home, "100,200,400,800,1600")
    asked = ("forecast", "theory_rates", "--do", "n_train=2x", "--where", "learner=nearest_neighbour")
    (found,) = json.loads(run(*asked, "--json"))["forecasts"]
    assert found["refusal"] is None
    assert found["end"] == {"n_train": 3200}
    assert found["assignment"] == "randomised"
    assert json.loads(run(*asked, "--json"))["forecasts"] == [found]  # the same answer lands once
    assert len(LandingZone(home.landing_dir).files("forecasts")) == 1
    assert found["sentence"] in run(*asked)
    form = ForecastOperator(task_id="forecast", study_name="theory_rates", do=["n_train=2x"], where=["learner=nearest_neighbour"])
    assert form.call({}) == [found["sentence"]]  # type: ignore[arg-type]
    assert len(LandingZone(home.landing_dir).files("forecasts")) == 1
    for _ in range(2):
        land_checks(
            first, land_laws(first, study_frame(first.study_id, home), LandingZone(home.landing_dir)), LandingZone(home.landing_dir)
        )
    assert len(LandingZone(home.landing_dir).files("forecasts")) == 2
    build(home)
    the_report_draws_what_landed(first, home)
    trained(home, "1600,3200")  # another version of the study: what was forecast for 3,200 now comes out

    with published(home) as connection:
        rows = connection.execute(
            "SELECT purpose, count(*), bool_and(is_current) FROM marts.fct_forecasts GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        assert rows == [("asked", 1, True), ("extrapolation", 2, True), ("interpolation", 2, True)]
        query = """
            SELECT observed, forecast, is_in_interval, reach_word, json_extract(place, '$.n_train')::int
            FROM marts.fct_calibration WHERE purpose = 'asked' ORDER BY trial_id
        """
        met = connection.execute(query).fetchall()
        assert [(word, place) for *_, word, place in met] == [("beyond", 3200)] * 3
        assert all(forecast == pytest.approx(found["after"]["mean"]) for _, forecast, *_ in met)
        assert all(observed == pytest.approx(forecast, rel=0.2) for observed, forecast, *_ in met)
        held = "SELECT purpose, subgroup, count(*) FROM marts.fct_calibration WHERE purpose <> 'asked' GROUP BY ALL ORDER BY ALL"
        counts = connection.execute(held).fetchall()
        assert [count for *_, count in counts] == [3] * 4  # one configuration of each kind and learner, three seeds of each
        assert len({subgroup for _, subgroup, _ in counts}) == 2

    for arguments, said in (
        (("--do", "width=2x"), "must be about a law of study 'theory_rates'"),
        (("--do", "n_train=2x", "--law", "size"), "got 'size'"),
        (("--do", "n_train=2x", "--where", "learner=mlp"), "must name a subgroup"),
        (("--do", "n_train=1e6x"), "a law of the study must be able to answer, got 2 that cannot"),
    ):
        with pytest.raises(ForecastError, match=said):
            run("forecast", "theory_rates", *arguments)
    with pytest.raises(ForecastError, match=r"one law of two factors or more, got none; .*add a law of two factors"):
        run("allocate", "theory_rates", "--budget", "1e9")
