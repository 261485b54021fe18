"""The factors of pruning studies, whatever the network: their names and the levels that they can take."""

from __future__ import annotations

from collections.abc import Sequence

from trialhouse.errors import WorkloadError
from trialhouse.studies.spec import Factor, Level

PRUNING_METHODS = ("none", "l1_structured", "random_structured", "l1_mask")
PRUNING_FACTORS = ("pruning_ratio", "pruning_method")
"""What is done to a trained network: with the network's own factors they determine the weights."""

SERVING_FACTORS = ("batch_size", "num_workers")
"""How finished weights are put to work: images per call, and processes that load them (0: the one that classifies)."""

MOST_WORKERS = 64
"""Loading processes of one trial, each a fork of it."""


def check_factors(workload: str, factors: Sequence[Factor], known: Sequence[str]) -> None:
    """Refuse factors that a workload does not know, and levels that those of pruning studies cannot take.

    Raises
    ------
    WorkloadError
        For the first of them.
    """
    for factor in factors:
        if factor.name not in known:
            expected = f"factors of workload {workload!r} must be among {list(known)}"
            raise WorkloadError(expected, repr(factor.name), "rename or remove the factor")
        for level in factor.levels if factor.otherwise is None else (*factor.levels, factor.otherwise):
            _check_level(factor.name, level)


def _check_level(name: str, level: Level) -> None:
    remedy = f"fix factor {name!r}"
    number = float("nan") if isinstance(level, bool | str) else float(level)
    if name == "pruning_method":
        if level not in PRUNING_METHODS:
            raise WorkloadError(f"pruning_method must be one of {list(PRUNING_METHODS)}", repr(level), remedy)
    elif name == "pruning_ratio":
        if not 0 <= number < 1:
            raise WorkloadError("pruning_ratio must be in [0, 1)", repr(level), remedy)
    elif name == "num_workers":
        if not (0 <= number <= MOST_WORKERS and number.is_integer()):
            raise WorkloadError(f"num_workers must be a whole number from 0 to {MOST_WORKERS}", repr(level), remedy)
    elif name in ("seed", "batch_size"):
        least = 0 if name == "seed" else 1
        if not (number >= least and number.is_integer()):
            raise WorkloadError(f"{name} must be a whole number from {least}", repr(level), remedy)
