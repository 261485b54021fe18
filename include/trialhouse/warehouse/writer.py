"""The one writer of the database: a lock file first, then DuckDB's own."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trialhouse.errors import WarehouseError
from trialhouse.settings import Settings

if TYPE_CHECKING:
    import duckdb

WAIT_S = 120.0
"""Seconds to wait for another writer; a build of the marts takes a tenth of that."""

STORAGE_VERSION = "v1.5.0"
"""Format of the file: readable by DuckDB from 1.5 on, not only by the version that wrote it."""

_PAUSE_S = 0.05


@contextmanager
def writer_lock(settings: Settings, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the right to write the database; whoever runs dbt holds it too. The kernel frees it when a process dies.

    Raises
    ------
    WarehouseError
        If somebody else holds it for longer than `wait_s`.
    """
    settings.warehouse_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with (settings.warehouse_dir / ".writer.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _wait(settings, deadline, wait_s, "another loader or build")
        yield


@contextmanager
def open_writer(settings: Settings, wait_s: float = WAIT_S) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-write connection under the lock, closed (and so checkpointed) at the end.

    Raises
    ------
    WarehouseError
        If the database stays locked for longer than `wait_s`.
    """
    import duckdb

    with writer_lock(settings, wait_s):
        deadline = time.monotonic() + wait_s
        while True:
            try:
                connection = duckdb.connect(str(settings.writer_database), config={"storage_compatibility_version": STORAGE_VERSION})
                break
            except duckdb.IOException as error:
                if "lock" not in str(error).lower():
                    raise
                _wait(settings, deadline, wait_s, str(error).splitlines()[0])
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()


def _wait(settings: Settings, deadline: float, wait_s: float, holder: str) -> None:
    if time.monotonic() > deadline:
        raise WarehouseError(
            f"{settings.writer_database} must be free to write within {wait_s:g} s",
            holder,
            f"close what holds it; to read, use {settings.warehouse.name}",
        )
    time.sleep(_PAUSE_S)
