"""How a node follows from its causes: a ridge or logistic regression as `dowhy.gcm` wants it, in the shape that predicts best.

Importing this module imports DoWhy, which takes seconds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from dowhy.gcm.ml import PredictionModel
from numpy.typing import NDArray

from trialhouse.causal.inference import Array

FOLDS = 5

_PENALTIES = (1e-8, 1e-4, 0.01, 0.1, 1.0, 10.0, 100.0)
_INVERSE_PENALTIES = (0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Form:
    """The shape of one mechanism.

    Parameters
    ----------
    scale
        On which scale causes and noise add up: `identity`, `log`, or `logit` for a chance.
    degree
        1 for causes that add up, 2 for products of any two as well.
    penalty
        Inverse strength of the logistic regression's penalty; ridge regressions choose theirs by generalised
        cross-validation.
    explained
        Share of the variance, on that scale, that it predicts for repeated units which it was not fitted to.
    is_determined
        Whether its causes leave next to no noise.
    """

    scale: str
    degree: int
    penalty: float = math.nan
    explained: float = math.nan
    is_determined: bool = False


class Features:
    """Causes as regression columns: one per level; quantities standardised, with their logarithms where all are positive."""

    def __init__(self, levels: Sequence[Array | None], degree: int) -> None:
        self.levels, self.degree = levels, degree

    def fit(self, causes: Array) -> Self:
        self.least = causes.min(axis=0)
        self.centres, self.spreads = [], []
        for place, levels in enumerate(self.levels):
            columns = np.empty((len(causes), 0)) if levels is not None else self._quantity(causes, place)
            spread = columns.std(axis=0)
            self.centres.append(columns.mean(axis=0) if len(spread) else spread)
            self.spreads.append(np.where(spread > 0, spread, 1.0))
        return self

    def transform(self, causes: Array) -> Array:
        blocks = []
        for place, levels in enumerate(self.levels):
            if levels is not None:
                blocks.append((causes[:, [place]] == levels).astype(float))
            else:
                blocks.append((self._quantity(causes, place) - self.centres[place]) / self.spreads[place])
        products = itertools.combinations(blocks, 2) if self.degree > 1 else ()
        both = [(first[:, :, None] * second[:, None, :]).reshape(len(causes), -1) for first, second in products]
        return np.column_stack([*blocks, *both])

    def _quantity(self, causes: Array, place: int) -> Array:
        column = causes[:, [place]]
        least = float(self.least[place])
        # Mixing rows can make a cause smaller than any that was seen: there a logarithm would go to minus infinity.
        return np.column_stack([column, np.log(np.maximum(column, least))]) if least > 0 else column


class Regression(PredictionModel):  # type: ignore[misc]
    """Ridge regression (logistic for a chance) on `Features`, as `gcm` wants it."""

    def __init__(self, form: Form, levels: Sequence[Array | None]) -> None:
        self.form, self.levels = form, levels

    def fit(self, X: Array, Y: Array) -> None:
        from sklearn.linear_model import LogisticRegression, RidgeCV

        causes = np.asarray(X, dtype=float)
        self.features = Features(self.levels, self.form.degree).fit(causes)
        columns, outcome = self.features.transform(causes), np.ravel(Y)
        self.constant: float | None = None
        if np.ptp(outcome) == 0:
            self.constant = float(outcome[0])
        elif self.form.scale == "logit":
            self.model = LogisticRegression(C=self.form.penalty, max_iter=2_000).fit(columns, outcome > 0.5)
        else:
            self.centre, self.spread = float(outcome.mean()), float(outcome.std())
            self.model = RidgeCV(alphas=_PENALTIES).fit(columns, (outcome - self.centre) / self.spread)

    def predict(self, X: Array) -> Array:
        columns = self.features.transform(np.asarray(X, dtype=float))
        if self.constant is not None:
            return np.full((len(columns), 1), self.constant)
        if self.form.scale == "logit":
            return np.asarray(self.model.predict_proba(columns)[:, [1]])
        return np.asarray(self.centre + self.spread * self.model.predict(columns)).reshape(-1, 1)

    def clone(self) -> Regression:
        return Regression(self.form, self.levels)


def choose(
    values: pd.DataFrame, causes: list[str], node: str, levels: Mapping[str, Array], clusters: NDArray[Any], seed: int, *, is_share: bool
) -> Form:
    """The shape that makes rows of repeated units which it has not seen most likely; the simpler one where two are alike."""
    causes = sorted(causes)
    x, y = values[causes].to_numpy(), values[node].to_numpy()
    known = [levels.get(cause) for cause in causes]
    folds = _folds(clusters, seed)
    if is_share:
        candidates = [Form("logit", degree, penalty) for degree in (1, 2) for penalty in _INVERSE_PENALTIES]
    else:
        scales = ("identity", "log") if (y > 0).all() else ("identity",)
        candidates = [Form(scale, degree) for degree in (1, 2) for scale in scales]
    best, likelihood = candidates[0], -math.inf
    for form in candidates:
        goal: Array = np.log(y) if form.scale == "log" else y
        predicted = np.empty(len(y))
        for train, test in folds:
            regression = Regression(form, known)
            regression.fit(x[train], goal[train])
            predicted[test] = regression.predict(x[test]).ravel()
        errors: Array = goal - predicted
        spread = float(goal.std())
        explained = 1 - float(errors @ errors) / (len(y) * spread**2)
        if is_share:
            chance = np.clip(predicted, 1e-6, 1 - 1e-6)
            found = float(np.log(np.where(y == 1, chance, 1 - chance)).sum())
        else:
            size = max(float(np.sqrt(np.mean(errors**2))), 1e-9 * spread)
            found = -len(y) * math.log(size) - (float(np.log(y).sum()) if form.scale == "log" else 0.0)
        if found > likelihood + 1e-6 * abs(likelihood if math.isfinite(likelihood) else 0.0):
            best, likelihood = replace(form, explained=explained), found
    return best


def _folds(clusters: NDArray[Any], seed: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    from sklearn.model_selection import GroupKFold

    folds = GroupKFold(min(FOLDS, len(np.unique(clusters))), shuffle=True, random_state=seed % 2**32)
    return list(folds.split(clusters, groups=clusters))
