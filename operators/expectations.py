"""Gates a study's estimation on its data, in the style of the Great Expectations provider: `operators.gates`.

The provider itself does not install beside this Airflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from operators.base import TrialhouseOperator


class GXValidationFailed(AirflowFailException):
    """A critical expectation was not met; trying again would not change the data, so the task is not retried."""


class ValidateStudyOperator(TrialhouseOperator):
    """Check a study's marts against its gates, land every result, and fail if a critical one was not met.

    Pushes ids and counts: `validation_id`, `study_id`, `is_success`, `expectations`, `failed_critical`, `failed_warning`.
    """

    template_fields: Sequence[str] = ("study_id",)

    def __init__(self, *, study_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.study_id = study_id

    def call(self, context: Context) -> dict[str, Any]:
        """Validate; the result is pushed before a failure is raised, so it is there in both cases."""
        from operators.gates import validate_study

        validation = validate_study(self.study_id)
        result = {
            "validation_id": validation.validation_id,
            "study_id": validation.study_id,
            "is_success": validation.is_success,
            "expectations": validation.expectations,
            "failed_critical": len(validation.failed["critical"]),
            "failed_warning": len(validation.failed["warning"]),
        }
        for line in validation.failed["warning"]:
            self.log.warning("%s", line)
        if not validation.is_success:
            context["ti"].xcom_push(key="return_value", value=result)
            lines = validation.failed["critical"]
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            raise GXValidationFailed(
                f"study {validation.study_name!r}: its data must meet its gates before anything is estimated; "
                f"{lines[0]}{more}; see marts.fct_validations"
            )
        return result
