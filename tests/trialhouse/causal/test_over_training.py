"""Estimands over training: from trials and their curves to estimates, checks and verdicts."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trialhouse.causal import Results, estimate_study
from trialhouse.causal.over_training import _agreement, curve_panel
from trialhouse.errors import EstimationError, SpecError
from trialhouse.power import power
from trialhouse.settings import PROJECT_DIR, Settings
from trialhouse.studies.catalogue import load_study, parse_study
from trialhouse.studies.designs import WorkloadIdentity, assign
from trialhouse.studies.spec import Study
from trialhouse.studies.switches import evenly_spaced

IDENTITY = WorkloadIdentity("lenet", "1", {}, "00", (), ("seed", "switched_at"))
GRAPHS = {"label_cleanup.dot": (PROJECT_DIR / "include/studies/label_cleanup.dot").read_text()}
STEPS = 120
EFFECT = -0.2
STUDY_ID = "study_0123456789abcdef"


def study(blocks: int = 4, **estimand: Any) -> Study:
    content = load_study("label_cleanup").content
    asked = [{**item, **estimand} for item in content["estimands"] if item["name"] == "cleaning_on_loss"]
    return parse_study({**content, "estimands": asked}, "x").with_overrides(blocks=blocks)


def trials_and_curves(asked: Study, *, too_early: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Validation losses that fall by `EFFECT` from the switch on; with `too_early` from a tenth of the training before it."""
    rng = np.random.default_rng(0)
    rows, points = [], []
    for trial in assign(asked, IDENTITY, {"host": "hardware_h"}):
        switched_at = float(trial.factors["switched_at"])
        rows.append(
            {"trial_id": trial.trial_id, "weights_id": trial.weights_id, "hardware_class": "host", "block": trial.block, "status": "ok"}
            | {**trial.factors, **trial.labels}
        )
        from_step = STEPS * (switched_at - (0.1 if too_early else 0))
        for step in evenly_spaced(STEPS):
            effect = EFFECT if step > from_step and switched_at < 1 else 0
            value = 2 / math.sqrt(step) + 0.05 * float(trial.factors["seed"]) + effect + rng.normal(0, 0.02)
            points += [(trial.trial_id, "validation", step, "loss", value), (trial.trial_id, "train", step, "loss", -1.0)]
        points.append((trial.trial_id, "validation", 1, "loss", 9.0))  # the usual points are not used
    return pd.DataFrame(rows), pd.DataFrame(points, columns=["trial_id", "split", "step", "metric", "value"])


def estimated(asked: Study, frame: pd.DataFrame, curves: pd.DataFrame | None) -> Results:
    return estimate_study(asked, frame, GRAPHS, study_id=STUDY_ID, curves=curves)


@pytest.fixture(scope="module")
def results() -> Results:
    asked = study()
    return estimated(asked, *trials_and_curves(asked))


def test_the_registered_effect_is_answered_from_the_curves(results: Results) -> None:
    (row,) = results.primary
    assert (row["method"], row["treatment"], row["outcome"]) == ("difference_in_differences", "is_cleaned", "validation_loss")
    assert row["ci_low"] < EFFECT < row["ci_high"]
    assert row["ci_high"] - row["ci_low"] < 0.05
    assert (row["verdict"], row["trials"], row["clusters"]) == ("released", 16, 4), row["reasons"]
    assert "averaged over the points t of the learning curve after the switch" in row["estimand_expression"]
    assert "small sample: 4 repeated units (block)" in json.loads(row["caveats"])


def test_beside_it_stand_the_naive_comparison_the_plain_regression_and_the_effect_by_distance(results: Results) -> None:
    rows = {(row["method"], row["subgroup"]): row for row in results.estimates}
    assert set(rows) == {("naive", None), ("two_way_fixed_effects", None), ("difference_in_differences", None)} | {
        ("difference_in_differences", after) for after in ("0.05", "0.1", "0.25", "0.5")
    }
    assert rows["naive", None]["verdict"] == "withheld"
    assert "what time does to a curve is mixed up with the switch" in rows["naive", None]["reasons"]
    assert rows["naive", None]["estimate"] < 1.5 * EFFECT
    for after in ("0.05", "0.5"):
        row = rows["difference_in_differences", after]
        assert row["subgroup_column"] == "share_after_switch"
        assert row["estimate"] == pytest.approx(EFFECT, abs=4 * row["standard_error"])
    assert "8 trials are seen 50% of the training after their switch" in rows["difference_in_differences", "0.5"]["caveats"]
    assert len({row["estimate_id"] for row in results.estimates}) == len(results.estimates)


def test_a_switch_that_works_before_it_happens_fails_the_estimate() -> None:
    asked = study(blocks=6)
    found = estimated(asked, *trials_and_curves(asked, too_early=True))
    assert found.primary[0]["verdict"] == "failed"
    checks = {row["refuter"]: row for row in found.refutations if row["estimate_id"] == found.primary[0]["estimate_id"]}
    assert checks["pre_trends"]["verdict"] == "failed"
    assert {checks[name]["verdict"] for name in ("graph_rules", "overlap", "repeated_units")} == {"passed"}


def test_trials_that_diverge_are_not_passed_over() -> None:
    asked = study()
    frame, curves = trials_and_curves(asked)
    frame.loc[0, "status"], frame.loc[1, "status"] = "diverged", "crashed"
    (row,) = estimated(asked, frame, curves).primary
    assert row["verdict"] == "withheld"
    assert "1 trials did not come to the end" in row["reasons"]
    assert "1 trials that crashed" in row["caveats"]
    assert row["trials"] == 14


def test_one_cohort_against_those_that_never_switch() -> None:
    asked = study(treatment="switched_at", contrast={"from": 1, "to": 0.25}, dose_response=True)
    found = [row for row in estimated(asked, *trials_and_curves(asked)).estimates if row["subgroup"] is None]
    primary = [row for row in found if row["is_primary"]]
    assert [(row["contrast_from"], row["contrast_to"], row["trials"]) for row in primary] == [("1", "0.25", 8)]
    assert {row["contrast_to"] for row in found} == {"0.25", "0.5", "0.75"}


def test_points_are_shares_of_the_training_whatever_its_length() -> None:
    trials = pd.DataFrame({"trial_id": ["a", "b", "c"], "switched_at": [0.25, 1.0, 0.5]})
    lengths = {"a": 80, "b": 600, "c": 601}
    points = [(name, "validation", step, "loss", 1.0) for name, steps in lengths.items() for step in evenly_spaced(steps)]
    panel = curve_panel(trials, pd.DataFrame(points, columns=["trial_id", "split", "step", "metric", "value"]), "validation_loss")
    assert all(list(part) == list(range(1, 41)) for _, part in panel.groupby("trial_id")["point"])
    assert panel.groupby("trial_id")["first_after"].first().to_dict() == {"a": 11, "b": math.inf, "c": 20}  # of 601 steps 300 are before


def test_what_the_data_do_not_carry_is_withheld_and_costs_no_other_answer() -> None:
    asked = study()
    frame, curves = trials_and_curves(asked)
    with pytest.raises(EstimationError, match="needs the learning curves of its trials"):
        estimated(asked, frame, None)
    for few_trials, few_points in ((frame, curves[curves["step"] > 10]), (frame[frame["seed"] < 2], curves)):
        (row,) = estimated(asked, few_trials, few_points).estimates
        assert (row["verdict"], row["estimate"], row["is_primary"]) == ("withheld", None, True)
        assert "repeated units must be treated" in row["reasons"]


def test_the_same_bits_whatever_the_order_of_the_rows(results: Results) -> None:
    asked = study()
    frame, curves = trials_and_curves(asked)
    again = estimated(asked, frame.sample(frac=1, random_state=1), curves.sample(frac=1, random_state=2))
    without_time = [{name: value for name, value in row.items() if name != "estimated_at"} for row in results.estimates]
    assert [{name: value for name, value in row.items() if name != "estimated_at"} for row in again.estimates] == without_time


def test_a_plain_regression_that_disagrees_is_withheld() -> None:
    from tests.trialhouse.causal.test_differences import differences, panel

    grown, _ = panel(np.random.default_rng(1))
    assert _agreement(differences(grown, cluster="seed")).verdict == "failed"


def test_power_is_not_told_for_what_it_does_not_simulate(home: Settings) -> None:
    with pytest.raises(SpecError, match="not for cleaning_on_loss over training"):
        power(study(), effect=0.1, estimand="cleaning_on_loss", settings=home)
