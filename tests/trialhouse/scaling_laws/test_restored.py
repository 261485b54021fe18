"""A law from the numbers that landed says the same as the one that was fitted, or it is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.errors import LawError
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.prediction import predict
from trialhouse.scaling_laws.restored import restored
from trialhouse.scaling_laws.study import LawRows, fit_study, rows_by_law
from trialhouse.studies.catalogue import load_study
from trialhouse.studies.spec import Study


def fitted(**law: Any) -> tuple[Law, LawRows]:
    """A law of planted trials; those of the two smallest levels are not yet on it."""
    base = {"name": "rate", "outcome": "loss", "data": "n_train"}
    study = Study.model_validate({**load_study("theory_rates").content, "laws": [{**base, **law}]})
    frame = PLANTED["power_law"].table(0).rename(columns={"data": "n_train", "y": "loss"})
    frame["loss"] *= np.where(frame["n_train"] < 300, 2.0, 1.0)
    trials = frame.assign(learner="least_squares", dimension=1, seed=np.tile([0, 1, 2], 12))
    trials["trial_id"] = [f"trial_{number:016x}" for number in range(len(trials))]
    ((one,), _) = fit_study(study, trials, draws=200)
    assert one.law is not None
    (rows,) = rows_by_law(study, study.laws[0], trials)
    return one.law, rows


@pytest.mark.parametrize("law", [{"form": "power_law"}, {"form": "power_law", "fix": {"E": 0.5}}, {"form": "auto"}], ids=str)
def test_it_forecasts_as_the_fitted_one(law: dict[str, Any]) -> None:
    one, rows = fitted(**law)
    again = restored(rows, form=one.form.name, parameters=one.parameters, loss=one.objective, draws=200)
    assert sum(map(len, one.sample.left_out.values())) == 6
    assert again.sample.left_out.popitem()[1] == one.sample.left_out.popitem()[1]
    points = {"n": np.log([1e2, 1e4, 1e7])}
    for was, now in zip(predict(one, points), predict(again, points), strict=True):
        assert list(vars(now).values()) == pytest.approx(list(vars(was).values()), rel=1e-6)


@pytest.fixture(scope="module")
def plain() -> tuple[Law, LawRows]:
    return fitted(form="power_law")


@pytest.mark.parametrize("other", ["trials", "numbers", "loss"])
def test_what_does_not_belong_together_is_refused(plain: tuple[Law, LawRows], other: str) -> None:
    one, rows = plain
    parameters, loss = dict(one.parameters), one.objective
    if other == "trials":
        frame: pd.DataFrame = rows.rows.assign(loss=rows.rows["loss"] * np.where(rows.rows.index == len(rows.rows) - 1, 1.2, 1.0))
        rows = LawRows(rows.question, rows.subgroup, frame, rows.lost, rows.cluster)
    elif other == "numbers":
        parameters["beta"] *= 1.01
    else:
        loss *= 1.001
    with pytest.raises(LawError, match="must have their loss on the trials"):
        restored(rows, form="power_law", parameters=parameters, loss=loss, draws=200)
