"""A study, as its YAML says it: a frozen model, checked as a whole before anything runs.

The field descriptions below are the reference of the format; `trialhouse studies --schema` prints them as JSON schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from trialhouse.errors import SpecError
from trialhouse.identity import content_id
from trialhouse.studies.design import Design
from trialhouse.studies.estimands import Estimand, Gates, Indicator, Limit
from trialhouse.studies.factors import Factor, Level, Name, SpecModel
from trialhouse.studies.laws import LawQuestion
from trialhouse.studies.overrides import changed
from trialhouse.studies.recorded import Recorded
from trialhouse.studies.responses import ResponseQuestion
from trialhouse.studies.switches import CURVES, NEVER, SWITCHED_AT

__all__ = [
    "HARDWARE_CLASS",
    "KEY_COLUMNS",
    "RECORDED",
    "Design",
    "Estimand",
    "Factor",
    "Gates",
    "Indicator",
    "Level",
    "Limit",
    "Study",
    "Workload",
    "one_line",
]

KEY_COLUMNS = frozenset({"study_id", "trial_id", "weights_id", "arm", "block", "replicate", "position", "status", "is_measured"})
"""Columns that every study's analysis view has, whatever its factors."""


HARDWARE_CLASS = "hardware_class"
RECORDED = "recorded"
"""The workload of trials that were run elsewhere."""


class Workload(SpecModel):
    """What a trial trains and measures."""

    name: Name
    """A registered workload (entry point group `trialhouse.workloads`), or `recorded` for trials that were run elsewhere."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The workload's own settings, the same for every trial; the workload checks them (for `recorded`: notes)."""


class Study(SpecModel):
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
    laws: tuple[LawQuestion, ...] = ()
    """Scaling laws that are fitted to the trials, registered like the estimands."""
    responses: tuple[ResponseQuestion, ...] = Field((), exclude_if=lambda value: not value)
    """Outcomes that are modelled by all assigned factors together, with their interactions, registered like the estimands."""
    limits: tuple[Limit, ...] = ()
    """What the report's choice of a configuration per hardware class must keep (it never chooses one that ran out of memory)."""
    recipes: tuple[Name, ...] = ()
    """Recipes to estimate with, beside those that go with the assignment: the plain contrast, least squares and double machine
    learning, the latter with two families of nuisance learners where the treatment was not assigned."""
    nuisances: dict[Name, dict[str, Level]] = Field(default_factory=dict)
    """Settings of nuisance learners by family, where they are to differ from the defaults: `boosting: {max_iter: 200}`."""
    refuters: tuple[Name, ...] = (
        *("random_common_cause", "permuted_placebo", "data_subset", "bootstrap", "dummy_outcome"),
        *("left_out_columns", "sensitivity"),
    )
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

    @field_validator("factors", "indicators", "estimands", "laws", "responses")
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
        self._check_points()
        self._check_indicators()
        self._check_estimands()
        self._check_laws()
        self._check_limits()
        self._check_sentinels()
        return self

    def _check_workload(self) -> None:
        known = sorted(entry.name for entry in entry_points(group="trialhouse.workloads"))
        if self.workload.name not in known:
            raise ValueError(f"workload must be one of {known}, got {self.workload.name!r}; fix workload.name")
        is_drawn = any(factor.assignment in ("confounded", "twin") for factor in self.factors)
        if self.design.kind != "observational":
            if is_drawn:
                raise ValueError(f"a {self.design.kind} design has no confounded or twin factor, got one; set design.kind: observational")
            return
        confounded = [factor for factor in self.factors if factor.assignment == "confounded"]
        if len(confounded) < 2:
            expected = "an observational study has at least two confounded factors, or trials that were run elsewhere ('recorded')"
            raise ValueError(f"{expected}, got {len(confounded)} confounded; fix factors")
        if self.design.points is None:
            raise ValueError("an observational design needs points, got None; fix design.points")
        if crossed := [factor.name for factor in self.factors if factor.assignment == "crossed"]:
            raise ValueError(f"an observational design draws its factors, got the crossed factor {crossed[0]!r}; choose another assignment")

    def _check_recorded(self, recorded: Recorded) -> None:
        factors = {factor.name for factor in self.factors}
        if self.workload.name != RECORDED:
            raise ValueError(f"the workload of a recorded study must be {RECORDED!r}, got {self.workload.name!r}; fix workload.name")
        if self.design.kind not in ("full_factorial", "observational"):
            expected = "design.kind of a recorded study must be 'full_factorial' or 'observational'"
            raise ValueError(f"{expected}, got {self.design.kind!r}; fix design.kind")
        drawn = [factor.name for factor in self.factors if factor.assignment in ("confounded", "twin")]
        if drawn or self.design.points is not None:
            got = f"factor {drawn[0]!r}" if drawn else f"points {self.design.points}"
            raise ValueError(f"nothing is drawn in a recorded study, got {got}; remove it or choose another assignment")
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
        if sum(factor.assignment == "twin" for factor in self.factors) > 1:
            raise ValueError("at most one factor can be a twin, got several; remove the others")
        is_ladder = self.design.kind == "one_factor_at_a_time"
        for factor in self.factors:
            where = f"fix factor {factor.name!r}"
            if (is_ladder and factor.assignment == "crossed") != (factor.reference is not None):
                verb = "needs" if is_ladder else "takes no"
                raise ValueError(f"a crossed factor of a {self.design.kind} design {verb} reference, got {factor.reference}; {where}")
            others = [*factor.balanced_within, *factor.constant_over, *([factor.applies_when.factor] if factor.applies_when else [])]
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

    def _check_points(self) -> None:
        if not isinstance(self.design.points, tuple):
            return
        crossed = {factor.name: factor for factor in self.factors if factor.assignment == "crossed"}
        for number, point in enumerate(self.design.points):
            where = f"fix design.points.{number}"
            if unknown := [name for name in point if name not in crossed]:
                raise ValueError(f"a point must set crossed factors {sorted(crossed)}, got {unknown[0]!r}; {where}")
            for name, factor in crossed.items():
                if name not in point:
                    raise ValueError(f"a point must set every crossed factor, got no level of {name!r}; {where}")
                if point[name] not in factor.levels:
                    raise ValueError(f"a point must have levels of {name} {list(factor.levels)}, got {point[name]!r}; {where}")
            if point in self.design.points[:number]:
                raise ValueError(f"points must be distinct, got {point} twice; {where}")
        for name, factor in crossed.items():
            if unused := [level for level in factor.levels if all(point[name] != level for point in self.design.points)]:
                raise ValueError(f"every level of {name} must be in a point, got none with {unused[0]!r}; fix factor {name!r}")

    def _check_sentinels(self) -> None:
        if self.design.sentinels is None:
            return
        where = "fix design.sentinels"
        levels = self.design.sentinels.factors
        free = [factor for factor in self.factors if factor.assignment != "fixed" and not factor.is_label]
        if unknown := sorted(set(levels) - {factor.name for factor in free}):
            raise ValueError(f"sentinels must set factors of the design, got {unknown[0]!r}; {where}")
        for factor in free:
            allowed = (*factor.levels, *([factor.otherwise] if factor.otherwise is not None else []))
            if factor.name not in levels:
                raise ValueError(f"sentinels must set every factor, got no level of {factor.name!r}; {where}")
            if levels[factor.name] not in allowed and not self.is_range(factor):
                raise ValueError(f"sentinels must have assigned levels {list(allowed)}, got {levels[factor.name]!r}; {where}")

    def _check_indicators(self) -> None:
        for indicator in self.indicators:
            if any(factor.name == indicator.name for factor in self.factors):
                raise ValueError(f"an indicator needs a name of its own, got the factor {indicator.name!r}; rename it")

    def _check_laws(self) -> None:
        by = {factor.name for factor in self.factors if factor.assignment != "fixed"} | {HARDWARE_CLASS}
        for law in self.laws:
            if unknown := [name for name in law.by if name not in by]:
                raise ValueError(f"by must name factors {sorted(by)}, got {unknown[0]!r}; fix law {law.name!r}")
        for response in self.responses:
            where = f"fix response {response.name!r}"
            if unknown := [name for name in response.by if name not in by]:
                raise ValueError(f"by must name factors {sorted(by)}, got {unknown[0]!r}; {where}")
            if len(self.hardware_classes) > 1 and HARDWARE_CLASS not in response.by:
                raise ValueError(f"effects are those within a class: by must name {HARDWARE_CLASS}, got {list(response.by)}; {where}")
            if response.name in {law.name for law in self.laws}:
                raise ValueError(f"a response needs a name of its own, got that of a law; {where}")

    def _check_limits(self) -> None:
        for limit in self.limits:
            if limit.hardware_class not in (None, *self.hardware_classes):
                known = list(self.hardware_classes)
                raise ValueError(f"hardware_class of a limit must be one of {known}, got {limit.hardware_class!r}; fix limits")

    def _check_estimands(self) -> None:
        factors = (*self.factors, self.factor(HARDWARE_CLASS))
        treatments = {factor.name: factor for factor in factors if factor.assignment != "fixed" and not factor.is_label}
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
                compared = allowed if estimand.dose_response or estimand.per is not None else estimand.compared
                if factor.otherwise in factor.levels and factor.otherwise in compared:
                    expected = f"contrast must not name a level that also stands for 'does not apply', got {factor.otherwise!r}"
                    raise ValueError(f"{expected}: its trials are not comparable; set no applies_when on {factor.name!r} or {where}")
            else:
                known = sorted({*treatments, *indicators})
                raise ValueError(f"treatment must be one of the factors and indicators {known}, got {estimand.treatment!r}; {where}")
            if estimand.per is not None:
                self._check_per(estimand)
            is_range = estimand.treatment in treatments and self.is_range(treatments[estimand.treatment])
            for level in () if estimand.contrast is None else estimand.compared:
                if level not in allowed and not is_range:
                    raise ValueError(f"contrast must name assigned levels {list(allowed)}, got {level!r}; {where}")
            if len(set(estimand.compared)) < 2:
                raise ValueError(f"contrast must name two levels, got {estimand.compared[1]!r} twice; {where}")
            by = set(treatments) - {estimand.treatment} | {factor.name for factor in factors if factor.assignment == "twin"}
            # where a ladder's factor is not at its reference, the treatment is at its own; nor do listed points cross them
            if self.design.kind in ("one_factor_at_a_time", "listed"):
                by -= {factor.name for factor in self.factors if factor.assignment == "crossed"}
            if estimand.by is not None and estimand.by not in by:
                raise ValueError(f"by must be one of {sorted(by)}, got {estimand.by!r}; {where}")
            if estimand.over_training:
                self._check_over_training(estimand)

    def _check_per(self, estimand: Estimand) -> None:
        where = f"fix estimand {estimand.name!r}"
        factor = next((factor for factor in self.factors if factor.name == estimand.treatment), None)
        if factor is None or factor.kind == "categorical":
            raise ValueError(f"an effect per {estimand.per} needs a factor of numbers, got {estimand.treatment!r}; {where}")
        if factor.otherwise is not None:
            expected = f"an effect per {estimand.per} needs a treatment that every trial has"
            raise ValueError(f"{expected}, got {estimand.treatment!r}, which applies to some only; {where}")
        if estimand.per == "doubling" and not min(map(float, factor.levels)) > 0:
            raise ValueError(
                f"a treatment must be positive for effects per doubling, got {estimand.treatment} {min(factor.levels)}; {where}"
            )

    def _check_over_training(self, estimand: Estimand) -> None:
        where = f"fix estimand {estimand.name!r}"
        indicator = next((item for item in self.indicators if item.name == estimand.treatment), None)
        if (indicator.column if indicator else estimand.treatment) != SWITCHED_AT:
            expected = f"over_training needs the treatment {SWITCHED_AT!r} or an indicator of it"
            raise ValueError(f"{expected}, got {estimand.treatment!r}; {where}")
        factor = self.factor(SWITCHED_AT)
        if self.is_range(factor) or self.recorded is not None:
            got = "a recorded study" if self.recorded is not None else "a range"
            raise ValueError(f"over_training needs trials that run here and levels of {SWITCHED_AT}, got {got}; {where}")
        control = [level for level in factor.levels if (indicator.holds(level) if indicator else level) == estimand.compared[0]]
        if [float(level) for level in control] != [NEVER]:
            expected = f"with over_training, contrast.from must stand for the trials that never switch ({SWITCHED_AT} {NEVER:g})"
            raise ValueError(f"{expected}, got {SWITCHED_AT} in {control}; {where}")
        if estimand.outcome not in CURVES:
            raise ValueError(f"the outcome over training must be one of {list(CURVES)}, got {estimand.outcome!r}; {where}")
        if estimand.adjustment != "auto" or estimand.graph is not None:
            raise ValueError(f"over_training takes neither adjustment nor a graph of its own, got one; {where}")

    def factor(self, name: str) -> Factor:
        """The factor of that name (KeyError if there is none); `hardware_class` is one that every design crosses."""
        if name == HARDWARE_CLASS:
            return Factor(name=HARDWARE_CLASS, kind="categorical", assignment="crossed", levels=self.hardware_classes)
        for factor in self.factors:
            if factor.name == name:
                return factor
        raise KeyError(name)

    def is_range(self, factor: Factor) -> bool:
        """Whether the design draws the factor from all values between two ends: then it is a quantity, not a choice of arms."""
        is_drawn = factor.assignment == "confounded" or (self.design.kind == "latin_hypercube" and factor.assignment == "crossed")
        return factor.kind == "continuous" and is_drawn

    @property
    def is_observational(self) -> bool:
        """Whether nobody assigned its treatments, or they were confounded on purpose."""
        return self.design.kind == "observational"

    @property
    def twin_factor(self) -> Factor | None:
        """The label that tells confounded trials from their randomised twins."""
        return next((factor for factor in self.factors if factor.assignment == "twin"), None)

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
        changes: Sequence[str] | None = None,
    ) -> Study:
        """The study with fields from a form in place of its own; `None`, or what the study says itself, changes nothing.

        Parameters
        ----------
        hardware_classes
            Some of the study's classes.
        blocks
            Only the first so many levels of the blocked factor.
        replicates, design_seed
            In place of the design's.
        changes
            Texts such as `n_train=2000,5000` (`trialhouse.studies.overrides`), made before the others.

        Raises
        ------
        SpecError
            If a value does not fit the study.
        """
        if changes:
            try:
                study = Study.model_validate(changed(self.model_dump(mode="json", by_alias=True), changes))
            except ValidationError as error:
                raise one_line(error, f"study {self.name!r} with {', '.join(changes)}") from error
            # a form always has these fields: those that were left as they are do not undo a change
            own_blocks, own_replicates = len(self.block_factor.levels) if self.block_factor else None, self.design.replicates
            return study.with_overrides(
                hardware_classes=hardware_classes,
                blocks=None if blocks == own_blocks else blocks,
                replicates=None if replicates == own_replicates else replicates,
                design_seed=design_seed,
            )
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
