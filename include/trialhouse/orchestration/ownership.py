"""Who owns the Airflow of a home: a lock, a note of what was started, and a token in every process of it.

The owner holds the lock for as long as it lives, so the kernel tells everybody else when it is gone, however it died. What
a killed owner left running is found by its token, wherever it was moved in the process tree.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from trialhouse.settings import Settings

MARK_VARIABLE = "TRIALHOUSE_SERVICE_TOKEN"
"""Its value is the token of one start of Airflow, in the environment of every process of that start."""


@dataclass(frozen=True)
class Service:
    """What the owner writes down for others: `service.json` in the Airflow home."""

    token: str
    pid: int
    port: int
    started_at: str
    is_ready: bool


def is_running(settings: Settings) -> bool:
    """Whether an Airflow of this home is owned by a living process."""
    if not settings.airflow_home.exists():
        return False
    probe = Lock(settings.airflow_home / "owner.lock")
    is_free = probe.acquire()
    probe.release()
    return not is_free


class Lock:
    """An advisory lock on a file, which the kernel drops when its holder ends."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        return self._descriptor is not None

    def acquire(self, *, is_shared: bool = False) -> bool:
        """Take the lock if nobody else's forbids it, without waiting."""
        if self.is_held:
            return True
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def service_file(settings: Settings) -> Path:
    """Where the owner writes what it started."""
    return settings.airflow_home / "service.json"


def read_service(settings: Settings) -> Service | None:
    """What the owner wrote, or None where there is nothing readable."""
    try:
        return Service(**json.loads(service_file(settings).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_service(settings: Settings, service: Service) -> None:
    """Replace the note in one step, readable by this user only: the token is in it."""
    file = service_file(settings)
    temporary = file.with_suffix(".tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(asdict(service)))
    temporary.replace(file)


def processes_of(token: str) -> list[psutil.Process]:
    """Every process of one start of Airflow."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK_VARIABLE) == token:
                found.append(process)
        except (psutil.Error, OSError):  # Ended meanwhile, or somebody else's.
            continue
    return found


def end_all(token: str) -> int:
    """Kill every process that carries the token and return how many there were; repeats, for they may be starting others."""
    ended: set[int] = set()
    while token and (found := processes_of(token)):
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        ended |= {process.pid for process in found}
        psutil.wait_procs(found, timeout=2)
    return len(ended)
