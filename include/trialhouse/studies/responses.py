"""The responses that a study asks for, as its YAML says it."""

from __future__ import annotations

from typing import Literal

from trialhouse.studies.factors import Name, SpecModel


class ResponseQuestion(SpecModel):
    """An outcome by all factors that the design assigns: what each does on average, which of them depend on each other, what bends."""

    name: Name
    """Short name, unique among the study's responses and laws."""
    question: str | None = None
    """The same in words."""
    outcome: Name
    """Any outcome; on the scale `log` a positive one, such as a loss or an error."""
    scale: Literal["log", "linear"] = "log"
    """Whether effects are ratios of the outcome or differences."""
    looks_at: tuple[Name, ...] = ()
    """What passive observers of the same trials look at, each at one column alone (`training_flops`, `parameters`); besides, one looks at
    each factor alone."""
    by: tuple[Name, ...] = ()
    """Factors of which each combination of levels has a model of its own; `hardware_class` where there are several. Of a study that is
    confounded on purpose, its twin: only the randomised half has effects."""
