"""From a place of a law to the nearest levels that a workload takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trialhouse.auditing.levels import Levels
from trialhouse.errors import SpecError, WorkloadError
from trialhouse.studies.catalogue import load_study
from trialhouse.studies.spec import Study
from trialhouse.workloads.registry import load_learner

COLUMNS = ("non_embedding_parameters", "examples_seen")


def study(**settings: Any) -> Study:
    content = load_study("scaling_lenet").content
    factors = [
        {"name": "seed", "kind": "ordinal", "assignment": "blocked", "levels": [3, 4]},
        {"name": "width", "kind": "ordinal", "levels": [8, 32, 64]},
        {"name": "steps", "kind": "ordinal", "levels": [10, 80, 640]},
    ]
    workload = {"name": "mlp", "settings": {"dataset": "digits", "depth": 1, "batch_size": 32, **settings}}
    estimands = [{**content["estimands"][0], "contrast": {"from": 8, "to": 32}, "by": None, "dose_response": False}]
    changed = {"workload": workload, "factors": factors, "estimands": estimands, "laws": []}
    return Study.model_validate({**content, **changed})


def levels(one: Study, columns: tuple[str, ...] = COLUMNS, **held: Any) -> Levels:
    return Levels(one, load_learner(one), columns, held)


def parameters(width: int) -> int:
    """Of a hidden layer between 64 pixels and 10 classes."""
    return 64 * width + width + 10 * width + 10


def test_levels_between_those_of_the_study_bring_columns_nearest() -> None:
    found = levels(study())
    assert {column: factor.name for column, factor in found.moves.items()} == dict(zip(COLUMNS, ("width", "steps"), strict=True))
    assert found.held == {"seed": 3}
    for width in (5, 13, 40, 100):  # also below and beyond them
        for off in (0.96, 1.0, 1.04) if width > 5 else (1.0,):
            target = off * parameters(width)
            best = min(range(1, 200), key=lambda w: abs(parameters(w) / target - 1))
            assert found.nearest(COLUMNS[0], target, {}) == best
    assert found.nearest("examples_seen", 32 * 123, {"width": 40}) == 123
    assert found.place({"width": 40, "steps": 123}) == {COLUMNS[0]: parameters(40), COLUMNS[1]: 32 * 123}


@pytest.mark.parametrize(
    ("comes_to", "target", "width"),
    [
        (lambda width: 100.0 * max(width, 32), 5000.0, 50),  # nothing changes below 32
        (lambda width: 1e5 / max(width, 32), 2500.0, 40),  # falls with the factor
        (lambda width: 7.0, 7.0, 32),  # depends on it at other levels of the other factor only
    ],
)
def test_columns_that_level_off_or_fall_are_brought_near_too(
    monkeypatch: pytest.MonkeyPatch, comes_to: Callable[[int], float], target: float, width: int
) -> None:
    found = levels(study())
    monkeypatch.setattr(found, "value", lambda _, chosen: comes_to(chosen["width"]))
    assert found.nearest(COLUMNS[0], target, {}) == width


def test_what_no_level_brings_near_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"width must lead to non_embedding_parameters 30, got 85 at 1, the nearest that can be run"):
        levels(study()).nearest(COLUMNS[0], 30, {})
    trunk = study(schedule="warmup_stable_decay", steps=640, trunk_steps=640, warmup=0.01)
    assert levels(trunk).nearest("examples_seen", 32 * 700, {}) == 700
    with pytest.raises(WorkloadError, match="must leave its trunk of 640 steps"):
        levels(trunk).nearest("examples_seen", 32 * 2000, {})


@pytest.mark.parametrize(
    ("columns", "factor", "message"),
    [
        (("loss", "steps"), None, "loss must follow from one factor of positive numbers, as far as the workload knows"),
        (("training_flops", "steps"), None, "training_flops must follow from one factor of positive numbers"),
        (("width", "parameters"), None, "each column of the law must follow from a factor of its own, got 'width' twice"),
        (COLUMNS, {"name": "depth", "kind": "ordinal", "levels": [1, 2]}, "non_embedding_parameters must follow from one factor"),
        (COLUMNS, {"name": "label_noise", "kind": "continuous", "levels": [0, 0.4]}, "got several levels of 'label_noise'"),
    ],
)
def test_columns_that_no_factor_of_their_own_moves_are_refused(columns: tuple[str, ...], factor: Any, message: str) -> None:
    one = study()
    if factor is not None:
        one = Study.model_validate({**one.content, "factors": [*one.content["factors"], factor]})
        assert levels(one, columns, **{factor["name"]: factor["levels"][1]}).held[factor["name"]] == factor["levels"][1]
    with pytest.raises(SpecError, match=message):
        levels(one, columns)
