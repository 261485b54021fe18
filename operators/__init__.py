"""Airflow operators: thin, keyword-only, one domain call per execute. Each file wires the domain module of its name."""
