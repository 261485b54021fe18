"""What the machine and the child did while a trial ran: psutil, asked from outside the measured process.

A sampler inside it would slow it down by up to a third. From outside, twenty cheap looks a second cost little, and how
little is measured: it looks and rests by turns of the machine's clock, and calls are compared by the turn in which they began.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from trialhouse.attempts import Reading
from trialhouse.hardware.probe import attempt_reading, current_frequency

TURN_S = 0.05
"""The sampler looks for so long, then rests for as long; turns are counted from the start of the machine's clock."""

FEWEST_CALLS = 3
"""In turns of either kind, below which a trial does not tell them apart."""


def is_looking(at_s: float) -> bool:
    """Whether the sampler looks at that time of `time.monotonic`: the same answer in every process of the machine."""
    return int(at_s / TURN_S) % 2 == 0


def latency_by_turn(started_s: Sequence[float], latency_ms: Sequence[float]) -> dict[str, Reading]:
    """Mean latency of the calls that began while the sampler was looking, and of those that began while it rested.

    Null where calls are longer than half a turn, so that most would see both kinds, or too few began in one of them. Which
    turn a call begins in depends on the clock alone, so in the mean over trials the two differ by what looking costs.
    """
    looking = [value for at, value in zip(started_s, latency_ms, strict=True) if is_looking(at)]
    resting = [value for at, value in zip(started_s, latency_ms, strict=True) if not is_looking(at)]
    reason = None
    if statistics.median(latency_ms) > TURN_S * 1e3 / 2:
        reason = f"calls take longer than half a turn of the sampler ({TURN_S * 1e3:g} ms)"
    elif min(len(looking), len(resting)) < FEWEST_CALLS:
        reason = f"fewer than {FEWEST_CALLS} calls began in turns of each kind"
    named = {"sampled_latency_ms": looking, "unsampled_latency_ms": resting}
    return {name: Reading(reason=reason) if reason else Reading(statistics.fmean(values)) for name, values in named.items()}


class Sampler:
    """Watches one trial from its construction to `read`."""

    def __init__(self) -> None:
        self._looks, self._cpu_s = 0, 0.0
        self._peak_rss_bytes: int | None = None
        self._least_available_bytes: int | None = None
        self._totals = {name: attempt_reading(read) for name, read in _TOTALS.items()}
        psutil.cpu_percent(interval=None)  # shares are counted from here

    def watch_by_turns(self, pid: int) -> None:
        """Look at the child once if it is the sampler's turn, or if it has not looked yet."""
        if self._looks == 0 or is_looking(time.monotonic()):
            self.watch(pid)

    def watch(self, pid: int) -> None:
        """Look at the child once; cheap enough for twenty times a second."""
        begin = time.thread_time()
        self._look(pid)
        self._looks += 1
        self._cpu_s += time.thread_time() - begin

    def _look(self, pid: int) -> None:
        try:
            rss = int(psutil.Process(pid).memory_info().rss)
        except psutil.Error:
            return  # it has just ended
        self._peak_rss_bytes = max(rss, self._peak_rss_bytes or 0)
        available = int(psutil.virtual_memory().available)
        self._least_available_bytes = min(available, self._least_available_bytes or available)

    def read(self, usage: Mapping[str, float]) -> dict[str, Reading]:
        """Metric -> reading, over the time watched.

        Parameters
        ----------
        usage
            `rusage` of the child.
        """
        missing = Reading(reason="the child ended before the first look")
        readings = {
            "child_peak_rss_bytes": missing if self._peak_rss_bytes is None else Reading(self._peak_rss_bytes),
            "least_available_memory_bytes": missing if self._least_available_bytes is None else Reading(self._least_available_bytes),
            "sampler_looks": Reading(self._looks),
            "sampler_cpu_s": Reading(self._cpu_s),
            "cpu_share": attempt_reading(lambda: psutil.cpu_percent(interval=None) / 100),
        }
        for name, read in _TOTALS.items():
            before, after = self._totals[name], attempt_reading(read)
            readings[name] = _growth(before, after)
        for name, read in _LEVELS.items():
            readings[name] = attempt_reading(read)
        for name, key in _USAGE.items():
            readings[name] = Reading(usage[key]) if key in usage else Reading(reason="the child was not reaped")
        return readings


def _growth(before: Reading, after: Reading) -> Reading:
    if before.value is None or after.value is None:
        return Reading(reason=after.reason or before.reason)
    if after.value < before.value:
        return Reading(reason="the counter began anew during the trial")
    return Reading(after.value - before.value)


def _package_energy() -> float:
    """Joules so far of all processor packages (RAPL), whoever used them; some kernels tell only root."""
    packages = sorted(POWERCAP.glob("intel-rapl:[0-9]*"))
    readings = [int((package / "energy_uj").read_text()) for package in packages if package.name.count(":") == 1]
    if not readings:
        raise OSError(f"no energy counters (RAPL) in {POWERCAP}")
    return sum(readings) / 1e6


def _pressure(resource: str, kind: str) -> Callable[[], float]:
    """Microseconds so far in which some or all tasks waited for a resource (Linux pressure stall information)."""

    def read() -> float:
        for line in Path(f"/proc/pressure/{resource}").read_text().splitlines():
            if line.startswith(kind):
                return float(line.rpartition("total=")[2])
        raise OSError(f"no {kind!r} line for {resource}")

    return read


def _disk(field: str) -> Callable[[], float | None]:
    def read() -> float | None:
        counters = psutil.disk_io_counters()
        return None if counters is None else float(getattr(counters, field))

    return read


POWERCAP = Path("/sys/class/powercap")

_TOTALS: dict[str, Callable[[], float | str | None]] = {
    "disk_read_bytes": _disk("read_bytes"),
    "disk_write_bytes": _disk("write_bytes"),
    "disk_reads": _disk("read_count"),
    "disk_writes": _disk("write_count"),
    "swap_in_bytes": lambda: psutil.swap_memory().sin,
    "swap_out_bytes": lambda: psutil.swap_memory().sout,
    "cpu_pressure_some_us": _pressure("cpu", "some"),
    "memory_pressure_some_us": _pressure("memory", "some"),
    "memory_pressure_full_us": _pressure("memory", "full"),
    "io_pressure_some_us": _pressure("io", "some"),
    "io_pressure_full_us": _pressure("io", "full"),
    "package_energy_j": _package_energy,
}
"""Ever-growing counts of the machine: their growth during the trial is the reading."""

_LEVELS: dict[str, Callable[[], float | str | None]] = {
    "load_average_1min": lambda: psutil.getloadavg()[0],
    "load_average_5min": lambda: psutil.getloadavg()[1],
    "load_average_15min": lambda: psutil.getloadavg()[2],
    "cpu_frequency_mhz": current_frequency,
    "swap_used_bytes": lambda: psutil.swap_memory().used,
    "memory_used_share": lambda: psutil.virtual_memory().percent / 100,
}
"""States of the machine as the trial ends."""

_USAGE = {
    "user_cpu_s": "ru_utime",
    "system_cpu_s": "ru_stime",
    "minor_page_faults": "ru_minflt",
    "major_page_faults": "ru_majflt",
    "voluntary_context_switches": "ru_nvcsw",
    "involuntary_context_switches": "ru_nivcsw",
}
