"""Peak memory of this process beyond a baseline, and how to tell that memory ran out."""

from __future__ import annotations

import re
from pathlib import Path

import psutil

from trialhouse.attempts import Reading

_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Physical memory that this process takes from now on, at its highest.

    On Linux from the kernel's own high-water mark (VmHWM), reset here; `ru_maxrss` would not do, since a forked child
    inherits its parent's. Elsewhere there is no such mark to reset.
    """

    def __init__(self) -> None:
        self._reason: str | None = None
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError as error:
            self._reason = f"the peak cannot be reset: {error.strerror or error}"
        self.baseline_bytes = int(psutil.Process().memory_info().rss)

    def read(self) -> Reading:
        """Bytes above the baseline; null with the reason where this system does not tell."""
        if self._reason is not None:
            return Reading(reason=self._reason)
        peak_kib = next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return Reading(max(0, peak_kib * 1024 - self.baseline_bytes))


_SIGNS = re.compile(r"can't allocate memory|not enough memory|out of memory|bad_alloc|could not create a memory", re.IGNORECASE)
_TRIED = re.compile(r"tried to allocate (\d+) bytes")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that an allocation was refused."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_SIGNS.search(str(error))))


def refused_bytes(error: BaseException) -> Reading:
    """Size of the allocation that was refused, where the message tells."""
    found = _TRIED.search(str(error))
    return Reading(int(found[1])) if found else Reading(reason="the message does not tell the size")
