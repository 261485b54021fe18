"""The recommended split of a budget and its rivals, as trials that a study can run, and the version of the study that runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trialhouse.auditing.levels import Levels
from trialhouse.errors import ForecastError, WorkloadError
from trialhouse.forecasting import StudyAllocation
from trialhouse.scaling_laws.cost import COUNTED, COUNTED_NAME
from trialhouse.scaling_laws.support import Place
from trialhouse.studies.catalogue import parse_study
from trialhouse.studies.combinations import as_written
from trialhouse.studies.spec import Level, Study
from trialhouse.workloads.registry import is_learner, load_learner

RECOMMENDED = "recommended"


@dataclass(frozen=True)
class Candidate:
    """A split of the budget that can be run.

    Parameters
    ----------
    names
        Who would choose it: `recommended`, a published rule, half or twice the size; several where the nearest trial is the same.
    levels
        Factor -> level.
    place
        Column of the law -> what it will be there.
    cost
        Of one trial, in units of the budget.
    """

    names: tuple[str, ...]
    levels: Mapping[str, Level]
    place: Place
    cost: float

    @property
    def name(self) -> str:
        """In words."""
        return "; ".join(self.names)


def candidates(allocation: StudyAllocation, study: Study) -> tuple[list[Candidate], dict[str, str]]:
    """The recommended split, then its rivals, at the nearest trials that can be run; and why others were left out.

    Raises
    ------
    TrialhouseError
        If no trial is near the recommended split, or none is near any rival.
    """
    if study.recorded is not None or not is_learner(study.workload.name):
        got = "trials that were run elsewhere" if study.recorded is not None else f"workload {study.workload.name!r}"
        raise ForecastError("an audit needs a study whose trials are trained here", got, "leave --run out")
    found = allocation.found
    levels = Levels(study, load_learner(study), list(found.law.sample.columns.values()), allocation.law.subgroup)
    try:
        recommended = _candidate(RECOMMENDED, found.place, allocation, levels)
    except WorkloadError as error:
        wanted = ", ".join(f"{column} {value:.4g}" for column, value in found.place.items())
        raise ForecastError(f"the recommended split ({wanted}) must be a trial that can be run", str(error), "lower the budget") from error
    first, size = next(iter(recommended.place.items()))
    ways = {recipe.name: recipe.place for recipe in found.recipes}
    ways |= {f"{word} the {first}": {**found.place, first: share * size} for word, share in {"half": 0.5, "twice": 2.0}.items()}
    chosen, left_out = [recommended], {}
    for name, place in ways.items():
        try:
            candidate = _candidate(name, place, allocation, levels)
        except WorkloadError as error:
            left_out[name] = str(error)
            continue
        same = next((number for number, other in enumerate(chosen) if other.levels == candidate.levels), None)
        if same is None:
            chosen.append(candidate)
        else:
            chosen[same] = replace(chosen[same], names=(*chosen[same].names, name))
    if len(chosen) < 2:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "all are the recommended one"
        raise ForecastError("a recommended split is audited beside rivals that can be run", f"none ({reasons})", "choose another budget")
    return chosen, left_out


def _candidate(name: str, place: Place, allocation: StudyAllocation, levels: Levels) -> Candidate:
    """The trial nearest to a place; its last factor that costs something spends what the others, in their whole numbers, leave."""
    found = allocation.found
    roles, cost = dict(found.law.sample.columns), found.cost
    counted = COUNTED if allocation.purse.cost is None and cost.name == COUNTED_NAME else allocation.purse.cost
    last = [role for role in roles if cost.is_of(role)][-1]
    chosen: dict[str, Level] = {}
    for role in [*(role for role in roles if role != last), last]:
        factor = levels.moves[roles[role]]
        if role != last:
            chosen[factor.name] = levels.nearest(roles[role], place[roles[role]], chosen)
        elif counted is not None and levels.knows(counted):  # better than the powers of the factors that were fitted to it
            chosen[factor.name] = levels.nearest(counted, found.spent, chosen, factor)
        else:
            there = {**place, **{column: value for column, value in levels.place(chosen).items() if levels.moves[column].name in chosen}}
            others = sum(cost.exponents.get(other, 0.0) * np.log(there[column]) for other, column in roles.items() if other != last)
            target = float(np.exp((np.log(found.spent) - cost.constant - others) / cost.exponents[last]))
            chosen[factor.name] = levels.nearest(roles[role], target, chosen)
    realised = levels.place(chosen)
    if counted is not None and levels.knows(counted):
        return Candidate((name,), chosen, realised, levels.value(counted, chosen))
    price = cost.log({role: np.log(np.array([realised[column]])) for role, column in roles.items()})
    return Candidate((name,), chosen, realised, float(np.exp(price)[0]))


def version_of(study: Study, allocation: StudyAllocation, chosen: Sequence[Candidate]) -> Study:
    """The study with the candidates' points in place of its own; its question is whether the recommended split does better than a rival.

    Raises
    ------
    SpecError
        If the study cannot have these levels.
    """
    points = [dict(candidate.levels) for candidate in chosen]
    content = study.model_dump(mode="json", by_alias=True)
    subgroup = allocation.law.subgroup
    factors = []
    for factor in content["factors"]:
        kind = study.factor(factor["name"])
        if kind.is_label:
            continue
        plain = {key: factor[key] for key in ("name", "kind", "assignment", "scale", "is_whole", "unit", "minimum", "maximum")}
        if kind.name in points[0]:
            levels = list(dict.fromkeys(point[kind.name] for point in points))
            plain |= {"assignment": "crossed", "levels": sorted(levels, key=float)}
        elif kind.assignment == "blocked":
            plain |= {"levels": factor["levels"]}
        else:
            plain |= {"assignment": "fixed", "levels": [as_written(kind, subgroup.get(kind.name, kind.levels[0]))]}
        factors.append(plain)
    treatment = next(name for name in points[0] if points[0][name] != points[1][name])
    contrast = {"from": points[1][treatment], "to": points[0][treatment]}
    outcome = allocation.law.question.outcome
    return parse_study(
        {
            **{key: content[key] for key in ("name", "workload", "hardware_classes", "graph", "gates", "trial_timeout_s")},
            "title": f"Audit of a split of {allocation.purse.budget:.4g} {allocation.found.cost.name}",
            "question": f"Does the split that law {allocation.law.question.name} recommends do better than rivals of the same cost?",
            "factors": factors,
            "design": {"kind": "listed", "seed": study.design.seed, "replicates": study.design.replicates, "points": points},
            "estimands": [{"name": "recommended_split", "treatment": treatment, "contrast": contrast, "outcome": outcome}],
        },
        source=f"audit of {study.name}",
    )
