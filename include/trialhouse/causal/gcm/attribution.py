"""Why did this trial come out as it did: its difference from the average trial, shared out among causes; and how strong arrows are.

Importing this module imports DoWhy, which takes seconds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from dowhy.gcm.influence import arrow_strength_of_model
from dowhy.gcm.shapley import ShapleyApproximationMethods, ShapleyConfig, estimate_shapley_values

from trialhouse.causal.gcm.mechanisms import Mechanisms, calm, jackknife, noise_of, outcome_of
from trialhouse.causal.inference import Array

MAX_EXACT = 10
"""Causes up to which all their subsets are gone through; with more, random orders are."""
ORDERS = 8
REPEATS = 5
"""Of what is drawn at random, for its error."""
STRENGTH_ROWS = 100
CHUNK = 50_000
"""Rows that are computed at once."""
_SAME = 0.9
"""Share of a cause's variance that other causes predict from which on their arrows cannot be told apart."""


@dataclass(frozen=True)
class Contribution:
    """What one cause adds to the difference between a trial and the average trial, in units of the outcome.

    Parameters
    ----------
    causes
        Columns that move together: factors, or the one node whose noise it is.
    levels
        The trial's values of them, as text.
    is_noise
        Whether it is what the mechanism of that node leaves unexplained in this trial.
    contribution, ci_low, ci_high
        With a 95% interval for the fitted mechanisms (`jackknife`).
    rank
        Of noise: share of the trials whose noise at this node is smaller in size; else None.
    """

    causes: tuple[str, ...]
    levels: tuple[str, ...]
    is_noise: bool
    contribution: float
    ci_low: float
    ci_high: float
    rank: float | None = None


@dataclass(frozen=True)
class Attribution:
    """A trial's difference from the average of the rows, as a sum.

    Parameters
    ----------
    value, reference
        The trial's outcome, and the mean over the rows; the contributions add up to their difference.
    rank
        Share of the rows whose outcome is smaller.
    contributions
        Largest first.
    method
        How they were computed.
    monte_carlo_error
        Largest standard error of a contribution from drawing orders at random; 0 where nothing was drawn.
    """

    value: float
    reference: float
    rank: float
    contributions: tuple[Contribution, ...]
    method: str
    monte_carlo_error: float


@dataclass(frozen=True)
class ArrowStrength:
    """How much an outcome's variance grows when an arrow is cut: its end is fed values of other trials in place of the trial's own.

    Parameters
    ----------
    causes
        Direct causes whose arrows are cut together (one, or some that cannot be told apart).
    variance
        In squared units of the outcome (Janzing et al. 2013, with variances in place of entropies).
    error
        Monte-Carlo standard error of it.
    share
        Of the outcome's variance over the rows; shares need not add up to 1.
    """

    causes: tuple[str, ...]
    variance: float
    error: float
    share: float


def attribute(mechanisms: Mechanisms, row: int, *, tied: Iterable[Iterable[str]] = (), seed: int = 0) -> Attribution:
    """Share out a trial's difference from the average trial among its causes and what the graph does not explain.

    Interventional Shapley values (Janzing, Minorics & Bloebaum 2020; Budhathoki et al. 2022) of the causes that nothing in
    the model causes and of each mechanism's noise: a cause's contribution is the change in the expected outcome when it is set
    to what it was in this trial, the others being as in this trial or as in every other row, averaged over all
    orders of setting them. What a node passes on from its own causes counts for those.

    Parameters
    ----------
    mechanisms
        A fitted model.
    row
        Place of the trial among `mechanisms.rows`.
    tied
        Groups of factors that are moved together, because some of their combinations have no meaning.
    seed
        Of the random orders, where there are more than `MAX_EXACT` causes.
    """
    players = _players(mechanisms, tied)
    values, target = mechanisms.values, mechanisms.target
    with calm(seed):
        trial = values.iloc[[row]]
        found, error = _shapley(mechanisms.scm, values, trial, players, target, seed)
        leave_outs = mechanisms.leave_outs(mechanisms.root_levels(row))
        without = [_shapley(scm, others, trial, players, target, seed)[0] for scm, others in leave_outs]
        low, high = jackknife(found, without)
        noise = mechanisms.noise(values)
    contributions = []
    for place, player in enumerate(players):
        is_noise = mechanisms.digraph.in_degree(player[0]) > 0
        shown = player[:1] if is_noise else player
        sizes = noise[player[0]].abs()
        contributions.append(
            Contribution(
                causes=shown,
                levels=tuple(mechanisms.level(node, float(values[node].iloc[row])) for node in shown),
                is_noise=is_noise,
                contribution=float(found[place]),
                ci_low=float(low[place]),
                ci_high=float(high[place]),
                rank=float((sizes < sizes.iloc[row]).mean()) if is_noise else None,
            )
        )
    outcome = values[target].to_numpy()
    is_exact = len(players) <= MAX_EXACT
    what = f"all {2 ** len(players)} subsets" if is_exact else f"{REPEATS} times {ORDERS} random orders"
    return Attribution(
        value=float(outcome[row]),
        reference=float(outcome.mean()),
        rank=float((outcome < outcome[row]).mean()),
        contributions=tuple(sorted(contributions, key=lambda item: -abs(item.contribution))),
        method=f"interventional Shapley values over {what} of {len(players)} causes, against {len(values)} trials",
        monte_carlo_error=error,
    )


def arrow_strengths(mechanisms: Mechanisms, *, tied: Iterable[Iterable[str]] = (), seed: int = 0) -> tuple[ArrowStrength, ...]:
    """Strength of each arrow into the outcome, strongest first (`dowhy.gcm.arrow_strength`).

    Arrows whose causes determine one another are cut together, as are those of tied factors: no data tell them apart.
    """
    target = mechanisms.target
    causes = mechanisms.causes(target)
    bundles = _bundles(mechanisms, causes, tied)
    inputs = mechanisms.values[causes].to_numpy()
    subsets = [[causes.index(cause) for cause in bundle] for bundle in bundles]
    draws = []
    with calm(seed):
        for _ in range(REPEATS):
            rows = np.random.permutation(len(inputs))[:STRENGTH_ROWS]
            mechanism = mechanisms.scm.causal_mechanism(target)
            drawn = arrow_strength_of_model(
                mechanism, inputs[rows], num_samples_from_conditional=len(rows), tolerance=0.0, n_jobs=1, input_subsets=subsets
            )
            draws.append(drawn)
    mean, error = np.mean(draws, axis=0), np.std(draws, axis=0, ddof=1) / math.sqrt(REPEATS)
    total = float(mechanisms.values[target].var(ddof=0))
    found = [
        ArrowStrength(bundle, max(float(strength), 0.0), float(spread), max(float(strength), 0.0) / total)
        for bundle, strength, spread in zip(bundles, mean, error, strict=True)
    ]
    return tuple(sorted(found, key=lambda item: -item.variance))


def _players(mechanisms: Mechanisms, tied: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    """Roots, tied ones together; noisy mechanisms; the outcome's own noise, with what rounding leaves of determined nodes."""
    target, forms = mechanisms.target, mechanisms.forms
    roots = merged([(root,) for root in mechanisms.roots], tied)
    noisy = [(node,) for node, form in forms.items() if not form.is_determined and node != target]
    return [*roots, *noisy, (target, *(node for node, form in forms.items() if form.is_determined and node != target))]


def merged(groups: Sequence[tuple[str, ...]], together: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    """The groups, with those made one that share a member with the same set of `together`; in their order."""
    result = list(groups)
    for names in map(set, together):
        touched = [group for group in result if names & set(group)]
        if len(touched) > 1:
            place = result.index(touched[0])
            result[place] = tuple(name for group in touched for name in group)
            result = [group for group in result if group not in touched[1:]]
    return result


def _shapley(
    scm: Any, others: pd.DataFrame, trial: pd.DataFrame, players: Sequence[tuple[str, ...]], target: str, seed: int
) -> tuple[Array, float]:
    noise = noise_of(scm, others)
    of_trial = noise_of(scm, trial).to_numpy()[0]
    columns = list(noise)
    plain = noise.to_numpy()
    own = [[columns.index(node) for node in player] for player in players]

    def expected(subsets: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], float]:
        """Mean outcome over the others, with the noise of each subset's players as in the trial."""
        size = max(1, CHUNK // len(plain))
        means: list[float] = []
        for start in range(0, len(subsets), size):
            some = subsets[start : start + size]
            mixed = np.tile(plain, (len(some), 1, 1))
            for place, subset in enumerate(some):
                for columns_of_player in itertools.compress(own, subset):
                    mixed[place][:, columns_of_player] = of_trial[columns_of_player]
            outcome = outcome_of(scm, target, pd.DataFrame(mixed.reshape(-1, len(columns)), columns=columns))
            means += outcome.reshape(len(some), -1).mean(axis=1).tolist()
        return dict(zip(subsets, means, strict=True))

    count = len(players)
    if count <= MAX_EXACT:
        known = expected(list(itertools.product((0, 1), repeat=count)))
        return _values(lambda subset: known[tuple(map(int, subset))], count, ShapleyApproximationMethods.EXACT), 0.0

    @cache
    def one(subset: tuple[int, ...]) -> float:
        return expected([subset])[subset]

    draws = []
    for repeat in range(REPEATS):
        np.random.seed((seed + repeat) % 2**32)  # the same orders for every model
        draws.append(_values(lambda subset: one(tuple(map(int, subset))), count, ShapleyApproximationMethods.PERMUTATION))
    error = np.std(draws, axis=0, ddof=1) / math.sqrt(REPEATS)
    return np.asarray(np.mean(draws, axis=0)), float(error.max())


def _values(expected: Callable[[Array], float], count: int, method: ShapleyApproximationMethods) -> Array:
    config = ShapleyConfig(approximation_method=method, num_permutations=ORDERS, n_jobs=1)
    return np.asarray(estimate_shapley_values(expected, count, config), dtype=float)


def _bundles(mechanisms: Mechanisms, causes: list[str], tied: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    """Direct causes, together where one follows from others that are direct causes too."""
    together = [set(names) for names in tied]
    for cause in causes:
        form = mechanisms.forms.get(cause)
        own = set(mechanisms.digraph.predecessors(cause)) & set(causes)
        if form is not None and own and (form.is_determined or form.explained > _SAME):
            together.append({cause, *own})
    return merged([(cause,) for cause in causes], together)
