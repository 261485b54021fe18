"""Confounded on purpose, with randomised twins; ladders and listed points: made-up outcomes whose causes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from trialhouse.causal import Results, estimate_study
from trialhouse.configurations import configurations
from trialhouse.errors import SpecError
from trialhouse.registration import plan
from trialhouse.settings import PROJECT_DIR, Settings
from trialhouse.studies.catalogue import load_study, parse_study
from trialhouse.studies.designs import WorkloadIdentity, assign
from trialhouse.studies.spec import Study

IDENTITY = WorkloadIdentity("lenet", "1", {}, "00", (), ("seed", "width", "n_train", "epochs"))
GRAPH = (PROJECT_DIR / "include/studies/confounded.dot").read_text()
TRUTH = -0.05
"""Of the widest network instead of the narrowest."""


def simulated(study: Study, seed: int = 0) -> pd.DataFrame:
    """Errors that fall with the rank of each factor, with an effect of the seed and noise."""
    rng = np.random.default_rng(seed)
    trials = assign(study, IDENTITY, {"host": "hardware_h"})
    rows = [
        {
            "trial_id": t.trial_id,
            "weights_id": t.weights_id,
            "hardware_class": "host",
            "block": t.block,
            "status": "ok",
            "position": t.position,
        }
        | {**t.factors, **t.labels}
        for t in trials
    ]
    frame = pd.DataFrame(rows)
    of_seed = rng.normal(0, 0.01, 100)[frame["seed"].to_numpy(dtype=int)]
    rank = {name: frame[name].rank(method="dense").to_numpy() for name in ("width", "n_train", "epochs")}
    slopes = TRUTH / 2 * rank["width"] - 0.05 * rank["n_train"] - 0.05 * rank["epochs"]
    return frame.assign(error=0.5 + slopes + of_seed + rng.normal(0, 0.01, len(frame)))


def small(**changes: Any) -> Study:
    content = load_study("confounded_vs_randomised").content
    return parse_study({**content, "estimands": content["estimands"][:1], "refuters": ["left_out_columns"], **changes}, "x")


@pytest.fixture(scope="module")
def results() -> Results:
    study = small(design={"kind": "observational", "seed": 0, "points": 30})
    return estimate_study(study, simulated(study), {"confounded.dot": GRAPH}, study_id="study_0123456789abcdef")


def row(results: Results, half: str, method: str) -> dict[str, Any]:
    return next(item for item in results.estimates if (item["subgroup"], item["method"]) == (half, method))


def test_a_plain_comparison_of_confounded_trials_is_wrong_and_said_to_be(results: Results) -> None:
    naive = row(results, "observational", "naive")
    assert naive["ci_high"] < TRUTH - 0.03
    assert naive["verdict"] == "failed"
    assert "leaves a path from width to error open" in naive["reasons"]


def test_adjustment_by_the_graph_and_the_twins_both_come_to_the_truth(results: Results) -> None:
    adjusted, twins = (row(results, half, "adjusted_linear") for half in ("observational", "randomised"))
    for found in (adjusted, twins):
        assert found["ci_low"] < TRUTH < found["ci_high"]
        assert found["ci_high"] - found["ci_low"] < 0.02
        assert found["verdict"] == "released", found["reasons"]
    assert set(adjusted["adjustment"].strip('["]').split('", "')) >= {"epochs", "n_train"}
    assert "backdoor criterion" in adjusted["estimand_expression"]
    assert "assigned by the design" in twins["estimand_expression"]
    assert "the treatment was not assigned" in adjusted["caveats"]
    assert "the treatment was not assigned" not in twins["caveats"]
    assert row(results, "randomised", "naive")["verdict"] == "released"


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ("digraph { width -> error; n_train -> error; epochs -> error }", "must draw why 'width' goes with 'n_train'"),
        (
            "digraph { width -> n_train; width -> epochs; n_train -> error; epochs -> error; width -> error }",
            "no open back door between them",
        ),
        (
            'digraph { assignment="randomised"; b -> width; b -> n_train; b -> epochs; width -> error }',
            "must not say that the treatment was",
        ),
    ],
)
def test_a_graph_that_hides_the_confounding_is_refused(home: Settings, monkeypatch: pytest.MonkeyPatch, graph: str, message: str) -> None:
    monkeypatch.setattr("trialhouse.registration.graphs_of", lambda *_: {"confounded.dot": graph})
    with pytest.raises(SpecError) as error:
        plan(small(), home)
    assert message in str(error.value)


def test_confounded_trials_are_nothing_to_choose_a_configuration_from() -> None:
    assert configurations(small(), simulated(small()).assign(is_measured=True)) == []


def test_the_rungs_of_a_ladder_are_compared_where_the_others_are_at_their_references() -> None:
    content = load_study("scaling_lenet").content
    references = {"width": 16, "n_train": 480, "epochs": 6, "learning_rate": 0.005}
    factors = [{**f, "reference": references.get(f["name"])} for f in content["factors"]]
    estimands = [{**content["estimands"][0], "by": None, "dose_response": False}]
    design = {"kind": "one_factor_at_a_time", "seed": 0}
    study = parse_study({**content, "factors": factors, "estimands": estimands, "design": design, "refuters": []}, "x")
    frame = simulated(study)
    assert len(frame) == 6 * (1 + 2 + 2 + 1 + 1)
    # far from the references width does something else: no business of a ladder's
    frame.loc[(frame["n_train"] != 480) & (frame["width"] == 16), "error"] = 9.0
    graph = (PROJECT_DIR / "include/studies/scaling.dot").read_text()
    found = estimate_study(study, frame, {"scaling.dot": graph}, study_id="study_0123456789abcdef").primary[0]
    assert found["trials"] == 12
    assert found["ci_low"] < TRUTH < found["ci_high"]
    assert "one factor at a time: the effect at n_train = 480, epochs = 6, learning_rate = 0.005" in found["caveats"]


def test_what_goes_along_with_a_treatment_from_point_to_point_is_part_of_its_effect() -> None:
    content = load_study("scaling_lenet").content
    seed, width, n_train, epochs, *_ = content["factors"]
    fixed = {**epochs, "assignment": "fixed", "levels": [6]}
    estimands = [{**content["estimands"][0], "treatment": "width", "contrast": {"from": 8, "to": 32}, "by": None, "dose_response": False}]

    def effect(points: list[tuple[int, int]]) -> dict[str, Any]:
        levels = [sorted({point[place] for point in points}) for place in (0, 1)]
        factors = [seed, {**width, "levels": levels[0]}, {**n_train, "levels": levels[1]}, fixed]
        design = {"kind": "listed", "seed": 0, "points": [{"width": channels, "n_train": images} for channels, images in points]}
        study = parse_study({**content, "factors": factors, "estimands": estimands, "laws": [], "design": design, "refuters": []}, "x")
        graph = (PROJECT_DIR / "include/studies/scaling.dot").read_text()
        return estimate_study(study, simulated(study), {"scaling.dot": graph}, study_id="study_0123456789abcdef").primary[0]

    both = effect([(8, 900), (32, 100)])
    assert both["verdict"] == "released"
    # 6 or 12 pairs of trials with noise of .01 each: standard errors of .0058 and .0041
    assert both["estimate"] == pytest.approx(TRUTH / 2 + 0.05, abs=4 * 0.0058)
    assert "n_train goes along with width from point to point, so the effect is of all of them together" in both["caveats"]
    alone = effect([(8, 100), (8, 900), (32, 100), (32, 900)])
    assert alone["estimate"] == pytest.approx(TRUTH / 2, abs=4 * 0.0041)
    assert "goes along" not in alone["caveats"]
