"""Folds that never split a repeated unit, units taken out of columns, and draws of whole units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trialhouse.causal.inference import Array
from trialhouse.causal.sample import Sample

FOLDS = 5


def folds(rows: int, clusters: NDArray[np.int64] | None, seed: int, arms: Array | None = None) -> list[tuple[NDArray[np.int64], ...]]:
    """Pairs of training and test rows, at most five.

    Parameters
    ----------
    clusters
        Length n: units that stay together.
    arms
        Length n: two arms of which every fold gets its share.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    strata = np.zeros(rows, dtype=int) if arms is None else arms.astype(int)
    state = seed % 2**32
    if clusters is None:
        count = min(FOLDS, rows if arms is None else int(np.bincount(strata).min()))
        splitter = (
            KFold(count, shuffle=True, random_state=state) if arms is None else StratifiedKFold(count, shuffle=True, random_state=state)
        )
        return list(splitter.split(strata, strata))
    count = min(FOLDS, len(np.unique(clusters)))
    grouped = GroupKFold if arms is None else StratifiedGroupKFold
    return list(grouped(count, shuffle=True, random_state=state).split(strata, strata, groups=clusters))


def stands_for_units(covariates: Array, clusters: NDArray[np.int64]) -> bool:
    """Whether the covariates include a dummy per repeated unit, under whatever name."""
    units = len(np.unique(clusters))
    if covariates.shape[1] < units - 1:
        return False
    dummies = (clusters[:, None] == np.unique(clusters)).astype(float)
    design = np.column_stack([np.ones(len(clusters)), covariates])
    left = dummies - design @ np.linalg.lstsq(design, dummies, rcond=None)[0]
    return bool(np.abs(left).max() < 1e-8)


def within(columns: Array, clusters: NDArray[np.int64]) -> Array:
    """Columns (n or n x k) as differences from each unit's mean."""
    counts = np.bincount(clusters)
    if columns.ndim == 1:
        return columns - (np.bincount(clusters, weights=columns) / counts)[clusters]
    return np.column_stack([within(column, clusters) for column in columns.T]) if columns.shape[1] else columns


def unlearnable(sample: Sample) -> str | None:
    """Why units that are adjusted for cannot be, if they cannot.

    Folds keep a unit together, so its own level is not learned but taken out as differences. That is right only where the
    treatment has the same mean in every unit, as in a blocked design.
    """
    if sample.clusters is None or not stands_for_units(sample.matrix, sample.clusters):
        return None
    means = np.bincount(sample.clusters, weights=sample.arms) / np.bincount(sample.clusters)
    if np.ptp(means) < 1e-9 * np.ptp(sample.arms):
        return None
    return "the covariates include the repeated units, which folds keep together: their own propensities cannot be learned"


def without_units(outcome: Array, columns: Array, covariates: Array, clusters: NDArray[np.int64] | None) -> tuple[Array, Array]:
    """Outcome (n) and columns (n x k) less the level of each unit, where the covariates stand for units."""
    if clusters is None or not stands_for_units(covariates, clusters):
        return outcome, columns
    return within(outcome, clusters), within(columns, clusters)


def drawn(rows: int, clusters: NDArray[np.int64] | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of a bootstrap sample: whole units with replacement, or single rows where there are none."""
    if clusters is None:
        return rng.integers(rows, size=rows)
    units = np.unique(clusters)
    return np.concatenate([np.flatnonzero(clusters == unit) for unit in rng.choice(units, size=len(units))])
