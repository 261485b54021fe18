"""LeNets on digits: their sizes, their data, and what is solved for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trialhouse.errors import WorkloadError
from trialhouse.studies.spec import Factor
from trialhouse.workloads.lenet import LeNet


def lenet(**settings: Any) -> LeNet:
    return LeNet(settings)


@pytest.mark.parametrize("width", [2, 8, 20])
def test_parameters_and_flops_are_those_of_the_formula(width: int) -> None:
    learner = lenet(width=width)
    sizes = learner.sizes(learner.settings)
    hidden = 3 * width // 2
    convolutions = (9 * width, 9 * width * 2 * width)
    linear = (2 * width * 4 * hidden, hidden * 10)
    assert sizes.parameters == sum(convolutions) + sum(linear) + width + 2 * width + hidden + 10
    assert sizes.non_embedding_parameters == sizes.parameters
    forward = 2 * (64 * convolutions[0] + 16 * convolutions[1] + sum(linear))
    assert sizes.flops == forward
    assert sizes.training_flops == 3 * forward - 2 * 64 * convolutions[0]  # nobody asks for the gradient of the image


def test_the_sources_sizes_are_about_10_40_and_160_thousand() -> None:
    mnist = {"dataset": "mnist"}
    found = [lenet(width=width, **mnist).sizes(lenet(width=width, **mnist).settings).parameters for width in (8, 16, 32)]
    assert found == [pytest.approx(target, rel=0.1) for target in (10_000, 40_000, 160_000)]


def test_smaller_training_sets_are_part_of_larger_ones_and_go_by_the_seed() -> None:
    def images(seed: int, count: int) -> torch.Tensor:
        learner = lenet(seed=seed, n_train=count)
        return learner.data(learner.settings)[0].batch(torch.arange(count))[0]

    small, large, other = images(0, 50), images(0, 200), images(1, 50)
    assert torch.equal(small, large[:50])
    assert not torch.equal(small, other)


def test_no_image_is_in_two_splits() -> None:
    learner = lenet()
    splits = learner.data(learner.settings)
    rows = [{tuple(image.flatten().tolist()) for image in split.batch(torch.arange(len(split)))[0]} for split in splits]
    assert [len(split) for split in splits] == [1123, 224, 450]
    assert not (rows[0] & rows[1])
    assert not (rows[0] & rows[2])
    assert not (rows[1] & rows[2])


def test_labels_are_drawn_anew_in_training_only() -> None:
    clean, noisy = lenet(), lenet(label_noise=0.4)
    (right, *_), (wrong, validation, test) = clean.data(clean.settings), noisy.data(noisy.settings)
    every = torch.arange(1123)
    share = float((right.batch(every)[1] != wrong.batch(every)[1]).double().mean())
    expected = 0.4 * 0.9  # one draw in ten hits the right class
    assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 1123) ** 0.5)
    for one, other in zip((validation, test), clean.data(clean.settings)[1:], strict=True):
        assert torch.equal(one.batch(torch.arange(100))[1], other.batch(torch.arange(100))[1])


def test_feature_noise_has_its_deviation_in_every_split() -> None:
    clean, noisy = lenet(), lenet(feature_noise=0.5)
    for one, other in zip(clean.data(clean.settings), noisy.data(noisy.settings), strict=True):
        every = torch.arange(len(one))
        spread = float((one.batch(every)[0] - other.batch(every)[0]).std())
        assert spread == pytest.approx(0.5, abs=4 * 0.5 / (2 * len(one) * 64) ** 0.5)


def test_superclasses_are_fewer_scores_and_labels() -> None:
    learner = lenet(superclasses=2)
    assert set(learner.data(learner.settings)[0].batch(torch.arange(500))[1].tolist()) == {0, 1}
    assert learner.network(learner.settings)(learner.example(learner.settings)).shape == (1, 2)


def test_width_follows_from_parameters_with_depth_held() -> None:
    learner = lenet()
    for depth in (1, 2, 4):
        plan = learner.plan({"parameters": 20_000, "depth": depth})
        assert plan.realised["parameters"] == pytest.approx(20_000, rel=0.05)
        assert plan.realised["depth"] == depth


def test_steps_follow_from_compute_whatever_the_width() -> None:
    learner = lenet(batch_size=16)
    plans = [learner.plan({"training_flops": 3e9, "width": width}) for width in (4, 8, 16)]
    assert [plan.training_flops for plan in plans] == [pytest.approx(3e9, rel=0.05)] * 3
    lessons = [learner.learn({"training_flops": 1e8, "width": width}, lambda step, values: None, 60.0) for width in (4, 8)]
    assert lessons[0].outcomes["steps"] > 2 * lessons[1].outcomes["steps"]
    assert lessons[0].outcomes["training_flops"] == lessons[0].realised["training_flops"] == pytest.approx(1e8, rel=0.05)


def test_the_learning_rate_falls_with_width_where_its_rule_says_so() -> None:
    by_width, fixed = lenet(learning_rate=0.01), lenet(learning_rate=0.01, learning_rate_rule="fixed")
    rates = [[learner._solved({"width": width})[1].learning_rate for width in (4, 16, 64)] for learner in (by_width, fixed)]
    assert rates == [[0.02, 0.01, 0.0025], [0.01, 0.01, 0.01]]  # 0.04 at width 4 is cut at most_learning_rate


def test_augmentation_shifts_what_is_trained_on_and_nothing_else() -> None:
    plain, shifted = lenet(), lenet(augmentation="shift")
    (before, *others), (after, *same) = plain.data(plain.settings), shifted.data(shifted.settings)
    chosen = torch.arange(64)
    assert not torch.equal(before.batch(chosen)[0], after.batch(chosen)[0])
    assert torch.equal(before.batch(chosen)[1], after.batch(chosen)[1])
    for one, other in zip(others, same, strict=True):
        assert torch.equal(one.batch(chosen)[0], other.batch(chosen)[0])


def test_ways_to_say_how_long_exclude_each_other() -> None:
    factors = [Factor(name=name, kind="ordinal", levels=(1, 2)) for name in ("epochs", "steps")]
    with pytest.raises(WorkloadError, match="at most one of epochs, steps, training_flops can be a factor"):
        lenet().check(factors)


def test_all_trials_of_a_study_use_the_same_data() -> None:
    """One checksum stands for them."""
    with pytest.raises(WorkloadError, match="all trials of a study must use the same data, got the factor 'dataset'; make it a setting"):
        lenet().check([Factor(name="dataset", kind="categorical", levels=("digits", "mnist"))])
