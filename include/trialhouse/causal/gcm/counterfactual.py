"""What would this trial have come to under another level of a factor: abduction, action, prediction (Pearl 2009, 7.1).

The noise of every mechanism is worked out from the trial, the factor is set, and the outcome follows with the same
noise. Where a study measured the same thing both ways, its counterfactuals are compared with what was measured.

Importing this module imports DoWhy, which takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.causal.gcm.mechanisms import Mechanisms, calm, jackknife, noise_of, outcome_of
from trialhouse.causal.inference import Array, exact_interval
from trialhouse.causal.sample import label
from trialhouse.errors import EstimationError

PARTS = 10
"""Into which the trials that are predicted are divided; the model has never seen those of the part that it predicts."""
MIN_PAIRS = 3


@dataclass(frozen=True)
class Check:
    """Counterfactuals against trials that were measured both ways.

    Parameters
    ----------
    pairs
        Pairs of trials alike in every cause but those that are set; the second of each was held out.
    within
        Column of the repeated unit that the two trials of a pair share; None where too few pairs do, and all count.
    missed
        Median size of counterfactual less measurement, in units of the outcome; for a chance, the share of pairs
        in which the less likely happened.
    bias
        Mean of counterfactual less measurement.
    difference
        Median size of the difference between the two measurements (for a chance, the share of pairs that differ): what
        taking the trial's own outcome for its counterfactual would miss by.
    reach
        Nine in ten pairs were missed by no more, on the scale on which the outcome's noise adds up; NaN for a chance.
    missed_at_most
        Upper 95% limit of the share missed (Clopper & Pearson); NaN for a number.
    """

    pairs: int
    within: str | None
    missed: float
    bias: float
    difference: float
    reach: float = math.nan
    missed_at_most: float = math.nan


@dataclass(frozen=True)
class Counterfactual:
    """What a trial would have come to.

    Parameters
    ----------
    do
        Factor -> level that it is set to, as text.
    factual
        What was measured.
    value, ci_low, ci_high
        In units of the outcome (for an outcome of 0 and 1 a chance), with a 95% interval for the fitted mechanisms. That of
        a chance is widened by what the check cannot exclude, and NaN without a check.
    range_low, range_high
        Where nine in ten measurements would lie, by how far the check's pairs were missed; NaN without a check, and
        for a chance.
    measured
        Id -> outcome of trials that are this trial under that level, as far as the model's causes go.
    untried
        Pairs of levels, as text, that the setting brings together and no trial did.
    check
        None where fewer than `MIN_PAIRS` pairs were measured both ways.
    """

    do: Mapping[str, str]
    factual: float
    value: float
    ci_low: float
    ci_high: float
    range_low: float
    range_high: float
    measured: Mapping[str, float]
    untried: tuple[str, ...]
    check: Check | None


def read_levels(mechanisms: Mechanisms, do: Mapping[str, str], *, factors: Collection[str] = ()) -> dict[str, float]:
    """The levels that are meant by texts, as the model's numbers.

    Parameters
    ----------
    mechanisms
        A fitted model.
    do
        Factor -> level.
    factors
        Nodes that can be set although they have causes in the model; nodes without causes always can.

    Raises
    ------
    EstimationError
        If one names nothing that can be set and causes the outcome, or a level that no trial had.
    """
    settable = [str(node) for node in mechanisms.values if node in mechanisms.roots or (node in factors and node != mechanisms.target)]
    found = {}
    for node, text in do.items():
        if node not in settable:
            reason = "which has causes of its own" if node in mechanisms.digraph else "which does not"
            expected = f"what is set must be a factor that causes {mechanisms.target}: one of {sorted(settable)}"
            raise EstimationError(expected, f"{node!r}, {reason}", "choose one of them")
        column = mechanisms.values[node]
        tried = {mechanisms.level(node, value): float(value) for value in np.unique(column)}
        if label(_number(text)) in tried:
            found[node] = tried[label(_number(text))]
        elif node not in mechanisms.levels and column.min() <= _as_float(text) <= column.max():
            found[node] = _as_float(text)
        else:
            span = list(tried) if node in mechanisms.levels else f"{label(column.min())} to {label(column.max())}"
            expected = f"{node} must be set to what trials that have {mechanisms.target} had: {span}"
            raise EstimationError(expected, repr(text), "the model knows nothing of levels that were never tried")
    return found


def counterfactual(
    mechanisms: Mechanisms,
    row: int,
    do: Mapping[str, float],
    *,
    tied: Iterable[Iterable[str]] = (),
    cluster: str | None = None,
    seed: int = 0,
) -> Counterfactual:
    """What a trial would have come to if some factors had been set otherwise and all else had been as it was.

    Parameters
    ----------
    mechanisms
        A fitted model.
    row
        Place of the trial among `mechanisms.rows`.
    do
        Factor -> value, from `read_levels`.
    tied
        Groups of factors of which not every combination has a meaning.
    cluster
        Column of the repeated unit, within which trials are compared with their counterfactuals where enough are.
    seed
        Of the parts of the check.

    Raises
    ------
    EstimationError
        If the setting makes a combination of tied factors that no trial had.
    """
    _require_tried(mechanisms, row, do, tied)
    trial, target = mechanisms.values.iloc[[row]], mechanisms.target
    with calm(seed):
        value = _predicted(mechanisms, mechanisms.scm, trial, do)
        without = [_predicted(mechanisms, scm, trial, do) for scm, _ in mechanisms.leave_outs(mechanisms.root_levels(row), do)]
        is_log = mechanisms.forms[target].scale == "log"
        scale, back = (np.log, np.exp) if is_log else (np.asarray, np.asarray)
        low, high = (float(back(limit)[0]) for limit in jackknife(scale(value), [scale(other) for other in without]))
        pairs, within = _pairs(mechanisms, trial, do, cluster)
        checked = _check(mechanisms, pairs, within, do, seed) if len(pairs) >= MIN_PAIRS else None
        reach = math.nan if checked is None else checked.reach
        range_low, range_high = (float(back(scale(value) + side * reach)[0]) for side in (-1, 1))
    if mechanisms.is_share:  # fitted to few units that all agree, a chance looks more certain than it is
        unseen = math.nan if checked is None else checked.missed_at_most
        low, high = float(np.clip(low - unseen, 0, 1)), float(np.clip(high + unseen, 0, 1))
    return Counterfactual(
        do={node: mechanisms.level(node, level) for node, level in do.items()},
        factual=float(trial[target].iloc[0]),
        value=float(value[0]),
        ci_low=low,
        ci_high=high,
        range_low=range_low,
        range_high=range_high,
        measured=_measured(mechanisms, row, do, within),
        untried=tuple(_untried(mechanisms, row, do)),
        check=checked,
    )


def _predicted(mechanisms: Mechanisms, scm: Any, trials: pd.DataFrame, do: Mapping[str, float]) -> Array:
    """Outcome of each trial under `do`.

    A chance c becomes c'. What happened says on which side of c the trial's uniform noise lay: where it happened it would
    have happened otherwise with probability min(1, c'/c), where it did not with max(0, (c' - c)/(1 - c)).
    """
    noise = noise_of(scm, trials)
    value = outcome_of(scm, mechanisms.target, noise, do)
    if not mechanisms.is_share:
        return value
    own, happened = noise[mechanisms.target].to_numpy(), trials[mechanisms.target].to_numpy()
    tiny = 1e-12
    before, after = np.clip(happened - own, tiny, 1 - tiny), np.clip(value - own, tiny, 1 - tiny)
    chance: Array = np.where(happened == 1, np.minimum(1.0, after / before), np.maximum(0.0, (after - before) / (1 - before)))
    return chance


def _pairs(
    mechanisms: Mechanisms, trial: pd.DataFrame, do: Mapping[str, float], cluster: str | None
) -> tuple[list[tuple[int, int]], str | None]:
    """Each trial at the levels of `do` with a twin at this trial's levels, and the column that the two have to share."""
    values = mechanisms.values
    firsts = np.flatnonzero((values[list(do)] == trial[list(do)].iloc[0]).all(axis=1))
    seconds = np.flatnonzero((values[list(do)] == pd.Series(do)).all(axis=1))
    for within in [cluster, None] if cluster is not None else [None]:
        keys = _keys(mechanisms, do, within)
        twins: dict[tuple[Any, ...], list[int]] = {}
        for first in firsts:
            twins.setdefault(keys[first], []).append(int(first))
        pairs = []
        for place, second in enumerate(seconds):  # each is predicted once, from one of its twins
            if found := [first for first in twins.get(keys[second], []) if first != second]:
                pairs.append((found[place % len(found)], int(second)))
        if len(pairs) >= MIN_PAIRS:
            return pairs, within
    return [], None


def _check(mechanisms: Mechanisms, pairs: list[tuple[int, int]], within: str | None, do: Mapping[str, float], seed: int) -> Check:
    """Predict the second of each pair from the first, by a model that was not fitted to it."""
    values, target = mechanisms.values, mechanisms.target
    before, after = np.array(pairs).T
    truths = np.unique(after)
    part_of = dict(zip(np.random.default_rng(seed).permutation(truths), np.arange(len(truths)) % PARTS, strict=True))
    parts = np.array([part_of[place] for place in after])
    predicted = np.empty(len(pairs))
    for part in np.unique(parts):
        keep: NDArray[np.bool_] = np.ones(len(values), dtype=bool)
        keep[after[parts == part]] = False
        scm = mechanisms.refitted(keep)
        predicted[parts == part] = _predicted(mechanisms, scm, values.iloc[before[parts == part]], do)
    truth = values[target].to_numpy()[after]
    bias = float((predicted - truth).mean())
    twins = values[target].to_numpy()[before]
    if mechanisms.is_share:
        wrong = int(((predicted > 0.5) != (truth > 0.5)).sum())
        limit = exact_interval(wrong, len(pairs))[1]
        return Check(len(pairs), within, wrong / len(pairs), bias, float((truth != twins).mean()), missed_at_most=limit)
    misses = np.abs(predicted - truth)
    on_scale = np.abs(np.log(predicted / truth)) if mechanisms.forms[target].scale == "log" else misses
    reach = float(np.quantile(on_scale, 0.9))
    differences = np.abs(truth - twins)
    return Check(len(pairs), within, float(np.median(misses)), bias, float(np.median(differences)), reach=reach)


def _measured(mechanisms: Mechanisms, row: int, do: Mapping[str, float], cluster: str | None) -> dict[str, float]:
    keys = _keys(mechanisms, do, cluster)
    values = mechanisms.values
    is_there = (values[list(do)] == pd.Series(do)).all(axis=1).to_numpy()
    places = [place for place in np.flatnonzero(is_there) if keys[place] == keys[row] and place != row]
    rows = mechanisms.rows
    ids = rows["trial_id"].tolist() if "trial_id" in rows else list(range(len(rows)))
    return {str(ids[place]): float(values[mechanisms.target].iloc[place]) for place in places}


def _keys(mechanisms: Mechanisms, do: Mapping[str, float], cluster: str | None) -> list[tuple[Any, ...]]:
    """What two trials must agree in to be one trial under two levels: every cause but those that are set, and the unit."""
    others = mechanisms.values[[root for root in mechanisms.roots if root not in do]]
    units = mechanisms.rows[cluster].astype(str) if cluster is not None else [""] * len(others)
    return [(*levels, unit) for levels, unit in zip(others.itertuples(index=False, name=None), units, strict=True)]


def _require_tried(mechanisms: Mechanisms, row: int, do: Mapping[str, float], tied: Iterable[Iterable[str]]) -> None:
    values = mechanisms.values
    for names in tied:
        group = [name for name in mechanisms.roots if name in set(names)]
        if not set(group) & set(do):
            continue
        wanted = {name: do.get(name, float(values[name].iloc[row])) for name in group}
        if not (values[group] == pd.Series(wanted)).all(axis=1).any():
            levels = ", ".join(f"{name}={mechanisms.level(name, value)}" for name, value in wanted.items())
            expected = f"{' and '.join(group)} must be set to a combination that was tried"
            raise EstimationError(expected, levels, "set the others with it")


def _untried(mechanisms: Mechanisms, row: int, do: Mapping[str, float]) -> list[str]:
    values, found = mechanisms.values, []
    known = [node for node in mechanisms.roots if node in mechanisms.levels]
    for node in [node for node in known if node in do]:
        for other in [other for other in known if other not in do or other > node]:
            level = do.get(other, float(values[other].iloc[row]))
            if other != node and not ((values[node] == do[node]) & (values[other] == level)).any():
                found.append(f"{node}={mechanisms.level(node, do[node])} with {other}={mechanisms.level(other, level)}")
    return found


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _as_float(text: str) -> float:
    number = _number(text)
    return number if isinstance(number, float) else math.nan
