"""Who forecasts configurations that were held out: the models of a response, as lasso fits, and passive observers of the same trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from trialhouse.scaling_laws.choice import ROUGH
from trialhouse.scaling_laws.forms import Array
from trialhouse.scaling_laws.registry import form_named
from trialhouse.scaling_laws.response_terms import Plan
from trialhouse.scaling_laws.search import optimum

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Scale = Literal["log", "linear"]
FOLDS = 5
PENALTIES = 30
"""Of the lasso that cross-validation chooses among, over three factors of ten."""
DELTA = 1e-3
"""Of the Huber loss of observers, as in `trialhouse.scaling_laws.fit`."""


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


def forecasters(
    plan: Plan, seen: Mapping[str, Array], y: Array, groups: NDArray[np.intp], scale: Scale, seed: int
) -> tuple[list[Forecaster], list[Forecaster]]:
    """The models of a plan, and an observer of each column.

    Parameters
    ----------
    seen
        What observers look at -> its logarithms, length n.
    y
        Outcome on the scale of the models, length n.
    groups
        Length n: rows that folds keep together.
    seed
        Of the folds.
    """
    from sklearn.model_selection import GroupKFold

    designs = {name: np.column_stack([plan.blocks, *(term.column for term in terms)]) for name, terms in plan.models.items()}
    missed = {name: np.empty(len(y)) for name in (*designs, *seen)}
    for train, test in GroupKFold(min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=seed).split(y, groups=groups):
        for name, design in designs.items():
            missed[name][test] = _lasso(design[train], y[train], groups[train], seed).predict(design[test]) - y[test]
        for name, logs in seen.items():
            missed[name][test] = curve_of(logs[train], y[train], scale)(logs[test]) - y[test]
    errors = {name: miss**2 for name, miss in missed.items()}
    best = errors[min(designs, key=lambda name: float(errors[name].mean()))]
    found = {
        name: _scored(name, error, best, groups, len(plan.models[name]) if name in plan.models else None) for name, error in errors.items()
    }
    return [found[name] for name in designs], [found[name] for name in seen]


def fold_groups(configuration: NDArray[np.intp], clusters: NDArray[np.int64] | None) -> NDArray[np.intp]:
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


def curve_of(logs: Array, y: Array, scale: Scale) -> Callable[[Array], Array]:
    """The law of one thing: a power law, with an irreducible part where there are places enough; of a linear scale a logarithmic one."""
    if scale == "linear":
        slope, constant = np.polyfit(logs, y, 1)
        return lambda at: constant + slope * at
    form = form_named("power_law" if len(np.unique(logs.round(9))) > 3 else "pure_power_law")
    best = optimum(form, {"n": logs}, np.exp(y), DELTA, confirm=False, iterations=ROUGH)
    return lambda at: form.curve(best.coordinates[None], {"n": at})[0][0]
