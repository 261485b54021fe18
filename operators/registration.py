"""Registers a study, its trials to be run or recorded elsewhere: `trialhouse.registration`."""

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


class ImportTableOperator(TrialhouseOperator):
    """Land a recorded study from its table, or find that this very study was imported before.

    Pushes `study_id` and the number of `trials`, as the registration of any study does.
    """

    template_fields: Sequence[str] = ("study_name", "table")

    def __init__(self, *, study_name: str, table: str | None = None, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)
        self.study_name = study_name
        self.table = table

    def call(self, context: Context) -> dict[str, Any]:
        """Import the table, if one is given."""
        from pathlib import Path

        from trialhouse.registration import import_table, register

        registration = import_table(self.study_name, Path(self.table))[0] if self.table else register(self.study_name)
        self.log.info("%s: %d trials, %s", registration.study_id, len(registration.trials), "new" if registration.is_new else "known")
        return {"study_id": registration.study_id, "trials": len(registration.trials)}
