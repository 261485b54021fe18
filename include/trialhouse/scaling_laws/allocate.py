"""Where the next unit of compute goes: the best split of a budget by a law, how sure that is, and what would make it surer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialhouse.errors import ForecastError
from trialhouse.scaling_laws.cost import FREE, Limit, Powers
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Array, Points
from trialhouse.scaling_laws.intervals import LEVEL
from trialhouse.scaling_laws.next_trials import NextTrial, next_trials
from trialhouse.scaling_laws.optimum import Box, best_places
from trialhouse.scaling_laws.prediction import Prediction, interval, levels_at, predict
from trialhouse.scaling_laws.support import (
    FARTHEST,
    Place,
    Reach,
    in_words,
    ranges,
    reach_of,
    require_farthest,
    require_near,
    require_released,
)

UNKNOWN = 100.0
"""Upper over lower end of an optimum's interval from which on it counts as not identified."""
AT_EDGE = 0.05
"""Share of draws without an optimum of their own from which on it does."""
FEW_DRAWS = 400
"""Draws that are followed where there are more than two factors."""
PF_DAY = 8.64e19
KAPLAN = (1.3e9, 0.73)
"""Best size at one PF-day, and how it grows with compute (Kaplan et al. 2020, table 6)."""
HOFFMANN = (20.0, 0.5)
"""Data per parameter, and how the best size grows with compute (Hoffmann et al. 2022, tables 2 and 3)."""
Estimate = tuple[float, float, float]
"""Value, lower and upper end of its 95% interval."""


@dataclass(frozen=True)
class Recipe:
    """What a rule that others published would do with the same budget.

    Parameters
    ----------
    name
        Of the rule.
    place
        Column -> value.
    excess
        Outcome over that at the optimum, by the law; None where the place is too far from the trials.
    reach
        Of the place.
    """

    name: str
    place: Place
    excess: Estimate | None
    reach: Reach

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        excess = None if self.excess is None else {"ratio": self.excess[0], "interval": list(self.excess[1:])}
        return {"name": self.name, "place": self.place, "excess": excess, "reach": self.reach.to_dict()}


@dataclass(frozen=True)
class Allocation:
    """The best split of a budget.

    Parameters
    ----------
    law, cost, limits, budget
        What was asked.
    spent
        What the best place costs: less than the budget where limits leave no use for it.
    best
        Column -> value with interval.
    outcome
        There.
    data_per_size
        With its 95% and its 80% interval; None for a law without these two.
    exponents
        Column that costs something -> how its best value grows with the budget (d log / d log C), between a tenth of it and all of it,
        without limits; none where that leads too far from the trials.
    frontier
        Budget, best place and outcome from the cheapest trials to the budget, as far as these places are near the trials.
    isoflops
        Per budget the outcome at each value of the first factor, all of the budget spent.
    recipes, next_trials, reach, caveats
        Others' rules; what to run next; how far it is from the trials; what to keep in mind.
    """

    law: Law
    cost: Powers
    limits: tuple[Limit, ...]
    budget: float
    spent: float
    best: Mapping[str, Estimate]
    outcome: Prediction
    data_per_size: tuple[float, tuple[float, float], tuple[float, float]] | None
    exponents: Mapping[str, Estimate]
    frontier: tuple[dict[str, Any], ...]
    isoflops: tuple[dict[str, Any], ...]
    recipes: tuple[Recipe, ...]
    next_trials: tuple[NextTrial, ...]
    reach: Reach
    caveats: tuple[str, ...]

    @property
    def place(self) -> Place:
        """The best place without its interval."""
        return {column: estimate[0] for column, estimate in self.best.items()}

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        split = " and ".join(
            f"{column} {in_words(_round(value))} (95% interval {in_words(_round(low))} to {in_words(_round(high))})"
            for column, (value, low, high) in self.best.items()
        )
        verb = {"within": "comes to", "beyond": "should come to", "far beyond": "might come to"}[self.reach.word]
        return (
            f"With a budget of {in_words(_round(self.budget))} {self.cost.name} the best split is {split}; "
            f"{self.law.sample.outcome_name} {verb} {self.outcome.mean:.4g} ({self.outcome.low:.4g} to {self.outcome.high:.4g})"
        )

    def to_dict(self) -> dict[str, Any]:
        """As `trialhouse allocate --json` prints it."""
        ratio = self.data_per_size
        return {
            "sentence": self.sentence,
            "form": self.law.form.name,
            "outcome": self.law.sample.outcome_name,
            "budget": self.budget,
            "spent": self.spent,
            "cost": self.cost.to_dict(),
            "limits": [{"at_most": limit.at_most, **limit.quantity.to_dict()} for limit in self.limits],
            "interval_level": LEVEL,
            "best": {column: _estimate(estimate) for column, estimate in self.best.items()},
            "best_outcome": self.outcome.to_dict(),
            "data_per_size": None if ratio is None else {"value": ratio[0], "interval": list(ratio[1]), "interval_80": list(ratio[2])},
            "exponents": {column: _estimate(estimate) for column, estimate in self.exponents.items()},
            "frontier": list(self.frontier),
            "isoflops": list(self.isoflops),
            "recipes": [recipe.to_dict() for recipe in self.recipes],
            "next_trials": [trial.to_dict() for trial in self.next_trials],
            "reach": self.reach.to_dict(),
            "caveats": list(self.caveats),
        }


def allocate(
    law: Law,
    budget: float,
    cost: Powers,
    *,
    limits: Sequence[Limit] = (),
    farthest: float = FARTHEST,
    batch: int = 4,
    trial_budget: float | None = None,
) -> Allocation:
    """Split a budget over the factors of a law.

    Parameters
    ----------
    law
        Released, of two factors or more.
    budget, cost
        How much, and what a place costs (`trialhouse.scaling_laws.cost`).
    limits
        Upper limits on factors, or on quantities that are powers of them.
    farthest
        Factors of ten beyond the trials that are not to be exceeded.
    batch, trial_budget
        How many next trials to propose, and what each of them may cost; by default as much as the dearest there was.

    Raises
    ------
    ForecastError
        For a law that is withheld, of a score or of one factor, a budget that buys nothing, and an optimum that lies too far from the
        trials or is not identified.
    """
    require_released(law)
    if not law.form.is_log:
        remedy = "ask the law of the loss: a score that rises as a loss falls has the same best split"
        raise ForecastError("a budget is split by a law of a loss", f"one of the score {law.sample.outcome_name}", remedy)
    columns = list(law.sample.columns.values())
    if len(columns) < 2:
        raise ForecastError("a budget is split over two factors or more", f"a law in {columns[0]} alone", "fit a law of size and data")
    _require_split(law, cost)
    if not (np.isfinite(budget) and budget > 0):
        raise ForecastError("a budget must be a positive number", budget, "correct it")
    _require_costly(law, cost, limits)
    if batch < 0:
        raise ForecastError("--batch must be 0 or more", batch, "correct it")
    if trial_budget is not None and not (np.isfinite(trial_budget) and trial_budget > 0):
        raise ForecastError("--trial-budget must be a positive number", trial_budget, "leave it out for the dearest trial's")
    require_farthest(farthest)
    assert law.drawn is not None
    drawn = law.drawn.coordinates if len(columns) == 2 else law.drawn.coordinates[:FEW_DRAWS]
    laws = np.concatenate([law.coordinates[None], drawn])
    box = _box(law, farthest)
    optima = best_places(law.form, laws, box, cost, budget, limits)
    logs = _in_order(law, box, optima.logs)
    if not np.isfinite(logs[0]).all():
        raise ForecastError("a budget must buy a trial near those there were, within the limits", f"{budget:g} {cost.name}", "raise it")
    place = {column: float(np.exp(value)) for column, value in zip(columns, logs[0], strict=True)}
    reach = require_near(law, place, farthest)
    _require_between(law, box, optima.is_at_edge[0], farthest)
    best = {column: _exp(law, logs[0, k], logs[1:, k]) for k, column in enumerate(columns)}
    spent = float(np.exp(cost.log(_points(law, logs[:1]))[0]))
    free = limits == () or spent > 0.999 * budget
    _require_identified(best, float(optima.is_at_edge.any(axis=1).mean()))
    points = _points(law, logs[:1])
    size_and_data = [columns[list(law.sample.columns).index(role)] for role in ("size", "data") if role in law.sample.columns]
    caveats = [f"the optimum is {reach.sentence}: the interval holds no doubt about the form"] if reach.word != "within" else []
    if not free:
        caveats.append(f"the limits leave no use for {1 - spent / budget:.0%} of the budget")
    return Allocation(
        law=law,
        cost=cost,
        limits=tuple(limits),
        budget=budget,
        spent=spent,
        best=best,
        outcome=predict(law, points)[0],
        data_per_size=_ratio(law, logs) if len(size_and_data) == 2 else None,
        exponents=_exponents(law, laws, box, cost, budget),
        frontier=_frontier(law, laws, box, cost, budget, limits),
        isoflops=_isoflops(law, box, cost, budget) if len(columns) == 2 else (),
        recipes=_recipes(law, cost, budget, points, farthest) if _has_rules(law, cost) else (),
        next_trials=tuple(next_trials(law, _padded(law, logs[1:, 0]), cost, count=batch, at_most=trial_budget, limits=limits)),
        reach=reach,
        caveats=(*caveats, *law.warnings),
    )


def _require_split(law: Law, cost: Powers) -> None:
    """By a product of powers each factor is worth the same at any place: all of a budget goes where it brings most."""
    if law.form.has_best_split:
        return
    exponents = {**dict(law.form.fixed), **law.parameters}
    worth = {
        column: float(exponents[name] / max(cost.exponents.get(role, 0.0), FREE))
        for (role, column), name in zip(law.sample.columns.items(), ("alpha", "beta"), strict=True)
    }
    first, second = sorted(worth, key=lambda column: -worth[column])
    brings = (
        f"its part above E falls as C^-{worth[first]:.2f} if the budget goes into {first} and as C^-{worth[second]:.2f} if into {second}"
    )
    raise ForecastError(
        "a budget is split by a law whose factors limit each other",
        f"one of the form {law.form.name}, by which {brings}, whatever there is of the other",
        f"buy {first} as far as there is any, then {second}; or hold another form against it (--form chinchilla)",
    )


def _require_costly(law: Law, cost: Powers, limits: Sequence[Limit]) -> None:
    """What costs nothing and has no limit has no best amount."""
    for role, column in law.sample.columns.items():
        if not any(bound.is_of(role) for bound in (cost, *(limit.quantity for limit in limits))):
            free = f"a cost that grows as {column}^{cost.exponents.get(role, 0.0):.2g}"
            raise ForecastError(f"{column} must cost something or have a limit", free, f"name another cost, or say --limit '{column}<=...'")


def _box(law: Law, farthest: float) -> Box:
    """As far around the trials as may be asked; data last, since budget and limits leave them."""
    roles = tuple(law.sample.columns)
    order = sorted(range(len(roles)), key=lambda k: roles[k] == "data")
    low, high = ranges(law)
    reach = farthest * np.log(10)
    return Box(tuple(roles[k] for k in order), (low - reach)[order], (high + reach)[order])


def _in_order(law: Law, box: Box, logs: Array) -> Array:
    return logs[:, [box.roles.index(role) for role in law.sample.columns]]


def _points(law: Law, logs: Array) -> Points:
    return {role: logs[:, k] for k, role in enumerate(law.sample.columns)}


def _padded(law: Law, draws: Array) -> Array:
    """Optimum of every draw, missing ones at the median, for as many draws as the law has."""
    assert law.drawn is not None
    full = np.full(len(law.drawn.coordinates), np.nanmedian(draws))
    full[: len(draws)] = np.where(np.isfinite(draws), draws, np.nanmedian(draws))
    return full


def _exp(law: Law, centre: float, draws: Array) -> Estimate:
    low, high = interval(law, float(centre), draws[np.isfinite(draws)])
    return float(np.exp(centre)), float(np.exp(low)), float(np.exp(high))


def _require_identified(best: Mapping[str, Estimate], at_edge: float) -> None:
    remedy = "add trials of other splits (trials of several sizes at the same cost tell most)"
    if at_edge > AT_EDGE:
        raise ForecastError("the best split must be identified", f"{at_edge:.0%} of the draws without one near the trials", remedy)
    for column, (_, low, high) in best.items():
        if high / low > UNKNOWN:
            raise ForecastError("the best split must be identified", f"a 95% interval of {column} from {low:.3g} to {high:.3g}", remedy)


def _require_between(law: Law, box: Box, is_at_edge: NDArray[np.bool_], farthest: float) -> None:
    """Where the search ends is no optimum: that it ends there is our rule, no limit of whoever asks."""
    if is_at_edge.any():
        ends = " and ".join(law.sample.columns[role] for role, is_end in zip(box.roles, is_at_edge, strict=True) if is_end)
        raise ForecastError(
            f"the best split must lie within {10**farthest:.3g} times of the trials",
            f"one that would take {ends} farther",
            "lower the budget, say a --limit, or add trials there",
        )


def _ratio(law: Law, logs: Array) -> tuple[float, tuple[float, float], tuple[float, float]]:
    roles = list(law.sample.columns)
    found = logs[:, roles.index("data")] - logs[:, roles.index("size")]
    draws = found[1:][np.isfinite(found[1:])]
    ends = [tuple(float(np.exp(end)) for end in interval(law, float(found[0]), draws, level)) for level in (LEVEL, 0.8)]
    return float(np.exp(found[0])), (ends[0][0], ends[0][1]), (ends[1][0], ends[1][1])


def _exponents(law: Law, laws: Array, box: Box, cost: Powers, budget: float) -> dict[str, Estimate]:
    upper, lower = (best_places(law.form, laws, box, cost, part * budget) for part in (1.0, 0.1))
    costs = np.array([cost.is_of(role) for role in box.roles])
    if ((upper.is_at_edge | lower.is_at_edge)[0] & costs).any():
        return {}
    slopes = _in_order(law, box, upper.logs - lower.logs) / np.log(10)
    found = {}
    for k, (role, column) in enumerate(law.sample.columns.items()):
        draws = slopes[1:, k]
        if np.isfinite(slopes[0, k]) and cost.is_of(role):
            found[column] = (float(slopes[0, k]), *interval(law, float(slopes[0, k]), draws[np.isfinite(draws)]))
    return found


def _frontier(law: Law, laws: Array, box: Box, cost: Powers, budget: float, limits: Sequence[Limit]) -> tuple[dict[str, Any], ...]:
    first = min(float(np.exp(cost.log(law.sample.points).min())), budget / 10)
    rows = []
    for part in np.geomspace(first, budget, 7):
        optima = best_places(law.form, laws, box, cost, float(part), limits)
        logs = _in_order(law, box, optima.logs)
        if not np.isfinite(logs[0]).all() or optima.is_at_edge[0].any():
            continue
        best = {column: _estimate(_exp(law, logs[0, k], logs[1:, k])) for k, column in enumerate(law.sample.columns.values())}
        rows.append({"budget": float(part), "best": best, "outcome": predict(law, _points(law, logs[:1]))[0].to_dict()})
    return tuple(rows)


def _isoflops(law: Law, box: Box, cost: Powers, budget: float) -> tuple[dict[str, Any], ...]:
    """Outcome along lines of equal cost, within the box; none where that depends on one factor only."""
    first, last = box.roles
    if not all(cost.is_of(role) for role in box.roles):
        return ()
    names = law.sample.columns
    costs = np.exp(cost.log(law.sample.points))
    found = []
    for part in np.geomspace(np.median(costs), budget, 4):
        own = np.linspace(box.low[0], box.high[0], 61)
        other = (np.log(part) - cost.constant - cost.exponents[first] * own) / cost.exponents[last]
        inside = (other >= box.low[1]) & (other <= box.high[1])
        if not inside.any():
            continue
        points = {first: own[inside], last: other[inside]}
        outcome = law.form.predict(law.coordinates, points)[0]
        curve = {names[first]: np.exp(own[inside]).tolist(), names[last]: np.exp(other[inside]).tolist(), "outcome": outcome.tolist()}
        found.append({"budget": float(part), **curve})
    return tuple(found)


def _has_rules(law: Law, cost: Powers) -> bool:
    """Published rules share a cost out between size and data."""
    return set(law.sample.columns) == {"size", "data"} and cost.is_of("size") and cost.is_of("data")


def _recipes(law: Law, cost: Powers, budget: float, best: Points, farthest: float) -> tuple[Recipe, ...]:
    """Published rules by their absolute numbers (where cost is FLOPs), and by their exponents from the optimum amid the trials."""
    assert law.drawn is not None
    log_c, own = float(np.log(budget)), cost.exponents
    middle = float(np.median(cost.log(law.sample.points)))
    there = best_places(law.form, law.coordinates[None], _box(law, farthest), cost, float(np.exp(middle)))
    anchor = dict(zip(_box(law, farthest).roles, there.logs[0], strict=True))["size"]

    def spending(log_n: float) -> Points:
        return {"size": np.array([log_n]), "data": np.array([(log_c - cost.constant - own["size"] * log_n) / own["data"]])}

    rules: dict[str, Callable[[], float]] = {
        "Kaplan: size ~ C^0.73": lambda: np.log(KAPLAN[0]) + KAPLAN[1] * (log_c - np.log(PF_DAY)),
        "Chinchilla: 20 examples per parameter": lambda: (
            (log_c - cost.constant - own["data"] * np.log(HOFFMANN[0])) / (own["size"] + own["data"])
        ),
        "Kaplan's exponent from the middle of the trials on": lambda: anchor + KAPLAN[1] * (log_c - middle),
        "Chinchilla's exponent from the middle of the trials on": lambda: anchor + HOFFMANN[1] * (log_c - middle),
    }
    if not cost.is_flops:
        rules = {name: rule for name, rule in rules.items() if "from the middle" in name}
    found = []
    for name, rule in rules.items():
        points = spending(float(rule()))
        place = {column: float(np.exp(points[role][0])) for role, column in law.sample.columns.items()}
        reach = reach_of(law, place)
        excess = None
        if reach.together <= farthest:
            both = levels_at(law, {role: np.concatenate([best[role], points[role]]) for role in points})
            low, high = interval(law, float(both.centre[1] - both.centre[0]), both.draws[:, 1] - both.draws[:, 0])
            excess = tuple(float(np.expm1(value)) for value in (both.centre[1] - both.centre[0], low, high))
        found.append(Recipe(name, place, None if excess is None else (excess[0], excess[1], excess[2]), reach))
    return tuple(found)


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate[0], "interval": list(estimate[1:])}


def _round(value: float) -> float:
    return float(f"{value:.3g}")
