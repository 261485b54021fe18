"""A study, as its YAML says it: a frozen model, checked as a whole before anything runs.

The field descriptions below are the reference of the format; `trialhouse studies --schema` prints them as JSON schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from trialhouse.errors import SpecError
from trialhouse.identity import NAME_PATTERN, content_id
from trialhouse.studies.recorded import Recorded

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Level = bool | int | float | str

KEY_COLUMNS = frozenset({"study_id", "trial_id", "weights_id", "arm", "block", "replicate", "position", "status", "is_measured"})
"""Columns that every study's analysis view has, whatever its factors."""


HARDWARE_CLASS = "hardware_class"
RECORDED = "recorded"
"""The workload of trials that were run elsewhere."""


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Workload(_Spec):
    """What a trial trains and measures."""

    name: Name
    """A registered workload (entry point group `trialhouse.workloads`), or `recorded` for trials that were run elsewhere."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The workload's own settings, the same for every trial; the workload checks them (for `recorded`: notes)."""


class AppliesWhen(_Spec):
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


class Factor(_Spec):
    """Something that the design sets: a treatment, or a block that treatments are compared within."""

    name: Name
    """Also the column of the study's analysis view."""
    kind: Literal["continuous", "ordinal", "categorical"]
    """The scale of the levels."""
    assignment: Literal["crossed", "randomised", "blocked", "fixed", "placebo"] = "crossed"
    """`crossed`: the design combines its levels with those of the other factors. `randomised`: a level is drawn for each
    trial, every level equally often within a block and class, and over the blocks for each combination (a Latin square).
    `blocked`: its levels are the blocks (the repeated units, such as pre-training seeds). `fixed`: one level for all.
    `placebo`: a label of two levels that changes nothing (an A/A test): drawn for each trial, balanced within each block and
    class, never shown to the workload and no part of the trial's id. Whatever effect it seems to have is a false positive."""
    levels: tuple[Level, ...] = Field(min_length=1)
    """The values; for a Latin hypercube over a continuous factor, its lower and upper end."""
    balanced_within: tuple[Name, ...] = ()
    """For a randomised factor: crossed factors within whose levels it is also balanced."""
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
        if self.balanced_within and self.assignment != "randomised":
            raise ValueError(f"balanced_within is for randomised factors, got assignment {self.assignment!r}; {where}")
        return self


class Sentinels(_Spec):
    """One fixed combination, measured again and again among the trials of every class: what changes in it is the measurement."""

    every: int = Field(ge=1, le=1000)
    """So many trials of a class lie between two sentinels; there is one before the first trial and one after the last."""
    factors: dict[Name, Level]
    """Level of every factor of the design (fixed ones and placebos aside)."""


class Design(_Spec):
    """How factors become trials."""

    kind: Literal[
        "full_factorial", "fractional_factorial", "latin_hypercube", "completely_randomised", "randomised_blocks", "observational"
    ]
    """`full_factorial` and `randomised_blocks` take every combination of the crossed factors in every block and class (the
    latter needs a blocked factor and randomises the order within blocks); `fractional_factorial` takes the runs named by
    `generator` over two-level factors; `latin_hypercube` and `completely_randomised` take `points` combinations.
    A recorded study is `full_factorial` where its table holds every combination, or `observational`: then nobody assigned
    anything, its trials are the rows that there are, and effects are only as good as the graph."""
    seed: int = Field(ge=0)
    """Seed of every draw: assignment and order."""
    replicates: int = Field(1, ge=1, le=1000)
    """How often each combination is measured anew."""
    points: int | None = Field(None, ge=2, le=100_000)
    """Number of combinations, for `latin_hypercube` and `completely_randomised`."""
    sentinels: Sentinels | None = None
    """Trials that are no part of any comparison, but tell how repeatable measurements are and whether they drift."""
    generator: str | None = None
    """Generator of a fractional factorial, one word per crossed factor in their order: `"a b ab"` (pyDOE3 `fracfact`)."""

    @model_validator(mode="after")
    def _check(self) -> Design:
        needs_points = self.kind in ("latin_hypercube", "completely_randomised")
        if needs_points != (self.points is not None):
            verb = "needs" if needs_points else "does not take"
            raise ValueError(f"a {self.kind} design {verb} points, got {self.points}; fix design.points")
        if (self.kind == "fractional_factorial") != (self.generator is not None):
            verb = "needs" if self.kind == "fractional_factorial" else "does not take"
            raise ValueError(f"a {self.kind} design {verb} a generator, got {self.generator!r}; fix design.generator")
        return self


class Indicator(_Spec):
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


class Contrast(_Spec):
    """Two levels of the treatment to compare: do(treatment = `to`) minus do(treatment = `from`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    from_: Level = Field(alias="from")
    """The level compared with (control)."""
    to: Level
    """The level of interest."""


class Estimand(_Spec):
    """One causal question, registered before the first trial runs."""

    name: Name
    """Short name, unique in the study."""
    question: str | None = None
    """The same in words."""
    treatment: Name
    """A factor, an indicator of one, or `hardware_class`."""
    contrast: Contrast
    """Which levels are compared."""
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
    dose_response: bool = False
    """Also estimate every other level of the treatment against the control."""


class Gates(_Spec):
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


class Limit(_Spec):
    """What a configuration must keep to be worth deploying."""

    outcome: Literal["latency_ms", "peak_memory_bytes", "memory_utilisation"]
    """What is limited: milliseconds per call, bytes, or the share of the class's memory."""
    at_most: float = Field(gt=0)
    """The largest average that is acceptable."""
    hardware_class: Name | None = None
    """The class that it holds for; default: all of them."""


class Study(_Spec):
    """A question, the trials that answer it, and what is to be estimated from them."""

    name: Name
    """Also the name of the YAML file, the Airflow DAG, the report's folder and the analysis view."""
    title: str = Field(min_length=3, max_length=120)
    """A headline."""
    question: str = Field(min_length=10)
    """What the study asks, in a sentence or two."""
    workload: Workload
    """What each trial runs."""
    factors: tuple[Factor, ...] = Field(min_length=1)
    """What the design sets."""
    hardware_classes: tuple[Name, ...] = Field(min_length=1)
    """Where every trial is measured."""
    design: Design
    """Which combinations of levels become trials."""
    graph: str = Field(pattern=r"^[a-z0-9_]+\.(dot|gml|yaml)$")
    """The causal graph, a file beside the study's YAML (DOT, GML or YAML)."""
    indicators: tuple[Indicator, ...] = ()
    """Binary columns for the binary version of a question."""
    estimands: tuple[Estimand, ...] = Field(min_length=1)
    """What is estimated: registered before the first trial runs."""
    limits: tuple[Limit, ...] = ()
    """What the report's choice of a configuration per hardware class must keep (it never chooses one that ran out of memory)."""
    refuters: tuple[Name, ...] = ("random_common_cause", "data_subset", "permuted_placebo", "left_out_columns", "sensitivity")
    """Attempts to refute each primary estimate, beside the checks that always run (graph rules, overlap)."""
    refuter_simulations: int = Field(100, ge=20, le=10_000)
    """Simulations of each stock refuter; below 100 they are `inconclusive` at best."""
    estimation_seed: int = Field(0, ge=0)
    """Seed of cross-fitting and refuters."""
    gates: Gates = Gates()
    """Limits of the validation that goes before estimation."""
    trial_timeout_s: float = Field(120.0, gt=0)
    """Seconds after which one trial is stopped and recorded as timed out."""
    schedule: str | None = None
    """Cron expression or Airflow preset (`@weekly`); default: only when triggered."""
    recorded: Recorded | None = None
    """For trials that were run elsewhere: how to read their table."""

    @field_validator("factors", "indicators", "estimands")
    @classmethod
    def _unique_names(cls, items: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [item.name for item in items]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names must be unique, got {twice[0]!r} twice; rename one of them")
        return items

    @model_validator(mode="after")
    def _check(self) -> Study:
        if self.recorded is None:
            self._check_workload()
        else:
            self._check_recorded(self.recorded)
        self._check_factors()
        self._check_indicators()
        self._check_estimands()
        self._check_limits()
        self._check_sentinels()
        return self

    def _check_workload(self) -> None:
        known = sorted(entry.name for entry in entry_points(group="trialhouse.workloads"))
        if self.workload.name not in known:
            raise ValueError(f"workload must be one of {known}, got {self.workload.name!r}; fix workload.name")
        if self.design.kind == "observational":
            raise ValueError("an observational study has trials that were run elsewhere, got no 'recorded'; say how to read their table")

    def _check_recorded(self, recorded: Recorded) -> None:
        factors = {factor.name for factor in self.factors}
        if self.workload.name != RECORDED:
            raise ValueError(f"the workload of a recorded study must be {RECORDED!r}, got {self.workload.name!r}; fix workload.name")
        if self.design.kind not in ("full_factorial", "observational"):
            expected = "design.kind of a recorded study must be 'full_factorial' or 'observational'"
            raise ValueError(f"{expected}, got {self.design.kind!r}; fix design.kind")
        if set(recorded.hardware_class.classes) != set(self.hardware_classes):
            expected = f"recorded.hardware_class.classes must be the study's {list(self.hardware_classes)}"
            raise ValueError(f"{expected}, got {list(recorded.hardware_class.classes)}; fix one of them")
        for field, names in {"factors": recorded.factors, "repeated_over": recorded.repeated_over}.items():
            if unknown := sorted(set(names) - factors):
                raise ValueError(f"recorded.{field} must name factors {sorted(factors)}, got {unknown[0]!r}; fix it")
        if taken := sorted(set(recorded.outcomes) & (factors | KEY_COLUMNS | {"hardware_class"})):
            raise ValueError(f"an outcome needs a name of its own, got {taken[0]!r}; fix recorded.outcomes")

    def _check_factors(self) -> None:
        names = {factor.name for factor in self.factors}
        if "hardware_class" in names:
            raise ValueError("hardware classes go into hardware_classes, got a factor 'hardware_class'; remove the factor")
        if taken := sorted(names & KEY_COLUMNS):
            raise ValueError(f"a factor's name must not be a key column of every trial, got {taken[0]!r}; rename it")
        if len(set(self.hardware_classes)) != len(self.hardware_classes):
            raise ValueError(f"hardware_classes must be distinct, got {list(self.hardware_classes)}; remove one")
        if self.design.kind == "randomised_blocks" and self.block_factor is None:
            raise ValueError("randomised_blocks needs a blocked factor, got none; set assignment: blocked on one factor")
        if sum(factor.assignment == "blocked" for factor in self.factors) > 1:
            raise ValueError("at most one factor can be blocked, got several; combine them into one")
        if sum(factor.assignment == "placebo" for factor in self.factors) > 1:
            raise ValueError("at most one factor can be a placebo, got several; remove the others")
        for factor in self.factors:
            where = f"fix factor {factor.name!r}"
            others = [*factor.balanced_within, *([factor.applies_when.factor] if factor.applies_when else [])]
            for other in others:
                if other not in names or self.factor(other).assignment != "crossed":
                    raise ValueError(f"factor {factor.name!r} must refer to a crossed factor, got {other!r}; {where}")
            if factor.applies_when and self.factor(factor.applies_when.factor).kind == "categorical":
                raise ValueError(f"applies_when needs a factor of numbers, got categorical {factor.applies_when.factor!r}; {where}")
            if self.design.kind == "fractional_factorial" and factor.assignment == "crossed" and len(factor.levels) != 2:
                raise ValueError(f"a fractional factorial needs two levels per crossed factor, got {len(factor.levels)}; {where}")
        crossed = [factor for factor in self.factors if factor.assignment == "crossed"]
        if self.design.generator is not None and len(self.design.generator.split()) != len(crossed):
            words = len(self.design.generator.split())
            raise ValueError(f"generator must have one word per crossed factor ({len(crossed)}), got {words}; fix design.generator")

    def _check_sentinels(self) -> None:
        if self.design.sentinels is None:
            return
        where = "fix design.sentinels"
        levels = self.design.sentinels.factors
        free = [factor for factor in self.factors if factor.assignment not in ("fixed", "placebo")]
        if unknown := sorted(set(levels) - {factor.name for factor in free}):
            raise ValueError(f"sentinels must set factors of the design, got {unknown[0]!r}; {where}")
        for factor in free:
            allowed = (*factor.levels, *([factor.otherwise] if factor.otherwise is not None else []))
            if factor.name not in levels:
                raise ValueError(f"sentinels must set every factor, got no level of {factor.name!r}; {where}")
            is_between = self.design.kind == "latin_hypercube" and factor.kind == "continuous"
            if levels[factor.name] not in allowed and not is_between:
                raise ValueError(f"sentinels must have assigned levels {list(allowed)}, got {levels[factor.name]!r}; {where}")

    def _check_indicators(self) -> None:
        for indicator in self.indicators:
            if any(factor.name == indicator.name for factor in self.factors):
                raise ValueError(f"an indicator needs a name of its own, got the factor {indicator.name!r}; rename it")

    def _check_limits(self) -> None:
        for limit in self.limits:
            if limit.hardware_class not in (None, *self.hardware_classes):
                known = list(self.hardware_classes)
                raise ValueError(f"hardware_class of a limit must be one of {known}, got {limit.hardware_class!r}; fix limits")

    def _check_estimands(self) -> None:
        factors = (*self.factors, self.factor(HARDWARE_CLASS))
        treatments = {factor.name: factor for factor in factors if factor.assignment not in ("fixed", "placebo")}
        indicators = {indicator.name: indicator for indicator in self.indicators}
        for estimand in self.estimands:
            where = f"fix estimand {estimand.name!r}"
            if estimand.treatment in indicators:
                if indicators[estimand.treatment].column not in treatments:
                    raise ValueError(f"treatment must be made from a factor, got {estimand.treatment!r}; {where}")
                allowed: tuple[Level, ...] = (0, 1)
            elif estimand.treatment in treatments:
                factor = treatments[estimand.treatment]
                allowed = factor.levels + ((factor.otherwise,) if factor.otherwise is not None else ())
                compared = allowed if estimand.dose_response else (estimand.contrast.from_, estimand.contrast.to)
                if factor.otherwise in factor.levels and factor.otherwise in compared:
                    expected = f"contrast must not name a level that also stands for 'does not apply', got {factor.otherwise!r}"
                    raise ValueError(f"{expected}: its trials are not comparable; set no applies_when on {factor.name!r} or {where}")
            else:
                known = sorted({*treatments, *indicators})
                raise ValueError(f"treatment must be one of the factors and indicators {known}, got {estimand.treatment!r}; {where}")
            hypercube = self.design.kind == "latin_hypercube" and not isinstance(allowed[0], str)
            for level in (estimand.contrast.from_, estimand.contrast.to):
                if level not in allowed and not hypercube:
                    raise ValueError(f"contrast must name assigned levels {list(allowed)}, got {level!r}; {where}")
            if estimand.contrast.from_ == estimand.contrast.to:
                raise ValueError(f"contrast must name two levels, got {estimand.contrast.to!r} twice; {where}")
            by = set(treatments) - {estimand.treatment}
            if estimand.by is not None and estimand.by not in by:
                raise ValueError(f"by must be one of {sorted(by)}, got {estimand.by!r}; {where}")

    def factor(self, name: str) -> Factor:
        """The factor of that name (KeyError if there is none); `hardware_class` is one that every design crosses."""
        if name == HARDWARE_CLASS:
            return Factor(name=HARDWARE_CLASS, kind="categorical", assignment="crossed", levels=self.hardware_classes)
        for factor in self.factors:
            if factor.name == name:
                return factor
        raise KeyError(name)

    @property
    def placebo_factor(self) -> Factor | None:
        """The factor that changes nothing: the label of A/A tests."""
        return next((factor for factor in self.factors if factor.assignment == "placebo"), None)

    @property
    def block_factor(self) -> Factor | None:
        """The blocked factor: its levels are the repeated units."""
        return next((factor for factor in self.factors if factor.assignment == "blocked"), None)

    @cached_property
    def content(self) -> dict[str, Any]:
        """The spec as plain JSON types, as it is hashed and registered."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def spec_id(self) -> str:
        """Hash of the spec: any change makes another."""
        return content_id("spec", self.content)

    def with_overrides(
        self,
        *,
        hardware_classes: Sequence[str] | None = None,
        blocks: int | None = None,
        replicates: int | None = None,
        design_seed: int | None = None,
    ) -> Study:
        """The study with fields from a form in place of its own; `None` keeps the study's.

        Parameters
        ----------
        hardware_classes
            Some of the study's classes.
        blocks
            Only the first so many levels of the blocked factor.
        replicates, design_seed
            In place of the design's.

        Raises
        ------
        SpecError
            If a value does not fit the study.
        """
        content = self.model_dump(mode="json", by_alias=True)
        if hardware_classes is not None:
            if unknown := sorted(set(hardware_classes) - set(self.hardware_classes)):
                raise SpecError(
                    f"hardware_classes must be among {list(self.hardware_classes)}", repr(unknown[0]), "choose some of the study's"
                )
            content["hardware_classes"] = [name for name in self.hardware_classes if name in hardware_classes]
            content["limits"] = [limit for limit in content["limits"] if limit["hardware_class"] in (None, *hardware_classes)]
        if blocks is not None:
            factor = self.block_factor
            if factor is None or not 1 <= blocks <= len(factor.levels):
                most = len(factor.levels) if factor else 0
                raise SpecError(f"blocks must be in [1, {most}]", blocks, f"study {self.name!r} has {most} blocks")
            for item in content["factors"]:
                if item["name"] == factor.name:
                    item["levels"] = item["levels"][:blocks]
        if replicates is not None:
            content["design"]["replicates"] = replicates
        if design_seed is not None:
            content["design"]["seed"] = design_seed
        try:
            return Study.model_validate(content)
        except ValidationError as error:
            raise one_line(error, f"study {self.name!r}") from error


def one_line(error: ValidationError, source: str) -> SpecError:
    """The first fault of a spec as one line that names its source and field."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "study"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return SpecError(f"{source}: {field} must be a known field", "an unknown key", f"remove or rename it{more}")
    if first["type"] == "missing":
        return SpecError(f"{source}: {field} must be given", "nothing", f"add it{more}")
    if first["type"] == "value_error":
        return SpecError(f"{source}: {first['ctx']['error']}{more}")
    expected = first["msg"][0].lower() + first["msg"][1:]
    return SpecError(f"{source}: {field}: {expected}", repr(first["input"]), f"fix {field}{more}")
