"""Every Airflow process gets the same environment: loopback, no telemetry, secrets that stay in the home."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trialhouse.errors import ServiceError
from trialhouse.orchestration.airflow_config import airflow_environment, load_secrets, pools, process_environment
from trialhouse.settings import Settings


def test_secrets_are_made_once_and_readable_by_their_owner_only(home: Settings) -> None:
    made = load_secrets(home)
    assert load_secrets(home) == made
    files = list(home.airflow_home.iterdir())
    assert {file.name for file in files} == {"secrets.json", "simple_auth_manager_passwords.json.generated"}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert home.airflow_home.stat().st_mode & 0o777 == 0o700
    assert made.password not in repr(made)
    assert json.loads((home.airflow_home / "simple_auth_manager_passwords.json.generated").read_text()) == {made.user: made.password}


def test_two_homes_have_different_secrets(tmp_path: Path) -> None:
    one, other = (load_secrets(Settings(home=tmp_path / name)) for name in ("one", "other"))
    for name in ("password", "jwt_secret", "api_secret", "fernet_key"):
        assert getattr(one, name) != getattr(other, name)


def test_processes_that_start_at_once_agree_on_the_secrets(home: Settings) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert len({secret.jwt_secret for secret in pool.map(lambda _: load_secrets(home), range(64))}) == 1


def test_a_spoilt_secrets_file_is_reported(home: Settings) -> None:
    load_secrets(home)
    (home.airflow_home / "secrets.json").write_text('{"user": ')
    with pytest.raises(ServiceError, match=r"secrets\.json must hold .*; delete it"):
        load_secrets(home)


def test_the_environment_is_a_function_of_the_settings(home: Settings) -> None:
    assert airflow_environment(home) == airflow_environment(home)
    environment = airflow_environment(home.model_copy(update={"studies_dir": Path("/studies"), "workers": 3}), port=9999)
    assert environment["TRIALHOUSE_HOME"] == str(home.home)
    assert environment["TRIALHOUSE_STUDIES_DIR"] == "/studies"
    assert "TRIALHOUSE_DATA_DIR" not in environment
    assert environment["TRIALHOUSE_WRITER_DATABASE"] == str(home.writer_database)
    assert int(environment["AIRFLOW__CORE__PARALLELISM"]) > 3
    assert "9999" in environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]


def test_everything_listens_on_loopback_only(home: Settings) -> None:
    environment = airflow_environment(home)
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    for name, value in environment.items():
        if name.endswith("URL"):
            assert value.startswith("http://127.0.0.1:"), name


def test_nothing_phones_home(home: Settings) -> None:
    environment = airflow_environment(home)
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["DBT_SEND_ANONYMOUS_USAGE_STATS"] == environment["GX_ANALYTICS_ENABLED"] == "false"


def test_another_airflow_and_proxies_stay_out(home: Settings) -> None:
    inherited = {"AIRFLOW_HOME": "/other", "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor", "AIRFLOW_CONN_X": "y"}
    inherited |= {"HTTP_PROXY": "http://proxy", "NO_PROXY": "example.org", "PATH": "/bin", "LANG": "C.UTF-8"}
    environment = process_environment(inherited, airflow_environment(home), Path("/venv/bin"))
    assert environment["AIRFLOW_HOME"] == str(home.airflow_home)
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRFLOW_CONN_X" not in environment
    assert environment["NO_PROXY"].split(",") == ["example.org", "127.0.0.1", "localhost"]
    assert environment["PATH"] == os.pathsep.join(["/venv/bin", "/bin"])
    assert environment["LANG"] == "C.UTF-8"


def test_trials_take_the_workers_that_were_asked_for(home: Settings) -> None:
    assert home.model_copy(update={"workers": 5}).trial_workers == 5
    assert 1 <= home.trial_workers <= (os.cpu_count() or 1)
    assert pools(home)["duckdb_writer"][0] == 1
    assert pools(home)["trials"][0] == home.trial_workers


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
def test_airflow_waits_for_its_turn_to_write(home: Settings, driver: str) -> None:
    """Longer than SQLite's five seconds, for the API server can block its own database as long as that."""
    from sqlalchemy import make_url

    url = make_url(airflow_environment(home)["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]).set(drivername=driver)
    _, arguments = url.get_dialect()().create_connect_args(url)
    assert arguments["timeout"] == 60
