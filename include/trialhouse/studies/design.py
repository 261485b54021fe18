"""The design, as a study's YAML says it: how factors become trials (`trialhouse.studies.designs` makes them)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trialhouse.studies.factors import Level, Name, SpecModel


class Sentinels(SpecModel):
    """One fixed combination, measured again and again among the trials of every class: what changes in it is the measurement."""

    every: int = Field(ge=1, le=1000)
    """So many trials of a class lie between two sentinels; there is one before the first trial and one after the last."""
    factors: dict[Name, Level]
    """Level of every factor of the design (fixed ones and placebos aside)."""


class Design(SpecModel):
    """How factors become trials."""

    kind: Literal[
        "full_factorial",
        "fractional_factorial",
        "latin_hypercube",
        "completely_randomised",
        "randomised_blocks",
        "one_factor_at_a_time",
        "observational",
    ]
    """`full_factorial` and `randomised_blocks` take every combination of the crossed factors in every block and class (the
    latter needs a blocked factor and randomises the order within blocks); `fractional_factorial` takes the runs named by
    `generator` over two-level factors; `latin_hypercube` and `completely_randomised` (randomised search) take `points` combinations.
    `one_factor_at_a_time` takes ladders: in every block and class the references of all crossed factors, and each other level
    of each of them while the others stay at their references. Its effects hold at the references only.
    `observational` with a workload is confounded on purpose: in every block and class `points` combinations are drawn in
    which the confounded factors go with a hidden budget. Its effects are taken to be only as good as the graph.
    A recorded study is `full_factorial` where its table holds every combination, or `observational`: then nobody assigned
    anything, its trials are the rows that there are, and effects are only as good as the graph."""
    seed: int = Field(ge=0)
    """Seed of every draw: assignment and order."""
    replicates: int = Field(1, ge=1, le=1000)
    """How often each combination is measured anew."""
    points: int | None = Field(None, ge=2, le=100_000)
    """Number of combinations, for `latin_hypercube`, `completely_randomised` and `observational` (with a twin: in each half)."""
    sentinels: Sentinels | None = None
    """Trials that are no part of any comparison, but tell how repeatable measurements are and whether they drift."""
    generator: str | None = None
    """Generator of a fractional factorial, one word per crossed factor in their order: `"a b ab"` (pyDOE3 `fracfact`)."""

    @model_validator(mode="after")
    def _check(self) -> Design:
        needs_points = self.kind in ("latin_hypercube", "completely_randomised")
        if self.kind != "observational" and needs_points != (self.points is not None):
            verb = "needs" if needs_points else "does not take"
            raise ValueError(f"a {self.kind} design {verb} points, got {self.points}; fix design.points")
        if (self.kind == "fractional_factorial") != (self.generator is not None):
            verb = "needs" if self.kind == "fractional_factorial" else "does not take"
            raise ValueError(f"a {self.kind} design {verb} a generator, got {self.generator!r}; fix design.generator")
        return self
