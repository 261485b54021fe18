"""What a study would do, before anything is spent: what it costs, how balanced it is, and what its interventions hold."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trialhouse.interventions import Intervention, interventions
from trialhouse.landing import LandingZone
from trialhouse.registration import Registration
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.designs import Trial
from trialhouse.studies.spec import Level, Study
from trialhouse.workloads.protocol import Learner, Plan, work_of
from trialhouse.workloads.registry import is_learner, load_learner

JOULES_PER_KWH = 3.6e6
NOTEWORTHY = 0.1
"""Associations that are smaller are not printed."""


@dataclass(frozen=True)
class Cost:
    """What is still to be spent on training; None where it is not known.

    Parameters
    ----------
    trials, landed
        Of the study, and those of them that need not run again.
    training_flops, left_flops
        Of all, and of those that are still to be run; None where the workload does not plan them.
    flops_per_s, rate_from
        Of one worker, and where that is from: `stated`, or so many `landed trials`.
    workers
        Processes at once.
    minutes
        All workers together, longest trial first.
    kwh
        At the stated power.
    """

    trials: int
    landed: int
    training_flops: float | None
    left_flops: float | None
    flops_per_s: float | None
    rate_from: str | None
    workers: int
    minutes: float | None
    kwh: float | None

    def lines(self) -> list[str]:
        """In words."""
        lines = [f"{self.trials - self.landed} of {self.trials} trials are to be run; {self.landed} landed before"]
        if self.training_flops is None:
            return [*lines, "training FLOPs, minutes and energy: not known, this workload does not plan them"]
        lines.append(f"training: {self.training_flops:.3g} FLOPs, {self.left_flops:.3g} of them still to come")
        if self.minutes is None:
            lines.append("minutes: not known, no trial landed to measure by; state --flops-per-s")
        else:
            lines.append(f"minutes: {self.minutes:.1f} on {self.workers} workers at {self.flops_per_s:.3g} FLOP/s each ({self.rate_from})")
        lines.append("energy: not known, state --watts" if self.kwh is None else f"energy: {self.kwh:.3g} kWh at the stated power")
        return lines


@dataclass(frozen=True)
class Association:
    """How far two factors go together: rank correlation of numbers, Cramer's V where one is a category."""

    first: str
    second: str
    measure: str
    value: float
    half: str | None = None


@dataclass(frozen=True)
class Preview:
    """All of it; `levels` counts trials by factor and level."""

    cost: Cost
    levels: Mapping[str, Mapping[str, int]]
    associations: tuple[Association, ...]
    interventions: tuple[Intervention, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        told = [{**asdict(item), "sentence": item.sentence} for item in self.interventions]
        return {
            "cost": asdict(self.cost),
            "levels": self.levels,
            "associations": list(map(asdict, self.associations)),
            "interventions": told,
        }

    def lines(self) -> list[str]:
        """In words."""
        told = [f"{name}: " + ", ".join(f"{level} ({count})" for level, count in counts.items()) for name, counts in self.levels.items()]
        apart = [item for item in self.associations if abs(item.value) >= NOTEWORTHY]
        together = [
            f"{item.first} and {item.second}{f' in the {item.half} half' if item.half else ''}: {item.measure} {item.value:.2f}"
            for item in sorted(apart, key=lambda item: -abs(item.value))
        ]
        together = together or [f"no two factors go together (all rank correlations and Cramer's V below {NOTEWORTHY})"]
        held = [f"{item.estimand}: {item.sentence}" for item in self.interventions]
        return [
            "cost",
            *self.cost.lines(),
            "",
            "trials by level",
            *told,
            "",
            "balance",
            *together,
            *(["", "interventions", *held] if held else []),
        ]


def preview(
    planned: Registration, *, flops_per_s: float | None = None, watts: float | None = None, settings: Settings | None = None
) -> Preview:
    """What a planned study would do.

    Parameters
    ----------
    flops_per_s
        What one worker manages; default: as the trials that landed did.
    watts
        Power of the machine while it trains; energy is not known without.
    """
    settings = settings or get_settings()
    study = planned.study
    trials = [trial for trial in planned.trials if not trial.is_sentinel]
    learner = load_learner(study) if study.recorded is None and is_learner(study.workload.name) else None
    return Preview(
        cost=_cost(planned, learner, flops_per_s, watts, settings),
        levels=_levels(study, trials),
        associations=tuple(_associations(study, trials)),
        interventions=tuple(interventions(study, trials, learner)) if learner else (),
    )


def _cost(planned: Registration, learner: Learner | None, flops_per_s: float | None, watts: float | None, settings: Settings) -> Cost:
    landing = LandingZone(settings.landing_dir)
    there = landing.unit_ids("attempts")
    left = [trial for trial in planned.trials if trial.trial_id not in there]
    flops, left_flops, rate_from, minutes = None, None, None, None
    if learner is not None:
        prices = _prices(learner, left)
        flops, left_flops = float(sum(_prices(learner, planned.trials))), float(sum(prices))
        rate_from = "stated" if flops_per_s is not None else None
        if flops_per_s is None:
            flops_per_s, count = _rate(landing, {trial.trial_id for trial in planned.trials})
            rate_from = f"{count} landed trials" if count else None
        if flops_per_s:
            minutes = _makespan(prices, settings.trial_workers) / flops_per_s / 60
    kwh = None if minutes is None or watts is None else watts * minutes * 60 / JOULES_PER_KWH
    landed = len(planned.trials) - len(left)
    return Cost(len(planned.trials), landed, flops, left_flops, flops_per_s, rate_from, settings.trial_workers, minutes, kwh)


def _prices(learner: Learner, trials: Sequence[Trial]) -> list[float]:
    """Arithmetic of each trial, or of a trunk with its branches, the largest first."""
    units: dict[str, list[Plan]] = {}
    for trial in trials:
        plan = learner.plan(trial.factors)
        units.setdefault(plan.trunk_id or trial.trial_id, []).append(plan)
    return sorted(map(work_of, units.values()), reverse=True)


def _makespan(prices: Sequence[float], workers: int) -> float:
    """Work of the busiest worker where each takes the longest trial that is left."""
    loads = [0.0] * workers
    for price in prices:
        loads[loads.index(min(loads))] += price
    return max(loads)


def _rate(landing: LandingZone, trial_ids: set[str]) -> tuple[float | None, int]:
    """Operations per second of training in trials that landed: those of this study, or else all."""
    import duckdb

    files = [str(path) for path in landing.files("outcomes")]
    if not files:
        return None, 0
    query = """
        PIVOT (SELECT unit_id, attempt, outcome, value FROM read_parquet($files) WHERE outcome IN ('training_s', 'training_flops'))
        ON outcome IN ('training_s', 'training_flops') USING any_value(value)
    """
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        rows = connection.execute(query, {"files": files}).fetchall()
    known = [(unit_id, seconds, flops) for unit_id, _, seconds, flops in rows if seconds and flops]
    chosen = [row for row in known if row[0] in trial_ids] or known
    seconds = sum(row[1] for row in chosen)
    return (sum(row[2] for row in chosen) / seconds, len(chosen)) if seconds else (None, 0)


def _levels(study: Study, trials: Sequence[Trial]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for factor in study.factors:
        if factor.assignment == "fixed":
            continue
        counts = Counter(_level(trial, factor.name) for trial in trials)
        if study.is_range(factor):
            numbers = sorted(float(level) for level in counts.elements())
            found[factor.name] = {f"{numbers[0]:g} to {numbers[-1]:g}": len(numbers)}
        else:
            order = [*factor.levels, *([] if factor.otherwise is None else [factor.otherwise])]
            found[factor.name] = {str(level): counts[level] for level in dict.fromkeys(order) if counts[level]}
    return found


def _associations(study: Study, trials: Sequence[Trial]) -> list[Association]:
    twin = study.twin_factor
    halves: dict[str | None, list[Trial]] = {None: list(trials)}
    if twin is not None:
        halves = {str(label): [trial for trial in trials if trial.labels.get(twin.name) == label] for label in twin.levels}
    factors = [factor for factor in study.factors if factor.assignment not in ("fixed", "twin")]
    found = []
    for half, mine in halves.items():
        for first, second in itertools.combinations(factors, 2):
            columns = [[_level(trial, factor.name) for trial in mine] for factor in (first, second)]
            if any(len(set(column)) < 2 for column in columns):
                continue
            is_category = "categorical" in (first.kind, second.kind)
            value = _cramers_v(*columns) if is_category else _rank_correlation(*columns)
            found.append(Association(first.name, second.name, "Cramer's V" if is_category else "rank correlation", round(value, 4), half))
    return found


def _level(trial: Trial, name: str) -> Level:
    return trial.factors[name] if name in trial.factors else trial.labels[name]


def _rank_correlation(first: Sequence[Level], second: Sequence[Level]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr([float(level) for level in first], [float(level) for level in second]).statistic)


def _cramers_v(first: Sequence[Level], second: Sequence[Level]) -> float:
    import pandas as pd
    from scipy.stats.contingency import association

    return float(association(pd.crosstab(pd.Series(map(str, first)), pd.Series(map(str, second))).to_numpy(), method="cramer"))
