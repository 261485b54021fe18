"""One attempt at a unit (weights or trial), from its start to its rows in the landing zone."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from trialhouse.landing import LandingZone
from trialhouse.studies.spec import Level

Status = Literal["ok", "out_of_memory", "timed_out", "crashed", "diverged"]

_WRITERS = 4
"""Files of one attempt that are written at once."""


class Reading(NamedTuple):
    """A measured value: a number, a text, or neither and the reason; a reason beside a value qualifies it."""

    value: float | None = None
    text: str | None = None
    reason: str | None = None


class CurvePoint(NamedTuple):
    """One point of a learning curve; `step` counts epochs of its phase, 0 being before the first."""

    phase: str
    split: str
    step: int
    metric: str
    value: float | None


@dataclass
class Attempt:
    """What happened to a unit, collected while it happens and landed at the end."""

    unit_kind: Literal["weights", "trial"]
    unit_id: str
    weights_id: str
    hardware_class: str | None = None
    slot_order: int | None = None
    status: Status = "ok"
    failure_reason: str | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    outcomes: dict[str, Reading] = field(default_factory=dict)
    realised: dict[str, Level] = field(default_factory=dict)
    samples: dict[str, Sequence[float]] = field(default_factory=dict)
    curves: list[CurvePoint] = field(default_factory=list)
    profiles: dict[str, Reading] = field(default_factory=dict)
    _number: int | None = None
    _streamed: int = 0

    def stream(self, landing: LandingZone) -> None:
        """Land the points of the learning curve that there are so far: they stay, however the attempt ends."""
        if self.curves:
            rows = [{**self._unit(landing), **point._asdict()} for point in self.curves]
            landing.write("curves", rows, unit_id=self.unit_id, attempt=self._own_number(landing), sequence=self._streamed)
            self._streamed += 1
            self.curves = []

    def fail(self, status: Status, reason: str) -> None:
        """Record how the attempt failed, on one line."""
        self.status, self.failure_reason = status, " ".join(reason.split())[:500]

    def land(self, landing: LandingZone) -> int:
        """Land all rows; the row of `attempts` comes last, so that a kill in between leaves an attempt that does not count.

        Returns
        -------
        int
            The attempt's number, from 1.
        """
        self.stream(landing)
        number, unit = self._own_number(landing), self._unit(landing)
        tables: dict[str, list[dict[str, Any]]] = {
            "outcomes": [{"outcome": name, **columns_of(reading)} for name, reading in self.outcomes.items()],
            "samples": [
                {"metric": metric, "sequence": index, "value": value}
                for metric, values in self.samples.items()
                for index, value in enumerate(values)
            ],
            "profiles": [{"metric": name, **columns_of(reading)} for name, reading in self.profiles.items()],
            "realised": [
                {"factor": name, "realised": str(level), "realised_value": None if isinstance(level, str) else float(level)}
                for name, level in self.realised.items()
            ],
            "attempts": [
                {
                    "weights_id": self.weights_id,
                    "hardware_class": self.hardware_class,
                    "status": self.status,
                    "failure_reason": self.failure_reason,
                    "host": socket.gethostname(),
                    "slot_order": self.slot_order,
                    "started_at": self.started_at,
                    "ended_at": datetime.now(UTC),
                }
            ],
        }

        def write(table: str) -> None:
            landing.write(table, [{**unit, **row} for row in tables[table]], unit_id=self.unit_id, attempt=number)

        # Side by side: while one file is being written, others wait for the disk.
        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(write, [table for table, rows in tables.items() if rows and table != "attempts"]))
        write("attempts")
        return number

    def _own_number(self, landing: LandingZone) -> int:
        """The attempt's number, taken when its first file lands."""
        if self._number is None:
            self._number = landing.next_attempt(self.unit_id)
        return self._number

    def _unit(self, landing: LandingZone) -> dict[str, Any]:
        return {"unit_id": self.unit_id, "unit_kind": self.unit_kind, "attempt": self._own_number(landing)}


class LastAttempt(NamedTuple):
    """How the last finished attempt at a unit ended, and its number."""

    status: str
    failure_reason: str | None
    attempt: int


def last_attempts(landing: LandingZone, unit_ids: Iterable[str]) -> dict[str, LastAttempt]:
    """The last finished attempt at each of these units that has one."""
    import duckdb

    wanted = set(unit_ids)
    files = [str(path) for path in landing.files("attempts") if path.name.split(".")[0] in wanted]
    if not files:
        return {}
    query = """
        SELECT unit_id, status, failure_reason, attempt FROM read_parquet(?)
        QUALIFY row_number() OVER (PARTITION BY unit_id ORDER BY attempt DESC) = 1
    """
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        return {unit_id: LastAttempt(*rest) for unit_id, *rest in connection.execute(query, [files]).fetchall()}


def columns_of(reading: Reading) -> Mapping[str, Any]:
    """The reading as columns; a number that is none becomes null, since NaN would pass for a large one in SQL."""
    if reading.value is not None and not math.isfinite(reading.value):
        return {"value": None, "text": reading.text, "reason": reading.reason or f"not a finite number: {reading.value}"}
    return reading._asdict()
