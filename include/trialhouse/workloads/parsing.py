"""A workload's settings from a study, checked; the first fault becomes one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from trialhouse.errors import WorkloadError
from trialhouse.studies.spec import Factor, Level

Settings = TypeVar("Settings", bound=BaseModel)


def parse_settings(kind: type[Settings], workload: str, settings: Mapping[str, Any]) -> Settings:
    """The settings as an instance of `kind`.

    Raises
    ------
    WorkloadError
        For an unknown key or an impossible value.
    """
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            expected = f"settings of workload {workload!r} must be among {list(kind.model_fields)}"
            raise WorkloadError(expected, repr(name), "rename or remove it") from error
        if not name:  # it is several settings that do not fit together
            raise WorkloadError(f"workload {workload!r}: {first['ctx']['error']}", remedy="fix workload.settings") from error
        expected = f"setting {name!r} of workload {workload!r}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise WorkloadError(expected, repr(first["input"]), f"fix workload.settings.{name}") from error


def check_settings(kind: type[BaseModel], workload: str, factors: Sequence[Factor], parse: Callable[[Mapping[str, Level]], object]) -> None:
    """Refuse factors that are no settings of a workload, and levels that these cannot take.

    Parameters
    ----------
    parse
        Settings with a trial's levels in their place; raises WorkloadError where that cannot be.
    """
    for factor in factors:
        if factor.name not in kind.model_fields:
            expected = f"factors of workload {workload!r} must be among its settings {sorted(kind.model_fields)}"
            raise WorkloadError(expected, repr(factor.name), "rename or remove the factor")
        for level in factor.levels if factor.otherwise is None else (*factor.levels, factor.otherwise):
            parse({factor.name: level})
