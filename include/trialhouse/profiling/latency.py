"""Time of one call, sampled while this process really had its CPUs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

WARM_UP_CALLS = 2
"""Before the first sample: the first call compiles kernels and touches memory for the first time."""

MOST_SAMPLES = 30
FEWEST_SAMPLES = 5

WINDOW_S = 0.15
"""A window of samples ends after this, but not before `FEWEST_SAMPLES`: large batches take long and vary little."""

CALM_SHARE = 0.8
"""Share of its threads' time that this process got on a CPU, from which on a window counts as calm."""

MOST_WINDOWS = 3
PATIENCE_S = 0.5
"""A disturbed window is followed by another one, up to so many and so late: a busy machine may stay busy."""


class LatencySamples(NamedTuple):
    """What `sample_latency` saw.

    Parameters
    ----------
    warmup_ms
        All warm-up calls together.
    latency_ms
        Each call of the calmest window, in order.
    cpu_share
        CPU time of this process in that window over (wall time x threads): near 1 where nothing else wanted the CPUs,
        less too where the call has little to do in parallel.
    disturbed_latency_ms
        Each call of the other windows.
    started_s
        When each call of the calmest window began, by `time.monotonic`, which all processes of a machine share.
    """

    warmup_ms: float
    latency_ms: list[float]
    cpu_share: float
    disturbed_latency_ms: list[float]
    started_s: list[float]


class _Window(NamedTuple):
    latency_ms: list[float]
    started_s: list[float]
    cpu_share: float


def sample_latency(call: Callable[[], object], threads: int) -> LatencySamples:
    """Time a call by the wall clock, after warming up.

    What else runs on the machine disturbs: two threads that meet after every operator wait a whole time slice for the one
    that lost its CPU. Windows are chosen by the CPU time that this process got, never by the latencies themselves.

    Parameters
    ----------
    call
        Done when it returns.
    threads
        How many it works on.
    """
    start = time.perf_counter()
    for _ in range(WARM_UP_CALLS):
        call()
    begin = time.perf_counter()
    windows = [_window(call, threads)]
    while windows[-1].cpu_share < CALM_SHARE and len(windows) < MOST_WINDOWS and time.perf_counter() - begin < PATIENCE_S:
        windows.append(_window(call, threads))
    calmest = max(windows, key=lambda window: window.cpu_share)
    others = [sample for window in windows if window is not calmest for sample in window.latency_ms]
    return LatencySamples((begin - start) * 1e3, calmest.latency_ms, calmest.cpu_share, others, calmest.started_s)


def _window(call: Callable[[], object], threads: int) -> _Window:
    samples: list[float] = []
    started: list[float] = []
    cpu_begin, begin = time.process_time(), time.perf_counter()
    while len(samples) < MOST_SAMPLES and (len(samples) < FEWEST_SAMPLES or time.perf_counter() - begin < WINDOW_S):
        started.append(time.monotonic())
        before = time.perf_counter_ns()
        call()
        samples.append((time.perf_counter_ns() - before) / 1e6)
    share = (time.process_time() - cpu_begin) / ((time.perf_counter() - begin) * threads)
    return _Window(samples, started, share)
