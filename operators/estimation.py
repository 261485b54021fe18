"""Estimates a study's effects and tries to refute them: `trialhouse.estimation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from operators.base import TrialhouseOperator


class EstimateEffectsOperator(TrialhouseOperator):
    """Identify, estimate, refute; land estimates and refutations."""

    template_fields: Sequence[str] = ("study_id",)

    def __init__(self, *, study_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.study_id = study_id

    def call(self, context: Context) -> dict[str, int]:
        """Estimate; returns the number of estimates by verdict."""
        from trialhouse.estimation import estimate

        return estimate(self.study_id)
