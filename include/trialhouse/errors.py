"""Errors that a person reads: what was expected, what came instead, and what to do about it.

Whatever a user can cause by a mistake of their own is a `TrialhouseError`; the command line prints its one line and
exits with status 2. Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations


class TrialhouseError(Exception):
    """One line in three parts: `<expected>, got <actual>; <remedy>`.

    Parameters
    ----------
    expected
        What would have been right, as a clause: ``"pruning_ratio must be in [0, 1)"``.
    actual
        What came instead. Left out of the message where nothing came.
    remedy
        What the reader can do now: ``"fix study 'x', factor 'y'"``.
    """

    def __init__(self, expected: str, actual: object | None = None, remedy: str | None = None) -> None:
        self.expected, self.actual, self.remedy = expected, actual, remedy
        message = expected if actual is None else f"{expected}, got {actual}"
        super().__init__(" ".join((message if remedy is None else f"{message}; {remedy}").split()))

    def __reduce__(self) -> tuple[type, tuple[str, object | None, str | None]]:
        return type(self), (self.expected, self.actual, self.remedy)


class SettingsError(TrialhouseError):
    """An environment variable or setting that cannot be used."""


class SpecError(TrialhouseError):
    """A study's YAML that does not describe a study."""


class WorkloadError(TrialhouseError):
    """A workload that is unknown, or settings or data that it cannot use."""


class PruningError(TrialhouseError):
    """A network that cannot be pruned as it was asked for."""


class HardwareError(TrialhouseError):
    """A hardware class that is unknown or cannot be offered on this machine."""


class LandingError(TrialhouseError):
    """Rows that do not fit the raw table that they were meant for."""


class WarehouseError(TrialhouseError):
    """The warehouse is missing, locked, or lacks what was asked of it."""


class EstimationError(TrialhouseError):
    """An effect that was asked for cannot be estimated from this graph and these columns."""


class ServiceError(TrialhouseError):
    """The local Airflow could not be started, reached or stopped."""


class TableError(TrialhouseError):
    """A table that cannot be read, or whose rows are not what a study says of them."""


class LawError(TrialhouseError):
    """A scaling law that cannot be fitted to these rows, or a form that is not known."""


class ForecastError(TrialhouseError):
    """A forecast or an allocation that a law and its trials do not support."""
