"""Hardware and kernel counters of this process: `perf stat` for a stretch of code, without the perf tool.

Virtual machines and containers often have no hardware counters, and a strict `kernel.perf_event_paranoid` forbids all:
each counter degrades on its own to null with the kernel's reason.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import struct
import sys

from trialhouse.attempts import Reading

_HARDWARE, _SOFTWARE = 0, 1
EVENTS = {
    "cpu_cycles": (_HARDWARE, 0),
    "instructions": (_HARDWARE, 1),
    "cache_references": (_HARDWARE, 2),
    "cache_misses": (_HARDWARE, 3),
    "branches": (_HARDWARE, 4),
    "branch_misses": (_HARDWARE, 5),
    "task_clock_ns": (_SOFTWARE, 1),
    "page_faults": (_SOFTWARE, 2),
    "context_switches": (_SOFTWARE, 3),
    "cpu_migrations": (_SOFTWARE, 4),
}
"""Metric -> type and number of the event in linux/perf_event.h."""

_SYSCALL = {"x86_64": 298, "aarch64": 241}
_ATTRIBUTE_SIZE = 64  # PERF_ATTR_SIZE_VER0
_READ_TIMES = 0b11  # enabled and running: fewer counters than events means that they take turns
_DISABLED, _INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 0, 1 << 1, 1 << 5, 1 << 6
_ENABLE, _DISABLE = 0x2400, 0x2401


class PerfCounters:
    """Counters of this process and of the threads that it starts after this; count from `start` to `read`."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._readings: dict[str, Reading] = {}
        for name, (kind, number) in EVENTS.items():
            try:
                self._open[name] = _open_counter(kind, number)
            except OSError as error:
                self._readings[name] = Reading(reason=f"perf_event_open: {error.strerror}")

    def start(self) -> None:
        """Begin to count."""
        for descriptor in self._open.values():
            fcntl.ioctl(descriptor, _ENABLE, 0)

    def read(self) -> dict[str, Reading]:
        """Stop, and give metric -> count since `start`, scaled where counters took turns."""
        for name, descriptor in self._open.items():
            fcntl.ioctl(descriptor, _DISABLE, 0)
            count, enabled, running = struct.unpack("QQQ", os.read(descriptor, 24))
            os.close(descriptor)
            self._readings[name] = Reading(count * enabled / running) if running else Reading(reason="never scheduled on a counter")
        self._open.clear()
        return {name: self._readings[name] for name in EVENTS}


def _open_counter(kind: int, number: int) -> int:
    if not sys.platform.startswith("linux") or platform.machine() not in _SYSCALL:
        raise OSError(0, f"not on {sys.platform} {platform.machine()}")
    flags = _DISABLED | _INHERIT | _EXCLUDE_HYPERVISOR
    try:
        return _perf_event_open(kind, number, flags)
    except PermissionError:  # usual without root: only what happens outside the kernel
        return _perf_event_open(kind, number, flags | _EXCLUDE_KERNEL)


def _perf_event_open(kind: int, number: int, flags: int) -> int:
    # type, size, config, sample_period, sample_type, read_format, flags, wakeup_events, bp_type, config1
    attribute = struct.pack("IIQQQQQIIQ", kind, _ATTRIBUTE_SIZE, number, 0, 0, _READ_TIMES, flags, 0, 0, 0)
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    close_on_exec = 8
    arguments = (ctypes.c_int(0), ctypes.c_int(-1), ctypes.c_int(-1), ctypes.c_ulong(close_on_exec))  # this process, any CPU, no group
    descriptor: int = syscall(ctypes.c_long(_SYSCALL[platform.machine()]), ctypes.c_char_p(attribute), *arguments)
    if descriptor < 0:
        number_of_error = ctypes.get_errno()
        raise OSError(number_of_error, os.strerror(number_of_error))
    return descriptor
