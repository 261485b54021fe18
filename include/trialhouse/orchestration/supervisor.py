"""Starts and stops an Airflow of three processes on this machine: API server, scheduler, DAG processor.

One Airflow per home. Whoever comes second uses the same Airflow, and the owner waits for them before it stops it.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import httpx
import psutil

from trialhouse.errors import ServiceError
from trialhouse.orchestration.airflow_config import (
    DAGS_DIR,
    DATABASE_TIMEOUT_S,
    HOST,
    airflow_environment,
    load_secrets,
    pools,
    process_environment,
)
from trialhouse.orchestration.client import AirflowClient
from trialhouse.orchestration.ownership import (
    MARK_VARIABLE,
    Lock,
    Service,
    end_all,
    is_running,
    read_service,
    service_file,
    write_service,
)
from trialhouse.settings import PROJECT_DIR, Settings, inherited_environment

COMPONENTS: dict[str, list[str]] = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
}

_START_TIMEOUT_S = 300
_IMPATIENT = {"api-server": 5}
"""Component -> seconds. The API server can wait for itself (`AirflowClient._ok`): it gives up soon, while the others wait until it has."""
_STOP_GRACE_S = 1.5
"""A scheduler that has run nothing ends within a second. One that has run tasks waits for its executor's idle workers without
end (it asks for a second signal), and one whose tasks run waits for those: they are ended, and run again next time."""
_PORTS_TRIED = 50


class LocalAirflow:
    """The Airflow of a home, as a context manager: started, or joined where another process has started it.

    Parameters
    ----------
    settings
        Where the home is, and the preferred port: the next free one is taken where that is busy.
    status
        Called with one line at every step that takes seconds.
    dags_dir
        The DAG files, where they are not the project's.

    Raises
    ------
    ServiceError
        If a process ends before its time, or does not become healthy.
    """

    def __init__(self, settings: Settings, status: Callable[[str], None] = lambda line: None, *, dags_dir: Path = DAGS_DIR) -> None:
        self.settings = settings
        self.dags_dir = dags_dir
        self.is_owner = False
        self.port = settings.airflow_port
        self.started_at = datetime.now(UTC)
        self._status = status
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._owner_lock = Lock(settings.airflow_home / "owner.lock")
        self._users_lock = Lock(settings.airflow_home / "users.lock")
        self._handlers: dict[int, Any] = {}
        self._token = ""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def log_dir(self) -> Path:
        """The processes' own logs; the tasks' logs are in folders beside them."""
        return self.settings.airflow_home / "logs"

    def client(self) -> AirflowClient:
        """A session with this Airflow, logged in on first use."""
        secret = load_secrets(self.settings)
        return AirflowClient(self.url, secret.user, secret.password)

    def __enter__(self) -> Self:
        self._turn_signals_into_exceptions()
        try:
            self.start()
        except BaseException:
            self.stop(wait_for_others=False)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop(wait_for_others=kind is None)

    def start(self) -> None:
        """Start Airflow, or join the one that runs in this home, and return when it is healthy."""
        self.settings.airflow_home.mkdir(mode=0o700, parents=True, exist_ok=True)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._owner_lock.acquire():
            self._users_lock.acquire(is_shared=True)
            service = read_service(self.settings)
            if self._users_lock.is_held and service is not None and service.is_ready and psutil.pid_exists(service.pid):
                self.port, self.started_at = service.port, datetime.fromisoformat(service.started_at)
                return
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"the Airflow that another process starts in {self.settings.home} must become ready within {_START_TIMEOUT_S} s",
                    remedy=f"end process {service.pid if service else 'that uses this home'} and try again",
                )
            time.sleep(0.3)
        self._users_lock.release()
        self.is_owner = True
        self._start_processes()

    def check(self) -> None:
        """Raise if a process of this Airflow is gone: call it while waiting for a run."""
        if not self.is_owner:
            if not is_running(self.settings):
                raise ServiceError("the Airflow that this command joined must keep running", "a stopped one", "run the command again")
            return
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                log = self.log_dir / f"{name}.log"
                raise ServiceError(f"Airflow's {name} must keep running", f"exit status {code} ({_last_line(log)})", f"see {log}")

    def wait(self) -> None:
        """Block until a process ends (an error) or a signal comes."""
        while True:
            self.check()
            time.sleep(1)

    def stop(self, *, wait_for_others: bool = True) -> None:
        """End every process that `start` started; of an Airflow that was joined, only leave it.

        Parameters
        ----------
        wait_for_others
            Whether to let other commands that joined this Airflow finish first.
        """
        try:
            if self.is_owner and wait_for_others:
                self._wait_for_others()
        finally:
            if self.is_owner:
                self._stop_processes()
            self._users_lock.release()
            self._owner_lock.release()
            self.is_owner = False
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers = {}

    def _start_processes(self) -> None:
        left = read_service(self.settings)
        if left is not None and (ended := end_all(left.token)):
            self._status(f"ended {ended} processes of an Airflow whose owner had been killed")
        self._token = secrets.token_hex(16)
        self.started_at = datetime.now(UTC)
        service = Service(self._token, os.getpid(), self.port, self.started_at.isoformat(), is_ready=False)
        # Written before the first process: what is started from here on can be found again.
        write_service(self.settings, service)
        self._migrate()
        self._status("starting Airflow")
        while not self._serve_on(_free_port(self.settings.airflow_port)):
            self._status(f"another process took port {self.port} meanwhile: starting again on the next free one")
        with self.client() as client:
            for name, (slots, description) in pools(self.settings).items():
                client.set_pool(name, slots, description)
        write_service(self.settings, replace(service, port=self.port, is_ready=True))

    def _serve_on(self, port: int) -> bool:
        """Start every component and wait until they are healthy; false if the port was taken before the server listened on it."""
        self.port = port
        for name, arguments in COMPONENTS.items():
            self._processes[name] = self._spawn(name, arguments)
        try:
            self._wait_until_healthy()
        except ServiceError:
            server = self._processes.get("api-server")
            if server is None or server.poll() is None or _is_free(port):
                raise
            end_all(self._token)
            return False
        return True

    def _migrate(self) -> None:
        """Make or upgrade the metadata database, once per version of Airflow."""
        marker, database = self.settings.airflow_home / "migrated_to", self.settings.airflow_home / "airflow.db"
        wanted = version("apache-airflow")
        if marker.exists() and database.exists() and marker.read_text() == wanted:
            return
        self._status("preparing Airflow's database")
        if not marker.exists():
            # A first preparation that was cut short: nothing in it is worth keeping.
            for part in database.parent.glob(f"{database.name}*"):
                part.unlink()
        code = self._spawn("migrate", ["db", "migrate"]).wait()
        if code != 0:
            log = self.log_dir / "migrate.log"
            raise ServiceError("`airflow db migrate` must succeed", f"exit status {code} ({_last_line(log)})", f"see {log}")
        marker.write_text(wanted)

    def _spawn(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        with (self.log_dir / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                cwd=PROJECT_DIR,
                env={
                    **process_environment(
                        inherited_environment(),
                        airflow_environment(
                            self.settings, self.port, dags_dir=self.dags_dir, database_timeout_s=_IMPATIENT.get(name, DATABASE_TIMEOUT_S)
                        ),
                        Path(sys.executable).parent,
                    ),
                    MARK_VARIABLE: self._token,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C in the terminal reaches the owner only, which then stops them in order.
                start_new_session=True,
            )

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        # A short wait: on a port that another process has taken, nobody may ever answer.
        with httpx.Client(base_url=self.url, timeout=5, trust_env=False) as http:
            # The app that tasks talk to is built at its first call: seconds that the first task would wait.
            for path, is_healthy in (("/execution/health", bool), ("/api/v2/monitor/health", self._is_healthy)):
                while not is_healthy(_get(http, path)):
                    self.check()
                    if time.monotonic() > deadline:
                        raise ServiceError(f"Airflow must be healthy within {_START_TIMEOUT_S} s", remedy=f"see the logs in {self.log_dir}")
                    time.sleep(0.2)

    def _is_healthy(self, health: dict[str, Any]) -> bool:
        if not health:
            return False
        beats = health["scheduler"]["latest_scheduler_heartbeat"], (health["dag_processor"] or {}).get("latest_dag_processor_heartbeat")
        # The heartbeats of the processes before these stay in the database.
        return all(beat is not None and datetime.fromisoformat(beat) >= self.started_at for beat in beats)

    def _wait_for_others(self) -> None:
        if self._users_lock.acquire():
            return
        self._status("other commands still use this Airflow; it stops when they have finished (Ctrl-C stops it now)")
        try:
            while not self._users_lock.acquire():
                self.check()
                time.sleep(0.5)
        except (KeyboardInterrupt, ServiceError):
            return

    def _stop_processes(self) -> None:
        try:
            # The API server keeps nothing, takes five seconds to say goodbye, and the others still talk to it: it goes last, at once.
            ending = [process for name, process in self._processes.items() if name != "api-server"]
            for process in ending:
                process.terminate()
            deadline = time.monotonic() + _STOP_GRACE_S
            for process in ending:
                process.wait(max(0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass
        finally:
            self._ignore_signals()
            end_all(self._token)
            for process in self._processes.values():
                process.wait()
            self._processes = {}
            service_file(self.settings).unlink(missing_ok=True)

    def _turn_signals_into_exceptions(self) -> None:
        """A `kill` or a closed terminal must not leave processes behind: they unwind this process as Ctrl-C does."""

        def leave(number: int, frame: FrameType | None) -> None:
            raise SystemExit(128 + number)

        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
            for number, handler in self._handlers.items():
                if handler == signal.SIG_DFL:  # Ignored ones stay ignored (`nohup`), and Ctrl-C raises already.
                    signal.signal(number, leave)

    def _ignore_signals(self) -> None:
        """What remains takes a moment and must not be cut short; `stop` puts the handlers back."""
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)


def _free_port(preferred: int) -> int:
    for port in range(preferred, min(preferred + _PORTS_TRIED, 65536)):
        if _is_free(port):
            return port
    raise ServiceError(
        f"a port from {preferred} on must be free on {HOST}", f"{_PORTS_TRIED} busy ones", "set TRIALHOUSE_AIRFLOW_PORT to a free port"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _get(http: httpx.Client, path: str) -> dict[str, Any]:
    """The answer, or an empty one as long as there is none."""
    try:
        response = http.get(path)
        return dict(response.json()) if response.is_success else {}
    except httpx.HTTPError:
        return {}


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:300] if lines else "nothing in its log"
