"""The small CNN: what it accepts, what determines it, and its network."""

from __future__ import annotations

from typing import Any

import pytest

from trialhouse.errors import WorkloadError
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study
from trialhouse.studies.spec import Factor
from trialhouse.workloads.registry import load_workload, make_workload


def test_the_shipped_study_gets_its_workload(home: Settings) -> None:
    identity = load_workload(load_study("pruning_digits", home)).identity()
    assert (identity.name, identity.weights_factors) == (
        "small_cnn",
        ("seed", "pruning_ratio", "target_flops", "pruning_method", "recovery"),
    )
    assert identity.settings["dataset"] == "digits"
    assert len(identity.data_checksum) == 64


def test_settings_left_out_are_the_same_as_their_defaults() -> None:
    assert make_workload("small_cnn", {}).identity() == make_workload("small_cnn", {"width": 80, "dataset": "digits"}).identity()
    assert make_workload("small_cnn", {}).identity() != make_workload("small_cnn", {"width": 16}).identity()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widht": 8}, "settings of workload 'small_cnn' must be among ['dataset', 'width', "),
        (
            {"width": 0},
            "setting 'width' of workload 'small_cnn': input should be greater than or equal to 4, got 0; fix workload.settings.width",
        ),
        (
            {"dataset": "imagenet"},
            "setting 'dataset' of workload 'small_cnn': input should be 'digits', 'mnist', 'fashion_mnist' or 'cifar10', got 'imagenet'",
        ),
    ],
)
def test_a_wrong_setting_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        make_workload("small_cnn", settings)
    assert str(caught.value).startswith(message)


def test_an_unknown_workload_is_one_line() -> None:
    with pytest.raises(WorkloadError, match=r"workload must be one of \[.*'small_cnn'.*\], got 'big_cnn'"):
        make_workload("big_cnn", {})


@pytest.mark.parametrize(
    ("name", "kind", "level", "message"),
    [
        ("dropout", "continuous", 0.5, "factors of workload 'small_cnn' must be among"),
        (
            "pruning_method",
            "categorical",
            "l7",
            "pruning_method must be one of ['none', 'batch_norm_scale', 'l1_structured', 'l2_structured', 'lamp', 'random_structured', "
            "'taylor', 'global_l1_mask', 'l1_mask', 'random_mask'], got 'l7'; fix factor 'pruning_method'",
        ),
        ("pruning_ratio", "continuous", 1.3, "pruning_ratio must be in [0, 1), got 1.3; fix factor 'pruning_ratio'"),
        ("pruning_ratio", "categorical", "high", "pruning_ratio must be in [0, 1), got 'high'"),
        ("target_flops", "continuous", 0, "target_flops must be in (0, 1], got 0; fix factor 'target_flops'"),
        ("target_flops", "continuous", 1.01, "target_flops must be in (0, 1], got 1.01"),
        (
            "recovery",
            "categorical",
            "rest",
            "recovery must be one of ['finetune', 'from_scratch', 'recalibrate_batch_norm', 'none'], got 'rest'",
        ),
        ("batch_size", "ordinal", 0, "batch_size must be a whole number from 1, got 0"),
        ("batch_size", "ordinal", 1.5, "batch_size must be a whole number from 1, got 1.5"),
        ("seed", "ordinal", -1, "seed must be a whole number from 0, got -1"),
        ("seed", "categorical", True, "seed must be a whole number from 0, got True"),
    ],
)
def test_a_factor_or_level_that_it_cannot_set_is_one_line(name: str, kind: str, level: Any, message: str) -> None:
    factor = Factor(name=name, kind=kind, levels=(level,))  # type: ignore[arg-type]
    with pytest.raises(WorkloadError) as caught:
        make_workload("small_cnn", {}).check([factor])
    assert str(caught.value).startswith(message)


TARGET = Factor(name="target_flops", kind="continuous", levels=(0.5, 1))


def test_a_target_of_flops_needs_methods_that_remove_channels_and_stands_alone() -> None:
    workload = make_workload("small_cnn", {})
    workload.check([TARGET, Factor(name="pruning_method", kind="categorical", levels=("taylor", "lamp"))])
    for method in ("l1_mask", "none"):
        with pytest.raises(WorkloadError) as caught:
            workload.check([TARGET, Factor(name="pruning_method", kind="categorical", levels=("lamp", method))])
        assert str(caught.value) == (
            "pruning_method must be one of ['batch_norm_scale', 'l1_structured', 'l2_structured', 'lamp', 'random_structured', 'taylor'] "
            f"where target_flops is a factor, got {method!r}; a mask leaves FLOPs as they are: remove the level or set pruning_ratio"
        )
    with pytest.raises(WorkloadError) as caught:
        workload.check([TARGET, Factor(name="pruning_ratio", kind="continuous", levels=(0.5,))])
    assert str(caught.value).startswith("pruning_ratio or target_flops must be set, not both: each determines the other, got both; remove")


def test_a_network_is_a_function_of_its_seed_and_leaves_the_global_generator_alone() -> None:
    import torch

    workload = make_workload("small_cnn", {"width": 8})
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, again, other = workload.network({}, 3), workload.network({}, 3), workload.network({}, 4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    assert first.eval()(workload.examples("test").inputs[:5]).shape == (5, 10)
