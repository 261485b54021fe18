"""The warehouse's upkeep: load whatever landed, rebuild every model, publish, and write the dbt docs."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG

from operators.warehouse import BuildModelsOperator, LoadLandedFilesOperator, PublishWarehouseOperator, WriteDocsOperator

with DAG(
    dag_id="warehouse_upkeep",
    description="Load what landed, rebuild and publish the warehouse, write its docs",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"executor": "LocalExecutor", "retries": 1, "retry_delay": timedelta(seconds=10), "pool": "duckdb_writer"},
    tags=["warehouse"],
):
    load = LoadLandedFilesOperator(task_id="load")
    build = BuildModelsOperator(task_id="build")
    load >> build >> PublishWarehouseOperator(task_id="publish")
    build >> WriteDocsOperator(task_id="docs")
