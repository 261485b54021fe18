"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trialhouse.settings import Settings, get_settings

# Airflow writes its configuration when it is first imported: into a folder of the tests' own, never into the user's.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow_of_tests_")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An empty home of one test's own, and the settings that point to it."""
    monkeypatch.setenv("TRIALHOUSE_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()
