"""Streaming through loading processes: measured in a real child, under its limits, and nothing is left behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from trialhouse.hardware.runner import IsolatedRunner
from trialhouse.profiling import loading
from trialhouse.profiling.loading import sample_stream

HERE = "tests.trialhouse.profiling.streams"
MIB = 1 << 20

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are Linux's")


class Grey:
    """As many images as asked for, each of a brightness that is its number."""

    def __init__(self, count: int = 10, side: int = 4, wait_s: float = 0.0) -> None:
        self.count, self.side, self.wait_s = count, side, wait_s

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        time.sleep(self.wait_s)
        return np.full((self.side, self.side, 1), index, dtype=np.float32), index


class Recording(torch.nn.Module):
    """Remembers the brightness of all that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.seen.append(batch[:, 0, 0, 0].int().tolist())
        return batch


@pytest.fixture
def others() -> set[psutil.Process]:
    """Children that this process has for other reasons."""
    return set(psutil.Process().children())


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "WINDOW_S", 0.0)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_image_comes_in_order_round_and_round(short_window: None, others: set[psutil.Process], workers: int) -> None:
    network = Recording()
    stream = sample_stream(network, Grey(), 4, workers)
    batches = max(1, workers) + loading.FEWEST_BATCHES
    assert [number for batch in network.seen for number in batch] == [number % 10 for number in range(4 * batches)]
    assert stream.workers == workers
    assert stream.profiles["stream_batches"].value == loading.FEWEST_BATCHES
    assert set(psutil.Process().children()) <= others


def test_other_children_of_the_process_are_left_alone(short_window: None) -> None:
    other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        sample_stream(Recording(), Grey(), 4, 1)
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


def test_throughput_and_waiting_are_those_of_the_loader() -> None:
    stream = sample_stream(Recording(), Grey(wait_s=0.005), 4, 0)
    # each image takes at least 5 ms, so each batch of four at least 20: sleeping never ends early
    assert stream.outcomes["loading_ms"].value >= 20
    assert 20 < stream.outcomes["throughput_images_per_s"].value <= 200


def test_an_image_that_cannot_be_read_ends_the_stream_and_its_processes(short_window: None, others: set[psutil.Process]) -> None:
    class Broken(Grey):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            raise RuntimeError("no such image")

    with pytest.raises(RuntimeError, match="no such image"):
        sample_stream(Recording(), Broken(), 4, 2)
    assert set(psutil.Process().children()) <= others


@pytest.fixture(scope="module")
def runner() -> Iterator[IsolatedRunner]:
    with IsolatedRunner(f"{HERE}:prepare", {}) as started:
        yield started


def test_a_stream_after_operators_on_two_threads_does_not_hang(runner: IsolatedRunner) -> None:
    ended = runner.call(f"{HERE}:stream_after_threads", {"threads": 2, "workers": 2}, timeout_s=60)
    assert ended.failure is None
    assert ended.result["threads"] == 2
    assert ended.result["throughput"] > 0


@needs_linux
@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_beyond_the_class_is_out_of_memory_whoever_loads_it(runner: IsolatedRunner, workers: int) -> None:
    call = {"memory_bytes": 64 * MIB, "side": 1024, "batch_size": 32, "workers": workers}  # 128 MiB a batch
    ended = runner.call(f"{HERE}:stream_under_limit", call, timeout_s=60)
    assert ended.failure is None
    assert ended.result == {"is_out_of_memory": True, "children": 0}


@needs_linux
@pytest.mark.parametrize("how", ["deadline", "SIGKILL"])
def test_loading_processes_end_with_a_child_that_is_killed(runner: IsolatedRunner, tmp_path: Path, how: str) -> None:
    seen: dict[int, psutil.Process] = {}

    def watch(pid: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            seen.update({child.pid: child for child in psutil.Process(pid).children()})
            if how == "SIGKILL" and len(seen) == 2:
                os.kill(pid, signal.SIGKILL)

    start = time.monotonic()
    ended = runner.call(f"{HERE}:stream_slowly", {"workers": 2}, timeout_s=3 if how == "deadline" else 60, watch=watch)
    assert ended.is_timed_out == (how == "deadline")
    assert len(seen) == 2
    _, alive = psutil.wait_procs(seen.values(), timeout=2)  # PyTorch's own check would take up to five seconds
    assert alive == []
    assert time.monotonic() - start < 30
    assert runner.call(f"{HERE}:stream_after_threads", {"threads": 1, "workers": 0}, timeout_s=60).failure is None


def test_the_measured_trial_lands_its_stream(runner: IsolatedRunner) -> None:
    result: dict[str, Any] = runner.call(f"{HERE}:measure_trial", {"workers": 1}, timeout_s=60).result
    assert result["status"] == "ok"
    assert result["realised"] == {"batch_size": 8, "num_workers": 1}
    assert result["outcomes"]["throughput_images_per_s"][0] > 0
    assert result["outcomes"]["loading_ms"][0] > 0
    assert result["profiles"]["stream_start_ms"][0] > 0
    without = runner.call(f"{HERE}:measure_trial", {"workers": None}, timeout_s=60).result
    assert "throughput_images_per_s" not in without["outcomes"]
