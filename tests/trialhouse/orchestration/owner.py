"""A command that uses the Airflow of a home, as `trialhouse run` does: started by tests, and killed by them.

Usage: owner.py HOME PORT DAGS DAG_ID; prints a line at every step. It resumes the DAG's unfinished run, or triggers one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from trialhouse.orchestration.supervisor import LocalAirflow
from trialhouse.settings import Settings

home, port, dags, dag_id = sys.argv[1:]


def say(line: str) -> None:
    print(line, flush=True)


with LocalAirflow(Settings(home=Path(home), airflow_port=int(port), workers=2), say, dags_dir=Path(dags)) as airflow:
    say(f"ready {airflow.port} {'owner' if airflow.is_owner else 'guest'}")
    with airflow.client() as client:
        client.wait_for_dag(dag_id)
        run_id = next(iter(client.active_runs(dag_id)), None) or client.trigger(dag_id)
        say(f"run {run_id}")
        say(f"finished {client.wait(dag_id, run_id, poll_s=0.3)}")
say("stopped")
