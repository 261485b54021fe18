"""Networks that learn from images: their sizes against formulas by hand, what they learn, and that they can be compared."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trialhouse.errors import WorkloadError
from trialhouse.studies.spec import Factor
from trialhouse.training.threads import one_thread
from trialhouse.workloads.image_classifier import ARCHITECTURES, ImageClassifier
from trialhouse.workloads.mlp import MLP
from trialhouse.workloads.resnet import ResNet
from trialhouse.workloads.vit import ViT


def sizes(kind: Any, **settings: Any) -> Any:
    learner = kind(settings)
    return learner.sizes(learner.settings)


def silent(*_: object) -> None: ...


@pytest.mark.parametrize(("width", "depth"), [(8, 1), (64, 2), (33, 5)])
def test_the_sizes_of_a_perceptron(width: int, depth: int) -> None:
    found = sizes(MLP, width=width, depth=depth)
    first, hidden, last = 64 * width, (depth - 1) * width**2, 10 * width
    assert found.parameters == first + hidden + last + depth * width + 10
    assert found.flops == 2 * (first + hidden + last)
    assert found.training_flops == 6 * (first + hidden + last) - 2 * first  # no gradient of the image


@pytest.mark.parametrize(("width", "depth"), [(4, 1), (6, 3)])
def test_the_sizes_of_a_residual_network(width: int, depth: int) -> None:
    found = sizes(ResNet, width=width, depth=depth)
    pixels = [64, 16, 4]
    macs, parameters = 9 * width * 64, 9 * width
    for stage, count in enumerate(pixels):
        wide = width << stage
        for block in range(depth):
            narrow = wide // 2 if stage and not block else wide
            weights = 9 * narrow * wide + 9 * wide * wide + (narrow * wide if narrow != wide else 0)
            macs, parameters = macs + weights * count, parameters + weights + 1
    assert found.parameters == parameters + 4 * width * 10 + 10
    assert found.flops == 2 * (macs + 4 * width * 10)
    assert found.training_flops == 3 * found.flops - 2 * 9 * width * 64


@pytest.mark.parametrize(("width", "depth"), [(16, 1), (32, 3)])
def test_the_sizes_of_a_vision_transformer(width: int, depth: int) -> None:
    found = sizes(ViT, width=width, depth=depth)
    squares, inputs = 16, 4
    weights = depth * (3 * width**2 + width**2 + 8 * width**2)
    biases = depth * (3 * width + width + 4 * width + width)
    normalisations = (2 * depth + 1) * 2 * width
    assert found.parameters == inputs * width + width + weights + biases + normalisations + 10 * width + 10
    attention = depth * 2 * squares**2 * width  # scores, and the mean of the values
    assert found.flops == 2 * (squares * (inputs * width + weights) + attention + 10 * width)
    assert found.training_flops == 3 * found.flops - 2 * squares * inputs * width


def test_heads_keep_their_size_and_a_width_between_has_the_nearest_number() -> None:
    for width, heads in [(4, 1), (16, 2), (20, 2), (32, 4)]:
        network = ViT({"width": width}).network(ViT({"width": width}).settings)
        attention = network.get_submodule("attention_1.branch.1")
        assert (attention.heads, attention.head_size) == (heads, 8)


@pytest.mark.parametrize("shape", [("digits", 1, 8), ("mnist", 1, 28), ("cifar10", 3, 32)])
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_network_takes_every_size_of_image(name: str, shape: tuple[str, int, int]) -> None:
    import torch

    dataset, channels, side = shape
    learner = ARCHITECTURES[name]({"dataset": dataset, "width": 8})
    assert learner.network(learner.settings)(torch.zeros(2, channels, side, side)).shape == (2, 10)


def test_patches_know_their_pixels_and_where_they_are() -> None:
    import torch

    from trialhouse.learning.blocks import Patches

    patches = Patches(1, 4, 4, 2, 8)
    image = torch.arange(16.0).view(1, 1, 4, 4)
    torch.nn.init.zeros_(patches.embedding.bias)
    embedded = patches(image) - patches.positions
    corner = image[0, 0, 2:, :2].reshape(1, 4) @ patches.embedding.weight.T
    torch.testing.assert_close(embedded[0, 2], corner[0])
    assert torch.pdist(patches.positions).min() > 0.1


def test_a_residual_network_begins_as_its_shortcuts() -> None:
    import torch

    learner = ResNet({"depth": 8})
    network = learner.network(learner.settings)
    image = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shortcut = network[0](image)
    for stage in ("block_2_1", "block_3_1"):
        shortcut = network.get_submodule(stage).shortcut(shortcut)
    torch.testing.assert_close(network[:-4](image), shortcut)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_network_learns_and_learns_the_same_again(name: str) -> None:
    learner = ARCHITECTURES[name]({"steps": 120, "batch_size": 32})
    with one_thread():
        first, second = (learner.learn({"seed": 1}, silent, math.inf).outcomes for _ in range(2))
    assert first["error"] < 0.6  # guessing: 0.9
    assert {**first, "training_s": 0} == {**second, "training_s": 0}
    assert first["log10_error"] == pytest.approx(math.log10(first["error"]))
    assert first["log10_loss"] == pytest.approx(math.log10(first["loss"]))


def test_architectures_of_one_seed_learn_from_the_same_images_in_the_same_order() -> None:
    import torch

    orders = {learner.seed_for("order", learner.settings) for learner in (MLP({}), ViT({}), ResNet({}))}
    assert len(orders) == 1
    mlp, vit = MLP({"n_train": 50}), ViT({"n_train": 50})
    torch.testing.assert_close(mlp.data(mlp.settings)[0].inputs, vit.data(vit.settings)[0].inputs)


def factor(name: str, *levels: Any) -> Factor:
    return Factor(name=name, kind="categorical" if isinstance(levels[0], str) else "ordinal", levels=levels)


def test_an_architecture_is_a_factor_and_trains_as_its_own_workload_does() -> None:
    both = ImageClassifier({"steps": 20})
    both.check([factor("architecture", "mlp", "vit"), factor("n_train", 100, 200)])
    lesson = both.learn({"architecture": "mlp", "n_train": 100, "seed": 0}, silent, math.inf)
    alone = MLP({"steps": 20}).learn({"n_train": 100, "seed": 0}, silent, math.inf)
    assert {**lesson.outcomes, "training_s": 0} == {**alone.outcomes, "training_s": 0}
    assert lesson.realised == {"architecture": "mlp", "n_train": 100, "seed": 0}
    assert both.plan({"architecture": "vit"}).training_flops > both.plan({"architecture": "mlp"}).training_flops
    assert {"architecture", "patch", "width", "seed"} < set(both.identity().weights_factors)


def test_architectures_can_be_compared_at_one_number_of_parameters() -> None:
    both = ImageClassifier({"steps": 20, "parameters": 8000})
    for name in ARCHITECTURES:
        realised = both.plan({"architecture": name, "parameters": 8000}).realised
        assert realised["parameters"] == pytest.approx(8000, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "factors", "message"),
    [
        ({"architecture": "rnn"}, [], "architecture must be one of ['mlp', 'lenet', 'resnet', 'vit'], got 'rnn'"),
        ({}, [factor("architecture", "mlp", "rnn")], "architecture must be one of ['mlp', 'lenet', 'resnet', 'vit'], got 'rnn'"),
        ({}, [factor("architecture", "mlp", "vit"), factor("patch", 1, 2)], "factors of workload 'mlp' must be among its settings"),
        ({"colour": 1}, [], "settings of workload 'mlp' must be among"),
    ],
)
def test_what_no_architecture_can_do_is_one_line(settings: dict[str, Any], factors: list[Factor], message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        ImageClassifier(settings).check(factors)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_trials_of_one_architecture_can_run_together_and_come_to_the_same() -> None:
    import torch

    both = ImageClassifier({"steps": 3, "n_train": 64, "batch_size": 32})
    trials = [{"architecture": "mlp", "seed": seed} for seed in (0, 1)]
    keys = {both.together_key(factors) for factors in (*trials, {"architecture": "vit", "seed": 0})}
    assert len(keys) == 2
    for factors, lesson in zip(trials, both.learn_together(trials, [silent] * 2, torch.device("cpu"), math.inf), strict=True):
        alone = both.learn(factors, silent, math.inf)
        assert lesson.realised == factors
        assert lesson.outcomes["loss"] == pytest.approx(alone.outcomes["loss"], rel=1e-3)
