"""Airflow's public REST API, as far as a study needs it. Every failure is one line."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx

from trialhouse.errors import ServiceError

FINISHED_RUN_STATES = frozenset({"success", "failed"})
_PAGE = 100
_TRIES, _PAUSE_S = 4, 0.5
"""How often a request is sent that Airflow answers with an error of its own, and how long after the one before."""


@dataclass(frozen=True)
class TaskInstance:
    """One task of a run, or one of its mapped instances (`map_index` is -1 where the task is not mapped)."""

    task_id: str
    map_index: int
    name: str
    state: str | None
    try_number: int
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None


@dataclass(frozen=True)
class DagProblem:
    """A DAG file that could not be read, and the last line of why."""

    file: str
    reason: str


class AirflowClient:
    """A logged-in session with one API server.

    Parameters
    ----------
    url
        Where the server listens: ``http://127.0.0.1:8080``.
    user, password
        The login.

    Raises
    ------
    ServiceError
        From every method, where the server cannot be reached or refuses.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._token: str | None = None
        # Loopback is never meant for a proxy of the environment. A loaded machine may take long to answer.
        self._http = httpx.Client(base_url=url, timeout=60, transport=httpx.HTTPTransport(retries=3), trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # DAGs

    def wait_for_dag(self, dag_id: str, *, parsed_after: datetime | None = None, timeout_s: float = 120) -> None:
        """Wait until Airflow knows a DAG, and if asked until it has read its file after a given time (UTC).

        Raises
        ------
        ServiceError
            If the DAG's file cannot be read (the reason is in the line), or the DAG does not appear.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            response = self._send("GET", f"/api/v2/dags/{dag_id}")
            if response.status_code == httpx.codes.OK:
                dag = response.json()
                parsed_at = _moment(dag["last_parsed_time"])
                if not dag["is_stale"] and (parsed_after is None or (parsed_at is not None and parsed_at >= parsed_after)):
                    return
            elif response.status_code != httpx.codes.NOT_FOUND:
                _refuse(response)
            time.sleep(0.3)
        problems = "; ".join(f"{problem.file}: {problem.reason}" for problem in self.import_errors())
        raise ServiceError(
            f"Airflow must know the DAG {dag_id!r} within {timeout_s:.0f} s",
            problems or "no such DAG",
            "check the study's name and the DAG files",
        )

    def read_again(self, dag_id: str) -> None:
        """Ask for a DAG's file to be read now: its study may have changed while its own text did not."""
        self._ok("PUT", f"/api/v2/parseDagFile/{self._ok('GET', f'/api/v2/dags/{dag_id}/details')['file_token']}")

    def import_errors(self) -> list[DagProblem]:
        """The DAG files that cannot be read."""
        return [
            DagProblem(error["filename"], error["stack_trace"].strip().rpartition("\n")[2])
            for error in self._pages("/api/v2/importErrors", "import_errors")
        ]

    def unpause(self, dag_id: str) -> bool:
        """Let the runs of a DAG start, and say whether it was paused."""
        was_paused = bool(self._ok("GET", f"/api/v2/dags/{dag_id}")["is_paused"])
        if was_paused:
            self._ok("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})
        return was_paused

    # Runs

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run and return its id."""
        run_id = f"manual__{datetime.now(UTC).isoformat()}"
        self._ok("POST", f"/api/v2/dags/{dag_id}/dagRuns", json={"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})})
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        """`queued`, `running`, `success` or `failed`."""
        return str(self._ok("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def active_runs(self, dag_id: str) -> dict[str, dict[str, Any]]:
        """The runs that have not finished, oldest first: run id to the `conf` that it was triggered with."""
        runs = self._pages(f"/api/v2/dags/{dag_id}/dagRuns", "dag_runs", state=["queued", "running"], order_by="id")
        return {run["dag_run_id"]: run["conf"] or {} for run in runs}

    def active_dags(self) -> list[str]:
        """The DAGs that have a run that has not finished."""
        runs = self._pages("/api/v2/dags/~/dagRuns", "dag_runs", state=["queued", "running"], order_by="id")
        return sorted({str(run["dag_id"]) for run in runs})

    def cancel(self, dag_id: str, run_id: str, note: str = "cancelled") -> None:
        """Mark a run as failed: its running tasks are ended, the others never start, and its slots are free at once."""
        self._ok("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed", "note": note})

    def abandon_stale_runs(self, dag_id: str) -> list[str]:
        """Cancel every unfinished run of a DAG and return their ids.

        For use right after this process started Airflow: what is unfinished then was left by a stop or a crash. A new run
        skips what has landed.
        """
        stale = list(self.active_runs(dag_id))
        for run_id in stale:
            self.cancel(dag_id, run_id, "left unfinished by an Airflow that was stopped; a newer run carries on")
        return stale

    def wait(self, dag_id: str, run_id: str, *, timeout_s: float | None = None, poll_s: float = 1) -> str:
        """Wait for a run to finish and return its state."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (state := self.run_state(dag_id, run_id)) not in FINISHED_RUN_STATES:
            if deadline is not None and time.monotonic() > deadline:
                raise ServiceError(
                    f"run {run_id!r} of {dag_id!r} must finish within {timeout_s} s", state, f"see {self.run_url(dag_id, run_id)}"
                )
            time.sleep(poll_s)
        return state

    def run_url(self, dag_id: str, run_id: str) -> str:
        """The run's page in the UI."""
        return f"{self.url}/dags/{dag_id}/runs/{run_id}"

    # Tasks

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Every task instance of a run."""
        return [
            TaskInstance(
                task_id=task["task_id"],
                map_index=task["map_index"],
                name=f"{task['task_id']}[{task['rendered_map_index'] or task['map_index']}]" if task["map_index"] >= 0 else task["task_id"],
                state=task["state"],
                try_number=task["try_number"],
                started_at=_moment(task["start_date"]),
                ended_at=_moment(task["end_date"]),
                duration_s=task["duration"],
            )
            for task in self._pages(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances")
        ]

    def failure_reason(self, dag_id: str, run_id: str, task: TaskInstance) -> str | None:
        """The last error that a task wrote to its log, as one line."""
        logs = self._ok(
            "GET",
            f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}/logs/{task.try_number}",
            params={"map_index": task.map_index, "full_content": True},
            headers={"Accept": "application/json"},
        )
        reasons = [
            f"{detail['exc_type']}: {detail['exc_value']}"
            for line in logs["content"]
            if isinstance(line, dict)
            for detail in line.get("error_detail") or []
        ]
        return " ".join(reasons[-1].split()) if reasons else None

    # Pools

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Make a pool, or bring one to this size."""
        body = {"slots": slots, "description": description, "include_deferred": False}
        found = self._send("GET", f"/api/v2/pools/{name}")
        if found.status_code == httpx.codes.NOT_FOUND:
            self._ok("POST", "/api/v2/pools", json={"name": name, **body})
        elif not (found.is_success and body.items() <= found.json().items()):
            self._ok("PATCH", f"/api/v2/pools/{name}", json={"pool": name, **body})

    # HTTP

    def _pages(self, path: str, key: str, **params: Any) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self._ok("GET", path, params={**params, "limit": _PAGE, "offset": offset})
            yield from page[key]
            offset += _PAGE
            if offset >= page["total_entries"]:
                return

    def _ok(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The answer to a request that Airflow must accept.

        Airflow records each change by a commit within its event loop. On SQLite that can wait for the change of a task, which
        cannot be finished while the loop waits, until it gives up: an error, and nothing is changed, so it is sent again. If
        it had been done after all, there is a conflict with itself, and nothing left to do.
        """
        response = self._send(method, path, **request)
        tries = 1
        while response.is_server_error and tries < _TRIES:
            time.sleep(_PAUSE_S)
            response, tries = self._send(method, path, **request), tries + 1
        if response.status_code == httpx.codes.CONFLICT and tries > 1:
            return {}
        if not response.is_success:
            _refuse(response)
        return dict(response.json() or {}) if response.content else {}

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = request.pop("headers", {})
        for _ in range(2):
            if self._token is None:
                login = self._reach("POST", "/auth/token", json=self._login)
                if not login.is_success:
                    raise ServiceError(
                        f"Airflow at {self.url} must accept the login of this home",
                        f"status {login.status_code}",
                        "is another Airflow listening there? Stop it, or set TRIALHOUSE_AIRFLOW_PORT",
                    )
                self._token = login.json()["access_token"]
            response = self._reach(method, path, headers={**headers, "Authorization": f"Bearer {self._token}"}, **request)
            if response.status_code != httpx.codes.UNAUTHORIZED:
                return response
            self._token = None  # Tokens last a day, runs may last longer.
        return response

    def _reach(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise ServiceError(
                f"Airflow must answer at {self.url}", f"{type(error).__name__}: {error}", "run the command again or start it: `make up`"
            ) from error


def _refuse(response: httpx.Response) -> None:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text[:200]
    raise ServiceError(
        f"Airflow must accept {response.request.method} {response.request.url.path}",
        f"status {response.status_code}: {detail}",
        "see the log of its API server",
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
