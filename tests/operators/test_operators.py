"""Operators: thin, keyword-only, and a user's mistake is one line that is not retried."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from operators.base import TrialhouseOperator
from trialhouse.errors import SpecError
from trialhouse.settings import PROJECT_DIR, Settings

MODULES = sorted(path.stem for path in (PROJECT_DIR / "operators").glob("*.py") if path.stem not in ("__init__", "base"))


def operators() -> list[type[TrialhouseOperator]]:
    found = [value for name in MODULES for value in vars(import_module(f"operators.{name}")).values()]
    return sorted(
        {item for item in found if inspect.isclass(item) and issubclass(item, TrialhouseOperator) and item is not TrialhouseOperator},
        key=lambda item: item.__name__,
    )


def test_there_is_an_operator_for_each_step() -> None:
    assert len(operators()) == 15


@pytest.mark.parametrize("operator", operators(), ids=lambda operator: operator.__name__)
def test_an_operator_only_assigns_what_it_was_given(operator: type[TrialhouseOperator]) -> None:
    parameters = inspect.signature(operator.__init__).parameters.values() if "__init__" in vars(operator) else ()
    own = [item for item in parameters if item.name not in ("self", "kwargs")]
    assert all(item.kind is inspect.Parameter.KEYWORD_ONLY for item in own)
    values: dict[str, Any] = {item.name: item.name for item in own if item.default is inspect.Parameter.empty}
    task = operator(task_id="one", **values)
    assert all(getattr(task, name) == value for name, value in values.items())
    assert all(hasattr(task, name) for name in operator.template_fields)
    assert operator.__doc__


def test_a_user_s_mistake_is_one_line_and_final() -> None:
    class Mistaken(TrialhouseOperator):
        def call(self, context: Any) -> None:
            raise SpecError("pruning_ratio must be in [0, 1)", 1.3, "fix factor 'pruning_ratio'")

    with pytest.raises(AirflowFailException, match=r"^pruning_ratio must be in \[0, 1\), got 1.3; fix factor 'pruning_ratio'$"):
        Mistaken(task_id="one").execute({})  # type: ignore[arg-type]


def test_a_bug_keeps_its_own_name_and_is_retried() -> None:
    class Broken(TrialhouseOperator):
        def call(self, context: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Broken(task_id="one").execute({})  # type: ignore[arg-type]


def test_reading_an_unknown_study_says_which_are_known(home: Settings) -> None:
    from operators.studies import ReadStudyOperator

    with pytest.raises(AirflowFailException, match=r"study must be one of .*'pruning_digits'"):
        ReadStudyOperator(task_id="one", study_name="prunning").execute({})  # type: ignore[arg-type]
