"""Running Airflow on this machine: its environment, its processes, its REST API and what a terminal shows of a run.

Nothing here imports Airflow: the processes are started as commands, and everything else goes through the public API.
"""
