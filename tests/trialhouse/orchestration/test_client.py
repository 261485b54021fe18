"""The REST client, against answers of our own; the real server is in test_supervisor."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from trialhouse.errors import ServiceError
from trialhouse.orchestration.client import AirflowClient, TaskInstance

Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler) -> AirflowClient:
    client = AirflowClient("http://127.0.0.1:8080", "trialhouse", "secret")
    client._http = httpx.Client(base_url=client.url, transport=httpx.MockTransport(handler))
    return client


def with_login(handler: Handler) -> Handler:
    return lambda request: httpx.Response(201, json={"access_token": "t"}) if request.url.path == "/auth/token" else handler(request)


def test_nobody_there_is_one_line_with_a_remedy() -> None:
    client = AirflowClient("http://127.0.0.1:9", "trialhouse", "secret")
    with pytest.raises(
        ServiceError, match=r"^Airflow must answer at http://127\.0\.0\.1:9, got ConnectError: .*; run the command again.*"
    ) as raised:
        client.run_state("study", "run")
    assert "\n" not in str(raised.value)


def test_a_refused_login_is_no_endless_loop() -> None:
    with pytest.raises(ServiceError, match="must accept the login of this home, got status 401; is another Airflow listening"):
        client_of(lambda request: httpx.Response(401)).run_state("study", "run")


def test_a_run_that_outlives_its_token_logs_in_again() -> None:
    logins = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            logins.append(json.loads(request.content))
            return httpx.Response(201, json={"access_token": f"token{len(logins)}"})
        if request.headers["Authorization"] == "Bearer token1" and len(logins) == 1:
            return httpx.Response(401)
        return httpx.Response(200, json={"state": "running"})

    assert client_of(handler).run_state("study", "run") == "running"
    assert logins == [{"username": "trialhouse", "password": "secret"}] * 2


def test_a_refusal_tells_what_airflow_said() -> None:
    handler = with_login(lambda request: httpx.Response(422, json={"detail": "blocks must be at most 6"}))
    with pytest.raises(ServiceError, match=r"POST /api/v2/dags/study/dagRuns, got status 422: blocks must be at most 6"):
        client_of(handler).trigger("study", {"blocks": 9})


def test_every_page_is_read() -> None:
    task = {"task_id": "profile", "rendered_map_index": None, "state": "success", "try_number": 1}
    task |= {"start_date": "2026-01-01T00:00:00Z", "end_date": None, "duration": None}

    def handler(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        page = [{**task, "map_index": index} for index in range(offset, min(offset + 100, 250))]
        return httpx.Response(200, json={"task_instances": page, "total_entries": 250})

    tasks = client_of(with_login(handler)).task_instances("study", "run")
    assert [each.map_index for each in tasks] == list(range(250))
    assert tasks[7] == TaskInstance("profile", 7, "profile[7]", "success", 1, datetime(2026, 1, 1, tzinfo=UTC), None, None)


def test_a_dag_that_was_read_before_is_waited_for() -> None:
    times = iter(["2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"])
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json={"is_stale": False, "last_parsed_time": next(times)})

    client_of(with_login(handler)).wait_for_dag("study", parsed_after=datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC))
    assert len(asked) == 2


def test_a_dag_file_that_cannot_be_read_says_why() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v2/importErrors":
            error = {"filename": "studies.py", "stack_trace": "Traceback ...\nImportError: no module named x\n"}
            return httpx.Response(200, json={"import_errors": [error], "total_entries": 1})
        return httpx.Response(404, json={"detail": "not found"})

    with pytest.raises(ServiceError, match=r"DAG 'study' within .*, got studies\.py: ImportError: no module named x"):
        client_of(with_login(handler)).wait_for_dag("study", timeout_s=0.1)


def test_a_pool_that_is_as_it_should_be_is_left_alone() -> None:
    """On SQLite each change can block the API server while tasks run."""
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return httpx.Response(200, json={"name": "trials", "slots": 2, "description": "d", "include_deferred": False, "open_slots": 2})

    client = client_of(with_login(handler))
    client.set_pool("trials", 2, "d")
    assert asked == ["GET"]
    client.set_pool("trials", 3, "d")
    assert asked == ["GET", "GET", "PATCH"]


@pytest.mark.parametrize("answers", [[500, 200], [500, 500, 409]])
def test_a_locked_database_is_asked_again(answers: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is triggered once, also where the answer that it was got lost."""
    monkeypatch.setattr("trialhouse.orchestration.client._PAUSE_S", 0.0)
    left, runs = list(answers), []

    def handler(request: httpx.Request) -> httpx.Response:
        runs.append(json.loads(request.content)["dag_run_id"])
        return httpx.Response(left.pop(0), json={})

    run_id = client_of(with_login(handler)).trigger("study")
    assert left == []
    assert set(runs) == {run_id}


def test_an_airflow_that_stays_broken_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trialhouse.orchestration.client._PAUSE_S", 0.0)
    with pytest.raises(ServiceError, match="got status 500: locked"):
        client_of(with_login(lambda request: httpx.Response(500, json={"detail": "locked"}))).trigger("study")
