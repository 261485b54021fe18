"""A real Airflow is started, used by two commands at once, killed, started again, interrupted: nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.ports import free_port
from trialhouse.errors import ServiceError
from trialhouse.orchestration import ownership, running, supervisor
from trialhouse.orchestration.airflow_config import pools
from trialhouse.orchestration.ownership import MARK_VARIABLE, is_running
from trialhouse.orchestration.supervisor import LocalAirflow
from trialhouse.settings import Settings

DAGS = {
    "quick": """
from airflow.sdk import dag, task

@dag(schedule=None)
def quick():
    @task
    def parts():
        return [1, 2]

    @task(pool="trials")
    def work(part):
        return part

    @task
    def broken():
        raise ValueError("pruning_ratio must be in [0, 1), got 1.3")

    work.expand(part=parts()) >> broken()

quick()
""",
    # Each part notes that it ran, in a session of its own, as a trial's process may.
    "long": """
import subprocess, sys
from datetime import timedelta
from airflow.sdk import dag, task

@dag(schedule=None, max_active_runs=1)
def long():
    @task(retries=3, retry_delay=timedelta(seconds=1), pool="trials")
    def work(part):
        code = "import sys, time; open(sys.argv[1], 'a').write(sys.argv[2]); time.sleep(4)"
        subprocess.run([sys.executable, "-c", code, "NOTES", str(part)], start_new_session=True, check=True)

    work.expand(part=[1, 2, 3, 4])

long()
""",
    "broken": "from airflow.sdk import dag\nraise RuntimeError('planted')\n",
}


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dags")
    for name, text in DAGS.items():
        (folder / f"{name}.py").write_text(text.replace("NOTES", str(folder / "notes")))
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with a space in its name, as on many a Mac."""
    return Settings(home=tmp_path_factory.mktemp("a home"), airflow_port=free_port(), workers=2)


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What the user is told while Airflow starts."""
    return []


@pytest.fixture(scope="module")
def airflow(settings: Settings, dags: Path, said: list[str]) -> Iterator[LocalAirflow]:
    """An Airflow whose preferred port was free when asked, and busy when it wanted to listen there."""
    with socket.socket() as busy, pytest.MonkeyPatch.context() as patch:
        busy.bind(("127.0.0.1", settings.airflow_port))
        busy.listen()
        answers = iter([settings.airflow_port])
        free = supervisor._free_port
        patch.setattr(supervisor, "_free_port", lambda preferred: next(answers, None) or free(preferred))
        with LocalAirflow(settings, said.append, dags_dir=dags) as airflow:
            yield airflow


def test_a_busy_port_is_avoided(airflow: LocalAirflow, settings: Settings, said: list[str]) -> None:
    assert airflow.is_owner
    assert f"another process took port {settings.airflow_port} meanwhile: starting again on the next free one" in said
    assert airflow.port > settings.airflow_port
    assert is_running(settings)
    airflow.check()


def test_a_run_goes_through(airflow: LocalAirflow) -> None:
    with airflow.client() as client:
        client.wait_for_dag("quick", parsed_after=airflow.started_at)
        run_id = client.trigger("quick")
        assert client.wait("quick", run_id, timeout_s=60, poll_s=0.2) == "failed"
        tasks = {task.name: task for task in client.task_instances("quick", run_id)}
        assert {name: task.state for name, task in tasks.items()} == {
            "parts": "success",
            "work[0]": "success",
            "work[1]": "success",
            "broken": "failed",
        }
        assert client.failure_reason("quick", run_id, tasks["broken"]) == "ValueError: pruning_ratio must be in [0, 1), got 1.3"
        assert client.failure_reason("quick", run_id, tasks["parts"]) is None


def test_the_pools_are_there(airflow: LocalAirflow, settings: Settings) -> None:
    with airflow.client() as client:
        for name, (slots, _) in pools(settings).items():
            assert client._ok("GET", f"/api/v2/pools/{name}")["slots"] == slots
        client.set_pool("trials", 7, "more")
        assert client._ok("GET", "/api/v2/pools/trials")["slots"] == 7
        client.set_pool("trials", 2, "as before")


def test_a_broken_dag_file_breaks_no_other_and_says_why(airflow: LocalAirflow) -> None:
    with airflow.client() as client:
        with pytest.raises(ServiceError, match=r"DAG 'broken' within 3 s, got broken\.py: RuntimeError: planted"):
            client.wait_for_dag("broken", timeout_s=3)
        client.wait_for_dag("long", timeout_s=5)


def test_a_command_that_joins_has_a_study_read_as_it_is_now(airflow: LocalAirflow, settings: Settings, dags: Path) -> None:
    file = dags / "quick.py"
    file.write_text(file.read_text().replace("@dag(schedule=None)", '@dag(schedule=None, description="edited")'))
    with LocalAirflow(settings, dags_dir=dags) as guest, guest.client() as client:
        assert not guest.is_owner
        running._read(client, "quick", guest)
        assert client._ok("GET", "/api/v2/dags/quick")["description"] == "edited"


def test_a_stale_run_is_abandoned(airflow: LocalAirflow) -> None:
    with airflow.client() as client:
        run_id = client.trigger("long", {"blocks": 2})
        assert client.active_runs("long") == {run_id: {"blocks": 2}}
        assert client.active_dags() == ["long"]
        assert client.abandon_stale_runs("long") == [run_id]
        assert client.run_state("long", run_id) == "failed"
        assert client.active_runs("long") == {}
        assert client.active_dags() == []


def test_the_api_needs_the_login(airflow: LocalAirflow) -> None:
    import httpx

    assert httpx.get(f"{airflow.url}/api/v2/dags", trust_env=False).status_code == 401
    assert httpx.post(f"{airflow.url}/auth/token", json={"username": "trialhouse", "password": "x"}, trust_env=False).status_code == 401


def test_a_study_survives_every_way_to_end_its_command(tmp_path: Path, dags: Path) -> None:
    """kill -9 of the owner mid-run; a new owner takes over; a guest joins it; Ctrl-C ends it all."""
    port = free_port()
    notes = dags / "notes"
    notes.unlink(missing_ok=True)
    first = start_owner(tmp_path, port, dags)
    run_id = line_with(first, "run ").split()[1]
    wait_until(lambda: notes.exists())
    left = marked(tmp_path)
    assert len(left) >= 4
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert len(marked(tmp_path)) >= 4, "a killed owner leaves its processes: the case that the next one has to deal with"

    second = start_owner(tmp_path, port, dags)
    assert line_with(second, "ended ").endswith("processes of an Airflow whose owner had been killed")
    assert line_with(second, "ready ") == f"ready {port} owner"
    assert not left & marked(tmp_path)
    guest = start_owner(tmp_path, port, dags)
    assert line_with(guest, "ready ") == f"ready {port} guest"
    assert line_with(guest, "run ").split()[1] == line_with(second, "run ").split()[1] == run_id
    assert line_with(second, "finished ") == line_with(guest, "finished ") == "finished success"
    assert second.wait(30) == guest.wait(30) == 0
    assert set(notes.read_text()) == set("1234")
    assert marked(tmp_path) == set()
    assert not is_running(Settings(home=tmp_path))

    third = start_owner(tmp_path, port, dags)
    line_with(third, "run ")
    notes.unlink()
    wait_until(lambda: notes.exists())
    began = time.monotonic()
    third.send_signal(signal.SIGINT)
    assert third.wait(30) != 0
    assert time.monotonic() - began < 15
    assert marked(tmp_path) == set()


def test_ending_the_command_during_the_start_leaves_nothing(tmp_path: Path, dags: Path) -> None:
    owner = start_owner(tmp_path, free_port(), dags)
    line_with(owner, "starting Airflow")
    wait_until(lambda: len(marked(tmp_path)) >= 3)
    owner.send_signal(signal.SIGTERM)
    assert owner.wait(30) == 128 + signal.SIGTERM
    assert marked(tmp_path) == set()
    assert not is_running(Settings(home=tmp_path))


def test_a_process_that_ends_is_reported_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "COMPONENTS", {"scheduler": ["no-such-command"]})
    monkeypatch.setattr(LocalAirflow, "_migrate", lambda self: None)
    with (
        pytest.raises(ServiceError, match=r"Airflow's scheduler must keep running, got exit status 2 \(.+\); see .*scheduler\.log"),
        LocalAirflow(Settings(home=tmp_path, airflow_port=free_port())),
    ):
        pass
    assert not is_running(Settings(home=tmp_path))


def test_no_free_port_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_PORTS_TRIED", 1)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(ServiceError, match=r"must be free on 127\.0\.0\.1.*set TRIALHOUSE_AIRFLOW_PORT"):
            supervisor._free_port(busy.getsockname()[1])


def test_only_marked_processes_are_ended() -> None:
    """Also those that hide: in a session of their own, orphaned, with a title of their own."""
    hidden = "import setproctitle, time; setproctitle.setproctitle('x' * 200); print('up', flush=True); time.sleep(60)"
    environment = {**os.environ, "SPT_NOENV": "1"}
    ours = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {hidden!r}], start_new_session=True)"],
        env={**environment, MARK_VARIABLE: "ours"},
        stdout=subprocess.PIPE,
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hidden], env={**environment, MARK_VARIABLE: "another"}, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        for process in (ours, other):
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
        ours.wait()
        assert len(ownership.processes_of("ours")) == 1
        assert ownership.end_all("ours") == 1
        assert ownership.processes_of("ours") == []
        assert ownership.end_all("") == 0
        assert other.poll() is None
    finally:
        other.kill()


def start_owner(home: Path, port: int, dags: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("owner.py")), str(home), str(port), str(dags), "long"]
    with (home / "owner.err").open("ab") as errors:
        # A suite in the background of a shell ignores Ctrl-C, and so would all that it starts.
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, preexec_fn=heed)


def line_with(owner: subprocess.Popen[str], beginning: str) -> str:
    assert owner.stdout is not None
    seen = []
    for line in owner.stdout:
        if line.startswith(beginning):
            return line.strip()
        seen.append(line)
    owner.wait()
    raise AssertionError(f"no line {beginning!r} in {seen}; exit status {owner.returncode}; {_errors_of(owner)}")


def _errors_of(owner: subprocess.Popen[str]) -> str:
    return "".join((Path(owner.args[2]) / "owner.err").read_text().splitlines(keepends=True)[-5:])  # type: ignore[index, arg-type]


def wait_until(is_true: object, timeout_s: float = 60) -> None:
    assert callable(is_true)
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


_tokens: dict[Path, set[str]] = {}


def marked(home: Path) -> set[int]:
    """The processes of every Airflow that this home has had."""
    tokens = _tokens.setdefault(home, set())
    service = home / "airflow" / "service.json"
    if service.exists():
        tokens.add(json.loads(service.read_text())["token"])
    return {process.pid for token in tokens for process in ownership.processes_of(token)}
