"""The design, as a study's YAML says it: how factors become trials (`trialhouse.studies.designs` makes them)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from trialhouse.studies.factors import Level, Name, SpecModel


class Sentinels(SpecModel):
    """One fixed combination, measured again and again among the trials of every class: what changes in it is the measurement."""

    every: int = Field(ge=1, le=1000)
    """So many trials of a class lie between two sentinels; there is one before the first trial and one after the last."""
    factors: dict[Name, Level]
    """Level of every factor of the design (fixed ones and placebos aside)."""


def _kind_of_points(value: Any) -> str:
    return "list" if isinstance(value, list | tuple) else "number"


Points = Annotated[
    Annotated[int, Field(ge=2, le=100_000), Tag("number")] | Annotated[tuple[dict[Name, Level], ...], Tag("list")],
    Discriminator(_kind_of_points),
]


class Design(SpecModel):
    """How factors become trials."""

    kind: Literal[
        "full_factorial",
        "fractional_factorial",
        "latin_hypercube",
        "completely_randomised",
        "randomised_blocks",
        "one_factor_at_a_time",
        "listed",
        "observational",
    ]
    """`full_factorial` and `randomised_blocks` take every combination of the crossed factors in every block and class (the
    latter needs a blocked factor and randomises the order within blocks); `fractional_factorial` takes the runs named by
    `generator` over two-level factors; `latin_hypercube` and `completely_randomised` (randomised search) take `points` combinations.
    `one_factor_at_a_time` takes ladders: in every block and class the references of all crossed factors, and each other level
    of each of them while the others stay at their references. Its effects hold at the references only.
    `listed` takes the combinations that `points` lists, in every block and class. Where other factors go along with a treatment from
    point to point, an effect is of all of them together.
    `observational` with a workload is confounded on purpose: in every block and class `points` combinations are drawn in
    which the confounded factors go with a hidden budget. Its effects are taken to be only as good as the graph.
    A recorded study is `full_factorial` where its table holds every combination, or `observational`: then nobody assigned
    anything, its trials are the rows that there are, and effects are only as good as the graph."""
    seed: int = Field(ge=0)
    """Seed of every draw: assignment and order."""
    replicates: int = Field(1, ge=1, le=1000)
    """How often each combination is measured anew."""
    points: Points | None = None
    """Number of combinations, for `latin_hypercube`, `completely_randomised` and `observational` (with a twin: in each half). For `listed`
    the combinations themselves, each with a level of every crossed factor: `[{width: 8, steps: 1600}, {width: 32, steps: 400}]`."""
    sentinels: Sentinels | None = None
    """Trials that are no part of any comparison, but tell how repeatable measurements are and whether they drift."""
    generator: str | None = None
    """Generator of a fractional factorial, one word per crossed factor in their order: `"a b ab"` (pyDOE3 `fracfact`)."""

    @model_validator(mode="after")
    def _check(self) -> Design:
        if (self.kind == "listed") != isinstance(self.points, tuple) or self.points == ():
            needed = "needs a list of points, one at least" if self.kind == "listed" else "takes a number of points or none"
            got = self.points if self.points is None or isinstance(self.points, int) else list(self.points)
            raise ValueError(f"a {self.kind} design {needed}, got {got}; fix design.points")
        needs_points = self.kind in ("listed", "latin_hypercube", "completely_randomised")
        if self.kind != "observational" and needs_points != (self.points is not None):
            verb = "needs" if needs_points else "does not take"
            raise ValueError(f"a {self.kind} design {verb} points, got {self.points}; fix design.points")
        if (self.kind == "fractional_factorial") != (self.generator is not None):
            verb = "needs" if self.kind == "fractional_factorial" else "does not take"
            raise ValueError(f"a {self.kind} design {verb} a generator, got {self.generator!r}; fix design.generator")
        return self
