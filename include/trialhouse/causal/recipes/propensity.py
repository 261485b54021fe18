"""The chance of being treated, given the covariates: how it is learned, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trialhouse.causal.inference import Array
from trialhouse.causal.sample import Sample

LIMITS = (0.02, 0.98)
"""Propensities beyond are taken as these: weights would exceed 50."""
LEFT = 0.5
"""Share of an arm's trials that weights must leave, as effective trials, not to be mentioned."""

CLASSIFIERS: dict[str, dict[str, Any]] = {
    "lasso": {"C": 0.3, "max_iter": 500},
    "boosting": {
        "max_iter": 50,
        "learning_rate": 0.05,
        "max_leaf_nodes": 4,
        "min_samples_leaf": 20,
        "l2_regularization": 1.0,
        "early_stopping": False,
    },
    "forest": {"n_estimators": 100, "min_samples_leaf": 20},
}
"""Family of nuisance learners -> settings of its classifier.

For the lasso's family it is a ridge that shrinks a slope by about a quarter at 36 trials, a thirtieth at 500. In simulated
confounding at n = 36 a hardly penalised one (C = 1) doubles the error of doubly robust effects, and a stronger one (C = .1)
keeps a sixth of a standard deviation of bias.
"""


def classifier(family: str, seed: int) -> Any:
    """An unfitted classifier of the family of `trialhouse.causal.nuisances`, with scikit-learn's interface."""
    chosen = CLASSIFIERS[family]
    if family == "lasso":
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(**chosen)
    if family == "boosting":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(**chosen, random_state=seed)
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(**chosen, random_state=seed, n_jobs=1)


def refusal(sample: Sample) -> str | None:
    """Why propensities cannot be had, if they cannot."""
    if not sample.is_binary:
        return "a propensity needs a treatment with two arms"
    sizes = [int((sample.arms == arm).sum()) for arm in (0, 1)]
    return None if min(sizes) >= 2 else f"an arm has fewer than two trials (control {sizes[0]}, treated {sizes[1]})"


def clipped(propensities: Array) -> Array:
    """Propensities within `LIMITS`."""
    return np.clip(propensities, *LIMITS)


def told(sample: Sample, propensities: Array, rests_on: str) -> Iterator[str]:
    """What raw propensities (n) mean for an estimate that weights by them, as caveats.

    Parameters
    ----------
    rests_on
        What the effect of trials with extreme propensities rests on.
    """
    extreme = int(((propensities < LIMITS[0]) | (propensities > LIMITS[1])).sum())
    if extreme:
        yield (
            f"{extreme} of {len(propensities)} trials have a propensity beyond {LIMITS[0]:g}-{LIMITS[1]:g} and weigh as if it were"
            f" there: for them the effect rests on {rests_on}"
        )
    effective, sizes = effective_sizes(sample.arms, propensities), [int((sample.arms == arm).sum()) for arm in (0, 1)]
    if any(left < LEFT * size for left, size in zip(effective, sizes, strict=True)):
        yield (
            f"weights leave the worth of {effective[0]:.0f} of {sizes[0]} control and of {effective[1]:.0f} of {sizes[1]} treated"
            " trials (effective sample size)"
        )


def effective_sizes(arms: Array, propensities: Array) -> tuple[float, float]:
    """Trials of each arm (control, treated) that inverse propensities leave, as Kish's (1965) effective sample size."""
    weights = 1 / clipped(np.where(arms == 1, propensities, 1 - propensities))
    sizes = [float(weights[arms == arm].sum() ** 2 / (weights[arms == arm] ** 2).sum()) for arm in (0, 1)]
    return sizes[0], sizes[1]
