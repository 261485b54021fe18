"""What the house costs: the share of a study's wall time during which no trial runs.

    python -m tests.benchmarks.bench_pipeline_overhead

Runs the shipped study in a home of its own, with so many replicates that it takes about ten minutes, as a person would:
from nothing, Airflow's start and stop included. A trial runs from the start of its attempt to its end (weights too);
attempts come from the warehouse, tasks from Airflow's own database.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from tests.benchmarks.record import record
from trialhouse.settings import Settings

GOAL = 0.15
Interval = tuple[float, float]


def run(study: str = "pruning_digits", replicates: int = 8) -> float:
    """Run the study, record the share and where the rest of the time went, and return the share."""
    with tempfile.TemporaryDirectory(prefix="bench_pipeline") as folder:
        settings = Settings(home=Path(folder))
        start = time.time()
        command = [sys.executable, "-m", "trialhouse", "run", study, "--replicates", str(replicates)]
        subprocess.run(command, env={**os.environ, "TRIALHOUSE_HOME": folder}, check=True)
        wall_s = time.time() - start
        trials = attempts(settings)
        tasks = task_intervals(settings)
    idle_s = wall_s - covered(trials)
    run_start, run_end = min(began for _, (began, _) in tasks), max(ended for _, (_, ended) in tasks)
    between_s = run_end - run_start - covered([interval for _, interval in tasks])
    names = dict.fromkeys(name for name, _ in tasks)
    detail = {
        "study": study,
        "attempts": len(trials),
        "wall_s": round(wall_s, 1),
        "no_trial_runs_s": round(idle_s, 1),
        "where": {
            "airflow_start_s": round(run_start - start, 1),
            "airflow_stop_s": round(start + wall_s - run_end, 1),
            "between_tasks_s": round(between_s, 1),
            **{f"{name}_s": round(beside([i for n, i in tasks if n == name], trials), 1) for name in names},
        },
        "tasks": len(tasks),
        "per_task_s": round(between_s / len(tasks), 2),
    }
    share = idle_s / wall_s
    record("pipeline_overhead", round(share, 4), "share of wall time", f"<= {GOAL}", share <= GOAL, detail, ["apache-airflow", "dbt-core"])
    return share


def attempts(settings: Settings) -> list[Interval]:
    """When trials ran and weights were made, in seconds since the epoch."""
    with duckdb.connect(str(settings.warehouse), read_only=True) as connection:
        return connection.execute("SELECT epoch(started_at), epoch(ended_at) FROM raw.attempts").fetchall()


def task_intervals(settings: Settings) -> list[tuple[str, Interval]]:
    """Name and time of every task that ran as a process."""
    with sqlite3.connect(settings.airflow_home / "airflow.db") as connection:
        rows = connection.execute("SELECT task_id, start_date, end_date FROM task_instance WHERE pid IS NOT NULL").fetchall()
    return [(name, (_epoch(began), _epoch(ended))) for name, began, ended in rows]


def covered(intervals: Sequence[Interval]) -> float:
    """Seconds during which at least one interval is open."""
    total, until = 0.0, float("-inf")
    for began, ended in sorted(intervals):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def beside(tasks: Sequence[Interval], trials: Sequence[Interval]) -> float:
    """Seconds of these tasks during which no trial runs."""
    return covered([*tasks, *trials]) - covered(trials)


def _epoch(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


def main() -> int:
    """Run with the sizes of the command line; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="pruning_digits")
    parser.add_argument("--replicates", type=int, default=8)
    arguments = parser.parse_args()
    return 0 if run(arguments.study, arguments.replicates) <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
