"""Replace the database that people query, as a whole, while they query it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trialhouse.errors import WarehouseError
from trialhouse.landing import sync
from trialhouse.settings import Settings, get_settings
from trialhouse.warehouse.writer import open_writer


def publish(settings: Settings | None = None) -> Path:
    """Copy the writer's database to `settings.warehouse`; whoever has the old copy open keeps reading the old one.

    Returns
    -------
    Path
        The published database.

    Raises
    ------
    WarehouseError
        If nothing was loaded yet, or the writer's database stays locked.
    """
    import duckdb

    settings = settings or get_settings()
    if not settings.writer_database.is_file():
        raise WarehouseError(f"{settings.writer_database} must exist before it is published", "nothing", "load landed files first")
    temporary = settings.warehouse.with_name(f".{settings.warehouse.name}.{os.getpid()}.tmp")
    try:
        with open_writer(settings) as connection:
            connection.execute("CHECKPOINT")  # now the file is whole without its log, and the open connection keeps others out
            shutil.copyfile(settings.writer_database, temporary)
        with duckdb.connect(str(temporary), read_only=True) as copy:
            copy.execute("SELECT count(*) FROM raw.load_ledger")  # a copy that does not open replaces nothing
        sync(temporary)
        temporary.replace(settings.warehouse)
    finally:
        temporary.unlink(missing_ok=True)
    sync(settings.warehouse_dir)
    return settings.warehouse
