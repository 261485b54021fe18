"""What the tests of streams call in forked children."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS = {"width": 8}


def prepare() -> None:
    from trialhouse.profiling import inference

    inference.prepare("small_cnn", SETTINGS, {})


class Images:
    def __init__(self, side: int = 32, wait_s: float = 0.0) -> None:
        self.side, self.wait_s = side, wait_s

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        time.sleep(self.wait_s)
        return np.zeros((self.side, self.side, 1), dtype=np.float32), 0


def stream_after_threads(threads: int, workers: int) -> dict[str, Any]:
    import torch

    from trialhouse.profiling.loading import sample_stream

    torch.set_num_threads(threads)
    network = torch.nn.Conv2d(1, 16, 3).eval()
    with torch.inference_mode():
        for _ in range(3):
            network(torch.randn(64, 1, 32, 32))
            torch.randn(400, 400) @ torch.randn(400, 400)
        stream = sample_stream(network, Images(), 32, workers)
    return {"threads": torch.get_num_threads(), "throughput": stream.outcomes["throughput_images_per_s"].value}


def stream_under_limit(memory_bytes: int, side: int, batch_size: int, workers: int) -> dict[str, Any]:
    import torch

    from trialhouse.hardware.classes import HardwareClass
    from trialhouse.hardware.limits import lift_memory_limit, limit_memory
    from trialhouse.profiling.loading import sample_stream
    from trialhouse.profiling.memory import is_out_of_memory

    limit_memory(HardwareClass(name="box", cpus=1, threads=1, memory_bytes=memory_bytes))  # type: ignore[arg-type]
    found = False
    try:
        sample_stream(torch.nn.Identity(), Images(side), batch_size, workers)
    except (MemoryError, RuntimeError) as error:
        lift_memory_limit()
        found = is_out_of_memory(error)
    return {"is_out_of_memory": found, "children": len(multiprocessing.active_children())}


def stream_slowly(workers: int) -> None:
    import torch

    from trialhouse.profiling.loading import sample_stream

    sample_stream(torch.nn.Identity(), Images(wait_s=0.5), 64, workers)


def measure_trial(workers: int | None) -> dict[str, Any]:
    from trialhouse.profiling.inference import measure
    from trialhouse.workloads.registry import make_workload
    from trialhouse.workloads.weights import WeightsStore

    with tempfile.TemporaryDirectory() as folder:
        store = WeightsStore(Path(folder))
        store.save("weights_0123456789abcdef", make_workload("small_cnn", SETTINGS).network({}, 0), {})
        hardware = {"name": "box", "cpus": 1, "threads": 1, "memory_bytes": 96 << 20}
        factors: dict[str, Any] = {"batch_size": 8} | ({} if workers is None else {"num_workers": workers})
        return measure("small_cnn", SETTINGS, str(store.path("weights_0123456789abcdef")), factors, hardware)
