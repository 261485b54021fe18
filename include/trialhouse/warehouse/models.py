"""Runs dbt over the writer database, as a process of its own: the domain imports no dbt, and its memory goes when it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from trialhouse.errors import WarehouseError
from trialhouse.settings import Settings, get_settings, inherited_environment
from trialhouse.warehouse.writer import writer_lock

Line = Callable[[str], object]


def build_models(select: str | None = None, *, line: Line = print, settings: Settings | None = None) -> None:
    """`dbt build`: models and their tests, in dependency order.

    Parameters
    ----------
    select
        dbt's node selection, for example ``"tag:results"``; default: everything.
    line
        Receives dbt's output line by line.

    Raises
    ------
    WarehouseError
        If a model or test fails.
    """
    # unit tests test the models' SQL, not the data: they belong to `make test`
    arguments = ["build", "--exclude-resource-type", "unit_test", *(["--select", select] if select else [])]
    _dbt(arguments, line, settings or get_settings())


def write_docs(*, line: Line = print, settings: Settings | None = None) -> Path:
    """`dbt docs generate --static`: one HTML file with lineage, columns and tests, readable offline.

    Returns
    -------
    Path
        `$TRIALHOUSE_HOME/docs/index.html`.
    """
    settings = settings or get_settings()
    _dbt(["docs", "generate", "--static"], line, settings)
    page = settings.docs_dir / "index.html"
    settings.docs_dir.mkdir(parents=True, exist_ok=True)
    (_target(settings) / "static_index.html").replace(page)
    return page


def _dbt(arguments: list[str], line: Line, settings: Settings) -> None:
    project = str(settings.dbt_project_dir)
    command = [sys.executable, "-c", "from dbt.cli.main import cli; cli()", "--no-use-colors", *arguments]
    command += ["--project-dir", project, "--profiles-dir", project, "--target-path", str(_target(settings))]
    command += ["--log-path", str(settings.home / "logs" / "dbt")]
    environment = {
        **inherited_environment(),
        "TRIALHOUSE_WRITER_DATABASE": str(settings.writer_database),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }
    # dbt imports every top-level module whose name starts with dbt_, so it is run where there is none
    with (
        writer_lock(settings),  # dbt opens and closes the database for each model: no loader or copy gets in between
        subprocess.Popen(command, env=environment, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        assert process.stdout is not None
        lines = [text.rstrip() for text in process.stdout if not line(text.rstrip())]
    if process.returncode != 0:
        errors = [text for text in lines if "ERROR" in text or "Error" in text or "FAIL" in text]
        actual = "; ".join(errors[:3]) or f"exit status {process.returncode}"
        raise WarehouseError(f"dbt {arguments[0]} must succeed", actual, f"see {settings.home / 'logs' / 'dbt' / 'dbt.log'}")


def _target(settings: Settings) -> Path:
    return settings.warehouse_dir / "dbt_target"
