"""One machine, one measurement: whatever trains shares the slot, whatever measures latency has it alone."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from trialhouse.settings import Settings, get_settings


@contextmanager
def machine_slot(mode: Literal["shared", "exclusive"], settings: Settings | None = None) -> Iterator[None]:
    """Hold the machine's slot; the operating system gives it back however the process ends.

    Parameters
    ----------
    mode
        `shared` beside others that share it (training), `exclusive` while nothing else may run (profiling).

    Notes
    -----
    Advisory locks on files under `$TRIALHOUSE_HOME/locks`: processes and containers that mount the same home keep out of
    each other's way. Everybody passes a turnstile first, and who waits for the slot alone stands in it: newcomers cannot
    starve them.
    """
    folder = (settings or get_settings()).home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "slot.lock", "a") as slot:
        with open(folder / "turnstile.lock", "a") as turnstile:
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            fcntl.flock(slot, fcntl.LOCK_EX if mode == "exclusive" else fcntl.LOCK_SH)
        yield
