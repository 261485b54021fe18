"""A workload's settings from a study, checked; the first fault becomes one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from trialhouse.errors import WorkloadError

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
