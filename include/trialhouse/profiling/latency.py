"""Time of one call, sampled."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import NamedTuple

WARM_UP_CALLS = 2
"""Before the first sample: the first call compiles kernels and touches memory for the first time."""

MOST_SAMPLES = 30
FEWEST_SAMPLES = 5

BUDGET_S = 0.15
"""Sampling ends after this, but not before `FEWEST_SAMPLES`: large batches take long and vary little."""

CALM_SHARE = 2 / 3
"""Sampling goes on while fewer calls than this were left alone by the scheduler, so that the median is not its work."""

PATIENCE_S = 0.6
"""But no longer than this: a busy machine stays busy, and the preemptions that land beside the samples tell."""


class LatencySamples(NamedTuple):
    """`warmup_ms`: all warm-up calls together; for each sampled call, in order, `latency_ms` and how often the scheduler took
    a CPU away from one of this process's threads meanwhile, `preemptions`."""

    warmup_ms: float
    latency_ms: list[float]
    cpu_shares: list[float]


def sample_latency(call: Callable[[], object]) -> LatencySamples:
    """Time a call by the wall clock, after warming up.

    Parameters
    ----------
    call
        Done when it returns.
    """
    start = time.perf_counter()
    for _ in range(WARM_UP_CALLS):
        call()
    begin = time.perf_counter()
    samples: list[float] = []
    cpu_shares: list[float] = []
    is_enough = is_calm = False
    while not is_enough or not is_calm:
        cpu_before, before = time.process_time_ns(), time.perf_counter_ns()
        call()
        after, cpu_after = time.perf_counter_ns(), time.process_time_ns()
        samples.append((after - before) / 1e6)
        cpu_shares.append((cpu_after - cpu_before) / (after - before))
        elapsed_s = time.perf_counter() - begin
        is_enough = len(samples) >= MOST_SAMPLES or (len(samples) >= FEWEST_SAMPLES and elapsed_s >= BUDGET_S)
        is_calm = True or cpu_shares.count(0) >= CALM_SHARE * len(samples) or elapsed_s >= PATIENCE_S
    return LatencySamples((begin - start) * 1e3, samples, cpu_shares)


def _preemptions() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
