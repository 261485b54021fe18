"""torchvision's networks, narrowed: what the workload accepts, what determines it, and that its networks train, prune and come back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from trialhouse.errors import WorkloadError
from trialhouse.identity import content_id
from trialhouse.profiling.flops import count_flops
from trialhouse.pruning.pruner import prune
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study
from trialhouse.studies.spec import Factor
from trialhouse.training.weights import fit
from trialhouse.workloads import torchvision_networks
from trialhouse.workloads.factors import PRUNING_FACTORS
from trialhouse.workloads.protocol import Examples, Recipe
from trialhouse.workloads.registry import load_workload, make_workload
from trialhouse.workloads.torchvision_ops import import_torchvision
from trialhouse.workloads.weights import WeightsStore

SEED = Factor(name="seed", kind="ordinal", levels=(0,))
TINY = {"width": 0.125, "train_images": 20, "test_images": 20}
MODELS = torchvision_networks.MODELS
WEIGHTS_ID = "weights_0123456789abcdef"


def workload(**settings: Any) -> Any:
    return make_workload("torchvision_cnn", {**TINY, **settings})


def models(*levels: str) -> Factor:
    return Factor(name="model", kind="categorical", levels=levels)


def test_the_shipped_study_gets_its_workload_and_the_network_is_a_factor(home: Settings) -> None:
    identity = load_workload(load_study("pruning_vgg16_googlenet", home)).identity()
    assert identity.network_factors == ("seed", "model")
    assert identity.weights_factors == ("seed", "model", *PRUNING_FACTORS)
    assert identity.settings["width"] == 0.125


@pytest.mark.parametrize("model", MODELS)
def test_at_full_size_a_network_has_the_shapes_of_torchvisions(model: str) -> None:
    with torch.device("meta"):
        theirs = torchvision_networks._full(model, 1000)
    expected = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    if model.startswith("vgg"):  # half a gigabyte: one quarter of the width tells the same
        ours = torchvision_networks.build(model, width=0.25, channels=3, classes=1000, image_size=224, seed=0)
        shapes = {name: tuple(tensor.shape) for name, tensor in ours.state_dict().items()}
        assert list(shapes) == list(expected)
        assert shapes["classifier.0.weight"] == (1024, 128 * 49)
        assert shapes["features.0.weight"] == (16, 3, 3, 3)
        assert shapes["classifier.6.weight"] == (1000, 1024)
    else:
        ours = torchvision_networks.build(model, width=1, channels=3, classes=1000, image_size=224, seed=0)
        assert {name: tuple(tensor.shape) for name, tensor in ours.state_dict().items()} == expected


@pytest.mark.parametrize("model", MODELS)
def test_a_network_is_a_function_of_its_seed_and_leaves_the_global_generator_alone(model: str) -> None:
    made = workload(model=model)
    before = torch.random.get_rng_state()
    first, again, other = made.network({}, 3), made.network({}, 3), made.network({}, 4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    assert first.eval()(made.examples("test").inputs[:2]).shape == (2, 10)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", ["l1_structured", "l1_mask"])
def test_a_pruned_network_comes_back_as_it_was(tmp_path: Path, model: str, method: str) -> None:
    made, store = workload(), WeightsStore(tmp_path)
    network, inputs = made.network({"model": model}, 5), made.examples("test").inputs
    flops = count_flops(network.eval(), inputs[:1])
    assert prune(network, method, 0.8, inputs[:1], 0, made.examples("train")) == pytest.approx(
        0.8, abs=0.1
    )  # a layer of 2 channels keeps one
    kept = count_flops(network, inputs[:1]) / flops
    assert kept < 0.35 if method == "l1_structured" else kept == 1
    if method == "l1_structured":
        store.save(WEIGHTS_ID, network, {})
        loaded = store.load(WEIGHTS_ID, made, {"model": model})
        with torch.inference_mode():
            assert torch.equal(loaded(inputs), network.eval()(inputs))


def test_training_is_a_function_of_its_seed_though_dropout_draws() -> None:
    made = workload(model="googlenet")
    outputs = []
    for _ in range(2):
        network = made.network({}, 0)
        fit(network, made.examples("train"), made.examples("test"), Recipe(1, 0.01, 10), "pretraining", 7)
        torch.rand(1)  # whatever else draws in between must not matter
        with torch.inference_mode():
            outputs.append(network.eval()(made.examples("test").inputs))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("model", ["vgg16_bn", "googlenet", "resnet18"])
def test_every_network_learns(model: str) -> None:
    made = workload(model=model)
    inputs = torch.zeros(40, 1, 32, 32).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(40) % 2
    inputs[targets == 1, :, 8:24] = 1.0
    data = Examples(inputs + 0.1 * torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0)), targets)
    network = made.network({}, 0)
    curves = fit(network, data, data, Recipe(8, 0.003, 10), "pretraining", 0)
    last = {(point.split, point.metric): point.value for point in curves}  # the last epoch's
    assert last["train", "accuracy"] >= 0.9  # by guessing, 36 of 40 has probability 1e-7


def one_line(settings: dict[str, Any], *factors: Factor) -> str:
    with pytest.raises(WorkloadError) as caught:
        make_workload("torchvision_cnn", {**TINY, **settings}).check([SEED, *factors])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "factors", "message"),
    [
        ({}, [], "model must be a factor or a setting of workload 'torchvision_cnn', got neither; give exactly one of them"),
        ({"model": "resnet18"}, [models("googlenet")], "model must be a factor or a setting of workload 'torchvision_cnn', got both"),
        (
            {},
            [models("vgg16_bn", "alexnet")],
            "model must be one of ['vgg16', 'vgg16_bn', 'googlenet', 'resnet18'], got 'alexnet'; fix factor 'model'",
        ),
        (
            {"width": 0.0625},
            [models("vgg16_bn", "googlenet")],
            "width must be at least 0.125 for googlenet, whose narrowest layer has 16 channels, got 0.0625, which leaves 1; "
            "raise workload.settings.width",
        ),
        ({"width": 0.3, "model": "resnet18"}, [], "width must be a multiple of 1/16 (0.0625), got 0.3"),
        ({"model": "resnet18", "image_size": 8}, [], "setting 'image_size' of workload 'torchvision_cnn': input should be greater than"),
        (
            {"model": "resnet18", "dataset": "folder"},
            [],
            "dataset 'folder' and folder go together in workload 'torchvision_cnn', got dataset",
        ),
        (
            {"model": "resnet18", "weights": {"googlenet": "train"}},
            [],
            "weights must be of the study's models ['resnet18'], got 'googlenet'",
        ),
        (
            {"model": "resnet18", "weights": "torchvision"},
            [],
            "torchvision's weights need width 1, channels 3 and image_size 224, got width 0.125, channels 1, image_size 32",
        ),
        (
            {"model": "resnet18"},
            [Factor(name="num_workers", kind="ordinal", levels=(0, 65))],
            "num_workers must be a whole number from 0 to 64, got 65; fix factor 'num_workers'",
        ),
    ],
)
def test_what_it_cannot_use_is_one_line(settings: dict[str, Any], factors: list[Factor], message: str) -> None:
    assert one_line(settings, *factors).startswith(message)


def test_weights_of_torchvision_that_cannot_be_had_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(import_torchvision().models._api, "load_state_dict_from_url", offline)
    message = one_line({"model": "resnet18", "weights": "torchvision", "width": 1, "channels": 3, "image_size": 224})
    assert message.startswith("torchvision's weights of resnet18 must be downloadable from https://")
    assert message.endswith("got no network; give a FILE, or weights: train")


def test_weights_of_torchvision_keep_all_but_the_last_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = torchvision_networks.build("resnet18", width=1, channels=3, classes=1000, image_size=224, seed=9).state_dict()
    monkeypatch.setattr(import_torchvision().models._api, "load_state_dict_from_url", lambda *arguments, **more: dict(theirs))
    made = workload(model="resnet18", weights="torchvision", width=1, channels=3, image_size=224)
    made.check([SEED])
    network = made.network({}, 0)
    made.load_pretrained(network, {})
    ours = network.state_dict()
    assert torch.equal(ours["layer4.1.conv2.weight"], theirs["layer4.1.conv2.weight"])
    assert ours["fc.weight"].shape == (10, 512)
    assert made.recipe("pretraining", {}).epochs == 12


@pytest.fixture
def given(home: Settings) -> Path:
    """Weights of a network of the right shape, in the folder of data."""
    path = home.home / "data" / "given.pt"
    path.parent.mkdir()
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in workload(model="resnet18").network({}, 8).state_dict().items()}}, path
    )
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_given_weights_take_the_place_of_pretraining(given: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    theirs = workload(model="resnet18").network({}, 8).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in theirs.items()}, given.with_suffix(".safetensors"))
    made = workload(model="resnet18", weights=given.with_suffix(suffix).name)
    made.check([SEED])
    network = made.network({}, 0)
    made.load_pretrained(network, {})
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in network.state_dict().items())
    assert made.recipe("pretraining", {}).epochs == 0
    assert made.recipe("finetuning", {}).epochs == 5


def test_given_weights_are_known_by_their_content_not_by_their_place(given: Path) -> None:
    first = workload(model="resnet18", weights="given.pt").identity()
    assert first.settings["weights"] == f"sha256:{hashlib.sha256(given.read_bytes()).hexdigest()}"
    given.rename(given.with_name("moved.pt"))
    moved = workload(model="resnet18", weights={"resnet18": str(given.with_name("moved.pt"))}).identity()
    assert moved.settings["weights"] == {"resnet18": first.settings["weights"]}
    assert content_id("x", dict(workload(model="resnet18", weights="moved.pt").identity().settings)) == content_id(
        "x", dict(first.settings)
    )


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (Path("/tmp/this_must_never_be_made_by_trialhouse"),))  # type: ignore[return-value]


def test_a_pickle_with_code_in_it_is_one_line_and_never_runs(given: Path) -> None:
    torch.save({"conv1.weight": Evil()}, given)
    message = one_line({"model": "resnet18", "weights": "given.pt"})
    assert message.startswith(f"weights in {given} must be tensors and nothing else, got a pickle with code in it")
    assert not Path("/tmp/this_must_never_be_made_by_trialhouse").exists()


def test_weights_of_another_shape_are_one_line(given: Path) -> None:
    settings = {"model": "resnet18", "weights": "given.pt"}
    assert one_line({**settings, "width": 0.25}).startswith(
        f"weights in {given} must fit the network: conv1.weight is 16 x 1 x 3 x 3, got 8 x 1 x 3 x 3; fix workload.settings.weights"
    )
    assert "must fit the network: conv1.conv.weight is" in one_line({**settings, "model": "googlenet"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "weights must be a readable file at {path}, got No such file or directory"),
        (b"not a checkpoint", "weights in {path} must be "),
        (torch.ones(3), "weights in {path} must be tensors by name, got Tensor; save the network's state_dict()"),
    ],
)
def test_a_file_without_weights_is_one_line(given: Path, content: Any, message: str) -> None:
    given.unlink()
    if isinstance(content, bytes):
        given.write_bytes(content)
    elif content is not None:
        torch.save(content, given)
    assert one_line({"model": "resnet18", "weights": "given.pt"}).startswith(message.format(path=given))
