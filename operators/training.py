"""Makes a study's weights, or trains its trials: `trialhouse.training`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from operators.base import TrialhouseOperator


class MakeWeightsOperator(TrialhouseOperator):
    """Train, prune and fine-tune one chunk of a study's weights; weights that landed are not made again."""

    template_fields: Sequence[str] = ("study_id", "rerun")

    def __init__(self, *, study_id: str, chunk: int, chunks: int, rerun: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.study_id = study_id
        self.chunk = chunk
        self.chunks = chunks
        self.rerun = rerun

    def call(self, context: Context) -> dict[str, int]:
        """Make the chunk; returns counts by status."""
        from trialhouse.training.weights import make_weights

        return make_weights(self.study_id, self.chunk, self.chunks, rerun=self.rerun)


class TrainTrialsOperator(TrialhouseOperator):
    """Train a study's trials, each the longest that no other worker has taken; trials that landed are not trained again."""

    template_fields: Sequence[str] = ("study_id", "rerun")

    def __init__(self, *, study_id: str, worker: int, rerun: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.study_id = study_id
        self.worker = worker
        self.rerun = rerun

    def call(self, context: Context) -> dict[str, int]:
        """Train until no trial is left; returns counts by status."""
        from trialhouse.training.trials import train_trials

        return train_trials(self.study_id, rerun=self.rerun)
