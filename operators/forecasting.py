"""Questions to a study's laws: `trialhouse.forecasting`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from airflow.sdk import Context

from operators.base import TrialhouseOperator


class ForecastOperator(TrialhouseOperator):
    """Forecast; the answer stands in the task's log, and lands for `fct_forecasts` and `fct_calibration`."""

    template_fields: Sequence[str] = ("study_name", "do", "at", "law", "where", "score", "check")

    def __init__(
        self,
        *,
        study_name: str,
        do: Sequence[str] | str,
        at: Sequence[str] | str = (),
        law: str | None = None,
        where: Sequence[str] | str = (),
        score: str | None = None,
        check: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.study_name, self.do, self.at, self.law, self.where = study_name, do, at, law, where
        self.score, self.check = score, check

    def call(self, context: Context) -> list[str]:
        """Forecast; returns each law's answer in one sentence, or why it has none."""
        from trialhouse.forecasting import forecast_of_study
        from trialhouse.reporting.forecasted import forecast_lines

        found = forecast_of_study(
            self.study_name,
            do=self.do,
            at=self.at or (),
            law=self.law or None,
            where=self.where or (),
            score=self.score or None,
            check=bool(self.check),
        )
        results = [one.to_dict() for one in found]
        for result in results:
            _log(self, forecast_lines(result))
        return [result["sentence"] if result.get("refusal") is None else f"no forecast: {result['refusal']}" for result in results]


class AllocateOperator(TrialhouseOperator):
    """Split a budget; the answer stands in the task's log."""

    template_fields: Sequence[str] = ("study_name", "budget", "law", "where", "cost", "limits")

    def __init__(
        self,
        *,
        study_name: str,
        budget: float | str,
        law: str | None = None,
        where: Sequence[str] | str = (),
        cost: str | None = None,
        limits: Sequence[str] | str = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.study_name, self.budget, self.law, self.where = study_name, budget, law, where
        self.cost, self.limits = cost, limits

    def call(self, context: Context) -> str:
        """Split the budget; returns the answer in one sentence."""
        from trialhouse.forecasting import Purse, allocation_of_study
        from trialhouse.reporting.allocated import allocation_lines

        purse = Purse(float(self.budget), cost=self.cost or None, limits=self.limits or ())
        found = allocation_of_study(self.study_name, purse, law=self.law or None, where=self.where or ()).found
        _log(self, allocation_lines(found.to_dict()))
        return found.sentence


def _log(operator: TrialhouseOperator, parts: Iterable[str | list[dict[str, Any]]]) -> None:
    """What the command line prints: lines, and tables as lists of rows."""
    from trialhouse.reporting.terminal import table_lines

    for part in parts:
        for line in table_lines(part) if isinstance(part, list) else [part]:
            operator.log.info("%s", line)
