"""One law fitted to one table, with what is known about it and what should keep one from believing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.errors import LawError
from trialhouse.scaling_laws import diagnostics
from trialhouse.scaling_laws.choice import Choice, candidates_for, choose
from trialhouse.scaling_laws.forms import Array, Form, Points
from trialhouse.scaling_laws.intervals import LEVEL, Draws, bootstrap, profile_intervals
from trialhouse.scaling_laws.regimes import POWERS, decay, decay_of, regimes
from trialhouse.scaling_laws.registry import form_named
from trialhouse.scaling_laws.sample import LawSample, make_sample
from trialhouse.scaling_laws.search import MeanStop, mean_stop, optimum, ranked_starts

DELTA = 1e-3
"""Where the Huber loss turns from square to straight, as in Hoffmann et al. (2022)."""
STOPPED_EARLY = 1.01
"""Loss at the stop of an averaged fit, over that at the optimum, from which on it is worth a warning."""


@dataclass(frozen=True)
class Law:
    """A fitted law.

    Parameters
    ----------
    form, sample
        What was fitted to which points.
    coordinates, objective, delta
        Where the summed Huber loss is lowest; length p.
    ends
        95% intervals of the coordinates (p x 2), infinite where a side has no end.
    drawn
        The bootstrap.
    not_identified
        Parameter -> why not.
    warnings, reasons
        What to keep in mind; what withholds the law, if anything.
    search
        How the optimum was found.
    choice
        How the form was chosen, where it was.
    regimes
        What limits the outcome, and whether it falls as a power law (`trialhouse.scaling_laws.regimes`).
    """

    form: Form
    sample: LawSample
    coordinates: Array
    objective: float
    delta: float
    ends: Array
    drawn: Draws | None
    not_identified: Mapping[str, str]
    warnings: tuple[str, ...]
    reasons: tuple[str, ...]
    search: Mapping[str, Any] = field(default_factory=dict)
    choice: Choice | None = None
    regimes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """`released` or `withheld`."""
        return "withheld" if self.reasons else "released"

    @property
    def about(self) -> set[str]:
        """Columns: the factors, what they move, and the weights."""
        return {*self.sample.columns.values(), self.sample.outcome_name, *filter(None, [self.sample.weight_name])}

    @property
    def least_places(self) -> int:
        """Fewest values of its factors, or combinations of them, that determine its curve."""
        return len(self.form.parameters)

    @property
    def supposed(self) -> str:
        """What every forecast of it takes for true."""
        return f"the law's form ({self.form.name}) holds where there are no trials"

    @property
    def parameters(self) -> dict[str, float]:
        """Values by name; empty where no curve was drawn."""
        if not len(self.coordinates):
            return {}
        return dict(zip(self.form.names, map(float, self.form.natural(self.coordinates)), strict=True))

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95% intervals by name."""
        if not len(self.coordinates):
            return {}
        with np.errstate(over="ignore"):
            low, high = (np.where(np.isinf(self.ends[:, k]), self.ends[:, k], self.form.natural(self.ends[:, k])) for k in (0, 1))
        floors = [0.0 if parameter.link != "identity" else -np.inf for parameter in self.form.parameters]
        tops = [1.0 if parameter.link == "logit" else np.inf for parameter in self.form.parameters]
        return {
            name: (float(max(a, floor)), float(min(b, top)))
            for name, a, b, floor, top in zip(self.form.names, low, high, floors, tops, strict=True)
        }

    @property
    def standard_errors(self) -> dict[str, float]:
        """Bootstrap standard errors of the values by name: those of `covariance`, by the delta method.

        Not the scatter of the drawn values themselves: one draw in which an exponent went astray makes that of a constant
        ten million times its value.
        """
        if self.drawn is None:
            return {}
        errors = np.sqrt(self.covariance.diagonal())
        slopes = [parameter.slope(at) for parameter, at in zip(self.form.parameters, self.coordinates, strict=True)]
        return {name: abs(slope) * float(error) for name, slope, error in zip(self.form.names, slopes, errors, strict=True)}

    @property
    def covariance(self) -> Array:
        """Of the coordinates (p x p): logarithms of what is positive."""
        return np.atleast_2d(np.cov(self.drawn.coordinates.T)) if self.drawn is not None else np.empty((0, 0))

    def refitted(self, part: LawSample, *, draws: int, seed: int = 0) -> Law:
        """The law that a part of the sample gives, as `plain_law`; a form that was chosen is chosen again."""
        forms = [self.form] if self.choice is None else [one.form for one in self.choice.candidates]
        form = forms[0] if len(forms) == 1 else choose(forms, part, delta=self.delta, seed=seed).chosen
        return plain_law(form, part, self.delta, draws=draws, seed=seed)

    def doubts_at(self, points: Points) -> list[str]:
        """What to keep in mind of places, besides how far they are from the trials."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """As `trialhouse fit --json` prints it; what is infinite is null."""
        columns = dict(self.sample.columns)
        content = {
            "form": self.form.name,
            "formula": self.form.formula,
            "source": self.form.source,
            "outcome": self.sample.outcome_name,
            "columns": columns,
            "weight": self.sample.weight_name,
            "fixed": dict(self.form.fixed),
            "parameters": self.parameters,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "interval_level": LEVEL,
            "standard_errors": self.standard_errors,
            "covariance": {
                "of": [
                    f"log {p.name}" if p.link == "log" else f"logit {p.name}" if p.link == "logit" else p.name for p in self.form.parameters
                ]
                if self.drawn is not None
                else [],
                "matrix": self.covariance.tolist(),
            },
            "not_identified": list(self.not_identified),
            "objective": self.objective,
            "delta": self.delta,
            "rows": len(self.sample),
            "repeated_units": None if self.sample.clusters is None else self.sample.units,
            "left_out": {reason: list(rows) for reason, rows in self.sample.left_out.items()},
            "ranges": {
                column: [float(np.exp(self.sample.points[role].min())), float(np.exp(self.sample.points[role].max()))]
                for role, column in columns.items()
            },
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "search": dict(self.search),
            "choice": None if self.choice is None else self.choice.to_dict(),
            "regimes": list(self.regimes),
        }
        return {key: _finite(value) for key, value in content.items()}


def fit_table(
    frame: pd.DataFrame,
    *,
    form: str | Form,
    outcome: str,
    columns: Mapping[str, str],
    cluster: str | None = None,
    weight: str | None = None,
    fixed: Mapping[str, float] | None = None,
    delta: float = DELTA,
    drop_highest: int = 0,
    keep_transient: bool = False,
    draws: int = 1000,
    seed: int = 0,
) -> Law:
    """Fit a form to the rows of a table.

    Parameters
    ----------
    frame
        One row per trial, no missing values in the columns that are used.
    form
        A name of `trialhouse.scaling_laws.registry.FORMS`, a form, or `auto`: the one with the least error on held-out trials.
    outcome
        Column: a positive loss or error, or for `bounded` a score in [0, 1].
    columns
        Role (`size`, `data`, `width`, `depth`, `unique`) -> column. A form of one factor takes any one of them.
    cluster
        Column of the repeated units, if rows are not independent (checkpoints of one run).
    weight
        Column of what each row counts, if rows are not equally exact: one over the variance of its outcome, or the number of trials
        whose mean it is. Only ratios matter: a row of weight 2 adds twice the loss, and is still one row of the bootstrap.
    fixed
        Parameters that are known.
    delta
        Of the Huber loss, in logarithms of the outcome (in scores for `bounded`).
    drop_highest
        So many of the highest outcomes are left out.
    keep_transient
        Whether small n that are not yet on the law stay in.
    draws, seed
        Of the bootstrap.

    Raises
    ------
    LawError
        One line for what cannot be fitted.
    """
    if not delta > 0:
        raise LawError("delta must be positive", delta, "leave it out for 1e-3")
    if draws < 100:
        raise LawError("draws must be at least 100", draws, "leave it out for 1000")
    forms = _forms(form, fixed or {}, frame, outcome, columns)
    sample = make_sample(frame, forms[0], outcome=outcome, columns=columns, cluster=cluster, weight=weight, drop_highest=drop_highest)
    if len(forms) == 1 or diagnostics.turning(forms[0], sample):
        return fit_sample(sample, forms[0], delta=delta, keep_transient=keep_transient, draws=draws, seed=seed)
    if not keep_transient:
        sample = without_warm_up(forms, sample, delta, seed)
    choice = choose(forms, sample, delta=delta, seed=seed)
    law = fit_sample(sample, choice.chosen, delta=delta, keep_transient=keep_transient, draws=draws, seed=seed)
    said = [choice.sentence] if len(choice.alike) > 1 else []
    told = decay(choice.candidates)
    return replace(law, choice=choice, warnings=(*said, *law.warnings), regimes=(*law.regimes, *([told] if told else [])))


def without_warm_up(forms: Sequence[Form], sample: LawSample, delta: float, seed: int = 0) -> LawSample:
    """What forms are chosen by: the sample without what is not yet on the power law, where that is one of them."""
    plain = next((form for form in forms if form.name == "power_law"), None)
    return sample if plain is None else diagnostics.transient(plain, sample, delta, seed)


def _forms(form: str | Form, fixed: Mapping[str, float], frame: pd.DataFrame, outcome: str, columns: Mapping[str, str]) -> list[Form]:
    """The form that was named, or all that come into question, the simplest first."""
    if form != "auto":
        return [(form_named(form) if isinstance(form, str) else form).with_fixed(fixed)]
    if fixed:
        raise LawError("fixed parameters go with a form that is named", "form auto", "name the form")
    return sorted(candidates_for(frame, outcome, columns), key=lambda one: len(one.parameters))


def fit_sample(
    sample: LawSample, form: Form, *, delta: float = DELTA, keep_transient: bool = False, draws: int = 1000, seed: int = 0
) -> Law:
    """`fit_table` for points that were checked."""
    if turn := diagnostics.turning(form, sample):
        nothing = np.empty(0)
        return Law(form, sample, nothing, float("nan"), delta, np.empty((0, 2)), None, {}, (turn,), (turn,))
    if not keep_transient:
        sample = diagnostics.transient(form, sample, delta, seed)
    starts = ranked_starts(form, sample.points, sample.outcome, delta, weights=sample.weights)
    best = optimum(form, sample.points, sample.outcome, delta, weights=sample.weights, starts=starts)
    drawn = bootstrap(form, sample, best.coordinates, delta, draws=draws, seed=seed)
    ends = profile_intervals(form, sample, best.coordinates, best.objective, drawn, delta)
    not_identified = diagnostics.unidentified(form, best.coordinates, ends)
    tie = diagnostics.together(sample)
    stuck = diagnostics.unmoved(form, sample, best.coordinates, drawn, delta)
    reasons = diagnostics.sentences([tie, stuck, *not_identified.values()])
    stop = mean_stop(form, sample.points, sample.outcome, delta, starts[:1], weights=sample.weights)
    misfit = diagnostics.misfit(form, sample, best.coordinates)
    warnings = [
        *reasons,
        *(f"left out: {len(rows)} rows, {reason}" for reason, rows in sample.left_out.items()),
        *diagnostics.sentences(
            [
                diagnostics.wrong_way(form, best.coordinates),
                diagnostics.copies(sample),
                misfit,
                decay_of(sample, delta, seed) if misfit and form.name in (*POWERS, "exponential") else None,
                diagnostics.perfect(form, sample, best.objective, delta),
                diagnostics.outliers(form, sample, best.coordinates),
                _of_the_floor(form, ends),
                _of_the_draws(drawn),
                _of_the_stop(form, stop, best.objective, ends),
            ]
        ),
    ]
    search = {
        "starts": best.starts,
        "reached": best.reached,
        "is_confirmed": best.confirmed,
        "draws": draws,
        "mean_scaled_stop": {
            "parameters": dict(zip(form.names, map(float, form.natural(stop.coordinates)), strict=True)),
            "objective": stop.objective,
            "iterations": stop.iterations,
        },
    }
    return Law(
        form=form,
        sample=sample,
        coordinates=best.coordinates,
        objective=best.objective,
        delta=delta,
        ends=ends,
        drawn=drawn,
        not_identified=not_identified,
        warnings=tuple(warnings),
        reasons=tuple(reasons),
        search=search,
        regimes=() if misfit else tuple(regimes(form, sample, ends, not_identified)),
    )


def plain_law(form: Form, sample: LawSample, delta: float, *, draws: int, seed: int = 0) -> Law:
    """The optimum and its draws, which is all that predictions need; no intervals of parameters, and no reasons to withhold."""
    best = optimum(form, sample.points, sample.outcome, delta, weights=sample.weights, confirm=False)
    drawn = bootstrap(form, sample, best.coordinates, delta, draws=draws, seed=seed)
    ends = np.full((len(best.coordinates), 2), np.nan)
    return Law(form, sample, best.coordinates, best.objective, delta, ends, drawn, {}, (), ())


def _of_the_floor(form: Form, ends: Array) -> str | None:
    for parameter, (low, _) in zip(form.parameters, ends, strict=True):
        if parameter.name == "E" and np.isinf(low):
            return "E cannot be told from 0: its interval begins there"
    return None


def _of_the_draws(drawn: Draws) -> str | None:
    return None if drawn.converged >= 0.99 else f"only {drawn.converged:.1%} of the bootstrap draws converged"


def _of_the_stop(form: Form, stop: MeanStop, lowest: float, ends: Array) -> str | None:
    """Only where it matters: above the lowest loss, with a parameter outside of its interval."""
    is_inside = ((ends[:, 0] <= stop.coordinates) & (stop.coordinates <= ends[:, 1])).all()
    if is_inside or stop.objective < STOPPED_EARLY * lowest:
        return None
    values = ", ".join(f"{name} {value:.4g}" for name, value in zip(form.names, form.natural(stop.coordinates), strict=True))
    return (
        f"a fit to the averaged instead of the summed loss stops early with usual tolerances, at a loss of {stop.objective:.4g} "
        f"where the lowest is {lowest:.4g} ({values}): do not compare with such a fit"
    )


def _finite(value: Any) -> Any:
    """The same with null in the place of numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
