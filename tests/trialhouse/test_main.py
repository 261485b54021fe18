"""The command line as a whole: whoever errs, or whatever the system refuses, is told in one line, with exit status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trialhouse", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    size, data = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e8, 6), np.geomspace(1e8, 1e10, 6)))
    noise = np.exp(np.random.default_rng(0).normal(0, 0.003, len(size)))
    path = tmp_path / "runs.csv"
    pd.DataFrame({"N": size, "D": data, "loss": (1.8 + 480 / size**0.35 + 2100 / data**0.37) * noise}).to_csv(path, index=False)
    return path


def test_a_picture_that_cannot_be_written_is_one_line(table: Path, tmp_path: Path) -> None:
    law = ("--table", str(table), "--form", "chinchilla", "--outcome", "loss", "--size", "N", "--data", "D", "--draws", "100")
    place = tmp_path / "nowhere" / "frontier.svg"
    found = run("allocate", *law, "--budget", "1e19", "--svg", str(place))
    assert found.returncode == 2
    remedy = "check the path, its permissions and the room that is left there"
    assert found.stderr == f"trialhouse: {place} must be usable, got no such file or directory; {remedy}\n"


@pytest.mark.parametrize("command", [("run", "pruning_digits"), ("docs",), ("up",)])
def test_a_home_that_cannot_be_written_is_one_line(command: tuple[str, ...], table: Path) -> None:
    found = run(*command, TRIALHOUSE_HOME=str(table / "home"))
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert f"{table / 'home'}" in found.stderr
    assert "must be usable, got not a directory" in found.stderr


def test_a_folder_of_studies_must_be_one(tmp_path: Path) -> None:
    place = tmp_path / "nowhere"
    found = run("studies", TRIALHOUSE_STUDIES_DIR=str(place))
    assert found.returncode == 2
    assert found.stderr == f"trialhouse: TRIALHOUSE_STUDIES_DIR must be a folder, got {place}; correct or unset the variable\n"
