"""The instruments: latency samples, peak memory, counters, FLOPs, and the sampler outside."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from trialhouse.attempts import Reading
from trialhouse.profiling import counters, latency, memory, sampler
from trialhouse.profiling.flops import count_flops, flops_by_operator
from trialhouse.profiling.sampler import TURN_S, Sampler, is_looking, latency_by_turn

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


def test_latency_is_sampled_after_warming_up() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.05 if calls == 1 else 0.002)

    sampled = latency.sample_latency(call, threads=1)
    assert calls == latency.WARM_UP_CALLS + len(sampled.latency_ms) + len(sampled.disturbed_latency_ms)
    assert len(sampled.latency_ms) == latency.MOST_SAMPLES
    assert sampled.warmup_ms >= 52
    assert 2 <= min(sampled.latency_ms) < 20


def test_slow_calls_are_sampled_less_often_but_never_less_than_a_few_times() -> None:
    assert len(latency.sample_latency(lambda: time.sleep(0.06), threads=1).latency_ms) == latency.FEWEST_SAMPLES


def test_each_sample_knows_when_it_began() -> None:
    begin = time.monotonic()
    sampled = latency.sample_latency(lambda: time.sleep(0.002), threads=1)
    assert len(sampled.started_s) == len(sampled.latency_ms)
    assert begin < sampled.started_s[0]
    assert sampled.started_s[-1] + sampled.latency_ms[-1] / 1e3 <= time.monotonic()
    assert all(later - sooner >= 0.002 for sooner, later in pairwise(sampled.started_s))


class Clock:
    """A machine's time and this process's share of it, which no load of the real one disturbs."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def monotonic(self) -> float:
        return self.wall_s

    def perf_counter(self) -> float:
        return self.wall_s

    def perf_counter_ns(self) -> int:
        return round(self.wall_s * 1e9)

    def process_time(self) -> float:
        return self.cpu_s


def test_samples_are_those_of_the_window_in_which_the_process_had_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(), 0
    monkeypatch.setattr(latency, "time", clock)

    def call() -> None:
        nonlocal calls
        calls += 1
        clock.cpu_s += 0.03
        is_disturbed = calls <= latency.WARM_UP_CALLS + latency.FEWEST_SAMPLES  # as if something else had the CPU
        clock.wall_s += 0.06 if is_disturbed else 0.03

    sampled = latency.sample_latency(call, threads=1)
    assert sampled.disturbed_latency_ms == pytest.approx([60.0] * latency.FEWEST_SAMPLES)
    assert sampled.latency_ms == pytest.approx([30.0] * len(sampled.latency_ms))
    assert sampled.cpu_share == pytest.approx(1.0)


def test_a_machine_that_stays_busy_is_given_up_on() -> None:
    sampled = latency.sample_latency(lambda: time.sleep(0.002), threads=1)
    assert sampled.cpu_share < 0.5
    assert len(sampled.latency_ms) + len(sampled.disturbed_latency_ms) == latency.MOST_WINDOWS * latency.MOST_SAMPLES


@needs_linux
def test_peak_memory_is_what_was_touched_since_not_what_is_left_or_was_before() -> None:
    script = textwrap.dedent("""
        from trialhouse.profiling.memory import PeakMemory
        MIB = 1 << 20
        del (before := [bytearray(300 * MIB)])[:]
        peak = PeakMemory()
        held = bytearray(100 * MIB)
        del held
        print(peak.read().value / MIB)
    """)
    mib = float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert mib == pytest.approx(100, abs=2)


def test_a_peak_that_cannot_be_reset_is_null_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, text: str) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert memory.PeakMemory().read() == Reading(reason="the peak cannot be reset: No such file or directory")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes."), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_only_refused_allocations_are_out_of_memory(error: Exception, expected: bool) -> None:
    assert memory.is_out_of_memory(error) is expected


def test_the_refused_size_is_in_the_message_or_not() -> None:
    assert memory.refused_bytes(RuntimeError("you tried to allocate 83886080 bytes. Error code 12")) == Reading(83886080)
    assert memory.refused_bytes(MemoryError()).value is None
    assert memory.refused_bytes(MemoryError()).reason


@needs_linux
def test_counters_count_this_stretch_or_say_why_not() -> None:
    perf = counters.PerfCounters()
    time.sleep(0.05)
    perf.start()
    start = time.process_time_ns()
    while time.process_time_ns() - start < 50_000_000:
        pass
    readings = perf.read()
    assert list(readings) == list(counters.EVENTS)
    assert all((reading.value is None) == (reading.reason is not None) for reading in readings.values())
    clock = readings["task_clock_ns"]
    assert clock.reason is not None or 45e6 < clock.value < 500e6  # type: ignore[operator]


def test_forbidden_counters_are_null_with_the_kernels_words(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def forbid(kind: int, number: int, flags: int) -> int:
        tried.append(flags)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(counters, "_perf_event_open", forbid)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert counters.PerfCounters().read()["instructions"] == Reading(reason="perf_event_open: Permission denied")
    assert tried[1] == tried[0] | counters._EXCLUDE_KERNEL  # without the kernel it may be allowed


def test_another_system_has_no_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    perf = counters.PerfCounters()
    perf.start()
    assert perf.read()["cpu_cycles"].reason == f"perf_event_open: not on darwin {os.uname().machine}"


def test_latencies_are_told_apart_by_the_samplers_turn() -> None:
    turns = [index * TURN_S for index in range(8)]
    started = [turn + 0.001 for turn in turns for _ in range(2)]
    assert [is_looking(at) for at in started[:6]] == [True, True, False, False, True, True]
    values = [1.0 + 0.5 * is_looking(at) for at in started]
    readings = latency_by_turn(started, values)
    assert readings == {"sampled_latency_ms": Reading(1.5), "unsampled_latency_ms": Reading(1.0)}
    long = latency_by_turn(started, [30.0] * 16)
    assert {reading.reason for reading in long.values()} == {"calls take longer than half a turn of the sampler (50 ms)"}
    few = latency_by_turn(started[:4], values[:4])
    assert {reading.reason for reading in few.values()} == {"fewer than 3 calls began in turns of each kind"}


def test_the_sampler_looks_in_its_turns_and_says_what_it_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([1.6, 2.1, 2.9, 3.1])
    monkeypatch.setattr("trialhouse.profiling.sampler.time.monotonic", lambda: next(turns) * TURN_S)
    watched = Sampler()
    for _ in range(5):  # the first look is at once
        watched.watch_by_turns(os.getpid())
    readings = watched.read({})
    assert readings["sampler_looks"] == Reading(3)
    assert 0 < readings["sampler_cpu_s"].value < 1  # type: ignore[operator]


def test_energy_is_that_of_all_packages_without_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "POWERCAP", tmp_path)
    assert "no energy counters (RAPL)" in str(Sampler().read({})["package_energy_j"].reason)
    for name, micro in (("intel-rapl:0", 5_000_000), ("intel-rapl:0:0", 900_000), ("intel-rapl:1", 2_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{micro}\n")
    watched = Sampler()
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("3500000")
    assert watched.read({})["package_energy_j"] == Reading(1.5)
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("7")
    assert watched.read({})["package_energy_j"] == Reading(reason="the counter began anew during the trial")


def test_flops_are_told_by_operator_and_add_up() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(4 * 64, 10))
    example = torch.zeros(1, 1, 8, 8)
    assert flops_by_operator(network, example) == {"convolution": 2 * 64 * 9 * 4, "addmm": 2 * 256 * 10}
    assert count_flops(network, example) == sum(flops_by_operator(network, example).values())


def test_flops_are_two_per_multiply_add() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(4 * 64, 10))
    assert count_flops(network, torch.zeros(1, 1, 8, 8)) == 2 * (64 * 9 * 4 + 256 * 10)


def test_the_sampler_sees_the_childs_memory_and_tells_or_gives_reasons() -> None:
    script = "import time; held = bytearray(200 << 20); print('in', flush=True); time.sleep(30)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    watched = Sampler()
    watched.watch(child.pid)
    child.kill()
    child.wait()
    watched.watch(child.pid)  # gone: nothing to see, nothing to fall over
    readings = watched.read({"ru_utime": 0.5})
    assert readings["child_peak_rss_bytes"].value > 200 << 20  # type: ignore[operator]
    assert readings["user_cpu_s"] == Reading(0.5)
    assert readings["minor_page_faults"] == Reading(reason="the child was not reaped")
    for name, reading in readings.items():
        assert (reading.value is None) == (reading.reason is not None), name
    assert readings["swap_in_bytes"].reason is not None or readings["swap_in_bytes"].value >= 0  # type: ignore[operator]
