"""The scaling laws that a study asks for, as its YAML says it."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from trialhouse.studies.factors import Name, SpecModel

ROLES = ("size", "data", "width", "depth", "unique", "steps")


class ScoreQuestion(SpecModel):
    """A score that the loss of a law tells: a bounded sigmoid of the loss, composed with the law, so that the law answers in scores."""

    outcome: Name
    """A score in [0, 1] that rises as the loss falls, such as `accuracy` or `capability_bracket_choice`."""
    chance: float | None = Field(None, ge=0, lt=1)
    """What guessing scores; where it is left out, it is fitted."""
    ceiling: float = Field(1.0, gt=0, le=1)
    """What the best there can be scores."""

    @model_validator(mode="after")
    def _check(self) -> ScoreQuestion:
        if self.chance is not None and self.chance >= self.ceiling:
            raise ValueError(f"chance must be below the ceiling {self.ceiling:g}, got {self.chance:g}; fix score {self.outcome!r}")
        return self


class LawQuestion(SpecModel):
    """One law, registered before the first trial runs: how an outcome falls (or a score rises) with size, data or both."""

    name: Name
    """Short name, unique in the study."""
    question: str | None = None
    """The same in words."""
    form: Name = "auto"
    """A form of `trialhouse fit` (trialhouse/scaling_laws/README.md); `auto` takes the one that forecasts held-out trials best."""
    outcome: Name
    """A loss or an error, which is positive; for the form `bounded` a score between 0 and 1."""
    size: Name | None = None
    """Column with the size of the network: a factor, or an outcome such as `parameters`."""
    data: Name | None = None
    """Column with the amount of training data."""
    width: Name | None = None
    """Column with the width of the network."""
    depth: Name | None = None
    """Column with the depth of the network."""
    unique: Name | None = None
    """Column with the amount of distinct data, where `data` counts repetitions."""
    steps: Name | None = None
    """Column with the optimiser steps, all of one batch size."""
    by: tuple[Name, ...] = ()
    """Factors of which each combination of levels has a law of its own."""
    compare: tuple[Name, ...] = ()
    """Of `by`, one or several: do a factor's levels change the constant or the exponent, and where do their curves cross? Each is compared
    at the same levels of the others. Needs a form that is named."""
    fix: dict[str, float] = Field(default_factory=dict)
    """Parameters that are known: `{E: 0}`."""
    scores: tuple[ScoreQuestion, ...] = Field((), exclude_if=lambda value: not value)
    """Scores that the law's outcome, a loss, tells: each is mapped from it, and `trialhouse forecast STUDY --score` answers in it."""

    @field_validator("compare", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else () if value is None else value

    @property
    def columns(self) -> dict[str, str]:
        """Role -> column."""
        return {role: column for role in ROLES if (column := getattr(self, role)) is not None}

    @model_validator(mode="after")
    def _check(self) -> LawQuestion:
        where = f"fix law {self.name!r}"
        if not self.columns:
            raise ValueError(f"a law needs the column of a factor ({', '.join(ROLES)}), got none; {where}")
        if strange := [factor for factor in self.compare if factor not in self.by]:
            raise ValueError(f"compare must be one of by {list(self.by)}, got {strange[0]!r}; {where}")
        if self.form == "auto" and (self.compare or self.fix):
            field = "compare" if self.compare else "fix"
            raise ValueError(f"{field} needs a form that is named, got auto; {where}")
        taken = [self.outcome, *self.columns.values(), *self.by]
        for score in self.scores:
            if score.outcome in taken:
                raise ValueError(f"each score must be a column of its own, got {score.outcome!r} twice; {where}")
            taken.append(score.outcome)
        return self
