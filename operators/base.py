"""What all operators share: a user's mistake fails the task at once, in one line, and is not retried."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException


class TrialhouseOperator(BaseOperator):
    """Calls the domain; subclasses say how in `call`."""

    @abstractmethod
    def call(self, context: Context) -> Any:
        """Make one domain call and return ids, paths and counts: whatever else there is stays in files."""

    def execute(self, context: Context) -> Any:
        """Make the call; a `TrialhouseError` is final, since trying again would change nothing."""
        from trialhouse.errors import TrialhouseError

        try:
            return self.call(context)
        except TrialhouseError as error:
            raise AirflowFailException(str(error)) from None
