"""The environment of every Airflow process: one function of the settings and of secrets made once per home."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trialhouse.errors import ServiceError
from trialhouse.settings import PROJECT_DIR, Settings

DAGS_DIR = PROJECT_DIR / "dags"
USER = "trialhouse"
HOST = "127.0.0.1"
"""Loopback only: nobody else on the network can reach the UI or the API."""

WRITER_POOL = "duckdb_writer"
TRIALS_POOL = "trials"
PROFILING_POOL = "profiling"

DATABASE_TIMEOUT_S = 60
_SPARE_WORKERS = 2
"""Task processes beside the trials: one for the writer, one for whatever decides what comes next."""


@dataclass(frozen=True)
class Secrets:
    """Made once per home, kept in a file that only its owner reads, never shown except for the login."""

    user: str
    password: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    api_secret: str = field(repr=False)
    fernet_key: str = field(repr=False)


def pools(settings: Settings) -> dict[str, tuple[int, str]]:
    """The slots of each pool, and what takes them."""
    return {
        WRITER_POOL: (1, "Whatever opens the writer's database: one at a time."),
        TRIALS_POOL: (settings.trial_workers, "Trials at once."),
        PROFILING_POOL: (1, "Latency measurements: one at a time on a machine, for what runs beside one contaminates it."),
    }


def load_secrets(settings: Settings) -> Secrets:
    """The secrets of this home, made on first use (mode 600, in a folder of mode 700).

    Raises
    ------
    ServiceError
        If the file cannot be used.
    """
    file = settings.airflow_home / "secrets.json"
    settings.airflow_home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists():
        made = {
            "user": USER,
            "password": secrets.token_urlsafe(12),
            "jwt_secret": secrets.token_urlsafe(64),
            "api_secret": secrets.token_urlsafe(32),
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        _write_once(file, json.dumps(made))
    try:
        found = Secrets(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ServiceError(f"{file} must hold the secrets of the local Airflow", error, "delete it, and new ones are made") from error
    # Airflow's own login manager reads its passwords from a file of its own.
    passwords = _passwords_file(settings)
    if not passwords.exists():
        _write_once(passwords, json.dumps({found.user: found.password}))
    return found


def airflow_environment(
    settings: Settings, port: int | None = None, *, dags_dir: Path = DAGS_DIR, database_timeout_s: int = DATABASE_TIMEOUT_S
) -> dict[str, str]:
    """The variables that every Airflow process of this home gets, on top of the inherited environment.

    Parameters
    ----------
    settings
        Where things are. The secrets are read from (and on first use written to) its Airflow home.
    port
        The port that the API server listens on, where it is not `settings.airflow_port`.
    dags_dir
        The DAG files, where they are not the project's.
    database_timeout_s
        How long to wait for one's turn to write: SQLite writes one at a time.
    """
    secret = load_secrets(settings)
    home = settings.airflow_home
    url = f"http://{HOST}:{port or settings.airflow_port}"
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags_dir,
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "executor": "LocalExecutor",
            "parallelism": settings.trial_workers + _SPARE_WORKERS,
            "max_active_tasks_per_dag": settings.trial_workers + _SPARE_WORKERS,
            "execution_api_server_url": f"{url}/execution/",
            "simple_auth_manager_users": f"{secret.user}:admin",
            "simple_auth_manager_passwords_file": _passwords_file(settings),
            "fernet_key": secret.fernet_key,
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}?timeout={database_timeout_s}"},
        "api": {"host": HOST, "port": port or settings.airflow_port, "base_url": url, "workers": 1, "secret_key": secret.api_secret},
        "api_auth": {"jwt_secret": secret.jwt_secret},
        "logging": {"base_log_folder": home / "logs", "colored_console_log": False},
        "workers": {
            # A task is noticed as finished at its next heartbeat: the default of 5 s would be most of a short task's time.
            "min_heartbeat_interval": 1,
            # A busy machine, or an API server that starts after the scheduler has taken over tasks, is slow and not broken.
            "execution_api_timeout": 30,
            "execution_api_retries": 30,
            "execution_api_retry_wait_max": 3,
        },
        "scheduler": {
            "scheduler_idle_sleep_time": 0.5,
            # How soon a new scheduler takes over the tasks of one that was killed.
            "scheduler_heartbeat_sec": 2,
            "scheduler_health_check_threshold": 15,
            "orphaned_tasks_check_interval": 10,
            "task_instance_heartbeat_timeout": 30,
            "task_instance_heartbeat_timeout_detection_interval": 5,
        },
        "dag_processor": {"parsing_processes": 1, "refresh_interval": 30, "min_file_process_interval": 60, "print_stats_interval": 0},
    }
    airflow = {
        f"AIRFLOW__{section.upper()}__{key.upper()}": str(value) for section, keys in sections.items() for key, value in keys.items()
    }
    ours = {f"TRIALHOUSE_{name.upper()}": str(value) for name, value in settings if value is not None}
    return {
        "AIRFLOW_HOME": str(home),
        **airflow,
        **ours,
        "TRIALHOUSE_WRITER_DATABASE": str(settings.writer_database),
        "PYTHONPATH": os.pathsep.join([str(PROJECT_DIR / "include"), str(PROJECT_DIR)]),
        # Nothing phones home.
        "DO_NOT_TRACK": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "GX_ANALYTICS_ENABLED": "false",
        # A trial takes the threads that its hardware class gives it; everything else stays out of its way.
        "OMP_NUM_THREADS": "1",
        # Process titles must not be written over the environment: it tells which processes are ours.
        "SPT_NOENV": "1",
    }


def process_environment(inherited: Mapping[str, str], ours: Mapping[str, str], bin_dir: Path) -> dict[str, str]:
    """What a process gets: the inherited environment without the traces of another Airflow, then ours.

    Parameters
    ----------
    inherited
        The environment of this process. Its proxies are kept, but never used for loopback.
    ours
        What `airflow_environment` gave.
    bin_dir
        The folder of the virtual environment's commands, put first on the path.
    """
    kept = {name: value for name, value in inherited.items() if not name.startswith("AIRFLOW")}
    direct = ",".join(filter(None, [inherited.get("NO_PROXY") or inherited.get("no_proxy"), HOST, "localhost"]))
    path = os.pathsep.join(filter(None, [str(bin_dir), inherited.get("PATH")]))
    return {**kept, **ours, "PATH": path, "NO_PROXY": direct, "no_proxy": direct}


def _passwords_file(settings: Settings) -> Path:
    return settings.airflow_home / "simple_auth_manager_passwords.json.generated"


def _write_once(file: Path, text: str) -> None:
    """Write a file of mode 600 whole or not at all; the first of two writers wins."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(temporary, file)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
