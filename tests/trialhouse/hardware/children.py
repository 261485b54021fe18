"""What the runner's tests call in forked children: ways to end."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

state: dict[str, Any] = {}


def prepare(**arguments: Any) -> None:
    state.update(arguments)


def echo(**arguments: Any) -> dict[str, Any]:
    return {"prepared": state, "called": arguments, "pid": os.getpid()}


def long_reply() -> str:
    return "x" * 3_000_000


def noisy() -> str:
    os.write(1, b'{"pid": 1}\n')  # what a library prints must not pass for a reply
    return "quiet"


def forget(key: str) -> None:
    state.pop(key)


def fail() -> None:
    raise ValueError("no luck")


def die(signal_name: str) -> None:
    os.kill(os.getpid(), signal.Signals[signal_name])


def leave() -> None:
    os._exit(3)


def kill_zygote() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def write_pid_and_sleep(path: str) -> None:
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)


def hold_memory(hardware: dict[str, Any], use_bytes: int) -> str:
    from trialhouse.hardware.classes import HardwareClass
    from trialhouse.hardware.limits import lift_memory_limit, limit_memory

    limit_memory(HardwareClass.model_validate(hardware))
    try:
        held = bytearray(use_bytes)
    except MemoryError:
        lift_memory_limit()
        bytearray(use_bytes)
        return "refused, then lifted"
    return f"held {len(held)}"


def pinned(hardware: dict[str, Any]) -> dict[str, Any]:
    import torch

    from trialhouse.hardware.classes import HardwareClass
    from trialhouse.hardware.limits import limit_cpus

    readings = limit_cpus(HardwareClass.model_validate(hardware))
    return {"readings": readings, "cpus": sorted(os.sched_getaffinity(0)), "threads": torch.get_num_threads()}
