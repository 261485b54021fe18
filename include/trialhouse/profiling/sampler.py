"""What the machine and the child did while a trial ran: psutil, asked from outside the measured process.

A sampler inside it would slow it down by up to a third; from outside, twenty cheap looks a second cost nothing that shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from trialhouse.attempts import Reading
from trialhouse.hardware.probe import attempt_reading


class Sampler:
    """Watches one trial from its construction to `read`."""

    def __init__(self) -> None:
        self._peak_rss_bytes: int | None = None
        self._least_available_bytes: int | None = None
        self._totals = {name: attempt_reading(read) for name, read in _TOTALS.items()}
        psutil.cpu_percent(interval=None)  # shares are counted from here

    def watch(self, pid: int) -> None:
        """Look at the child once; cheap enough for twenty times a second."""
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
            "cpu_share": attempt_reading(lambda: psutil.cpu_percent(interval=None) / 100),
        }
        for name, read in _TOTALS.items():
            before, after = self._totals[name], attempt_reading(read)
            both = before.value is not None and after.value is not None
            readings[name] = Reading(after.value - before.value) if both else Reading(reason=after.reason or before.reason)  # type: ignore[operator]
        for name, read in _LEVELS.items():
            readings[name] = attempt_reading(read)
        for name, key in _USAGE.items():
            readings[name] = Reading(usage[key]) if key in usage else Reading(reason="the child was not reaped")
        return readings


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


_TOTALS: dict[str, Callable[[], float | str | None]] = {
    "disk_read_bytes": _disk("read_bytes"),
    "disk_write_bytes": _disk("write_bytes"),
    "swap_in_bytes": lambda: psutil.swap_memory().sin,
    "swap_out_bytes": lambda: psutil.swap_memory().sout,
    "cpu_pressure_some_us": _pressure("cpu", "some"),
    "memory_pressure_some_us": _pressure("memory", "some"),
    "memory_pressure_full_us": _pressure("memory", "full"),
    "io_pressure_some_us": _pressure("io", "some"),
    "io_pressure_full_us": _pressure("io", "full"),
}
"""Ever-growing counts of the machine: their growth during the trial is the reading."""

_LEVELS: dict[str, Callable[[], float | str | None]] = {
    "load_average_1min": lambda: psutil.getloadavg()[0],
    "load_average_5min": lambda: psutil.getloadavg()[1],
    "load_average_15min": lambda: psutil.getloadavg()[2],
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
