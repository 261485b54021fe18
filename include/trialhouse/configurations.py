"""What each configuration does in each hardware class, which ones are worth considering, and how sure the choice is.

A configuration is one combination of the factors that are not blocks: what a person can deploy. Its accuracy is that of
its weights, all of them: a trial that ran out of memory has weights like any other, so nothing is lost to survivorship.
Latency and memory are of the trials that finished; one that ran out of memory needed more than its class has.

How sure: the averages are drawn many times, as they could be given the spread of the data. Accuracies of all configurations
are drawn together from the spread between blocks (the repeated units), so that what a block adds to all of them cancels in
a comparison. Log latencies and log memories are drawn from the spread between trials of one configuration, pooled over a class.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.identity import frame_id
from trialhouse.studies.spec import Limit, Study

Array = NDArray[np.float64]

DRAWS = 4000
_TAILS = (0.025, 0.975)
_COLUMNS = (
    *("trial_id", "weights_id", "hardware_class", "block", "status"),
    *("weights_accuracy", "latency_ms", "peak_memory_bytes", "memory_utilisation"),
)


def configurations(study: Study, trials: pd.DataFrame, *, draws: int = DRAWS) -> list[dict[str, Any]]:
    """Average each configuration in each class, mark the Pareto front, and choose the best one within the study's limits.

    Parameters
    ----------
    study
        The spec; its `limits` say which configurations may be chosen.
    trials
        Its analysis view: one row per trial with `weights_id`, `hardware_class`, `block`, `status`, `weights_accuracy`
        (share), `latency_ms`, `peak_memory_bytes`, `memory_utilisation` and one column per factor.
    draws
        How often the averages are drawn.

    Returns
    -------
    list of dict
        A row per class and configuration: columns of the raw table `configurations` without its keys. Intervals are 95%.
        The best configuration is the most accurate of those that keep the limits and never ran out of memory, among equals
        the one with the most images per second; `best_share` is the share of draws in which this one is it, `front_share`
        that in which no other is both faster and more accurate. Where nothing tells the error, these are null.
    """
    names = [factor.name for factor in study.factors if factor.assignment in ("crossed", "randomised")]
    if not names:
        return []  # what is confounded on purpose is nothing to choose from
    rows: list[dict[str, Any]] = []
    for place, hardware_class in enumerate(study.hardware_classes):
        limits = [limit for limit in study.limits if limit.hardware_class in (None, hardware_class)]
        cells = _cells(trials[trials["hardware_class"] == hardware_class], names)
        if cells:
            by_block = _accuracy_by_block(trials, names, list(cells))
            rng = np.random.default_rng([study.estimation_seed, place])
            rows += [{"hardware_class": hardware_class, **row} for row in _rows(cells, names, by_block, limits, rng, draws)]
    return rows


def data_id(study: Study, trials: pd.DataFrame) -> str:
    """Id of exactly the rows and columns that configurations are computed from."""
    columns = [*(factor.name for factor in study.factors), *_COLUMNS]
    return frame_id(trials.sort_values("trial_id")[sorted(set(columns))])


def jeffreys_interval(count: int, of: int) -> tuple[float, float]:
    """Jeffreys' 95% interval of a share (Brown, Cai & DasGupta 2001), closed at 0 and 1 where all trials agree."""
    from scipy.special import betaincinv

    low, high = (float(betaincinv(count + 0.5, of - count + 0.5, tail)) for tail in _TAILS)
    return (0.0 if count == 0 else low), (1.0 if count == of else high)


@dataclass(frozen=True)
class _Average:
    """One quantity of all configurations: `value` (configurations,) and, where its error is known, `draws` (draws, configurations)."""

    value: Array
    draws: Array | None

    def interval(self, index: int) -> tuple[float | None, float | None]:
        if self.draws is None or not math.isfinite(self.value[index]):
            return None, None
        low, high = np.quantile(self.draws[:, index], _TAILS)
        return float(low), float(high)


def _cells(trials: pd.DataFrame, names: Sequence[str]) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The trials of each configuration that finished or ran out of memory, in the order of the levels."""
    measured = trials[trials["status"].isin(["ok", "out_of_memory"])]
    return {key if isinstance(key, tuple) else (key,): cell for key, cell in measured.groupby(list(names), dropna=False)}


def _accuracy_by_block(trials: pd.DataFrame, names: Sequence[str], keys: Sequence[tuple[Any, ...]]) -> Array:
    """Accuracy of each configuration's weights in each block, shape (blocks, configurations); weights belong to no class."""
    levels = trials.groupby("weights_id")[list(names)].nunique(dropna=False).max()
    of_weights = [name for name in names if levels[name] == 1]  # what varies over the same weights cannot have made them
    weights = trials.dropna(subset=["weights_accuracy"]).drop_duplicates("weights_id")
    means = weights.groupby(["block", *of_weights], dropna=False)["weights_accuracy"].mean()
    known = dict(zip(means.index.tolist(), means.tolist(), strict=True))
    places = [names.index(name) for name in of_weights]
    blocks = sorted(trials["block"].unique())
    return np.array([[known.get((block, *(key[place] for place in places)), math.nan) for key in keys] for block in blocks])


def _mean_over_blocks(by_block: Array, rng: np.random.Generator, draws: int) -> _Average:
    """Means with draws that keep the covariance between configurations: multivariate t with blocks - 1 degrees of freedom."""
    count = np.isfinite(by_block).sum(axis=0)
    value = np.where(count > 0, np.nansum(by_block, axis=0) / np.maximum(count, 1), math.nan)
    blocks = len(by_block)
    if blocks < 2 or (count < 2).any():
        return _Average(value, None)
    left = np.nan_to_num(by_block - value) / np.sqrt(count * (count - 1))
    scale = np.sqrt((blocks - 1) / rng.chisquare(blocks - 1, size=(draws, 1)))
    return _Average(value, value + scale * (rng.standard_normal((draws, blocks)) @ left))


def _mean_log(cells: Sequence[pd.DataFrame], column: str, rng: np.random.Generator, draws: int) -> _Average:
    """Means of the logarithm over trials that finished, with draws by the spread within configurations."""
    logs = [np.log(cell.loc[cell["status"] == "ok", column].dropna().to_numpy(dtype=float)) for cell in cells]
    value = np.array([one.mean() if len(one) else math.nan for one in logs])
    freedom = sum(len(one) - 1 for one in logs if len(one))
    if freedom < 1:
        return _Average(value, None)
    deviation = math.sqrt(sum(float(((one - one.mean()) ** 2).sum()) for one in logs if len(one)) / freedom)
    error = deviation / np.sqrt([max(len(one), 1) for one in logs])
    scale = np.sqrt(freedom / rng.chisquare(freedom, size=(draws, 1)))
    return _Average(value, value + scale * error * rng.standard_normal((draws, len(logs))))


def _rows(
    cells: dict[tuple[Any, ...], pd.DataFrame],
    names: Sequence[str],
    by_block: Array,
    limits: Sequence[Limit],
    rng: np.random.Generator,
    draws: int,
) -> list[dict[str, Any]]:
    frames = list(cells.values())
    accuracy = _mean_over_blocks(by_block, rng, draws)
    latency, memory = (_mean_log(frames, name, rng, draws) for name in ("latency_ms", "peak_memory_bytes"))
    lost = np.array([int((cell["status"] == "out_of_memory").sum()) for cell in frames])
    batch = _batch_sizes(cells, names)
    capacity = _capacity(frames)
    is_possible = lost == 0

    def within(latencies: Array, memories: Array) -> NDArray[np.bool_]:
        quantities = {"latency_ms": latencies, "peak_memory_bytes": memories, "memory_utilisation": memories / capacity}
        kept = [quantities[limit.outcome] <= limit.at_most for limit in limits]
        result: NDArray[np.bool_] = np.logical_and.reduce([np.broadcast_to(is_possible, latencies.shape), *kept])
        return result

    point = np.exp(latency.value)[None], np.exp(memory.value)[None]
    is_within = within(*point)
    best = int(_best(accuracy.value[None], point[0] / batch, is_within)[0])
    front = _front(accuracy.value[None], point[0])[0]
    front_shares = within_shares = best_shares = None
    if accuracy.draws is not None and latency.draws is not None and memory.draws is not None:
        drawn = np.exp(latency.draws), np.exp(memory.draws)
        front_shares = _front(accuracy.draws, drawn[0]).mean(axis=0)
        is_within_drawn = within(*drawn)
        within_shares = is_within_drawn.mean(axis=0)
        best_shares = (_best(accuracy.draws, drawn[0] / batch, is_within_drawn)[:, None] == np.arange(len(frames))).mean(axis=0)
    rows = []
    for index, (key, cell) in enumerate(cells.items()):
        oom_low, oom_high = jeffreys_interval(int(lost[index]), len(cell))
        accuracy_low, accuracy_high = accuracy.interval(index)
        latency_low, latency_high = (None if bound is None else math.exp(bound) for bound in latency.interval(index))
        memory_low, memory_high = (None if bound is None else math.exp(bound) for bound in memory.interval(index))
        rows.append(
            {
                "configuration": json.dumps(dict(zip(names, map(_plain, key), strict=True))),
                "trials": len(cell),
                "out_of_memory": int(lost[index]),
                "oom_share": float(lost[index] / len(cell)),
                "oom_low": oom_low,
                "oom_high": oom_high,
                "weights": int(np.isfinite(by_block[:, index]).sum()),
                "accuracy": _known(accuracy.value[index]),
                "accuracy_low": accuracy_low,
                "accuracy_high": accuracy_high,
                "latency_ms": _known(point[0][0, index]),
                "latency_low_ms": latency_low,
                "latency_high_ms": latency_high,
                "images_per_s": _known(1e3 * batch[index] / point[0][0, index]),
                "peak_memory_bytes": _known(point[1][0, index]),
                "peak_memory_low_bytes": memory_low,
                "peak_memory_high_bytes": memory_high,
                "memory_utilisation": _known(point[1][0, index] / capacity),
                "is_on_front": bool(front[index]),
                "front_share": None if front_shares is None else float(front_shares[index]),
                "is_within_limits": bool(is_within[0, index]),
                "within_limits_share": None if within_shares is None else float(within_shares[index]),
                "is_best": index == best,
                "best_share": None if best_shares is None else float(best_shares[index]),
                "held_out_accuracy": _held_out(by_block, point[0] / batch, is_within) if index == best else None,
            }
        )
    return rows


def _best(accuracy: Array, ms_per_image: Array, is_within: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Index of the best configuration of each row; -1 where none is within the limits."""
    candidates = np.where(is_within & np.isfinite(accuracy), accuracy, -math.inf)
    highest = candidates.max(axis=1, keepdims=True)
    times = np.where((candidates >= highest - 1e-12) & (candidates > -math.inf), ms_per_image, math.inf)
    return np.where(np.isfinite(times).any(axis=1), times.argmin(axis=1), -1)


def _front(accuracy: Array, latency: Array) -> NDArray[np.bool_]:
    """Which configurations of each row no other one beats in both; equals stand together."""
    is_known = np.isfinite(accuracy) & np.isfinite(latency)
    accuracy, latency = np.where(is_known, accuracy, -math.inf), np.where(is_known, latency, math.inf)
    order = np.lexsort((-accuracy, latency), axis=1)
    accuracies, latencies = (np.take_along_axis(values, order, axis=1) for values in (accuracy, latency))
    highest = np.maximum.accumulate(accuracies, axis=1)
    is_front = np.ones_like(is_known)
    is_front[:, 1:] = accuracies[:, 1:] > highest[:, :-1]
    is_same = (accuracies[:, 1:] == accuracies[:, :-1]) & (latencies[:, 1:] == latencies[:, :-1])
    while (joined := is_same & is_front[:, :-1] & ~is_front[:, 1:]).any():
        is_front[:, 1:] |= joined
    result = np.empty_like(is_front)
    np.put_along_axis(result, order, is_front, axis=1)
    return result & is_known


def _held_out(by_block: Array, ms_per_image: Array, is_within: NDArray[np.bool_]) -> float | None:
    """Accuracy in each block of what all other blocks would choose, averaged: the best of many averages flatters itself."""
    found = []
    for block in range(len(by_block)) if len(by_block) > 1 else ():
        others = np.delete(by_block, block, axis=0)
        chosen = int(_best(np.nanmean(others, axis=0)[None], ms_per_image, is_within)[0])
        found.append(by_block[block, chosen])
    return _known(float(np.nanmean(found))) if found else None


def _capacity(frames: Sequence[pd.DataFrame]) -> float:
    """The class's memory in bytes, which every trial tells by both of its memory columns."""
    everything = pd.concat(frames)
    return float((everything["peak_memory_bytes"] / everything["memory_utilisation"]).median())


def _batch_sizes(cells: dict[tuple[Any, ...], pd.DataFrame], names: Sequence[str]) -> Array:
    """Images per call of each configuration; 1 where the study does not vary it."""
    place = names.index("batch_size") if "batch_size" in names else None
    return np.array([1.0 if place is None else float(key[place]) for key in cells])


def _plain(level: Any) -> Any:
    number = level.item() if isinstance(level, np.generic) else level
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
