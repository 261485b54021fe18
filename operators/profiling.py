"""Measures a study's trials in one hardware class: `trialhouse.profiling.trials`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from operators.base import TrialhouseOperator


class ProfileTrialsOperator(TrialhouseOperator):
    """Measure one chunk of a class's trials in the exclusive slot; trials that landed are not measured again."""

    template_fields: Sequence[str] = ("study_id", "rerun")

    def __init__(self, *, study_id: str, hardware_class: str, chunk: int, chunks: int, rerun: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.study_id = study_id
        self.hardware_class = hardware_class
        self.chunk = chunk
        self.chunks = chunks
        self.rerun = rerun

    def call(self, context: Context) -> dict[str, int]:
        """Measure the chunk; returns counts by status."""
        from trialhouse.profiling.trials import profile_trials

        return profile_trials(self.study_id, self.hardware_class, self.chunk, self.chunks, rerun=self.rerun)
