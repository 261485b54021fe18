"""Time of one call, sampled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

WARM_UP_CALLS = 2
"""Before the first sample: the first call compiles kernels and touches memory for the first time."""

MOST_SAMPLES = 30
FEWEST_SAMPLES = 5

BUDGET_S = 0.15
"""Sampling ends after this, but not before `FEWEST_SAMPLES`: large batches take long and vary little."""


class LatencySamples(NamedTuple):
    """`warmup_ms`: all warm-up calls together; `latency_ms`: each sampled call, in order."""

    warmup_ms: float
    latency_ms: list[float]


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
    while len(samples) < MOST_SAMPLES and (len(samples) < FEWEST_SAMPLES or time.perf_counter() - begin < BUDGET_S):
        before = time.perf_counter_ns()
        call()
        samples.append((time.perf_counter_ns() - before) / 1e6)
    return LatencySamples((begin - start) * 1e3, samples)
