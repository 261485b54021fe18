"""What a study's YAML says of a table of trials that were run elsewhere: which column means what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, StringConstraints, model_validator

from trialhouse.identity import NAME_PATTERN

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Status = Literal["ok", "out_of_memory", "timed_out", "crashed", "diverged"]

DERIVED = frozenset({"is_oom", "is_diverged"})
"""Outcomes that follow from the status."""


def cell_text(value: Any) -> str:
    """A table's cell as text, so that `8`, `8.0` and `"8"` are the same level and a truth value is `true` or `false`."""
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return str(bool(value)).lower()
    try:
        return f"{float(value):.10g}"
    except (TypeError, ValueError):
        return str(value).strip()


CellText = Annotated[str, BeforeValidator(cell_text)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RecordedClass(_Spec):
    """A machine that trials were recorded on."""

    value: CellText
    """What the table's column calls it."""
    represents: str | None = None
    """The machine in words."""
    cpus: int = Field(ge=1, le=4096)
    """Its CPUs."""
    memory_bytes: ByteSize = Field(ge=1 << 20)
    """Its memory; in YAML also with a unit (`16 GiB`)."""


class RecordedClasses(_Spec):
    """Where the table says on which machine a trial ran."""

    column: str
    """The table's column."""
    classes: dict[Name, RecordedClass] = Field(min_length=1)
    """Hardware class -> machine: the study's `hardware_classes`."""


class RecordedStatus(_Spec):
    """Where the table says how a trial ended."""

    column: str
    """The table's column."""
    values: dict[CellText, Status] = Field(min_length=1)
    """What it says -> `ok`, `out_of_memory`, `timed_out`, `crashed` or `diverged`."""


class RecordedOutcome(_Spec):
    """A measured column."""

    column: str
    """The table's column; every value must be a number, or missing."""
    scale: float = Field(1.0, gt=0)
    """What a value is multiplied by: 0.01 makes a percentage a share, 1000 makes seconds milliseconds."""


class Recorded(_Spec):
    """Trials that were run elsewhere and are read from a table, one row per trial: `trialhouse import STUDY --table FILE`."""

    hardware_class: RecordedClasses
    """On which machine."""
    status: RecordedStatus
    """How it ended."""
    outcomes: dict[Name, RecordedOutcome] = Field(min_length=1)
    """Outcome -> column. What follows from the status (`is_oom`, `is_diverged`) is not recorded but derived."""
    factors: dict[Name, str] = Field(default_factory=dict)
    """Factor -> column, for factors whose column has another name."""
    profiles: tuple[str, ...] = ()
    """Columns that describe the system meanwhile, kept under their own names."""
    keep: dict[str, tuple[CellText, ...]] = Field(default_factory=dict)
    """Column -> values: rows with any other value there are no trials of this study."""
    key: tuple[str, ...] = ()
    """Columns that tell rows apart: no two rows that are kept may agree in all of them."""
    repeated_over: tuple[Name, ...] = ()
    """Factors over which one measurement was repeated. Rows alike in all other factors, whatever the machine, count as one
    independent unit, as trials that share their weights do."""

    @model_validator(mode="after")
    def _check(self) -> Recorded:
        if derived := sorted(DERIVED & set(self.outcomes)):
            raise ValueError(f"outcomes must be measured, got {derived[0]!r}, which follows from the status; remove it")
        values = [item.value for item in self.hardware_class.classes.values()]
        if len(set(values)) != len(values):
            raise ValueError("each hardware class needs a value of its own, got one twice; fix recorded.hardware_class.classes")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read, but for those of the factors that are not renamed."""
        measured = [item.column for item in self.outcomes.values()]
        named = [self.hardware_class.column, self.status.column, *measured, *self.factors.values(), *self.profiles, *self.keep, *self.key]
        return tuple(dict.fromkeys(named))
