"""An allocation that is put to the test: forecast, run, built and scored, by a learner whose law is planted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowFailException
from typer.testing import CliRunner

from operators.forecasting import AllocateOperator
from tests.trialhouse.engine import rows
from trialhouse import registration
from trialhouse.__main__ import app
from trialhouse.auditing import Audit, audit
from trialhouse.auditing.candidates import candidates
from trialhouse.errors import ForecastError, TrialhouseError
from trialhouse.forecasting import Purse, StudyAllocation
from trialhouse.reporting.audited import audit_lines
from trialhouse.scaling_laws.asked import laws_about, rows_of_law
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study, parse_study
from trialhouse.studies.spec import Study
from trialhouse.training.trials import train_trials
from trialhouse.warehouse.read import current_study_id, query
from trialhouse.workloads import theory

SEEDS, SCATTER = 3, 0.004
BUDGET = 2 * 12**2 * 1200
"""Operations, of which 12 dimensions and 1,200 examples make the most (see `planted`)."""


def planted(settings: theory.TheorySettings, *_: Any) -> float:
    """Chinchilla's form, of which 100 examples for each dimension make the most; trials scatter around it."""
    chance = np.random.default_rng([settings.seed, settings.dimension, settings.n_train])
    risk = 0.3 + 2 * settings.dimension**-0.5 + 10 * settings.n_train**-0.5
    return float(risk * math.exp(SCATTER * chance.standard_normal()))


def study() -> Study:
    content = load_study("theory_rates").content
    factors = [
        {"name": "seed", "kind": "ordinal", "assignment": "blocked", "levels": list(range(SEEDS))},
        {"name": "learner", "kind": "categorical", "assignment": "fixed", "levels": ["least_squares"]},
        {"name": "dimension", "kind": "ordinal", "levels": [4, 8, 16, 32, 64]},
        {"name": "n_train", "kind": "ordinal", "levels": [100, 200, 400, 800, 1600]},
        {"name": "placebo", "kind": "categorical", "assignment": "placebo", "levels": ["a", "b"]},
    ]
    estimand = {"name": "data", "treatment": "n_train", "contrast": {"from": 100, "to": 1600}, "outcome": "excess_risk"}
    law = {"name": "both", "form": "chinchilla", "outcome": "excess_risk", "size": "dimension", "data": "n_train"}
    changed = {"factors": factors, "estimands": [estimand], "laws": [law]}
    return parse_study({**content, **changed, "workload": {"name": "theory", "settings": {"repetitions": 1}}}, "x")


@pytest.fixture
def allocation(home: Settings, monkeypatch: pytest.MonkeyPatch) -> StudyAllocation:
    """By the law of trials that ran, taken from where they landed: the warehouse is built once, by the audit."""
    monkeypatch.setitem(theory._LEARNERS, "least_squares", planted)
    monkeypatch.setenv("TRIALHOUSE_WORKERS", "1")  # in this process, where the law is planted
    registered = registration._land(registration.plan(study(), home), home)
    assert train_trials(registered.study_id, settings=home) == {"ok": 75}
    landed = pd.DataFrame(rows(home, "outcomes")).pivot(index="unit_id", columns="outcome", values="value")
    trials = pd.DataFrame([{"trial_id": t.trial_id, **t.factors, **landed.loc[t.trial_id].to_dict()} for t in registered.trials])
    (law,) = laws_about(registered.study, trials, draws=200)
    assert law.law is not None
    purse = Purse(BUDGET)
    found = purse.split(law.law, rows_of_law(trials, "excess_risk", {}), law.question.columns)
    return StudyAllocation(registered.study_id, trials, law, purse, found)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_recommended_split_is_run_beside_its_rivals(home: Settings, allocation: StudyAllocation, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home.model_copy(update={"workers": 1})
    with pytest.raises(ForecastError, match="an audit needs a study whose trials are trained here, got workload 'small_cnn'"):
        candidates(allocation, load_study("pruning_digits"))
    with pytest.raises(ForecastError, match=r"an audit must take at most 0 minutes, got \d+ trials to be run, about .*--run-minutes 1"):
        audit(allocation, minutes=0, settings=home)
    assert not rows(home, "forecasts"), "nothing has landed yet"
    assert len(rows(home, "study_versions")) == 1

    said: list[str] = []
    done = audit(allocation, say=said.append, settings=home)
    recommended, *rivals = done.tested
    assert said[0].startswith(f"audit: {SEEDS * len(done.tested)} trials of {done.study_id}")
    assert recommended.candidate.names[0] == "recommended"
    assert recommended.candidate.levels["dimension"] == round(allocation.found.place["dimension"])
    assert len(rivals) >= 3
    for one in done.tested:
        assert one.candidate.cost == pytest.approx(BUDGET, rel=0.01), "rivals spend the same"
        assert list(one.outcomes) == ["0", "1", "2"]
        place = theory.TheorySettings(**{name: one.candidate.levels[name] for name in ("dimension", "n_train")})
        # three trials that scatter by .4% around the planted law
        assert one.mean == pytest.approx(planted(place.model_copy(update={"seed": 0})), rel=6 * SCATTER)
        assert (one.met, one.lost) == (SEEDS, {})
    # half and twice the dimensions lose 8 and 10%, many times the scatter of a mean of three pairs
    far = [one for one in rivals if {"half the dimension", "twice the dimension"} & set(one.candidate.names)]
    assert len(far) == 2
    assert done.sentence.startswith(f"The recommended split came out best of {len(done.tested)}, with a mean excess_risk of ")
    assert all(one.verdict == "worse" for one in far)
    assert done.errors["the law"] < 3 * SCATTER < min(done.errors["dimension"], done.errors["n_train"])

    versions = {row["study_id"] for row in rows(home, "study_versions")}
    assert versions == {allocation.study_id, done.study_id}
    assert current_study_id("theory_rates", home) == allocation.study_id
    began = min(row["started_at"] for row in rows(home, "attempts") if row["unit_id"] in own_trials(done.study_id, home))
    assert max(row["made_at"] for row in rows(home, "forecasts")) < began
    counts = query(
        "SELECT basis, count(*) AS n, count(DISTINCT trial_id) AS trials FROM marts.fct_calibration GROUP BY ALL ORDER BY 1", home
    )
    trials = SEEDS * len(done.tested)
    assert [(row["basis"], row["trials"]) for row in counts] == [("causal", trials), ("correlational", trials)]
    assert counts[0]["n"] == trials
    inside = sum(one.inside for one in done.tested)
    assert done.record == (trials, inside)

    said_again = the_command_says_the_same(done.to_dict(), monkeypatch)
    assert done.sentence in said_again
    for words in ("less the recommended", f"record: of all trials that ended after this law had forecast them, {inside} of {trials} lie"):
        assert words in said_again
    the_form_says_the_same()
    what_went_wrong_is_told(done)
    unbuilt = [row["unit_id"] for row in rows(home, "attempts") if row["attempt"] > 1]
    assert unbuilt == [], "nothing was run again"


def own_trials(study_id: str, home: Settings) -> set[str]:
    return {row["trial_id"] for row in rows(home, "assignments") if row["study_id"] == study_id}


def the_command_says_the_same(before: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Without another build: there is nothing new to be built."""
    monkeypatch.setattr("trialhouse.auditing.run.build_models", lambda **_: None)
    asked = ("allocate", "theory_rates", "--budget", BUDGET, "--draws", 200, "--run")
    content = json.loads(run(*asked, "--json"))
    assert content["audit"] == json.loads(json.dumps(before))
    with pytest.raises(
        ForecastError, match=r"the recommended split \(dimension .*\) must be a trial that can be run, got setting 'dimension'"
    ):
        run("allocate", "theory_rates", "--budget", 1e10, "--draws", 200, "--run", "--farthest", 3)
    with pytest.raises(TrialhouseError, match="--run goes with a STUDY, got --table"):
        run("allocate", "--table", "x.csv", "--outcome", "y", "--budget", 1, "--run")
    return run(*asked)


def the_form_says_the_same() -> None:
    """In Airflow, with a limit as it is typed there."""
    asked = ("allocate", "theory_rates", "--budget", BUDGET, "--limit", "size<=10", "--json")
    form = AllocateOperator(task_id="allocate", study_name="theory_rates", budget=BUDGET, limits=["size<=10"])
    assert form.call({}) == json.loads(run(*asked))["sentence"]  # type: ignore[arg-type]
    wrong = AllocateOperator(task_id="allocate", study_name="theory_rates", budget=BUDGET, limits=["size<ten"])
    with pytest.raises(AirflowFailException, match=r"^a limit must be NAME<=NUMBER, got 'size<ten'"):
        wrong.execute({})  # type: ignore[arg-type]


def what_went_wrong_is_told(done: Audit) -> None:
    """The same audit with a rival that won, one that was lost, and no forecast before the trials."""
    recommended, first, *_ = done.tested
    second = next(one for one in done.tested if one.candidate.place["dimension"] < 12)
    won = replace(first, outcomes={block: 0.9 * value for block, value in recommended.outcomes.items()}, difference=(-0.1, -0.12, -0.08))
    lost = replace(second, outcomes={}, met=0, inside=0, lost={"diverged": 3}, difference=(math.nan, math.nan, math.nan))
    found = replace(done, tested=(replace(recommended, met=1, inside=0), won, lost), left_out={"some rule": "too far"}, errors={})
    assert found.sentence.startswith("The recommended split came out behind 1 of 1 rivals")
    assert found.sentence.endswith("of its rivals 1 came out better (3 pairs of trials each, which is few)")
    said = "\n".join(line for line in audit_lines(found.to_dict()) if isinstance(line, str))
    assert "was not tried" not in said
    larger = replace(found, tested=tuple(one for one in found.tested if one.candidate.place["dimension"] >= 12)).to_dict()
    assert "no rival had a smaller dimension: whether a smaller one would do better was not tried" in audit_lines(larger)
    for words in ("left out: some rule: too far", "3 diverged", "2 trials are no test of its forecast"):
        assert words in said
    nothing = replace(done, tested=(replace(recommended, outcomes={}, lost={"diverged": 3}), won))
    assert nothing.sentence == "The recommended split came to no excess_risk: 3 diverged"
    assert replace(done, tested=(recommended, lost)).sentence.startswith("No rival came to an outcome")
