"""Limits hold for real, degrade where the machine is smaller, and say so."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trialhouse.errors import HardwareError
from trialhouse.hardware import limits
from trialhouse.hardware.classes import HardwareClass
from trialhouse.hardware.runner import IsolatedRunner
from trialhouse.settings import usable_cpus

CHILDREN = "tests.trialhouse.hardware.children"
MIB = 1 << 20

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are Linux's")


def hardware(**fields: Any) -> dict[str, Any]:
    return {"name": "box", "cpus": 1, "threads": 1, "memory_bytes": 64 * MIB, **fields}


@pytest.fixture(scope="module")
def runner() -> Iterator[IsolatedRunner]:
    with IsolatedRunner(f"{CHILDREN}:prepare", {}) as started:
        yield started


@needs_linux
@pytest.mark.parametrize(("use_mib", "told"), [(32, f"held {32 * MIB}"), (96, "refused, then lifted")])
def test_memory_beyond_the_class_is_refused(runner: IsolatedRunner, use_mib: int, told: str) -> None:
    ended = runner.call(f"{CHILDREN}:hold_memory", {"hardware": hardware(), "use_bytes": use_mib * MIB}, timeout_s=30)
    assert ended.result == told


@needs_linux
def test_a_child_runs_on_the_class_number_of_cpus_and_threads(runner: IsolatedRunner) -> None:
    told = runner.call(f"{CHILDREN}:pinned", {"hardware": hardware(cpus=1, threads=1)}, timeout_s=60).result
    assert told["cpus"] == sorted(os.sched_getaffinity(0))[-1:]
    assert told["threads"] == 1
    assert told["readings"]["enforced_cpus"] == [1, None, None]


@needs_linux
def test_a_class_larger_than_the_machine_gets_what_there_is_and_a_reason(runner: IsolatedRunner) -> None:
    available = usable_cpus()
    told = runner.call(f"{CHILDREN}:pinned", {"hardware": hardware(cpus=4096, threads=4096)}, timeout_s=60).result
    assert len(told["cpus"]) == available
    assert told["threads"] == available
    reason = f"the class has 4096 CPUs, this machine lends {available}"
    assert told["readings"] == {"enforced_cpus": [available, None, reason], "enforced_threads": [available, None, reason]}


def test_a_class_with_more_memory_than_the_machine_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = limits.machine_memory_bytes()
    limits.require_memory(HardwareClass.model_validate(hardware(memory_bytes=there)))
    with pytest.raises(HardwareError) as caught:
        limits.require_memory(HardwareClass.model_validate(hardware(memory_bytes=1 << 60)))
    assert str(caught.value) == (
        f"memory_bytes of hardware class 'box' must be at most this machine's {there >> 20:,} MiB, got 1,099,511,627,776 MiB; "
        "leave the class out, or set TRIALHOUSE_HARDWARE_FILE"
    )
    container = tmp_path / "memory.max"
    monkeypatch.setattr(limits, "_CONTAINER_LIMITS", (container, tmp_path / "absent"))
    container.write_text("max\n")
    assert limits.machine_memory_bytes() >= there
    container.write_text(f"{64 * MIB}\n")
    assert limits.machine_memory_bytes() == 64 * MIB


@needs_linux
def test_a_limit_that_the_system_only_pretends_to_set_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limit: None)
    box = HardwareClass.model_validate(hardware())
    assert limits.limit_memory(box)["enforced_memory_bytes"].reason == "this system accepts RLIMIT_DATA and does not enforce it"
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_another_system_is_told_and_does_not_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # before the platform seems another one

    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    box = HardwareClass.model_validate(hardware())
    assert limits.limit_memory(box)["enforced_memory_bytes"] == (None, None, "darwin does not enforce RLIMIT_DATA")
    assert limits.limit_cpus(box)["enforced_cpus"] == (None, None, "darwin has no CPU affinity")
    limits.lift_memory_limit()
    assert threads == [1]
