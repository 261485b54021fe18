"""Peak memory of this process beyond a baseline, and how to tell that memory ran out."""

from __future__ import annotations

import re
from pathlib import Path

import psutil

from trialhouse.attempts import Reading

_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Physical memory that this process takes from now on, at its highest, without the pages of program files.

    On Linux from the kernel's own high-water mark (VmHWM), reset here; `ru_maxrss` would not do, since a forked child
    inherits its parent's. Elsewhere there is no such mark to reset. A child touches its parent's program code anew, in
    pieces whose size depends on how the files lie in the page cache: megabytes that say nothing about the trial, and that
    a class's limit does not count either. They are taken off as they are at the end.
    """

    def __init__(self) -> None:
        self._reason: str | None = None
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError as error:
            self._reason = f"the peak cannot be reset: {error.strerror or error}"
        self.baseline_bytes = int(psutil.Process().memory_info().rss)
        self._files_bytes = 0 if self._reason else _status_bytes("RssFile")

    def read(self) -> Reading:
        """Bytes above the baseline; null with the reason where this system does not tell."""
        if self._reason is not None:
            return Reading(reason=self._reason)
        files = _status_bytes("RssFile") - self._files_bytes
        return Reading(max(0, _status_bytes("VmHWM") - self.baseline_bytes - files))


def _status_bytes(name: str) -> int:
    return 1024 * next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith(name))


_SIGNS = re.compile(r"can't allocate memory|not enough memory|out of memory|bad_alloc|could not create a memory", re.IGNORECASE)
_TRIED = re.compile(r"tried to allocate (\d+) bytes")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that an allocation was refused."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_SIGNS.search(str(error))))


def refused_bytes(error: BaseException) -> Reading:
    """Size of the allocation that was refused, where the message tells."""
    found = _TRIED.search(str(error))
    return Reading(int(found[1])) if found else Reading(reason="the message does not tell the size")
