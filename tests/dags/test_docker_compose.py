"""docker-compose.yml is valid, holds no secret, agrees with the rest of the project, and its containers' commands work."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from tests.ports import free_port
from trialhouse.orchestration.airflow_config import airflow_environment, pools, process_environment
from trialhouse.orchestration.client import AirflowClient
from trialhouse.settings import PROJECT_DIR, Settings

TEXT = (PROJECT_DIR / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CLASSES: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT_DIR / "include" / "trialhouse" / "hardware" / "classes.yaml").read_text())
AIRFLOW_AND_PYTORCH_MIB = 1536

DAG = """
from airflow.sdk import dag, task

@dag(schedule=None)
def routing():
    @task
    def where():
        import os
        return os.environ["COMPOSE_SERVICE"]

    for name in {classes}:
        where.override(task_id=name, queue=name)()
    where.override(task_id="warehouse", executor="LocalExecutor")()

routing()
"""


def test_it_is_valid_compose() -> None:
    jsonschema.Draft202012Validator(get_builtin_schema("vendor.compose-spec")).validate(COMPOSE)


def test_the_schema_finds_a_misspelt_key() -> None:
    broken = {"services": {"postgres": {**SERVICES["postgres"], "volumse": []}}}
    assert list(jsonschema.Draft202012Validator(get_builtin_schema("vendor.compose-spec")).iter_errors(broken))


def test_every_secret_comes_from_make_env(tmp_path: Path) -> None:
    shutil.copy(PROJECT_DIR / "Makefile", tmp_path)
    subprocess.run(["make", "env"], cwd=tmp_path, check=True, capture_output=True)
    file = tmp_path / ".env"
    assert file.stat().st_mode & 0o777 == 0o600
    made = _variables(file)
    assert len(set(made.values())) == len(made)
    assert all(len(value) >= 44 for value in made.values())
    asked = re.findall(r"\$\{(\w+)([^}]*)\}", TEXT)
    assert {name for name, rest in asked if rest == ":?run make env"} == set(made)
    assert {name for name, rest in asked if rest != ":?run make env"} == {"TRIALHOUSE_AIRFLOW_PORT"}
    literal = re.findall(r"(?im)^\s*\w*(?:password|secret|_key)\w*:\s*(?!\$\{|/)(\S+)", TEXT)
    assert literal == []

    before = file.read_text()
    subprocess.run(["make", "env"], cwd=tmp_path, check=True, capture_output=True)
    assert file.read_text() == before


def test_only_loopback_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_there_is_a_worker_per_hardware_class_with_its_limits() -> None:
    workers = {name: service for name, service in SERVICES.items() if "edge" in (service.get("command") or [])}
    assert set(workers) == set(CLASSES)
    for name, service in workers.items():
        queues = service["command"][service["command"].index("--queues") + 1].split(",")
        assert queues == ([name, "host"] if name == "server" else [name])  # training asks for no class in particular
        assert service["cpus"] == CLASSES[name]["cpus"]
        memory_mib = int(CLASSES[name]["memory_bytes"].removesuffix(" MiB"))
        assert service["mem_limit"] == f"{AIRFLOW_AND_PYTORCH_MIB + memory_mib}m"


def test_every_service_that_stays_has_a_health_check() -> None:
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == {"init"}


def test_it_agrees_with_the_local_airflow(home: Settings) -> None:
    local = airflow_environment(home)
    differs = re.compile(r"HOME|DATABASE|DAGS_FOLDER|EXECUTOR|PARALLELISM|URL|KEY|SECRET|PASSWORDS_FILE|HOST|LOG_FOLDER")
    shared = {name for name in SERVICES["scheduler"]["environment"].keys() & local.keys() if not differs.search(name)}
    assert len(shared) >= 12
    assert {name: SERVICES["scheduler"]["environment"][name] for name in shared} == {name: local[name] for name in shared}
    switches = {"DO_NOT_TRACK", "DBT_SEND_ANONYMOUS_USAGE_STATS", "GX_ANALYTICS_ENABLED"}
    assert switches <= shared
    assert set(re.findall(r"pools set (\w+)", SERVICES["init"]["command"][2])) == set(pools(home))


def test_the_image_installs_as_the_makefile_does() -> None:
    uv = re.compile(r"uv==[\d.]+")
    dockerfile = (PROJECT_DIR / "Dockerfile").read_text()
    assert uv.findall(dockerfile) == uv.findall((PROJECT_DIR / "Makefile").read_text())
    ignored = (PROJECT_DIR / ".dockerignore").read_text().split()
    assert {".env", ".venv", "var"} <= set(ignored)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.stop()


def test_every_containers_command_works_without_docker(cluster: Cluster) -> None:
    """Postgres aside, the services start in their order, become healthy, and each trial runs on the worker of its class."""
    cluster.run("init")
    cluster.start("api-server", "scheduler", "dag-processor")
    cluster.wait_until_healthy("api-server", "scheduler", "dag-processor")
    cluster.start(*CLASSES)
    cluster.wait_until_healthy(*CLASSES)
    with cluster.client() as client:
        client.wait_for_dag("routing")
        run_id = client.trigger("routing")
        assert client.wait("routing", run_id, timeout_s=120) == "success"
        assert {name: client._ok("GET", f"/api/v2/pools/{name}")["slots"] for name in ("duckdb_writer", "profiling")} == {
            "duckdb_writer": 1,
            "profiling": 1,
        }
        where = {
            task.task_id: client._ok("GET", f"/api/v2/dags/routing/dagRuns/{run_id}/taskInstances/{task.task_id}/xcomEntries/return_value")[
                "value"
            ]
            for task in client.task_instances("routing", run_id)
        }
    assert where == {**{name: name for name in CLASSES}, "warehouse": "scheduler"}


class Cluster:
    """The services of the compose file as plain processes: other paths and ports, and SQLite in place of Postgres."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port, self.health_port = free_port(), free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.password = "a-password-of-this-test"
        dags = root / "dags"
        dags.mkdir()
        (dags / "routing.py").write_text(DAG.format(classes=list(CLASSES)))
        self.replacements = {
            "/opt/trialhouse/dags": str(dags),
            "/srv/trialhouse": str(root / "home"),
            "/tmp/edge-worker.pid": str(root / "SERVICE.pid"),
            "/home/trialhouse/airflow": str(root / "SERVICE"),
            "api-server:8080": f"127.0.0.1:{self.port}",
            "127.0.0.1:8080": f"127.0.0.1:{self.port}",
            "127.0.0.1:8974": f"127.0.0.1:{self.health_port}",
            "0.0.0.0": "127.0.0.1",
            "${TRIALHOUSE_AIRFLOW_PASSWORD:?run make env}": self.password,
            "${TRIALHOUSE_API_SECRET:?run make env}": "a" * 32,
            "${TRIALHOUSE_JWT_SECRET:?run make env}": "b" * 64,
            "${TRIALHOUSE_FERNET_KEY:?run make env}": "c" * 43 + "=",
            "$$": "$",
        }

    def start(self, *names: str) -> None:
        for name in names:
            with (self.root / f"{name}.log").open("wb") as log:
                command = [self._here(name, part) for part in SERVICES[name]["command"]]
                self.processes[name] = subprocess.Popen(
                    command, env=self._environment(name), cwd=self.root, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )

    def run(self, name: str) -> None:
        self.start(name)
        assert self.processes.pop(name).wait(120) == 0, self._log(name)

    def wait_until_healthy(self, *names: str) -> None:
        for name in names:
            kind, *check = SERVICES[name]["healthcheck"]["test"]
            assert kind == "CMD"
            command = [self._here(name, part) for part in check]
            deadline = time.monotonic() + 120
            while subprocess.run(command, env=self._environment(name), capture_output=True, check=False).returncode != 0:
                assert self.processes[name].poll() is None, self._log(name)
                assert time.monotonic() < deadline, self._log(name)
                time.sleep(1)

    def client(self) -> AirflowClient:
        return AirflowClient(f"http://127.0.0.1:{self.port}", "trialhouse", self.password)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + 5
        for process in self.processes.values():
            try:
                process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _environment(self, name: str) -> dict[str, str]:
        ours = {
            **{key: self._here(name, str(value)) for key, value in SERVICES[name]["environment"].items()},
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.root / 'airflow.db'}",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.health_port),
            "COMPOSE_SERVICE": name,
        }
        return process_environment(os.environ, ours, Path(sys.executable).parent)

    def _here(self, name: str, text: str) -> str:
        for old, new in self.replacements.items():
            text = text.replace(old, new.replace("SERVICE", name))
        return text

    def _log(self, name: str) -> str:
        return f"{name}:\n" + (self.root / f"{name}.log").read_text()[-3000:]


def _variables(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())
