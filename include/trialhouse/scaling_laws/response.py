"""An outcome by all factors that a design assigned: what each does on average, where two of them depend on each other, what bends.

Three nested models: additive in the (logarithms of the) factors, with all products of two, with squares. Effects and tests come from the
largest that the design carries, whatever is chosen, so that no test rests on a model that the same data chose. Which one forecasts best
is said by cross-validation that holds whole configurations out, of lasso fits, beside passive observers of the same trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.causal.inference import least_squares
from trialhouse.errors import LawError
from trialhouse.scaling_laws.choice import ROUGH
from trialhouse.scaling_laws.forms import Array
from trialhouse.scaling_laws.intervals import LEVEL
from trialhouse.scaling_laws.registry import form_named
from trialhouse.scaling_laws.search import optimum

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Scale = Literal["log", "linear"]
Kind = Literal["main", "interaction", "curvature"]
KINDS: tuple[Kind, ...] = ("main", "interaction", "curvature")
LADDER: Mapping[str, tuple[Kind, ...]] = {"additive": KINDS[:1], "interactions": KINDS[:2], "curved": KINDS}
"""Model -> the terms that it has, the simplest first."""
DEFINITIONS: Mapping[str, str] = {
    "main": "the change of the outcome by do(factor: lowest -> highest level), for a category from its first level, averaged over the"
    " combinations of all other factors that the design has",
    "interaction": "by how much that change differs between the lowest and the highest level of another factor; of changes in percent"
    " the ratio of the two, less one",
    "curvature": "how far the outcome in the middle of a factor's range lies from the straight line between its ends (below, if negative)",
}
"""What the effects of each kind are, where a design assigned the factors independently of all else and trials do not affect each other."""
FOLDS = 5
SPARE = 3
"""Configurations that a model needs beyond its terms: one for the constant, two to spare."""
FEW = 5
"""Repeated units below which intervals are said to rest on few."""
PENALTIES = 30
"""Of the lasso that cross-validation chooses among, over three factors of ten."""
ALIASED = 1e-9
"""Share of a term's variance below which what other terms leave of it is rounding error."""
DELTA = 1e-3
"""Of the Huber loss of observers, as in `trialhouse.scaling_laws.fit`."""


@dataclass(frozen=True)
class Term:
    """One column of the model.

    Parameters
    ----------
    name
        `width`, `width x depth`, `width squared`; of a category `method = l2`. Products that the design cannot tell apart are one:
        `a x b + c x d`.
    kind
        Which rung of the ladder it enters on.
    column
        Length n, with mean 0: a main effect beside products of such columns is the average over the design.
    span
        What its coefficient is multiplied by: of a main term its column's distance between the levels that are compared.
    levels, at
        Of a main term: these levels, and their places on the column.
    parents
        The main terms that it is made of.
    """

    name: str
    kind: Kind
    column: Array
    span: float
    levels: tuple[str, str] = ("", "")
    at: tuple[float, float] = (0.0, 0.0)
    parents: tuple[Term, ...] = ()


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
class Forecaster:
    """A model of the ladder or a passive observer, by the errors of its forecasts of configurations that it had not seen.

    Parameters
    ----------
    name
        Of the model, or what the observer looks at.
    rmse
        Root mean square, on the scale of the model: .01 is 1% of a loss.
    excess, excess_error
        Mean squared error less that of the best model, and its standard error over the configurations.
    terms
        Columns of the model, blocks aside; None for an observer.
    """

    name: str
    rmse: float
    excess: float
    excess_error: float
    terms: int | None = None

    @property
    def is_as_good(self) -> bool:
        """Whether it is within one standard error of the best."""
        return not self.excess > self.excess_error

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        named: dict[str, Any] = {"looks_at": self.name} if self.terms is None else {"form": self.name, "terms": self.terms}
        return {**named, "held_out_error": self.rmse, "excess": self.excess, "excess_standard_error": self.excess_error}


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
        text = f"the {chosen.name} model forecasts configurations that were held out to within {chosen.rmse:.3g}"
        if best is not chosen:
            text += f", as well as the {best.name} one ({best.rmse:.3g}) within a standard error"
        if self.observers:
            passive = min(self.observers, key=lambda one: one.rmse)
            text += f"; of passive observers who looks at {passive.name} comes nearest, to within {passive.rmse:.3g}"
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
                    "estimate": one.estimate,
                    "standard_error": _number(one.standard_error),
                    "interval": [_number(one.low), _number(one.high)],
                    "p_value": _number(one.p_value),
                    "p_value_adjusted": _number(one.p_adjusted),
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
    groups = _groups(plan.configuration, clusters)
    models, observers = _forecasters(plan, seen, y, groups, scale, seed)
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


@dataclass(frozen=True)
class Plan:
    """What a design can tell, whatever the outcome.

    Parameters
    ----------
    models
        Those that it carries -> their terms, the simplest first.
    not_tried, warnings
        As in `Response`.
    blocks
        n x (levels - 1).
    configuration
        Length n: codes of the combinations of levels.
    """

    models: Mapping[str, Sequence[Term]]
    not_tried: Mapping[str, str]
    warnings: tuple[str, ...]
    blocks: Array
    configuration: NDArray[np.intp]

    @property
    def largest(self) -> str:
        """The model that effects are of."""
        return list(self.models)[-1]


def told_by(frame: pd.DataFrame, factors: Sequence[str], categorical: Mapping[str, Sequence[Any]], block: str | None) -> Plan:
    """Which terms a design tells apart, and which models it has configurations enough for; parameters as in `fit_response`.

    Raises
    ------
    LawError
        If there are too few configurations, or a factor that cannot be told from others.
    """
    varying = [name for name in factors if frame[name].nunique() > 1]
    if len(varying) < 2:
        raise LawError("a response needs at least two factors that vary", len(varying), "vary more factors, or ask for an estimand")
    blocks = _dummies(frame[block]) if block else np.empty((len(frame), 0))
    mains = [term for name in varying for term in _mains(frame[name], categorical.get(name))]
    configuration = frame.groupby(varying, sort=False).ngroup().to_numpy().astype(np.intp)
    free = min(int(configuration.max()) + 1, len(frame) - blocks.shape[1])
    if free < (needed := len(mains) + SPARE):
        raise LawError(f"a response of {len(mains)} terms needs at least {needed} configurations", free, "add trials, or ask for estimands")
    terms, warnings = _told_apart(mains, [*_products(mains), *_squares(mains)], blocks)
    models, not_tried = _carried(terms, free)
    return Plan(models, not_tried, tuple(warnings), blocks, configuration)


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


def _is_number(column: pd.Series[Any], levels: Sequence[Any] | None) -> bool:
    return levels is None and pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _log(column: pd.Series[Any], levels: Sequence[Any] | None) -> Array | None:
    """Of what an observer can look at: positive numbers that differ."""
    if not _is_number(column, levels):
        return None
    values = column.to_numpy(dtype=float)
    return np.log(values) if (values > 0).all() and np.ptp(values) > 0 else None


def _mains(column: pd.Series[Any], levels: Sequence[Any] | None) -> Iterator[Term]:
    """A number by its lowest and highest value, a category by each level against the first."""
    name = str(column.name)
    if _is_number(column, levels):
        values = column.to_numpy(dtype=float)
        places = np.log(values) if values.min() > 0 else values
        centre = float(places.mean())
        low, high = float(places.min()) - centre, float(places.max()) - centre
        yield Term(name, "main", places - centre, high - low, (f"{values.min():g}", f"{values.max():g}"), (low, high))
        return
    present = set(column)
    ordered = [level for level in levels or sorted(present, key=str) if level in present]
    for level in ordered[1:]:
        dummy = (column == level).to_numpy(dtype=float)
        centre = float(dummy.mean())
        yield Term(f"{name} = {level}", "main", dummy - centre, 1.0, (str(ordered[0]), str(level)), (-centre, 1 - centre))


def _products(mains: Sequence[Term]) -> Iterator[Term]:
    for one, other in combinations(mains, 2):
        if _factor(one) != _factor(other):
            column = one.column * other.column
            yield Term(f"{one.name} x {other.name}", "interaction", column - column.mean(), one.span * other.span, parents=(one, other))


def _squares(mains: Sequence[Term]) -> Iterator[Term]:
    """The middle of a range lies below the line between its ends by a quarter of the squared range times the coefficient."""
    for one in mains:
        if len(np.unique(one.column.round(12))) > 2:
            square = one.column**2
            yield Term(f"{one.name} squared", "curvature", square - square.mean(), -(one.span**2) / 4, parents=(one,))


def _factor(main: Term) -> str:
    return main.name.split(" = ")[0]


def _dummies(column: pd.Series[Any]) -> Array:
    return pd.get_dummies(column.astype(str), drop_first=True).to_numpy(dtype=float)


def _told_apart(mains: Sequence[Term], others: Sequence[Term], blocks: Array) -> tuple[list[Term], list[str]]:
    """Terms that the design tells apart; products that it does not are one term, and what looks like a main effect is left out."""
    kept: list[Term] = []
    warnings = []
    for term in (*mains, *others):
        same = _same_as(term, kept, blocks)
        if same is None:
            kept.append(term)
        elif term.kind == "main":
            what = " and ".join(repr(one.name) for one, _ in same) or "the blocks"
            raise LawError(
                f"factor {term.name!r} must vary freely", f"one that goes with {what} in every trial", "add trials that break the tie"
            )
        elif term.kind == "interaction" and len(same) == 1 and same[0][0].kind == "interaction":
            one, sign = same[0]
            kept[kept.index(one)] = replace(one, name=f"{one.name} {'+' if sign > 0 else '-'} {term.name}", parents=())
            warnings.append(f"{one.name} and {term.name} are aliased: the design tells only their {'sum' if sign > 0 else 'difference'}")
        else:
            what = " and ".join(one.name for one, _ in same) or "the blocks"
            warnings.append(f"{term.name} is aliased with {what}: what is said of {what} assumes that there is no {term.name}")
    return kept, warnings


def _same_as(term: Term, kept: Sequence[Term], blocks: Array) -> list[tuple[Term, float]] | None:
    """The terms of which it is a linear function, with the sign of each; None where it is none."""
    columns = np.column_stack([np.ones(len(term.column)), blocks, *(one.column / one.column.std() for one in kept)])
    spread = float(term.column.std())
    if spread < 1e-12:
        return []
    target = term.column / spread
    found = np.linalg.lstsq(columns, target, rcond=None)[0]
    if float(np.var(target - columns @ found)) > ALIASED:
        return None
    return [(one, float(slope)) for one, slope in zip(kept, found[1 + blocks.shape[1] :], strict=True) if abs(slope) > 1e-6]


def _carried(terms: Sequence[Term], free: int) -> tuple[dict[str, list[Term]], dict[str, str]]:
    """Models that there are configurations enough for, and why others are not tried."""
    carried: dict[str, list[Term]] = {}
    not_tried: dict[str, str] = {}
    for name, kinds in LADDER.items():
        own = [term for term in terms if term.kind in kinds]
        if carried and len(own) == len(next(reversed(carried.values()))):
            not_tried[name] = "the design tells no such term from the others"
        elif len(own) + SPARE > free:
            not_tried[name] = (
                f"{len(own)} terms need at least {len(own) + SPARE} configurations (and rows, blocks aside), and there are {free}"
            )
        else:
            carried[name] = own
    return carried, not_tried


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
    from statsmodels.stats.multitest import multipletests

    adjusted: dict[str, float] = {}
    for kind in KINDS:
        tested = [one.term.name for one in effects if one.term.kind == kind and np.isfinite(one.p_value)]
        values = [one.p_value for one in effects if one.term.name in tested]
        adjusted |= dict(zip(tested, multipletests(values, method="holm")[1], strict=True)) if tested else {}
    return [replace(one, p_adjusted=float(adjusted.get(one.term.name, np.nan))) for one in effects]


def _groups(configuration: NDArray[np.intp], clusters: NDArray[np.int64] | None) -> NDArray[np.intp]:
    """What stays together in folds: configurations, with all that share a repeated unit where that leaves enough (blocks are in all)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if clusters is None:
        return configuration
    first = int(configuration.max()) + 1
    size = first + int(clusters.max()) + 1
    links = coo_array((np.ones(len(clusters)), (configuration, first + clusters)), shape=(size, size))
    count, member = connected_components(links, directed=False)
    return np.asarray(member[configuration], dtype=np.intp) if count >= FOLDS else configuration


def _forecasters(
    plan: Plan, seen: Mapping[str, Array], y: Array, groups: NDArray[np.intp], scale: Scale, seed: int
) -> tuple[list[Forecaster], list[Forecaster]]:
    from sklearn.model_selection import GroupKFold

    designs = {name: np.column_stack([plan.blocks, *(term.column for term in terms)]) for name, terms in plan.models.items()}
    missed = {name: np.empty(len(y)) for name in (*designs, *seen)}
    for train, test in GroupKFold(min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=seed).split(y, groups=groups):
        for name, design in designs.items():
            missed[name][test] = _lasso(design[train], y[train], groups[train], seed).predict(design[test]) - y[test]
        for name, logs in seen.items():
            missed[name][test] = _curve(logs[train], y[train], scale)(logs[test]) - y[test]
    errors = {name: miss**2 for name, miss in missed.items()}
    best = errors[min(designs, key=lambda name: float(errors[name].mean()))]
    found = {
        name: _scored(name, error, best, groups, len(plan.models[name]) if name in plan.models else None) for name, error in errors.items()
    }
    return [found[name] for name in designs], [found[name] for name in seen]


def _scored(name: str, error: Array, best: Array, groups: NDArray[np.intp], terms: int | None) -> Forecaster:
    worse = error - best
    excess = float(worse.mean())
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=worse - excess)
    error_of = math.sqrt(len(sums) / (len(sums) - 1) * float(sums @ sums)) / len(worse)
    return Forecaster(name, float(np.sqrt(error.mean())), excess, error_of, terms)


def _lasso(design: Array, y: Array, groups: NDArray[np.intp], seed: int) -> Pipeline:
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = GroupKFold(min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=seed)
    inner = list(folds.split(y, groups=groups))
    return make_pipeline(StandardScaler(), LassoCV(alphas=PENALTIES, cv=inner, max_iter=20_000)).fit(design, y)


def _curve(logs: Array, y: Array, scale: Scale) -> Callable[[Array], Array]:
    """The law of one thing: a power law, with an irreducible part where there are places enough; of a linear scale a logarithmic one."""
    if scale == "linear":
        slope, constant = np.polyfit(logs, y, 1)
        return lambda at: constant + slope * at
    form = form_named("power_law" if len(np.unique(logs.round(9))) > 3 else "pure_power_law")
    best = optimum(form, {"n": logs}, np.exp(y), DELTA, confirm=False, iterations=ROUGH)
    return lambda at: form.curve(best.coordinates[None], {"n": at})[0][0]


def _with_passive(
    effects: Sequence[Effect], seen: Mapping[str, Array], looks_at: Sequence[str], y: Array, scale: Scale
) -> Iterator[Effect]:
    """What an observer says of do(factor): what its curve does where the factor moves what it looks at, by as much as in these trials."""
    mains = [one.term for one in effects if one.term.kind == "main"]
    curves = {name: _curve(logs, y, scale) for name, logs in seen.items()}
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
    return f"do({_factor(main)}: {main.levels[0]} -> {main.levels[1]})"


def _level(main: Term, level: str) -> str:
    return f"{_factor(main)} {level}"


def change(value: float, scale: Scale) -> str:
    """A change on the scale of the model, as people say it: in percent of the outcome, or as it is."""
    return f"{math.expm1(value):+.1%}" if scale == "log" else f"{value:+.3g}"


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
