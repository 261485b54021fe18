"""Holding the calling process to a hardware class, as far as this system lets it, and saying what was really enforced."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import psutil

from trialhouse.attempts import Reading
from trialhouse.errors import HardwareError
from trialhouse.hardware.classes import HardwareClass
from trialhouse.settings import usable_cpus


def limit_cpus(hardware: HardwareClass) -> dict[str, Reading]:
    """Pin this process to the class's number of CPUs and give PyTorch its number of threads.

    With fewer CPUs than the class asks for, it gets those that there are; more threads than CPUs would only disturb
    each other, so threads shrink with them. The last CPUs are taken: the first serves most interrupts.

    Returns
    -------
    dict
        `enforced_cpus` and `enforced_threads`, with a reason where they fall short of the class.
    """
    import torch

    available = usable_cpus()
    cpus = min(hardware.cpus, available)
    short = None if cpus == hardware.cpus else f"the class has {hardware.cpus} CPUs, this machine lends {available}"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cpus:])
        pinned = Reading(cpus, reason=short)
    else:
        pinned = Reading(reason=f"{sys.platform} has no CPU affinity")
    threads = min(hardware.threads, cpus)
    torch.set_num_threads(threads)
    return {"enforced_cpus": pinned, "enforced_threads": Reading(threads, reason=short if threads < hardware.threads else None)}


def require_memory(hardware: HardwareClass) -> None:
    """Refuse a class with more memory than this machine: a trial would be killed, or swap, before the class's limit is met.

    Raises
    ------
    HardwareError
        Says how much there is.
    """
    there = machine_memory_bytes()
    if hardware.memory_bytes is not None and hardware.memory_bytes > there:
        expected = f"memory_bytes of hardware class {hardware.name!r} must be at most this machine's {there >> 20:,} MiB"
        raise HardwareError(expected, f"{hardware.memory_bytes >> 20:,} MiB", "leave the class out, or set TRIALHOUSE_HARDWARE_FILE")


def machine_memory_bytes() -> int:
    """Physical memory, or what a container is allowed where that is less."""
    limits = [int(psutil.virtual_memory().total)]
    for path in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            limits.append(int(path.read_text()))
    return min(limits)


_CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def limit_memory(hardware: HardwareClass) -> dict[str, Reading]:
    """Let this process take at most the class's memory from here on, beyond what it has; then allocations really fail.

    Linux counts writable private memory against RLIMIT_DATA, touched or not, of all threads. Call it when libraries are
    warmed up: a limit set before makes their initialisation fail in ways that do not look like a lack of memory.

    Returns
    -------
    dict
        `enforced_memory_bytes`: null with the reason where the system does not enforce such a limit.
    """
    if hardware.memory_bytes is None:
        return {"enforced_memory_bytes": Reading(reason=f"class {hardware.name} has no limit")}
    if not sys.platform.startswith("linux"):
        return {"enforced_memory_bytes": Reading(reason=f"{sys.platform} does not enforce RLIMIT_DATA")}
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = psutil.Process().memory_info().data + int(hardware.memory_bytes)
    if hard != resource.RLIM_INFINITY and limit > hard:
        return {"enforced_memory_bytes": Reading(reason=f"this process may not have more than {hard} bytes of data (hard RLIMIT_DATA)")}
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    if _may_take(int(hardware.memory_bytes) + _SLACK_BYTES):
        lift_memory_limit()
        return {"enforced_memory_bytes": Reading(reason="this system accepts RLIMIT_DATA and does not enforce it")}
    return {"enforced_memory_bytes": Reading(int(hardware.memory_bytes))}


_SLACK_BYTES = 16 << 20
"""More than the stack, which the baseline counts and the limit does not."""


def _may_take(count: int) -> bool:
    """Whether this process may have that many bytes more; they are not touched, so asking costs microseconds."""
    import mmap

    try:
        mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return False
    return True


def lift_memory_limit() -> None:
    """Undo `limit_memory`, so that what happened can be told even where memory ran out."""
    if sys.platform.startswith("linux"):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
