"""Weights on disk: whole, rebuilt in their own shapes, and nothing that could run."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from trialhouse.errors import WorkloadError
from trialhouse.pruning.pruner import prune
from trialhouse.workloads.registry import make_workload
from trialhouse.workloads.weights import WeightsStore

WEIGHTS_ID = "weights_0123456789abcdef"
WORKLOAD = make_workload("small_cnn", {"width": 16})


@pytest.mark.parametrize("ratio", [0, 0.5, 0.75])
def test_a_pruned_network_comes_back_as_it_was(tmp_path: Path, ratio: float) -> None:
    store, network = WeightsStore(tmp_path), WORKLOAD.network({}, 5)
    inputs = WORKLOAD.examples("test").inputs[:20]
    network.train()(inputs)  # gives batch norm statistics of its own
    prune(network, "l1_structured", ratio, inputs[:1], 0, WORKLOAD.examples("train"))
    store.save(WEIGHTS_ID, network, {"note": "hello"})
    loaded = store.load(WEIGHTS_ID, WORKLOAD, {})
    assert {name: tuple(tensor.shape) for name, tensor in loaded.state_dict().items()} == {
        name: tuple(tensor.shape) for name, tensor in network.state_dict().items()
    }
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(inputs), network.eval()(inputs))
    assert [tensor.stride() for tensor in loaded.parameters()] == [tensor.stride() for tensor in network.parameters()]
    assert loaded.wide.out_channels == round(16 * (1 - ratio))
    assert store.about(WEIGHTS_ID) == {"note": "hello"}


def test_the_same_network_is_the_same_file(tmp_path: Path) -> None:
    stores = [WeightsStore(tmp_path / name) for name in "ab"]
    for store in stores:
        store.save(WEIGHTS_ID, WORKLOAD.network({}, 5), {"b": 1, "a": 2})
    assert stores[0].path(WEIGHTS_ID).read_bytes() == stores[1].path(WEIGHTS_ID).read_bytes()


def test_a_failure_is_remembered_until_weights_are_there(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path)
    assert store.failure(WEIGHTS_ID) is None
    store.save_failure(WEIGHTS_ID, {"status": "diverged"})
    assert store.failure(WEIGHTS_ID) == {"status": "diverged"}
    assert not store.has(WEIGHTS_ID)
    store.save(WEIGHTS_ID, WORKLOAD.network({}, 5), {})
    assert store.failure(WEIGHTS_ID) is None


def test_missing_and_foreign_weights_are_one_line(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path)
    with pytest.raises(WorkloadError, match=r"weights must be at .*, got no such file"):
        store.load(WEIGHTS_ID, WORKLOAD, {})
    store.save(WEIGHTS_ID, torch.nn.Linear(2, 3), {})
    with pytest.raises(WorkloadError, match=r"weights_0123456789abcdef.safetensors must fit the workload's network"):
        store.load(WEIGHTS_ID, WORKLOAD, {})


def test_a_write_that_is_cut_short_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = WeightsStore(tmp_path)
    store.save(WEIGHTS_ID, WORKLOAD.network({}, 1), {})
    before = store.path(WEIGHTS_ID).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        store.save(WEIGHTS_ID, WORKLOAD.network({}, 2), {})
    assert store.path(WEIGHTS_ID).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [store.path(WEIGHTS_ID).name]


def test_of_two_processes_that_want_the_same_weights_one_makes_them(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from trialhouse.workloads.weights import WeightsStore
        store = WeightsStore(Path("{tmp_path}/weights"))
        with store.making("{WEIGHTS_ID}"):
            if not store.has("{WEIGHTS_ID}"):
                time.sleep(1)
                store.path("{WEIGHTS_ID}").touch()
                print("made")
    """)
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate(timeout=60)[0] for process in processes) == ["", "made\n"]
