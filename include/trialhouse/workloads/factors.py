"""The factors of pruning studies, whatever the network: their names and the levels that they can take.

| factor | levels |
|---|---|
| `pruning_ratio` | share of channels or weights to remove, in [0, 1) |
| `target_flops` | instead of a ratio: share of the unpruned network's FLOPs to keep, in (0, 1]; the ratio follows |
| `pruning_method` | how what goes is chosen: `trialhouse.pruning.importance` (channels) and `trialhouse.pruning.masks` (weights) |
| `recovery` | what is done to the weights that stay: `finetune` where it is no factor |

One ratio means different FLOPs for different methods, and FLOPs are a consequence of pruning that must not be held fixed
afterwards: methods at equal cost are compared by assigning `target_flops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import entry_points

from trialhouse.errors import WorkloadError
from trialhouse.studies.spec import Factor, Level

IMPORTANCE_GROUP = "trialhouse.importance"
"""Entry points of methods that remove channels."""
MASK_METHODS = ("global_l1_mask", "l1_mask", "random_mask")
"""Methods that zero single weights: shape, FLOPs and memory stay."""
RECOVERIES = ("finetune", "from_scratch", "recalibrate_batch_norm", "none")
"""Train on as long as the workload's recipe says; draw weights anew for the pruned shape and train them for as many epochs as
pre-training and fine-tuning together (Scratch-E of Liu et al. 2019); only estimate batch-norm statistics anew; nothing."""
PRUNING_FACTORS = ("pruning_ratio", "target_flops", "pruning_method", "recovery")
"""What is done to a trained network: with the network's own factors they determine the weights."""

SERVING_FACTORS = ("batch_size", "num_workers")
"""How finished weights are put to work: images per call, and processes that load them (0: the one that classifies)."""

MOST_WORKERS = 64
"""Loading processes of one trial, each a fork of it."""


@lru_cache(maxsize=1)
def structured_methods() -> tuple[str, ...]:
    """The methods that remove channels, those of other packages included."""
    return tuple(sorted(entry.name for entry in entry_points(group=IMPORTANCE_GROUP)))


def pruning_methods() -> tuple[str, ...]:
    """All levels that `pruning_method` can take."""
    return ("none", *structured_methods(), *MASK_METHODS)


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
    _check_target({factor.name: factor for factor in factors})


def _check_level(name: str, level: Level) -> None:
    remedy = f"fix factor {name!r}"
    number = float("nan") if isinstance(level, bool | str) else float(level)
    if name == "pruning_method":
        if level not in pruning_methods():
            raise WorkloadError(f"pruning_method must be one of {list(pruning_methods())}", repr(level), remedy)
    elif name == "recovery":
        if level not in RECOVERIES:
            raise WorkloadError(f"recovery must be one of {list(RECOVERIES)}", repr(level), remedy)
    elif name == "pruning_ratio":
        if not 0 <= number < 1:
            raise WorkloadError("pruning_ratio must be in [0, 1)", repr(level), remedy)
    elif name == "target_flops":
        if not 0 < number <= 1:
            raise WorkloadError("target_flops must be in (0, 1]", repr(level), remedy)
    elif name == "num_workers":
        if not (0 <= number <= MOST_WORKERS and number.is_integer()):
            raise WorkloadError(f"num_workers must be a whole number from 0 to {MOST_WORKERS}", repr(level), remedy)
    elif name in ("seed", "batch_size"):
        least = 0 if name == "seed" else 1
        if not (number >= least and number.is_integer()):
            raise WorkloadError(f"{name} must be a whole number from {least}", repr(level), remedy)


def _check_target(factors: dict[str, Factor]) -> None:
    if "target_flops" not in factors:
        return
    if "pruning_ratio" in factors:
        raise WorkloadError(
            "pruning_ratio or target_flops must be set, not both: each determines the other", "both", "remove one of the factors"
        )
    methods = factors["pruning_method"].levels if "pruning_method" in factors else ()
    for method in methods:
        if method not in structured_methods():
            expected = f"pruning_method must be one of {list(structured_methods())} where target_flops is a factor"
            raise WorkloadError(expected, repr(method), "a mask leaves FLOPs as they are: remove the level or set pruning_ratio")
