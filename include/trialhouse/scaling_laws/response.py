"""An outcome by all factors that a design assigned: what each does on average, where two of them depend on each other, what bends.

Three nested models: additive in the (logarithms of the) factors, with all products of two, with squares. Effects and tests come from the
largest that the design carries, whatever is chosen, so that no test rests on a model that the same data chose. Which one forecasts best
is said by cross-validation that holds whole configurations out, of lasso fits, beside passive observers of the same trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.causal.inference import least_squares
from trialhouse.causal.verdict import holm
from trialhouse.errors import LawError
from trialhouse.scaling_laws.forms import Array
from trialhouse.scaling_laws.intervals import LEVEL, finite
from trialhouse.scaling_laws.response_forecasters import Forecaster, Scale, curve_of, fold_groups, forecasters
from trialhouse.scaling_laws.response_terms import KINDS, LADDER, Plan, Term, factor_of, is_number, told_by

DEFINITIONS: Mapping[str, str] = {
    "main": "the change of the outcome by do(factor: lowest -> highest level), for a category from its first level, averaged over the"
    " combinations of all other factors that the design has",
    "interaction": "by how much that change differs between the lowest and the highest level of another factor; of changes in percent"
    " the ratio of the two, less one",
    "curvature": "how far the outcome in the middle of a factor's range lies from the straight line between its ends (below, if negative)",
}
"""What the effects of each kind are, where a design assigned the factors independently of all else and trials do not affect each other."""
FEW = 5
"""Repeated units below which intervals are said to rest on few."""


@dataclass(frozen=True)
class Effect:
    """A contrast that is linear in the model.

    Parameters
    ----------
    term
        Whose.
    estimate, standard_error, low, high, p_value
        On the scale of the model (logarithm of the outcome, or the outcome): of a main effect the average over the design of the change by
        do(factor: low -> high); of an interaction the difference of two such changes, between the partner's two levels; of a
        curvature how far the middle of the factor's range lies from the straight line between its ends (below, if negative).
    p_adjusted
        Holm's, over all terms of the kind.
    sentence
        In words.
    passive
        What observers who look at something say of it; only of main effects of numbers.
    """

    term: Term
    estimate: float
    standard_error: float
    low: float
    high: float
    p_value: float
    p_adjusted: float = math.nan
    sentence: str = ""
    passive: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """What was found.

    Parameters
    ----------
    outcome, scale
        Of what, `log` or `linear`.
    effects
        By kind, in the order of the factors.
    tested_in
        The largest model that the design carries: effects are its.
    models, observers
        What cross-validation says of them; models in the order of the ladder.
    chosen
        The simplest model within one standard error of the best.
    not_tried
        Model -> why the design does not carry it.
    warnings
        What to keep in mind, aliases among them.
    trials, configurations, units
        What it rests on; units are None where rows are independent.
    """

    outcome: str
    scale: Scale
    effects: tuple[Effect, ...]
    tested_in: str
    models: tuple[Forecaster, ...]
    observers: tuple[Forecaster, ...]
    chosen: str
    not_tried: Mapping[str, str]
    warnings: tuple[str, ...]
    trials: int
    configurations: int
    units: int | None

    @property
    def formula(self) -> str:
        """The chosen model in words."""
        left = f"log {self.outcome}" if self.scale == "log" else self.outcome
        return f"{left} = {' + '.join(one.term.name for one in self.effects if one.term.kind in LADDER[self.chosen])}"

    @property
    def sentence(self) -> str:
        """Which model, and whether holding all factors forecasts better than looking at one thing."""
        chosen = next(one for one in self.models if one.name == self.chosen)
        best = min(self.models, key=lambda one: one.rmse)
        unit = f"log {self.outcome}" if self.scale == "log" else self.outcome
        text = f"the {chosen.name} model misses configurations that were held out by {chosen.rmse:.3g} (RMSE of {unit})"
        if best is not chosen:
            text += f", no worse than the {best.name} one ({best.rmse:.3g}) within a standard error"
        if self.observers:
            passive = min(self.observers, key=lambda one: one.rmse)
            text += f"; the best passive observer, who looks at {passive.name}, misses them by {passive.rmse:.3g}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """As `trialhouse fit STUDY --json` prints it."""
        return {
            "outcome": self.outcome,
            "scale": self.scale,
            "form": self.chosen,
            "formula": self.formula,
            "tested_in": self.tested_in,
            "estimands": dict(DEFINITIONS),
            "effects": [
                {
                    "quantity": one.term.name,
                    "kind": one.term.kind,
                    "contrast": list(one.term.levels) if one.term.kind == "main" else None,
                    "estimate": finite(one.estimate),
                    "standard_error": finite(one.standard_error),
                    "interval": [finite(one.low), finite(one.high)],
                    "p_value": finite(one.p_value),
                    "p_value_adjusted": finite(one.p_adjusted),
                    "sentence": one.sentence,
                    "passive": dict(one.passive),
                }
                for one in self.effects
            ],
            "choice": self.choice,
            "rows": self.trials,
            "configurations": self.configurations,
            "repeated_units": self.units,
            "warnings": list(self.warnings),
        }

    @property
    def choice(self) -> dict[str, Any]:
        """How the model was chosen, for JSON."""
        return {
            "chosen": self.chosen,
            "sentence": self.sentence,
            "candidates": [one.to_dict() for one in self.models],
            "observers": [one.to_dict() for one in self.observers],
            "not_tried": dict(self.not_tried),
        }


def fit_response(
    frame: pd.DataFrame,
    *,
    outcome: str,
    factors: Sequence[str],
    categorical: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    block: str | None = None,
    cluster: str | None = None,
    scale: Scale = "log",
    looks_at: Sequence[str] = (),
    seed: int = 0,
) -> Response:
    """Model an outcome by all assigned factors.

    Parameters
    ----------
    frame
        One row per trial that has the outcome.
    outcome
        Its column; on the scale `log` it must be positive.
    factors
        Columns that the design assigned, independently of all else: that is what makes effects of them. Numbers enter by their logarithm
        where all are positive; texts and booleans by their levels.
    categorical
        Factor -> its levels, of those that enter by them whatever they look like; each is compared with the first.
    block
        Column whose levels have a constant of their own.
    cluster
        Column of the repeated units: rows of one are not independent.
    looks_at
        Columns that passive observers look at, besides each factor alone.
    seed
        Of the folds.

    Raises
    ------
    LawError
        If there are too few configurations, or a factor that cannot be told from others.

    Notes
    -----
    Errors are HC3 with a t reference, CR3 with t(G - 1) for repeated units (`trialhouse.causal.inference.least_squares`); Holm's
    correction over all terms of a kind. The one-standard-error rule (Breiman et al. 1984, section 3.4.3) is applied to the paired
    difference of squared errors, over configurations.
    """
    used = list(dict.fromkeys([outcome, *factors, *([block] if block else []), *([cluster] if cluster else []), *looks_at]))
    if missing := [name for name in used if name not in frame]:
        raise LawError("column must be one of the table's", repr(missing[0]), f"it has {', '.join(map(str, frame.columns))}")
    y = _outcome(frame, outcome, scale)
    plan = told_by(frame, factors, categorical, block)
    clusters = None if cluster is None else pd.factorize(frame[cluster])[0].astype(np.int64)
    effects = effects_of(plan, y, clusters)
    units = None if clusters is None else len(np.unique(clusters))
    few = (
        [f"only {units} repeated units tell how sure all this is: intervals have {units - 1} degrees of freedom"]
        if units and units < FEW
        else []
    )
    seen = {name: log for name in dict.fromkeys((*factors, *looks_at)) if (log := _log(frame[name], categorical.get(name))) is not None}
    groups = fold_groups(plan.configuration, clusters)
    models, observers = forecasters(plan, seen, y, groups, scale, seed)
    effects = [_in_words(one, effects, outcome, scale) for one in _with_passive(effects, seen, looks_at, y, scale)]
    return Response(
        outcome=outcome,
        scale=scale,
        effects=tuple(effects),
        tested_in=plan.largest,
        models=tuple(models),
        observers=tuple(observers),
        chosen=next(one.name for one in models if one.is_as_good),
        not_tried=plan.not_tried,
        warnings=(*plan.warnings, *few),
        trials=len(frame),
        configurations=int(plan.configuration.max()) + 1,
        units=units,
    )


def effects_of(plan: Plan, y: Array, clusters: NDArray[np.int64] | None = None) -> list[Effect]:
    """All effects of the largest model, with Holm's correction by kind; not yet in words.

    Parameters
    ----------
    y
        Outcome on the scale of the model, length n.
    clusters
        Length n: codes of the repeated units, if there are any.
    """
    terms = plan.models[plan.largest]
    return _adjusted([_effect(term, terms, y, plan.blocks, clusters) for term in terms])


def _outcome(frame: pd.DataFrame, outcome: str, scale: Scale) -> Array:
    values = pd.to_numeric(frame[outcome], errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise LawError(
            f"outcome {outcome!r} must have finite numbers", f"{bad} of {len(values)} rows without", "leave them out, and say why"
        )
    if scale == "log" and (values <= 0).any():
        raise LawError(f"outcome {outcome!r} must be positive on the scale log", f"{values.min():g}", "ask for it on the scale linear")
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        raise LawError(f"outcome {outcome!r} must vary", f"only {values[0]:g}", "there is nothing to explain in a constant")
    return np.log(values) if scale == "log" else values


def _log(column: pd.Series[Any], levels: Sequence[Any] | None) -> Array | None:
    """Of what an observer can look at: positive numbers that differ."""
    if not is_number(column, levels):
        return None
    values = column.to_numpy(dtype=float)
    return np.log(values) if (values > 0).all() and np.ptp(values) > 0 else None


def _effect(term: Term, terms: Sequence[Term], y: Array, blocks: Array, clusters: NDArray[np.int64] | None) -> Effect:
    """By partialling out all others; of a main term with a square, coordinates are turned so that the contrast is one coefficient."""
    columns = [blocks]
    for other in terms:
        if other is not term:
            is_own_square = other.kind == "curvature" and other.parents[0] is term
            tilt = (term.at[1] ** 2 - term.at[0] ** 2) / term.span if is_own_square else 0.0
            columns.append(other.column - tilt * term.column)
    found = least_squares(term.column, y, np.column_stack(columns), clusters).scaled(term.span)
    return Effect(term, found.estimate, found.standard_error, found.ci_low, found.ci_high, found.p_value)


def _adjusted(effects: Sequence[Effect]) -> list[Effect]:
    adjusted: dict[str, float] = {}
    for kind in KINDS:
        tested = [one.term.name for one in effects if one.term.kind == kind and np.isfinite(one.p_value)]
        values = [one.p_value for one in effects if one.term.name in tested]
        adjusted |= dict(zip(tested, holm(values), strict=True))
    return [replace(one, p_adjusted=adjusted.get(one.term.name, math.nan)) for one in effects]


def _with_passive(
    effects: Sequence[Effect], seen: Mapping[str, Array], looks_at: Sequence[str], y: Array, scale: Scale
) -> Iterator[Effect]:
    """What an observer says of do(factor): what its curve does where the factor moves what it looks at, by as much as in these trials."""
    mains = [one.term for one in effects if one.term.kind == "main"]
    curves = {name: curve_of(logs, y, scale) for name, logs in seen.items()}
    moves = {}
    for name in looks_at:
        if name in seen:
            design = np.column_stack([np.ones(len(y)), *(term.column for term in mains)])
            moves[name] = dict(zip((term.name for term in mains), np.linalg.lstsq(design, seen[name], rcond=None)[0][1:], strict=True))
    for one in effects:
        said = {}
        if one.term.kind == "main":
            for name, curve in curves.items():
                if name == one.term.name or name in moves:
                    centre = float(seen[name].mean())
                    slope = 1.0 if name == one.term.name else moves[name][one.term.name]
                    low, high = curve(np.array([centre + slope * place for place in one.term.at]))
                    said[name] = float(high - low)
        yield replace(one, passive=said)


def _in_words(one: Effect, effects: Sequence[Effect], outcome: str, scale: Scale) -> Effect:
    term = one.term
    if not np.isfinite(one.p_value):
        return replace(one, sentence=f"no interval: what carries {term.name} is too little, or leaves no error")
    tested = sum(other.term.kind == term.kind for other in effects)
    is_sure = one.p_adjusted < 1 - LEVEL
    doubt = "" if is_sure else f"; among {tested} such tests it may be chance (Holm p {one.p_adjusted:.2g})"
    if term.kind == "main":
        interval = f"{change(one.low, scale)} to {change(one.high, scale)}"
        text = f"{_do(term)} changes {outcome} by {change(one.estimate, scale)} (95% interval {interval}), on average over the design"
        return replace(one, sentence=text + doubt)
    if term.kind == "curvature":
        side = "below" if one.estimate < 0 else "above"
        far = change(one.estimate, scale)
        return replace(one, sentence=f"the middle of {term.parents[0].name} lies {side} the line between its ends ({far}){doubt}")
    if not term.parents:
        return replace(one, sentence=f"one number for what the design cannot tell apart{doubt}")
    first, second = term.parents
    average = next(other.estimate for other in effects if other.term is first)
    at = [average + one.estimate * place / second.span for place in second.at]
    changes = " and by ".join(f"{change(value, scale)} at {_level(second, level)}" for value, level in zip(at, second.levels, strict=True))
    return replace(one, sentence=f"{_do(first)} changes {outcome} by {changes}{doubt}")


def _do(main: Term) -> str:
    return f"do({factor_of(main)}: {main.levels[0]} -> {main.levels[1]})"


def _level(main: Term, level: str) -> str:
    return f"{factor_of(main)} {level}"


def change(value: float, scale: Scale) -> str:
    """A change on the scale of the model, as people say it: in percent of the outcome, or as it is."""
    return f"{math.expm1(value):+.1%}" if scale == "log" else f"{value:+.3g}"
