"""What a study asks, as its YAML says it: estimands, the columns made for them, and the limits that answers must keep."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from trialhouse.studies.factors import Level, Name, SpecModel


class Indicator(SpecModel):
    """A binary column made from a measured one (thresholds X, Y and Z of the pruning source's Algorithm 2)."""

    name: Name
    """The new column: 1 where the condition holds, 0 where not, missing where its column is."""
    column: Name
    """A factor or outcome."""
    above: float | None = None
    """1 where the column is greater than this."""
    below: float | None = None
    """1 where the column is less than this."""

    @model_validator(mode="after")
    def _check(self) -> Indicator:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"exactly one of above and below must be set; fix indicator {self.name!r}")
        return self

    def holds(self, level: Level) -> bool:
        """Whether the condition holds for a value of the column."""
        return float(level) > self.above if self.above is not None else float(level) < float(self.below or 0)


class Contrast(SpecModel):
    """Two levels of the treatment to compare: do(treatment = `to`) minus do(treatment = `from`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    from_: Level = Field(alias="from")
    """The level compared with (control)."""
    to: Level
    """The level of interest."""


class Estimand(SpecModel):
    """One causal question, registered before the first trial runs."""

    name: Name
    """Short name, unique in the study."""
    question: str | None = None
    """The same in words."""
    treatment: Name
    """A factor, an indicator of one, or `hardware_class`."""
    contrast: Contrast | None = None
    """Which levels are compared; this or `per`."""
    per: Literal["doubling"] | Annotated[float, Field(gt=0)] | None = Field(None, exclude_if=lambda value: value is None)
    """In place of a contrast: the effect of each doubling of the treatment, or of so many of its units more, as the slope over all its
    levels. Per doubling is another question than per unit: the treatment then enters by its logarithm."""
    outcome: Name
    """An outcome of the workload, or an indicator of one."""
    graph: str | None = None
    """A graph file beside the study's YAML; default: the study's `graph`."""
    adjustment: tuple[Name, ...] | Literal["auto"] = "auto"
    """Columns to adjust for; `auto` lets identification choose from the graph."""
    by: Name | None = None
    """Estimate separately in each level of this column (usually `hardware_class`)."""
    is_primary: bool = True
    """Whether the answer rests on it (others are exploratory)."""
    hold: tuple[Name, ...] = ()
    """What must stay the same while the treatment is set ("keeping depth, data and compute constant"): factors, or quantities of
    the workload such as `depth`, `n_train` or `training_flops`. Checked before anything runs; other factors are held anyway."""
    solve: Name | None = None
    """What gives way so that the rest can be held: `steps` where `training_flops` is set, `width` where `parameters` is."""
    mediators: tuple[Name, ...] = ()
    """Also estimate the direct effect: what the treatment does other than through these nodes of the graph (`flops`, say)."""
    dose_response: bool = False
    """Also estimate every other level of the treatment against the control."""
    over_training: bool = False
    """Answer from learning curves by difference-in-differences: what a switch in mid-training does to the points after it. The treatment
    is then `switched_at` or an indicator of it, the control are the trials that never switch, and the outcome is one that curves have:
    `train_loss`, `train_accuracy`, `validation_loss` or `validation_accuracy`."""

    @model_validator(mode="after")
    def _check(self) -> Estimand:
        where = f"fix estimand {self.name!r}"
        if (self.contrast is None) == (self.per is None):
            raise ValueError(f"exactly one of contrast and per must be given, got {'neither' if self.per is None else 'both'}; {where}")
        if self.per is not None and (self.dose_response or self.over_training):
            which = "dose_response" if self.dose_response else "over_training"
            raise ValueError(f"an effect per {self.per} takes neither dose_response nor over_training, got {which}; {where}")
        return self

    @property
    def compared(self) -> tuple[Level, Level]:
        """The two levels compared, control first; of an effect `per` so much they are 0 and 1 on its scale."""
        return (0, 1) if self.contrast is None else (self.contrast.from_, self.contrast.to)


class Gates(SpecModel):
    """Limits that the data must meet before anything is estimated."""

    sample_ratio_alpha: float = Field(0.001, gt=0, lt=1)
    """Sample-ratio mismatch: smallest p-value of the chi-squared test of measured against assigned trials per arm."""
    max_missing_share: float = Field(0.05, ge=0, lt=1)
    """Largest share of assigned trials without an attempt (running out of memory is an outcome, not missing)."""
    max_unexplained_failure_share: float = Field(0.05, ge=0, lt=1)
    """Largest share of trials that crashed, timed out or diverged."""
    min_trials_per_arm: int = Field(4, ge=1)
    """Fewest measured trials per level of a treatment within a hardware class (overlap)."""
    max_standardised_difference: float = Field(0.25, gt=0)
    """Largest standardised mean difference of an assigned factor between the arms of another (balance)."""
    drift_alpha: float = Field(0.01, gt=0, lt=1)
    """Drift: smallest p-value, per class, of the sentinels' latency against time; a smaller one is told as a warning."""


class Limit(SpecModel):
    """What a configuration must keep to be worth deploying."""

    outcome: Literal["latency_ms", "peak_memory_bytes", "memory_utilisation"]
    """What is limited: milliseconds per call, bytes, or the share of the class's memory."""
    at_most: float = Field(gt=0)
    """The largest average that is acceptable."""
    hardware_class: Name | None = None
    """The class that it holds for; default: all of them."""
