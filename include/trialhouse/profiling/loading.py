"""Images streamed through loading processes to the network: the source's "number of data runners"."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Collection, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trialhouse.attempts import Reading
from trialhouse.hardware.limits import lift_memory_limit
from trialhouse.workloads.protocol import ImageSource

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

WINDOW_S = 0.3
"""The stream is watched for so long, but for no fewer than `FEWEST_BATCHES`."""

FEWEST_BATCHES = 3
MOST_BATCHES = 200
PREFETCHED = 2
"""Batches that each loading process works ahead (PyTorch's default)."""

_PR_SET_PDEATHSIG = 1

Batch = tuple["npt.NDArray[np.float32]", list[int]]


class Stream(NamedTuple):
    """What `sample_stream` saw.

    Parameters
    ----------
    workers
        Loading processes that delivered.
    outcomes
        `throughput_images_per_s`: images loaded and classified per second. `loading_ms`: mean wait for a batch.
    profiles
        `stream_start_ms`: from the start of the loading processes to their first batches. `stream_batches`: batches timed.
        `workers_memory_bytes`: what the loading processes took for themselves, together, at the end.
    """

    workers: int
    outcomes: dict[str, Reading]
    profiles: dict[str, Reading]


def sample_stream(network: torch.nn.Module, images: ImageSource, batch_size: int, workers: int) -> Stream:
    """Load, prepare and classify batches of images, as long as a window lasts.

    Each process first delivers one batch that is not timed, so that its start is no part of the throughput. Images are
    repeated where there are fewer than the stream needs.

    Memory: batches come through pipes and not, as PyTorch's own, through shared memory, which a limit on a process does not
    count, and which containers keep small. So whatever waits to be classified counts for the class. What the loading processes
    take to make it is measured and not limited: the kernel counts RLIMIT_DATA per process, and one that may not even send its
    batch would leave this one waiting.

    Parameters
    ----------
    network
        In evaluation mode.
    images
        Where from.
    batch_size
        Images per batch.
    workers
        Processes that load; 0 loads in this one.

    Raises
    ------
    MemoryError, RuntimeError
        If this process runs out of memory, or a loading one fails. None of them survives this call.
    """
    from torch.utils.data import DataLoader

    ahead = max(1, workers)
    batches = _Batches(len(images), batch_size, ahead + MOST_BATCHES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more processes than CPUs are what the study asks for
        loader: Any = DataLoader(
            images,  # type: ignore[arg-type]
            batch_sampler=batches,
            num_workers=workers,
            prefetch_factor=PREFETCHED if workers else None,
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=partial(_begin_loading, os.getpid()),
            collate_fn=_collate,
        )
    others = set(multiprocessing.active_children())
    begin = time.perf_counter()
    stream, failure = None, None
    try:
        stream = iter(loader)
        for batch in islice(stream, ahead):
            _classify(network, batch)
        start = time.perf_counter()
        count, waited = 0, 0.0
        while count < MOST_BATCHES and (count < FEWEST_BATCHES or time.perf_counter() - start < WINDOW_S):
            before = time.perf_counter()
            batch = next(stream)
            waited += time.perf_counter() - before
            _classify(network, batch)
            count += 1
        lasted = time.perf_counter() - start
        memory = _memory(_started_since(others))
    except (MemoryError, RuntimeError) as error:
        failure = error.with_traceback(None)  # its frames would keep the processes alive
    finally:
        del stream
        _end(_started_since(others))
    if failure is not None:
        raise failure
    return Stream(
        workers,
        {"throughput_images_per_s": Reading(count * batch_size / lasted), "loading_ms": Reading(waited / count * 1e3)},
        {
            "stream_start_ms": Reading((start - begin) * 1e3),
            "stream_batches": Reading(count),
            "workers_memory_bytes": memory,
        },
    )


class _Batches:
    """Indices of each batch, round and round."""

    def __init__(self, images: int, batch_size: int, batches: int) -> None:
        self._images, self._batch_size, self._batches = images, batch_size, batches

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Any:
        for batch in range(self._batches):
            first = batch * self._batch_size
            yield [place % self._images for place in range(first, first + self._batch_size)]


def _collate(items: Sequence[tuple[npt.NDArray[np.float32], int]]) -> Batch:
    """Images (batch, height, width, channels): as an array, which travels through a pipe."""
    return np.stack([image for image, _ in items]), [target for _, target in items]


def _classify(network: torch.nn.Module, batch: Batch) -> None:
    import torch

    network(torch.from_numpy(batch[0]).permute(0, 3, 1, 2))


def _begin_loading(parent: int, worker: int) -> None:
    """In a loading process: no limit, and an end when the measured process ends, however it does; PyTorch's own check takes seconds."""
    lift_memory_limit()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _started_since(others: Collection[Any]) -> list[Any]:
    """The loading processes: children of this one that it did not have before."""
    return [process for process in multiprocessing.active_children() if process not in others]


def _end(processes: Sequence[Any]) -> None:
    """Nothing of a stream outlives it."""
    for process in processes:
        process.kill()
        process.join()


def _memory(processes: Sequence[Any]) -> Reading:
    """Private memory of processes, together: what they share with the measured one costs nothing more."""
    total = 0
    for process in processes:
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError as error:
            return Reading(reason=f"smaps_rollup: {error.strerror}")
        total += 1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))
    return Reading(total)
