"""Registers a study: `trialhouse.registration`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from operators.base import TrialhouseOperator


class RegisterStudyOperator(TrialhouseOperator):
    """Land a study's spec, questions and assignment before its first trial.

    Pushes `study_id`, which is all that later tasks need, and the number of `trials`.
    """

    template_fields: Sequence[str] = ("study_name", "overrides")

    def __init__(self, *, study_name: str, overrides: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)
        self.study_name = study_name
        self.overrides = overrides

    def call(self, context: Context) -> dict[str, Any]:
        """Register, or find that this version is registered already."""
        from trialhouse.registration import register

        registration = register(self.study_name, self.overrides)
        self.log.info("%s: %d trials, %s", registration.study_id, len(registration.trials), "new" if registration.is_new else "known")
        return {"study_id": registration.study_id, "trials": len(registration.trials)}
