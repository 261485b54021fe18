"""Does a law forecast trials that it has not seen, and better than a passive observer? Said before anyone relies on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trialhouse.errors import ForecastError, LawError
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Array
from trialhouse.scaling_laws.observer import PRODUCT, observers
from trialhouse.scaling_laws.prediction import Prediction, noise, predict
from trialhouse.scaling_laws.sample import LawSample, tied
from trialhouse.scaling_laws.support import Place, reach_of, rounded

Kind = Literal["interpolation", "extrapolation"]
KINDS: tuple[Kind, ...] = ("interpolation", "extrapolation")
CAUSAL = "causal"
DRAWS = 400
MUCH, FEW = 0.8, 6
"""Share of a variance, and configurations, from which on and below which they explain why a causal forecast is no better."""
SURE = 0.975
"""Share of resampled configurations in which one forecast must beat another to be called better."""


@dataclass(frozen=True)
class Split:
    """Rows of a sample: `fit` is what the law sees; whole configurations, never single seeds of one, are held out."""

    fit: NDArray[np.bool_]
    interpolation: NDArray[np.bool_]
    extrapolation: NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOutForecast:
    """One configuration that a frozen law had not seen.

    Parameters
    ----------
    basis
        `causal`, or what the passive observer looks at.
    kind
        Between the trials that the law saw, or beyond them.
    place
        Column -> value.
    prediction
        By the frozen law.
    outcomes
        What its trials came to.
    reach
        Factors of ten beyond the trials that the law saw.
    law
        The frozen law, or the observer's.
    """

    basis: str
    kind: Kind
    place: Place
    prediction: Prediction
    outcomes: tuple[float, ...]
    reach: float
    law: Law

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "basis": self.basis,
            "kind": self.kind,
            "place": self.place,
            **self.prediction.to_dict(),
            "outcomes": list(self.outcomes),
            "reach": self.reach,
        }


@dataclass(frozen=True)
class Score:
    """Errors of one forecaster on held-out trials of one kind.

    Parameters
    ----------
    rmse, bias
        Root mean square and mean of forecast less outcome, on the form's scale: .01 is 1% of a loss.
    coverage
        Share of trials inside the 95% interval of a new trial.
    trials, configurations
        How many.
    """

    basis: str
    kind: Kind
    rmse: float
    bias: float
    coverage: float
    trials: int
    configurations: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class HeldOut:
    """The held-out check of a law.

    Parameters
    ----------
    form
        That the frozen law has.
    fitted
        How many trials it saw.
    forecasts, scores
        Of the law and of all observers.
    sentences
        Kind -> whether the causal forecast is better than the best passive one, and if not, why.
    """

    form: str
    fitted: int
    forecasts: tuple[HeldOutForecast, ...]
    scores: tuple[Score, ...]
    sentences: Mapping[Kind, str]

    def score(self, basis: str, kind: Kind) -> Score | None:
        """That of one forecaster."""
        return next((one for one in self.scores if (one.basis, one.kind) == (basis, kind)), None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "form": self.form,
            "fitted_trials": self.fitted,
            "scores": [score.to_dict() for score in self.scores],
            "sentences": dict(self.sentences),
            "forecasts": [one.to_dict() for one in self.forecasts],
        }


def split(sample: LawSample, *, top: float = 0.2, inner: float = 0.2, seed: int = 0) -> Split:
    """Hold out the top of the grid by the product of all factors, and a random share of what lies between the rest.

    Parameters
    ----------
    top, inner
        Shares of the configurations for extrapolation and, of those left, for interpolation.
    """
    logs = np.column_stack(list(sample.points.values())).round(9)
    places, member = np.unique(logs, axis=0, return_inverse=True)
    member = member.ravel()
    product = places.sum(axis=1).round(6)
    levels = np.unique(product)
    threshold = levels[min(max(int(np.ceil(len(levels) * (1 - top))), 1), len(levels) - 1)] if len(levels) > 1 else np.inf
    is_top = product >= threshold
    rest = np.flatnonzero(~is_top)
    low, high = places[rest].min(axis=0), places[rest].max(axis=0)
    between = rest[((places[rest] > low) & (places[rest] < high)).all(axis=1)]
    between = between if len(between) else rest
    count = min(int(np.ceil(inner * len(rest))), len(between))
    drawn = np.random.default_rng(seed).choice(between, size=count, replace=False)
    is_inner = np.isin(np.arange(len(places)), drawn)
    return Split(~(is_top | is_inner)[member], is_inner[member], is_top[member])


def held_out(law: Law, *, top: float = 0.2, inner: float = 0.2, seed: int = 0) -> HeldOut:
    """Freeze a law that has not seen some trials, then score it on them, and passive observers of the same trials beside it.

    Parameters
    ----------
    law
        Fitted to all trials: only its form is used, and where that was chosen it is chosen again from the trials that remain.

    Raises
    ------
    ForecastError
        If too few trials remain.
    """
    sample = law.sample
    parts = split(sample, top=top, inner=inner, seed=seed)
    seen = sample.only(parts.fit)
    places = len(np.unique(np.column_stack(list(seen.points.values())).round(9), axis=0))
    needed = law.least_places
    if places <= needed or len(seen) < len(law.form.parameters) + 2:
        remain = f"{places} when some are held out"
        raise ForecastError(f"a held-out check of {law.form.name} needs trials at more than {needed} places", remain, "add trials")
    frozen = law.refitted(seen, draws=DRAWS, seed=seed)
    form = frozen.form
    forecasters = {CAUSAL: (frozen, tuple(sample.points))}
    forecasters |= {one.looks_at: (one.law, one.roles) for one in observers(frozen, list(sample.columns.values()), draws=DRAWS)}
    forecasts: list[HeldOutForecast] = []
    scores: list[Score] = []
    errors: dict[tuple[str, Kind], tuple[Array, NDArray[np.intp]]] = {}
    for kind in KINDS:
        rows = getattr(parts, kind)
        if not rows.any():
            continue
        logs, first, member = np.unique(
            np.column_stack([values[rows] for values in sample.points.values()]).round(9), axis=0, return_index=True, return_inverse=True
        )
        member = member.ravel()
        points = {role: values[rows][first] for role, values in sample.points.items()}
        outcome = sample.outcome[rows]
        for basis, (one, roles) in forecasters.items():
            own = points if basis == CAUSAL else {"n": np.sum([points[role] for role in roles], axis=0)}
            predictions = predict(one, own)
            told = np.array([form.on_scale(np.array(prediction.mean)) for prediction in predictions])
            error = told[member] - form.on_scale(outcome)
            inside = [predictions[k].new_low <= value <= predictions[k].new_high for k, value in zip(member, outcome, strict=True)]
            errors[basis, kind] = error, member
            rmse = float(np.sqrt(np.mean(error**2)))
            scores.append(Score(basis, kind, rmse, float(error.mean()), float(np.mean(inside)), len(error), len(logs)))
            for k, prediction in enumerate(predictions):
                place = {column: rounded(np.exp(points[role][k])) for role, column in sample.columns.items()}
                came = tuple(map(float, outcome[member == k]))
                forecasts.append(HeldOutForecast(basis, kind, place, prediction, came, reach_of(frozen, place).together, one))
    laws = {basis: one for basis, (one, _) in forecasters.items()}
    sentences: dict[Kind, str] = {kind: _compared(kind, scores, errors, laws) for kind in KINDS if any(one.kind == kind for one in scores)}
    return HeldOut(form.name, int(parts.fit.sum()), tuple(forecasts), tuple(scores), sentences)


def checked(law: Law) -> tuple[HeldOut | None, tuple[str, ...]]:
    """The held-out check with usual shares; where there is none, the caveat that says why."""
    try:
        return held_out(law), ()
    except (ForecastError, LawError) as error:
        return None, (f"no held-out check: {error}",)


def _compared(
    kind: Kind, scores: Sequence[Score], errors: Mapping[tuple[str, Kind], tuple[Array, NDArray[np.intp]]], laws: Mapping[str, Law]
) -> str:
    """Causal against the best passive forecast; configurations are what is resampled."""
    own = [one for one in scores if one.kind == kind]
    causal, passive = own[0], sorted(own[1:], key=lambda one: one.rmse)
    told = f"{kind}: the law misses {causal.trials} trials of {_configurations(causal.configurations)} by {causal.rmse:.3g}"
    told += f" (95% intervals hold {causal.coverage:.0%} of them)"
    if not passive:
        return f"{told}; with one factor a passive observer has the same law"
    best, frozen = passive[0], laws[CAUSAL]
    name = f"who looks at {best.basis} alone" if best.basis != PRODUCT else f"who looks at {PRODUCT}"
    told += f", {name} by {best.rmse:.3g}"
    share = _share_better(*errors[CAUSAL, kind], errors[best.basis, kind][0])
    if share >= SURE:
        return f"{told}: the causal forecast is better"
    is_alike = share > 1 - SURE
    word = "no better: the two cannot be told apart" if is_alike else "worse"
    return f"{told}: the causal forecast is {word}, since {_why(causal, frozen, best, laws[best.basis], is_alike=is_alike)}"


def _configurations(count: int) -> str:
    return "1 configuration" if count == 1 else f"{count} configurations"


def _share_better(error: Array, member: NDArray[np.intp], other: Array, draws: int = 1000) -> float:
    gain = np.bincount(member, weights=other**2 - error**2)
    rng = np.random.default_rng(0)
    totals = rng.multinomial(len(gain), np.full(len(gain), 1 / len(gain)), size=draws) @ gain
    return float(np.mean(totals > 0)) if len(gain) > 1 else 0.5


def _why(causal: Score, frozen: Law, best: Score, passive: Law, *, is_alike: bool) -> str:
    """The most telling of what can be seen of an error."""
    scatter = noise(frozen)
    together = max(tied(frozen.sample).values(), default=0.0)
    explained = 1 - noise(passive) ** 2 / float(np.var(frozen.form.on_scale(frozen.sample.outcome)))
    if is_alike and causal.rmse < 1.3 * scatter:
        return f"both are as near as trials scatter around a law ({scatter:.2g})"
    if together > MUCH:
        return f"in these trials the factors go together (they explain {together:.0%} of each other), so that who sees one sees the other"
    if abs(causal.bias) > 0.7 * causal.rmse:
        side = "too high" if causal.bias > 0 else "too low"
        return f"nearly all its forecasts are {side}: the form {frozen.form.name} does not go on as these trials do"
    if causal.configurations < FEW:
        return f"{_configurations(causal.configurations)} {'is' if causal.configurations == 1 else 'are'} too few to tell"
    if explained > MUCH:
        what = best.basis if best.basis == PRODUCT else f"{best.basis} alone"
        return f"{what} explains {explained:.0%} of the outcome in the trials that both saw: holding the rest adds little"
    return (
        f"its error is {causal.rmse / scatter:.1f} times the scatter of trials and leans to no side: something else that matters is missing"
    )
