"""Designs: the same spec gives the same trials; what is called balanced is balanced."""

from __future__ import annotations

import copy
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
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


def test_a_factor_can_be_drawn_once_for_all_levels_of_another(content: dict[str, Any]) -> None:
    content["factors"][3] |= {"balanced_within": [], "constant_over": ["pruning_ratio"]}
    content["factors"].insert(3, {**content["factors"][3], "name": "threads", "constant_over": []})
    content["design"] = {**content["design"], "replicates": 2, "sentinels": None}
    ratio = content["factors"][1]["levels"]
    content["factors"][2] = {"name": "pruning_method", "kind": "categorical", "levels": ["l1_structured", "l1_mask", "random_structured"]}
    content["indicators"] = []
    content["estimands"] = content["estimands"][:1]
    _, trials = trials_of(content)
    plots: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}
    for t in trials:
        if not t.is_sentinel:
            key = (t.hardware_class, t.block, t.replicate, t.factors["pruning_method"])
            plots.setdefault(key, []).append((t.factors["pruning_ratio"], t.factors["batch_size"]))
    assert len(plots) == 3 * 6 * 2 * 3
    for plot in plots.values():
        assert sorted(level for level, _ in plot) == sorted(ratio), "each plot has every level of what the draw is held over"
        assert len({batch for _, batch in plot}) == 1
    levels = Counter((key[0], plot[0][1]) for key, plot in plots.items())
    assert set(levels.values()) == {6 * 2}, "balanced over blocks and plots"


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


def ladder(content: dict[str, Any]) -> dict[str, Any]:
    content["design"] = {"kind": "one_factor_at_a_time", "seed": 0}
    content["factors"][1]["reference"] = 0.3
    content["factors"][2] = {
        "name": "pruning_method",
        "kind": "categorical",
        "levels": ["l1_structured", "l1_mask"],
        "reference": "l1_mask",
    }
    content["factors"][3] = {"name": "batch_size", "kind": "ordinal", "levels": [64, 512], "assignment": "randomised"}
    return content


def test_ladders_change_one_factor_at_a_time_in_every_block_and_class(content: dict[str, Any]) -> None:
    _, trials = trials_of(ladder(content))
    cells = {
        (t.hardware_class, t.block): Counter(
            (u.factors["pruning_ratio"], u.factors["pruning_method"])
            for u in trials
            if (u.hardware_class, u.block) == (t.hardware_class, t.block)
        )
        for t in trials
    }
    rungs = {(0, "l1_mask"), (0.3, "l1_mask"), (0.6, "l1_mask"), (0.9, "l1_mask"), (0.3, "l1_structured")}
    assert len(cells) == 18
    assert all(found == dict.fromkeys(rungs, 1) for found in cells.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["factors"][1].pop("reference"), "a crossed factor of a one_factor_at_a_time design needs reference, got None"),
        (lambda c: c["factors"][1].update(reference=0.5), "reference must be a level of a crossed factor, got 0.5"),
        (lambda c: c["estimands"][0].update(by="pruning_method"), "by must be one of"),
        (lambda c: c["design"].update(kind="full_factorial"), "a crossed factor of a full_factorial design takes no reference, got 0.3"),
    ],
)
def test_a_ladder_without_its_references_is_refused(content: dict[str, Any], change: Any, message: str) -> None:
    change(ladder(content))
    with pytest.raises(SpecError) as error:
        parse_study(content, "x.yaml")
    assert message in str(error.value)


def test_a_log_scale_makes_ratios_equally_likely_and_whole_numbers_whole(content: dict[str, Any]) -> None:
    content["design"] = {"kind": "latin_hypercube", "seed": 3, "points": 12}
    content["factors"] = [{"name": "batch_size", "kind": "continuous", "levels": [10, 10_000], "scale": "log", "is_whole": True}]
    content["indicators"] = []
    estimand = {"name": "batch", "treatment": "batch_size", "contrast": {"from": 10, "to": 100}, "outcome": "latency_ms"}
    content["estimands"] = [estimand]
    _, trials = trials_of(content)
    sizes = [t.factors["batch_size"] for t in trials if t.hardware_class == "pc"]
    assert all(isinstance(size, int) for size in sizes)
    assert Counter(int(math.log10(float(size)) - 1e-9) for size in sizes) == {1: 4, 2: 4, 3: 4}
    content["factors"][0]["levels"] = [0, 100]
    with pytest.raises(SpecError, match="scale 'log' needs a continuous factor above 0"):
        parse_study(content, "x.yaml")


def confounded_study(strength: float = 0.8, points: int = 200, **design: Any) -> Study:
    factors = [
        {"name": name, "kind": "ordinal", "assignment": "confounded", "strength": strength, "levels": levels}
        for name, levels in {"width": [32, 16, 8], "n_train": [150, 400, 1100]}.items()
    ]
    content = yaml.safe_load((PROJECT_DIR / "include/studies/confounded_vs_randomised.yaml").read_text())
    content["factors"] = [content["factors"][0], *factors, content["factors"][-1]]
    content["estimands"] = content["estimands"][:1]
    content["design"] |= {"points": points, **design}
    return parse_study(content, "x.yaml")


LEARNER = WorkloadIdentity("lenet", "1", {}, "00", (), ("seed", "width", "n_train"))


def test_confounded_factors_go_together_and_their_twins_do_not() -> None:
    study = confounded_study()
    trials = assign(study, LEARNER, {"host": "hardware_h"})
    assert len(trials) == 2 * 10 * 200, "what is drawn twice counts twice"
    for half, strength in {"observational": 0.8, "randomised": 0.0}.items():
        mine = [t for t in trials if t.labels["half"] == half]
        assert len(mine) == 2000
        assert all("half" not in t.factors and "half" not in t.arm for t in mine)
        for name in ("width", "n_train"):
            levels = Counter(t.factors[name] for t in mine)
            # each level is as likely as the others: 667 of 2,000, standard error 21
            assert all(abs(count - 2000 / 3) < 4 * 21 for count in levels.values())
        ranks = [([8, 16, 32].index(int(t.factors["width"])), [150, 400, 1100].index(int(t.factors["n_train"]))) for t in mine]
        found = np.corrcoef(np.transpose(ranks))[0, 1]
        # of three levels each, whose normal scores correlate by strength squared: .53 (integrated numerically); standard error .022 at 0
        assert abs(found - (0.53 if strength else 0.0)) < 4 * 0.022


def test_propensities_are_those_of_the_draws() -> None:
    trials = [t for t in assign(confounded_study(), LEARNER, {"host": "hardware_h"}) if t.labels["half"] == "observational"]
    # weighted by the inverse of their propensities all levels of the other factor are as common with the widest network as with any
    widest = [t for t in trials if t.factors["width"] == 32]
    weights = np.array([1 / t.propensities["width"] for t in widest])
    is_most = np.array([t.factors["n_train"] == 1100 for t in widest])
    share = float((weights * is_most).sum() / weights.sum())
    # a ratio of weighted sums, whose standard error is that of its linear terms
    error = float(np.sqrt(((weights * (is_most - share)) ** 2).sum()) / weights.sum())
    assert abs(share - 1 / 3) < 4 * error
    assert is_most.mean() > 1 / 3 + 0.2
    twins = [t for t in assign(confounded_study(points=3), LEARNER, {"host": "hardware_h"}) if t.labels["half"] == "randomised"]
    assert {round(p, 9) for t in twins for p in t.propensities.values()} == {round(1 / 3, 9)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["design"].pop("points"), "an observational design needs points, got None"),
        (lambda c: c["factors"][1].update(assignment="crossed"), "a crossed factor takes no strength, got 0.65"),
        (lambda c: c["factors"][1].pop("strength"), "a confounded factor needs strength, got None"),
        (lambda c: c["design"].update(kind="randomised_blocks", points=None), "has no confounded or twin factor, got one"),
        (lambda c: c["factors"].append({"name": "depth", "kind": "ordinal", "levels": [1, 2]}), "got the crossed factor 'depth'"),
        (lambda c: c["factors"][-1].update(levels=["a", "b"]), "a twin factor must have the levels ['observational', 'randomised']"),
        (lambda c: c["estimands"][0].update(treatment="half"), "treatment must be one of the factors and indicators"),
    ],
)
def test_a_confounded_design_that_is_none_is_refused(change: Any, message: str) -> None:
    content = yaml.safe_load((PROJECT_DIR / "include/studies/confounded_vs_randomised.yaml").read_text())
    change(content)
    with pytest.raises(SpecError) as error:
        parse_study(content, "x.yaml")
    assert message in str(error.value)


def test_randomised_factors_do_not_go_together(content: dict[str, Any]) -> None:
    """Drawn alike, each would be told by the other in every block; nine places in a row hold each pair once."""
    factors = [
        {"name": "seed", "kind": "ordinal", "assignment": "blocked", "levels": [0, 1, 2]},
        {"name": "pruning_ratio", "kind": "continuous", "levels": [round(0.05 * step, 2) for step in range(18)]},
        *({"name": name, "kind": "ordinal", "assignment": "randomised", "levels": [1, 2, 4]} for name in ("batch_size", "num_workers")),
    ]
    effect = {"name": "effect", "treatment": "pruning_ratio", "contrast": {"from": 0, "to": 0.5}, "outcome": "accuracy"}
    for seed in range(5):
        design = {"kind": "randomised_blocks", "seed": seed}
        content |= {"factors": factors, "estimands": [effect], "indicators": [], "limits": [], "design": design, "hardware_classes": ["pc"]}
        _, trials = trials_of(content)
        for block in ("0", "1", "2"):
            pairs = Counter((trial.factors["batch_size"], trial.factors["num_workers"]) for trial in trials if trial.block == block)
            assert sorted(pairs.values()) == [2] * 9


def listed(content: dict[str, Any]) -> dict[str, Any]:
    content["factors"] = [
        content["factors"][0],
        {"name": "width", "kind": "ordinal", "levels": [8, 16]},
        {"name": "steps", "kind": "ordinal", "levels": [100, 200, 400]},
    ]
    points = [{"width": 8, "steps": 400}, {"width": 16, "steps": 200}, {"steps": 100.0, "width": 16}]
    content["design"] = {"kind": "listed", "seed": 0, "points": points}
    content["indicators"] = []
    content["estimands"] = [{"name": "e", "treatment": "width", "contrast": {"from": 8, "to": 16}, "outcome": "accuracy"}]
    return content


def test_listed_points_are_all_there_is_in_every_block_and_class(content: dict[str, Any]) -> None:
    study, trials = trials_of(listed(content))
    cells = Counter((t.hardware_class, t.block, t.factors["width"], t.factors["steps"]) for t in trials)
    points = [(8, 400), (16, 200), (16, 100)]
    assert cells == dict.fromkeys([(c, str(block), *point) for c in CLASSES for block in range(6) for point in points], 1)
    assert cells_per_class(study) == 6 * 3
    crossed = copy.deepcopy(content)
    crossed["design"] = {"kind": "randomised_blocks", "seed": 0}
    assert {t.trial_id for t in trials} < {t.trial_id for t in trials_of(crossed)[1]}, "the same trials as in any other design"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("points"), "a listed design needs a list of points, one at least, got None; fix design.points"),
        (lambda d: d.update(points=[]), "a listed design needs a list of points, one at least, got []; fix design.points"),
        (lambda d: d.update(points=3), "a listed design needs a list of points, one at least, got 3; fix design.points"),
        (lambda d: d.update(points=[3]), "design.points.list.0: input should be a valid dictionary, got 3"),
        (lambda d: d.update(kind="randomised_blocks"), "a randomised_blocks design takes a number of points or none, got [{"),
        (lambda d: d["points"][1].update(depth=2), "a point must set crossed factors ['steps', 'width'], got 'depth'; fix design.points.1"),
        (lambda d: d["points"][1].pop("steps"), "a point must set every crossed factor, got no level of 'steps'; fix design.points.1"),
        (lambda d: d["points"][2].update(width=12), "a point must have levels of width [8, 16], got 12; fix design.points.2"),
        (lambda d: d["points"].append({"steps": 400, "width": 8.0}), "points must be distinct, got {'steps': 400, 'width': 8.0} twice"),
        (lambda d: d["points"].pop(0), "every level of width must be in a point, got none with 8; fix factor 'width'"),
    ],
)
def test_a_list_of_points_that_is_none_is_refused(content: dict[str, Any], change: Any, message: str) -> None:
    change(listed(content)["design"])
    with pytest.raises(SpecError) as error:
        trials_of(content)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
