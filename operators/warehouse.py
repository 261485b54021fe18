"""Brings landed files into the warehouse, builds its tables and publishes it: `trialhouse.warehouse`.

All three write the one DuckDB file or copy it, so in a DAG they take the one-slot pool `duckdb_writer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context, TaskGroup

from operators.base import TrialhouseOperator


class LoadLandedFilesOperator(TrialhouseOperator):
    """Load every landed file that the ledger does not know into `raw`, exactly once."""

    def call(self, context: Context) -> dict[str, int]:
        """Load; returns the numbers of files, rows and quarantined files."""
        from trialhouse.settings import get_settings
        from trialhouse.warehouse.loader import load_landed

        result = load_landed(get_settings())
        return {"files": result.files, "rows": result.rows, "quarantined": result.quarantined}


class BuildModelsOperator(TrialhouseOperator):
    """Build and test the dbt models (all, or those that `select` names)."""

    template_fields: Sequence[str] = ("select",)

    def __init__(self, *, select: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.select = select

    def call(self, context: Context) -> None:
        """Build; dbt's own lines go to the task's log."""
        from trialhouse.warehouse.models import build_models

        build_models(self.select, line=self.log.info)


class PublishWarehouseOperator(TrialhouseOperator):
    """Put a copy of the warehouse where people query it, as one atomic replacement."""

    def call(self, context: Context) -> str:
        """Publish; returns the path."""
        from trialhouse.settings import get_settings
        from trialhouse.warehouse.publish import publish

        return str(publish(get_settings()))


class WriteDocsOperator(TrialhouseOperator):
    """Write the dbt docs as one offline page."""

    def call(self, context: Context) -> str:
        """Write; returns the path."""
        from trialhouse.warehouse.models import write_docs

        return str(write_docs(line=self.log.info))


def refresh_warehouse(group_id: str, select: str | None = None, trigger_rule: str = "all_success") -> TaskGroup:
    """Load what landed, build the models that depend on it, publish the result."""
    with TaskGroup(group_id) as group:
        load = LoadLandedFilesOperator(task_id="load", pool="duckdb_writer", trigger_rule=trigger_rule)
        build = BuildModelsOperator(task_id="build", pool="duckdb_writer", select=select)
        load >> build >> PublishWarehouseOperator(task_id="publish", pool="duckdb_writer")
    return group
