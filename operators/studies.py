"""Reads a study's YAML: `trialhouse.studies`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from operators.base import TrialhouseOperator


class ReadStudyOperator(TrialhouseOperator):
    """Read and check a study; stands alone in the DAG of a YAML that could not be read, and fails saying why."""

    template_fields: Sequence[str] = ("study_name",)

    def __init__(self, *, study_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.study_name = study_name

    def call(self, context: Context) -> str:
        """Read; returns the spec's id."""
        from trialhouse.studies.catalogue import load_study

        return load_study(self.study_name).spec_id
