"""Factors, as a study's YAML says them: what a design sets, and at which levels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from trialhouse.identity import NAME_PATTERN

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Level = bool | int | float | str

TWINS = ("observational", "randomised")
"""Levels of a twin factor."""


def level_number(value: float) -> str:
    """A level that is a number, in its shortest form: thousands separated from 10,000 on."""
    return f"{value:g}" if abs(value) < 1e4 else f"{value:,.10g}"


class SpecModel(BaseModel):
    """A part of a spec: frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class AppliesWhen(SpecModel):
    """The condition under which a factor has any meaning."""

    factor: Name
    """The factor that decides."""
    above: float | None = None
    """This factor applies where the deciding one is greater than this."""
    below: float | None = None
    """This factor applies where the deciding one is less than this."""

    @model_validator(mode="after")
    def _check(self) -> AppliesWhen:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"exactly one of above and below must be set; fix applies_when of {self.factor!r}")
        return self

    def holds(self, level: Level) -> bool:
        """Whether the deciding factor's level meets the condition."""
        return float(level) > self.above if self.above is not None else float(level) < float(self.below or 0)


class Factor(SpecModel):
    """Something that the design sets: a treatment, or a block that treatments are compared within."""

    name: Name
    """Also the column of the study's analysis view."""
    kind: Literal["continuous", "ordinal", "categorical"]
    """The scale of the levels."""
    assignment: Literal["crossed", "randomised", "blocked", "fixed", "placebo", "confounded", "twin"] = "crossed"
    """`crossed`: the design combines its levels with those of the other factors. `randomised`: a level is drawn for each
    trial, every level equally often within a block and class, and over the blocks for each combination (a Latin square).
    `blocked`: its levels are the blocks (the repeated units, such as pre-training seeds). `fixed`: one level for all.
    `placebo`: a label of two levels that changes nothing (an A/A test): drawn for each trial, balanced within each block and
    class, never shown to the workload and no part of the trial's id. Whatever effect it seems to have is a false positive.
    `confounded`: drawn for each trial so that it goes with a hidden budget, as it does where nobody designs (those who can afford
    larger networks also have more data): only in a study that is `observational` on purpose.
    `twin`: such a study's label with the levels `observational` and `randomised`; in its second half the same factors are
    drawn independently, so that one study has both the confounded arm and the truth."""
    levels: tuple[Level, ...] = Field(min_length=1)
    """The values; for a continuous factor that is confounded or of a Latin hypercube, its lower and upper end."""
    scale: Literal["linear", "log"] = "linear"
    """Of a continuous factor that is drawn between two ends: whether differences or ratios are equally likely."""
    is_whole: bool = False
    """Of a continuous factor that is drawn between two ends: whether it comes in whole numbers (images, steps)."""
    strength: float | None = Field(None, gt=-1, lt=1)
    """Of a confounded factor: its correlation with the budget (of two normal scores, a Gaussian copula). 0 is randomised."""
    reference: Level | None = None
    """In a one-factor-at-a-time design: the level of this crossed factor while the others go through theirs."""
    balanced_within: tuple[Name, ...] = ()
    """For a randomised factor: crossed factors within whose levels it is also balanced."""
    constant_over: tuple[Name, ...] = ()
    """For a randomised factor: crossed factors over whose levels it is drawn once (a split-plot design, whose whole plots are the other
    combinations), as for the lengths of one run that branch off it."""
    applies_when: AppliesWhen | None = None
    """Where the condition fails, the factor takes the value `otherwise` (there is no pruning method at ratio 0)."""
    otherwise: Level | None = None
    """The value where `applies_when` fails."""
    unit: str | None = None
    """Physical unit, for axes and tables; none for shares and names."""
    minimum: float | None = None
    """Smallest possible value (inclusive)."""
    maximum: float | None = None
    """Largest possible value (exclusive)."""

    @model_validator(mode="after")
    def _check(self) -> Factor:
        where = f"fix factor {self.name!r}"
        if len(set(map(repr, self.levels))) != len(self.levels):
            raise ValueError(f"levels must be distinct, got {list(self.levels)}; {where}")
        if self.assignment == "fixed" and len(self.levels) != 1:
            raise ValueError(f"a fixed factor has one level, got {len(self.levels)}; {where}")
        if self.assignment == "randomised" and len(self.levels) < 2:
            raise ValueError(f"a randomised factor needs at least two levels, got {len(self.levels)}; {where}")
        if self.kind != "categorical":
            for level in self.levels:
                if isinstance(level, bool | str):
                    raise ValueError(f"levels of a {self.kind} factor must be numbers, got {level!r}; {where}")
                low = float("-inf") if self.minimum is None else self.minimum
                high = float("inf") if self.maximum is None else self.maximum
                if not low <= level < high:
                    raise ValueError(f"{self.name} must be in [{low:g}, {high:g}), got {level:g}; {where}")
        if (self.applies_when is None) != (self.otherwise is None):
            raise ValueError(f"applies_when and otherwise go together, got only one of them; {where}")
        if self.assignment == "placebo" and (len(self.levels) != 2 or self.applies_when is not None):
            raise ValueError(f"a placebo factor has two levels and always applies, got {list(self.levels)}; {where}")
        if (self.assignment == "confounded") != (self.strength is not None):
            verb = "needs" if self.assignment == "confounded" else "takes no"
            raise ValueError(f"a {self.assignment} factor {verb} strength, got {self.strength}; {where}")
        if self.assignment == "confounded" and (self.kind == "categorical" or len(self.levels) < 2):
            raise ValueError(f"a confounded factor needs at least two levels that are numbers, got {list(self.levels)}; {where}")
        if self.assignment == "twin" and self.levels != TWINS:
            raise ValueError(f"a twin factor must have the levels {list(TWINS)}, got {list(self.levels)}; {where}")
        if self.scale == "log" and (self.kind != "continuous" or min(map(float, self.levels)) <= 0):
            raise ValueError(f"scale 'log' needs a continuous factor above 0, got {self.kind} {list(self.levels)}; {where}")
        if self.is_whole and (self.kind != "continuous" or any(float(level) % 1 for level in self.levels)):
            raise ValueError(f"is_whole needs a continuous factor between whole numbers, got {self.kind} {list(self.levels)}; {where}")
        if self.reference is not None and (self.assignment != "crossed" or self.reference not in self.levels):
            raise ValueError(f"reference must be a level of a crossed factor, got {self.reference!r}; {where}")
        if self.balanced_within and self.assignment != "randomised":
            raise ValueError(f"balanced_within is for randomised factors, got assignment {self.assignment!r}; {where}")
        if self.constant_over and self.assignment != "randomised":
            raise ValueError(f"constant_over is for randomised factors, got assignment {self.assignment!r}; {where}")
        if both := [name for name in self.constant_over if name in self.balanced_within]:
            raise ValueError(f"a factor is constant_over another or balanced_within it, got {both[0]!r} in both; {where}")
        return self

    @property
    def is_label(self) -> bool:
        """Whether it belongs to the assignment alone: no part of a trial's id, and no workload gets to see it."""
        return self.assignment in ("placebo", "twin")
