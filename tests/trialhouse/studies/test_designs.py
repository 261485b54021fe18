"""Designs: the same spec gives the same trials; what is called balanced is balanced."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import yaml

from trialhouse.errors import SpecError
from trialhouse.settings import PROJECT_DIR
from trialhouse.studies.catalogue import parse_study
from trialhouse.studies.designs import Trial, WorkloadIdentity, assign, cells_per_class
from trialhouse.studies.spec import Study

WORKLOAD = WorkloadIdentity("small_cnn", "1", {"dataset": "digits"}, "00", ("seed",), ("seed", "pruning_ratio", "pruning_method"))
CLASSES = {"server": "hardware_a", "pc": "hardware_b", "laptop": "hardware_c"}


@pytest.fixture
def content() -> dict[str, Any]:
    return copy.deepcopy(yaml.safe_load((PROJECT_DIR / "include/studies/pruning_digits.yaml").read_text()))


def trials_of(content: dict[str, Any]) -> tuple[Study, list[Trial]]:
    study = parse_study(content, "x.yaml")
    return study, assign(study, WORKLOAD, CLASSES)


def test_the_shipped_design_is_balanced(content: dict[str, Any]) -> None:
    _, trials = trials_of(content)
    assert sorted(t.position for t in trials) == list(range(216 + 21))
    trials = [t for t in trials if not t.is_sentinel]
    assert len(trials) == 216
    assert len({trial.weights_id for trial in trials}) == 6 * (1 + 3 * 3)
    cells = Counter((t.hardware_class, t.block, t.factors["pruning_ratio"], t.factors["batch_size"]) for t in trials)
    assert set(cells.values()) == {1}
    over_blocks = Counter(
        (t.hardware_class, t.factors["pruning_ratio"], t.factors["pruning_method"], t.factors["batch_size"]) for t in trials
    )
    assert set(over_blocks.values()) == {2, 6}, "each method meets each batch size in two of six seeds; ratio 0 has no method"
    assert {t.factors["pruning_method"] for t in trials if t.factors["pruning_ratio"] == 0} == {"none"}


def test_assignment_is_a_function_of_the_spec(content: dict[str, Any]) -> None:
    _, first = trials_of(content)
    _, again = trials_of(copy.deepcopy(content))
    assert [(t.trial_id, t.position) for t in first] == [(t.trial_id, t.position) for t in again]
    content["design"]["seed"] += 1
    _, other = trials_of(content)
    assert [t.trial_id for t in other] != [t.trial_id for t in first]


def test_order_is_not_the_order_of_the_factors(content: dict[str, Any]) -> None:
    _, trials = trials_of(content)
    ratios = [float(t.factors["pruning_ratio"]) for t in trials if not t.is_sentinel]
    # a random order of 216: the correlation with position has standard error 1/sqrt(215) = .068
    mean, middle = sum(ratios) / 216, 215 / 2
    covariance = sum((r - mean) * (i - middle) for i, r in enumerate(ratios))
    scale = (sum((r - mean) ** 2 for r in ratios) * sum((i - middle) ** 2 for i in range(216))) ** 0.5
    assert abs(covariance / scale) < 4 * 0.068


def test_ids_hold_all_that_determines_a_trial_and_nothing_else(content: dict[str, Any]) -> None:
    study, trials = trials_of(content)
    content["title"] = "Another title"
    content["estimands"] = content["estimands"][:1]
    _, renamed = trials_of(content)
    assert {t.trial_id for t in renamed} == {t.trial_id for t in trials}, "studies share trials"
    ids = {t.trial_id for t in trials}
    newer = assign(study, replace(WORKLOAD, version="2"), CLASSES)
    assert ids.isdisjoint(t.trial_id for t in newer)
    tighter = assign(study, WORKLOAD, {**CLASSES, "laptop": "hardware_d"})
    changed = {t.trial_id for t in tighter} ^ ids
    assert len(changed) == 2 * (72 + 7), "another limit makes other trials of that class only"
    assert {t.weights_id for t in tighter} == {t.weights_id for t in trials}, "weights do not depend on the class"


@pytest.mark.parametrize(
    ("design", "per_class"),
    [
        ({"kind": "full_factorial", "seed": 1}, 216 // 3),
        ({"kind": "completely_randomised", "seed": 1, "points": 12}, 6 * 12),
        ({"kind": "latin_hypercube", "seed": 1, "points": 9}, 6 * 9),
    ],
)
def test_other_designs_yield_their_points(content: dict[str, Any], design: dict[str, Any], per_class: int) -> None:
    content["design"] = design
    content["factors"][3]["balanced_within"] = []
    _, trials = trials_of(content)
    counts = Counter(t.hardware_class for t in trials)
    # cells at ratio 0 with equal batch size are one trial, so a few may merge
    assert all(0.75 * per_class <= count <= per_class for count in counts.values())


def test_a_latin_hypercube_fills_every_slice(content: dict[str, Any]) -> None:
    content["design"] = {"kind": "latin_hypercube", "seed": 3, "points": 10}
    content["factors"] = [{"name": "pruning_ratio", "kind": "continuous", "levels": [0.0, 0.9]}]
    content["estimands"] = [{**content["estimands"][0], "contrast": {"from": 0.1, "to": 0.5}}]
    content["indicators"] = []
    _, trials = trials_of(content)
    slices = Counter(int(float(t.factors["pruning_ratio"]) / 0.09) for t in trials if t.hardware_class == "pc")
    assert slices == dict.fromkeys(range(10), 1)


def test_a_fractional_factorial_takes_half_the_runs(content: dict[str, Any]) -> None:
    content["design"] = {"kind": "fractional_factorial", "seed": 3, "generator": "a b ab"}
    content["factors"] = [{"name": name, "kind": "ordinal", "levels": [1, 2]} for name in ("width", "depth", "batch_size")]
    content["estimands"] = [{"name": "e", "treatment": "width", "contrast": {"from": 1, "to": 2}, "outcome": "accuracy"}]
    content["indicators"] = []
    _, trials = trials_of(content)
    runs = [t.factors for t in trials if t.hardware_class == "pc"]
    assert len(runs) == 4
    for run in runs:
        signs = [2 * int(run[name]) - 3 for name in ("width", "depth", "batch_size")]
        assert signs[2] == signs[0] * signs[1]


def test_replicates_are_trials_of_their_own(content: dict[str, Any]) -> None:
    content["design"]["replicates"] = 2
    _, trials = trials_of(content)
    assert len(trials) > 237
    assert {t.replicate for t in trials if not t.is_sentinel} == {0, 1}
    assert min(t.replicate for t in trials if t.is_sentinel) == 2


def test_placebo_labels_are_even_within_block_and_class_and_otherwise_chance(content: dict[str, Any]) -> None:
    _, trials = trials_of(content)
    labelled = [t for t in trials if not t.is_sentinel]
    cells = Counter((t.hardware_class, t.block, t.labels["placebo"]) for t in labelled)
    assert set(cells.values()) == {6}
    # of 108 trials with label b, those in the same half of the order: hypergeometric, standard error 3.7
    early = sum(t.labels["placebo"] == "b" for t in labelled[:108])
    assert abs(early - 54) < 4 * 3.7
    assert all("placebo" not in t.factors and "placebo" not in t.arm for t in trials)
    content["design"]["seed"] += 1
    assert [t.labels for t in trials_of(content)[1]] != [t.labels for t in trials]


def test_placebo_and_sentinels_leave_the_other_trials_and_their_order_alone(content: dict[str, Any]) -> None:
    _, trials = trials_of(content)
    del content["design"]["sentinels"]
    content["factors"] = content["factors"][:4]
    _, plain = trials_of(content)
    assert [t.trial_id for t in plain] == [t.trial_id for t in trials if not t.is_sentinel]
    assert all(t.labels == {} for t in plain)


def test_sentinels_are_one_treatment_again_and_again_at_even_distances(content: dict[str, Any]) -> None:
    content["design"]["sentinels"]["factors"]["pruning_ratio"] = 0.0  # the same level as 0
    study, trials = trials_of(content)
    for name in study.hardware_classes:
        mine = [t for t in trials if t.hardware_class == name]
        assert [place for place, t in enumerate(mine) if t.is_sentinel] == [13 * step for step in range(7)]
    sentinels = [t for t in trials if t.is_sentinel]
    assert len({t.trial_id for t in sentinels}) == 21
    assert {t.trial_id for t in sentinels}.isdisjoint(t.trial_id for t in trials if not t.is_sentinel)
    assert {t.weights_id for t in sentinels} <= {t.weights_id for t in trials if not t.is_sentinel}, "no network is trained for them"
    assert {(t.arm, t.block, *t.factors.values()) for t in sentinels} == {("sentinel", "0", 0, 0, "none", 64)}
    assert len([t for t in trials if t.hardware_class == "pc"]) <= cells_per_class(study)


def test_an_unknown_class_is_named(content: dict[str, Any]) -> None:
    content["hardware_classes"] = ["mainframe"]
    with pytest.raises(SpecError, match="hardware_classes must be among"):
        trials_of(content)


def test_a_factor_applies_below_a_level_too(content: dict[str, Any]) -> None:
    content["factors"][1]["levels"] = [0, 0.3, 0.6, 0.9]
    content["factors"][2]["applies_when"] = {"factor": "pruning_ratio", "below": 0.6}
    _, trials = trials_of(content)
    applied = {trial.factors["pruning_ratio"] for trial in trials if trial.factors["pruning_method"] != "none"}
    assert applied == {0, 0.3}
    assert {trial.factors["pruning_ratio"] for trial in trials} == {0, 0.3, 0.6, 0.9}
