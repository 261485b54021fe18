"""Trials that were run elsewhere: the rows of a table, read as a study's spec says, each checked."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialhouse.attempts import Reading, columns_of
from trialhouse.errors import TableError
from trialhouse.identity import content_id
from trialhouse.landing import LandingZone
from trialhouse.studies.designs import Trial, WorkloadIdentity, arm_of, assign
from trialhouse.studies.recorded import Recorded, cell_text
from trialhouse.studies.spec import RECORDED, Level, Study
from trialhouse.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

NO_VALUE = "the table has no value"


@dataclass(frozen=True)
class Record:
    """What the table says of one trial."""

    trial: Trial
    status: str
    status_text: str
    """The status in the table's own word."""
    outcomes: Mapping[str, Reading]
    profiles: Mapping[str, Reading]


@dataclass(frozen=True)
class Records:
    """All trials of a study that a table holds.

    Parameters
    ----------
    records_id
        Hash of what was read: equal for equal rows in any order and format.
    records
        In the order of their ids, since a table does not tell the order in which its trials ran.
    left_out
        Rows that the spec does not keep.
    """

    records_id: str
    records: tuple[Record, ...]
    left_out: int


@dataclass(frozen=True)
class _Row:
    hardware_class: str
    factors: dict[str, Level]
    status: str
    status_text: str
    outcomes: dict[str, Reading]
    profiles: dict[str, Reading]
    replicate: int = 0

    @property
    def place(self) -> tuple[Any, ...]:
        return (self.hardware_class, tuple(self.factors.items()))


def read_records(study: Study, path: Path, hardware_ids: Mapping[str, str]) -> Records:
    """Read a recorded study's table.

    Parameters
    ----------
    study
        With `recorded`.
    path
        CSV or Parquet, one row per trial.
    hardware_ids
        Name -> content id of each hardware class.

    Raises
    ------
    TableError
        One line for a file that cannot be read or is empty, a missing column, a value that the spec does not name, an
        outcome that is no number, rows that agree in the key, or a factorial that is not complete.
    """
    recorded = study.recorded
    if recorded is None:
        raise TableError(f"study {study.name!r} must say how to read a table", "no 'recorded'", "only recorded studies are imported")
    frame = read_table(path)
    columns = {factor.name: recorded.factors.get(factor.name, factor.name) for factor in study.factors}
    for column in (*columns.values(), *recorded.columns):
        if column not in frame.columns:
            raise TableError(f"{path.name} must have the column {column!r}", f"the columns {list(frame.columns)}", "fix 'recorded'")
    kept = _kept(frame, recorded, path)
    _refuse_equal_keys(kept, recorded, path)
    rows = _numbered(_Reader(study, recorded, columns, path).rows(kept))
    if study.design.kind == "full_factorial":
        _refuse_incomplete(study, rows, hardware_ids, path)
    digest = hashlib.sha256(json.dumps([vars(row) for row in rows], sort_keys=True).encode()).hexdigest()
    records_id = content_id(RECORDED, {"rows": digest, "settings": study.workload.settings, "repeated_over": recorded.repeated_over})
    records = [_record(study, recorded, row, records_id, hardware_ids) for row in rows]
    records.sort(key=lambda record: record.trial.trial_id)
    placed = tuple(replace(record, trial=replace(record.trial, position=place)) for place, record in enumerate(records))
    return Records(records_id, placed, len(frame) - len(kept))


class _Reader:
    """Turns rows of a frame into what the spec calls them; the frame's index is the row's number in the file."""

    def __init__(self, study: Study, recorded: Recorded, columns: Mapping[str, str], path: Path) -> None:
        self._study, self._recorded, self._columns, self._path = study, recorded, columns, path

    def rows(self, frame: pd.DataFrame) -> list[_Row]:
        recorded = self._recorded
        classes = {item.value: name for name, item in recorded.hardware_class.classes.items()}
        hardware = self._named(frame, recorded.hardware_class.column, classes, "recorded.hardware_class.classes")
        statuses = self._named(frame, recorded.status.column, recorded.status.values, "recorded.status.values")
        levels: dict[str, list[Level]] = {}
        for name, column in self._columns.items():
            factor = self._study.factor(name)
            known = {cell_text(level): level for level in (*factor.levels, *([factor.otherwise] if factor.otherwise is not None else []))}
            levels[name] = self._named(frame, column, known, f"the levels of factor {name!r}")
        outcomes = {name: self._numbers(frame, item.column, item.scale) for name, item in recorded.outcomes.items()}
        profiles = {column: [_profile(value) for value in frame[column].tolist()] for column in recorded.profiles}
        words = [cell_text(value) for value in frame[recorded.status.column].tolist()]
        return [
            _Row(
                hardware_class=hardware[place],
                factors={name: column[place] for name, column in levels.items()},
                status=statuses[place],
                status_text=words[place],
                outcomes={name: column[place] for name, column in outcomes.items()},
                profiles={name: column[place] for name, column in profiles.items()},
            )
            for place in range(len(frame))
        ]

    def _named(self, frame: pd.DataFrame, column: str, names: Mapping[str, Any], where: str) -> list[Any]:
        texts = [cell_text(value) for value in frame[column].tolist()]
        for text, row in zip(texts, frame.index, strict=True):
            if text not in names:
                expected = f"{self._path.name}: column {column!r} must hold {list(names)}"
                raise TableError(expected, f"{text!r} in data row {row + 1}", f"fix {where} or the row")
        return [names[text] for text in texts]

    def _numbers(self, frame: pd.DataFrame, column: str, scale: float) -> list[Reading]:
        import pandas as pd

        found = frame[column]
        numbers = pd.to_numeric(found, errors="coerce").astype(float)
        for row in frame.index[numbers.isna() & found.notna()][:1]:
            raise TableError(
                f"{self._path.name}: column {column!r} must hold numbers", f"{found[row]!r} in data row {row + 1}", "fix the row"
            )
        return [Reading(reason=NO_VALUE) if math.isnan(value) else Reading(value * scale) for value in numbers.tolist()]


def _kept(frame: pd.DataFrame, recorded: Recorded, path: Path) -> pd.DataFrame:
    result = frame
    for column, values in recorded.keep.items():
        result = result[result[column].map(cell_text).isin(values)]
    if result.empty:
        some = "rows, none of which the spec keeps" if len(frame) else "no rows"
        raise TableError(
            f"{path.name} must hold trials", f"{len(frame)} {some}" if len(frame) else some, "check the file and recorded.keep"
        )
    return result


def _refuse_equal_keys(frame: pd.DataFrame, recorded: Recorded, path: Path) -> None:
    if not recorded.key:
        return
    keys = frame.groupby(list(recorded.key), dropna=False, sort=False).ngroup()
    for twice in keys[keys.duplicated()][:1]:
        same = keys.index[keys == twice]
        expected = f"{path.name}: no two rows may agree in the key {list(recorded.key)}"
        raise TableError(expected, f"data rows {', '.join(str(number + 1) for number in same[:3])}", "remove one or fix recorded.key")


def _numbered(rows: Sequence[_Row]) -> list[_Row]:
    """The rows in an order of their own, whatever the file's, with alike ones numbered as replicates."""
    ordered = sorted(rows, key=lambda row: json.dumps(vars(row), sort_keys=True))
    seen: dict[tuple[Any, ...], int] = {}
    numbered = []
    for row in ordered:
        number = seen.get(row.place, 0)
        seen[row.place] = number + 1
        numbered.append(replace(row, replicate=number))
    return numbered


def _refuse_incomplete(study: Study, rows: Sequence[_Row], hardware_ids: Mapping[str, str], path: Path) -> None:
    """A factorial is a claim about how treatments came about: it holds only if every combination is there."""
    identity = WorkloadIdentity(name=RECORDED, version="1", settings={}, data_checksum="", network_factors=(), weights_factors=())
    expected = {(trial.hardware_class, tuple(trial.factors.items()), trial.replicate) for trial in assign(study, identity, hardware_ids)}
    found = {(row.hardware_class, tuple(row.factors.items()), row.replicate) for row in rows}
    remedy = "fix design or recorded.keep, or say design.kind: observational"
    claim = f"{path.name} must hold every combination of the factors {study.design.replicates} time(s) in each class"
    for cells, word in ((expected - found, "missing"), (found - expected, "too many")):
        if cells:
            hardware_class, factors, _ = min(cells, key=repr)
            first = ", ".join(f"{name}={level}" for name, level in factors)
            raise TableError(claim, f"{len(cells)} {word}, such as {hardware_class}: {first}", remedy)


def _record(study: Study, recorded: Recorded, row: _Row, records_id: str, hardware_ids: Mapping[str, str]) -> Record:
    block = study.block_factor
    unit = {name: level for name, level in row.factors.items() if name not in recorded.repeated_over}
    machine = {"hardware_class": row.hardware_class, "hardware_id": hardware_ids[row.hardware_class]}
    trial = Trial(
        trial_id=content_id("trial", {"records": records_id, **machine, "factors": row.factors, "replicate": row.replicate}),
        weights_id=content_id("weights", {"records": records_id, "factors": unit, "replicate": row.replicate}),
        hardware_class=row.hardware_class,
        factors=row.factors,
        arm=arm_of(study, row.factors),
        block=str(row.factors[block.name]) if block else "all",
        replicate=row.replicate,
    )
    return Record(trial, row.status, row.status_text, row.outcomes, row.profiles)


def _profile(value: Any) -> Reading:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Reading(reason=NO_VALUE)
    return Reading(value=float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else Reading(text=str(value))


def land_records(records: Records, landing: LandingZone) -> None:
    """Land what a table says of its trials, once. Attempts come last, as always: without them nothing of it counts.

    An attempt of a recorded trial is its import: the table does not say when or where it ran.
    """
    now = datetime.now(UTC)
    units = [{"unit_id": record.trial.trial_id, "unit_kind": "trial", "attempt": 1} for record in records.records]
    both = list(zip(units, records.records, strict=True))
    tables: dict[str, list[dict[str, Any]]] = {
        "outcomes": [{**unit, "outcome": name, **columns_of(value)} for unit, record in both for name, value in record.outcomes.items()],
        "profiles": [{**unit, "metric": name, **columns_of(value)} for unit, record in both for name, value in record.profiles.items()],
        "attempts": [
            {
                **unit,
                "weights_id": record.trial.weights_id,
                "hardware_class": record.trial.hardware_class,
                "status": record.status,
                "failure_reason": None if record.status == "ok" else f"recorded as {record.status_text}",
                "host": "recorded",
                "started_at": now,
                "ended_at": now,
            }
            for unit, record in both
        ],
    }
    for table, rows in tables.items():
        if rows:
            landing.write_once(table, rows, unit_id=records.records_id, attempt=1)
