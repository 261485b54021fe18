"""Writes a study's report: `trialhouse.reporting`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from operators.base import TrialhouseOperator


class WriteReportOperator(TrialhouseOperator):
    """Write the study's self-contained HTML report from the published warehouse."""

    template_fields: Sequence[str] = ("study_id",)

    def __init__(self, *, study_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.study_id = study_id

    def call(self, context: Context) -> str:
        """Write; returns the path."""
        from trialhouse.reporting.report import write_report
        from trialhouse.settings import get_settings

        settings = get_settings()
        return str(write_report(self.study_id, settings.warehouse, settings.reports_dir))
