"""What setting a treatment holds, and what gives way: derived from the workload's own plans, and checked against what a study says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trialhouse.errors import SpecError
from trialhouse.studies.designs import Trial
from trialhouse.studies.spec import Estimand, Factor, Level, Study
from trialhouse.workloads.protocol import Learner, Plan

TOLERANCE = 0.05
"""How far a quantity may move and still count as held: what is solved for comes in whole numbers."""


@dataclass(frozen=True)
class Intervention:
    """do(treatment) of one estimand.

    Parameters
    ----------
    estimand, treatment, control, level
        Which contrast.
    held
        Quantities that stay the same within `TOLERANCE` in every trial, other factors included.
    gives_way
        Quantity -> its smallest and largest ratio over the trials, the level's value to the control's.
    solved
        Those of them that are solved for.
    is_planned
        Whether the workload plans quantities at all; where not, only the other factors are known to be held.
    """

    estimand: str
    treatment: str
    control: Level
    level: Level
    held: tuple[str, ...]
    gives_way: Mapping[str, tuple[float, float]]
    solved: tuple[str, ...]
    is_planned: bool = True

    @property
    def sentence(self) -> str:
        """In words: `do(width = 32) instead of 8 holds depth, n_train; gives way: parameters (x 15.1), solved for: steps (x 0.08)`."""
        ways = {name: _times(*ratio) for name, ratio in self.gives_way.items()}
        follows = ", ".join(f"{name} ({ratio})" for name, ratio in ways.items() if name not in self.solved)
        solved = ", ".join(f"{name} ({ways[name]})" for name in self.solved)
        parts = [f"holds {', '.join(self.held)}", f"gives way: {follows}" if follows else "", f"solved for: {solved}" if solved else ""]
        parts.append("" if self.is_planned else "what follows from it this workload does not say")
        return f"do({self.treatment} = {self.level}) instead of {self.control} " + "; ".join(part for part in parts if part)


def interventions(study: Study, trials: Sequence[Trial], learner: Learner) -> list[Intervention]:
    """What each estimand's contrast holds and changes, over all trials of the study.

    Raises
    ------
    SpecError
        If an estimand's `hold` or `solve` is not what happens.
    WorkloadError
        If a trial cannot be had as it was asked for.
    """
    found = []
    for estimand in study.estimands:
        factor = _treatment(study, estimand)
        if factor is None:
            _check_factors(study, estimand)
            continue
        control, level = _set_to(estimand, factor)
        pairs = [
            (learner.plan({**cell, factor.name: control}), learner.plan({**cell, factor.name: level}))
            for cell in _distinct(trials, factor.name)
        ]
        intervention = _compared(study, estimand, factor, pairs)
        _check(estimand, intervention)
        found.append(intervention)
    return found


def check_held_factors(study: Study) -> None:
    """Refuse `hold` and `solve` of a study whose workload plans no quantities: there only other factors are held.

    Raises
    ------
    SpecError
        For the first that is not.
    """
    for estimand in study.estimands:
        _check_factors(study, estimand)


def _treatment(study: Study, estimand: Estimand) -> Factor | None:
    """The factor that is set, where it is set to two levels (an indicator mixes several)."""
    return next((factor for factor in study.factors if factor.name == estimand.treatment), None)


def _set_to(estimand: Estimand, factor: Factor) -> tuple[Level, Level]:
    """The levels between which the treatment is moved: the lowest and the highest for an effect per so much of it."""
    return estimand.compared if estimand.per is None else (min(factor.levels, key=float), max(factor.levels, key=float))


def _distinct(trials: Sequence[Trial], treatment: str) -> list[dict[str, Level]]:
    """The combinations of all other factors, without the seed's repetitions (no quantity depends on chance)."""
    rest = [{name: level for name, level in trial.factors.items() if name != treatment} for trial in trials]
    unique = {tuple((name, level) for name, level in cell.items() if name != "seed"): cell for cell in rest}
    return list(unique.values())


def _compared(study: Study, estimand: Estimand, factor: Factor, pairs: Sequence[tuple[Plan, Plan]]) -> Intervention:
    ratios: dict[str, tuple[float, float]] = {}
    for before, after in pairs:
        for name, value in after.quantities.items():
            # what only one of two networks has is no quantity of the contrast
            if name not in before.quantities:
                continue
            ratio = _ratio(float(value), float(before.quantities[name]))
            low, high = ratios.get(name, (ratio, ratio))
            ratios[name] = min(low, ratio), max(high, ratio)
    ratios.pop(factor.name, None)
    others = [other.name for other in study.factors if other.name != factor.name and other.name not in ratios and not other.is_label]
    is_held = {name: low >= 1 - TOLERANCE and high <= 1 + TOLERANCE for name, (low, high) in ratios.items()}
    solved = {name for _, after in pairs for name in after.solved if not is_held.get(name, True)}
    return Intervention(
        estimand=estimand.name,
        treatment=factor.name,
        control=_set_to(estimand, factor)[0],
        level=_set_to(estimand, factor)[1],
        held=(*(name for name, held in is_held.items() if held), *others),
        gives_way={name: ratios[name] for name, held in is_held.items() if not held},
        solved=tuple(name for name in ratios if name in solved),
        is_planned=any(after.quantities for _, after in pairs),
    )


def _ratio(value: float, before: float) -> float:
    """How many times as much; what is nothing in both stays the same."""
    return value / before if before else 1.0 if value == before else math.inf


def _check(estimand: Estimand, intervention: Intervention) -> None:
    where = f"fix estimand {estimand.name!r}"
    change = f"while {intervention.treatment} goes from {intervention.control} to {intervention.level}"
    known = (*intervention.held, *intervention.gives_way)
    for name in estimand.hold:
        if name not in known:
            raise SpecError(f"hold must name quantities or other factors: {sorted(known)}", repr(name), where)
        if name in intervention.gives_way:
            remedy = f"make {name} a factor or a setting in place of what determines it, or {where}"
            raise SpecError(f"{name} must stay the same {change}", _times(*intervention.gives_way[name]), remedy)
    if estimand.solve is not None and estimand.solve not in intervention.solved:
        expected = f"solve must be what the workload solves for {change}: {list(intervention.solved)}"
        raise SpecError(expected, repr(estimand.solve), f"set parameters (width is solved for) or training_flops (steps are), or {where}")


def _check_factors(study: Study, estimand: Estimand) -> None:
    where = f"fix estimand {estimand.name!r}"
    others = sorted(factor.name for factor in study.factors if not factor.is_label and factor.name != estimand.treatment)
    for name in estimand.hold:
        if name not in others:
            raise SpecError(f"hold must name other factors {others} where nothing is known of the workload's quantities", repr(name), where)
    if estimand.solve is not None:
        raise SpecError("solve must be left out where the workload solves for nothing", repr(estimand.solve), where)


def _times(low: float, high: float) -> str:
    return f"x {low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"x {low:.3g} to {high:.3g}"
