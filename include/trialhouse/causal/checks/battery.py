"""Step 4, refute: the five stock refuters, from what the nuisances leave of treatment and outcome.

They are DoWhy's (random common cause, permuted placebo, data subset, bootstrap, dummy outcome) without its loop: each
simulation changes a vector and takes a slope again (Frisch & Waugh 1933; Lovell 1963), so that a hundred of them are a
matrix product. For least squares the slopes are those of refitting the whole regression; for cross-fitted learners the
nuisances are those of the estimate. They are run because people expect them: against an omitted confounder, a mediator as
control, pseudo-replication or outliers their power is nil.

Repeated units, where there are any, are resampled whole (rows of one unit are no independent trials, and a resample that
breaks units up says how well the same units would be measured again, not what other units would say). A placebo is shuffled
as the treatment could have been assigned: over units where all rows of a unit share it, within units where each of
them has its fair share of every level, over rows otherwise. Noise is drawn row by row: it is independent of treatment and
outcome in any case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialhouse.causal.inference import DETERMINED, Array
from trialhouse.causal.partial import Partialled
from trialhouse.causal.sample import Sample, amount
from trialhouse.causal.verdict import Check

STOCK_REFUTERS = ("random_common_cause", "permuted_placebo", "data_subset", "bootstrap", "dummy_outcome")

MIN_SIMULATIONS = 100
"""Below, a percentile p-value is too coarse to reject anything after Holm."""
MIN_UNIQUE_SHARE = 0.9
SUBSET_SHARE = 0.8
"""DoWhy's default."""

_CHUNK = 4_000_000
"""Numbers held at once: 32 MB."""
_GRAIN = 1e-10
"""Differences between slopes below this share of their scale are rounding errors."""


class _Simulations(NamedTuple):
    """Slopes under one refuter, what they ought to scatter around, how many draws differed and how many could."""

    slopes: Array
    expected: float
    different: int
    possible: float


def stock_refuter(name: str, sample: Sample, partialled: Partialled, *, span: float = 1.0, simulations: int = 100, seed: int = 0) -> Check:
    """One of `STOCK_REFUTERS`.

    Parameters
    ----------
    name
        Of the refuter.
    sample
        The rows of the contrast, for the treatment as it was and for words.
    partialled
        What the recipe left of them. Where a recipe takes the median over an odd number of splits, that of the median split.
    span
        Units of treatment between the two levels of the contrast.
    simulations, seed
        How many, and the seed of their own generator: the same bits every time.

    Notes
    -----
    The p-value is DoWhy's: two-sided percentiles of the simulations, of the estimate where they should scatter around it and
    of 0 for a placebo or a dummy outcome. DoWhy's bootstrap adds noise of a tenth of their spread to the covariates as well;
    nuisances that are not fitted again cannot feel it, so it is left out here.
    """
    if not _carries(sample, partialled):
        return Check(name, "not_applicable", "There is no estimate to refute.", consequence="none")
    found = _REFUTERS[name](sample, partialled, simulations, np.random.default_rng(seed))
    if np.isnan(found.slopes).any():
        return Check(name, "not_applicable", f"With so few trials, {_UNDEFINED[name]}.", simulations=simulations, consequence="none")
    grain = _GRAIN * max(_spread(sample.values) / _spread(sample.arms), abs(partialled.slope))
    p_value = round(percentile_p_value(found.expected, found.slopes, grain), 12)
    mean = float(found.slopes.mean()) * span
    did = _SENTENCES[name].format(amount(partialled.slope * span, sample.outcome), amount(mean, sample.outcome))
    sentence = f"{did}: p = {p_value:.2g}, {simulations} simulations"
    if simulations < MIN_SIMULATIONS or found.different < fewest_different(simulations, found.possible):
        reason = f"{sentence}, {found.different} of them different: too few to tell (at least {MIN_SIMULATIONS} are needed)."
        return Check(name, "inconclusive", reason, mean, p_value, simulations, consequence="withheld")
    return Check(name, "passed", f"{sentence}.", mean, p_value, simulations, is_test=True)


def percentile_p_value(value: float, simulated: Array, grain: float = 0.0) -> float:
    """Two-sided percentile p-value of a value among simulations, those within `grain` of it counted half.

    `dowhy.causal_refuter.perform_bootstrap_test`; see the footnotes of https://doi.org/10.1177/2515245920911881.
    """
    distance = simulated - value
    half = float(np.where(np.abs(distance) <= grain, 0.5, distance > 0).mean())
    return 2 * min(half, 1 - half)


def arrangements(arms: Array) -> float:
    """In how many ways a treatment can be shuffled, infinite where that cannot be told from it."""
    return _count(_log_arrangements(arms))


def expected_different(draws: int, possible: float) -> float:
    """How many of so many draws, each of `possible` outcomes being as likely, differ on average."""
    if possible <= 1:
        return 1.0
    return draws if math.isinf(possible) else possible * -math.expm1(draws * math.log1p(-1 / possible))


def fewest_different(draws: int, possible: float) -> float:
    """How many must differ if draws are independent: a share of those expected, less what chance takes where few are possible."""
    expected = expected_different(draws, possible)
    return MIN_UNIQUE_SHARE * expected - 3 * math.sqrt(draws - expected)


def _random_common_cause(sample: Sample, partialled: Partialled, simulations: int, generator: np.random.Generator) -> _Simulations:
    """One more covariate, of noise, partialled out as well."""
    treatment, outcome, basis = partialled.treatment, partialled.outcome, partialled.basis
    both = treatment @ outcome, treatment @ treatment
    slopes, seen = [], set()
    # What the basis takes out of the noise is taken out of the products with it, which is the same and needs no second n x S array.
    columns = np.column_stack([treatment, outcome, basis])
    of_basis = basis.T @ columns[:, :2]
    for noise in _chunks(lambda rows: generator.standard_normal((rows, len(treatment))), len(treatment), simulations):
        seen |= _hashes(noise)
        products = noise @ columns
        inside = products[:, 2:]
        cross = products[:, :2] - inside @ of_basis
        variance = (noise**2).sum(axis=1) - (inside**2).sum(axis=1)
        variance[variance <= DETERMINED * len(treatment)] = np.nan
        weight = both[1] - cross[:, 0] ** 2 / variance
        weight[weight <= DETERMINED * both[1]] = np.nan
        slopes.append((both[0] - cross[:, 0] * cross[:, 1] / variance) / weight)
    return _Simulations(np.concatenate(slopes), partialled.slope, len(seen), math.inf)


def _dummy_outcome(sample: Sample, partialled: Partialled, simulations: int, generator: np.random.Generator) -> _Simulations:
    """Noise in place of the outcome."""
    left = partialled.residualise(partialled.treatment)
    weights = left / (partialled.treatment @ partialled.treatment) * _spread(sample.values)
    slopes, seen = [], set()
    for noise in _chunks(lambda rows: generator.standard_normal((rows, len(left))), len(left), simulations):
        seen |= _hashes(noise)
        slopes.append(noise @ weights)
    return _Simulations(np.concatenate(slopes), 0.0, len(seen), math.inf)


def _permuted_placebo(sample: Sample, partialled: Partialled, simulations: int, generator: np.random.Generator) -> _Simulations:
    """The treatment shuffled, and the covariates taken out of that."""
    shuffle, possible = _shuffle(sample.arms, partialled)
    basis, outcome = partialled.basis, partialled.outcome
    of_basis = basis.T @ outcome
    slopes, seen = [], set()
    for placebo in _chunks(lambda rows: shuffle(rows, generator), len(outcome), simulations):
        seen |= _hashes(placebo)
        inside = placebo @ basis
        total = (placebo**2).sum(axis=1)
        weight = total - (inside**2).sum(axis=1)
        weight[weight <= DETERMINED * total] = np.nan
        slopes.append((placebo @ outcome - inside @ of_basis) / weight)
    return _Simulations(np.concatenate(slopes), 0.0, len(seen), possible)


def _data_subset(sample: Sample, partialled: Partialled, simulations: int, generator: np.random.Generator) -> _Simulations:
    """Random subsets of the units."""
    units, count = _units(partialled)
    kept = round(SUBSET_SHARE * count)
    chosen = np.arange(count) < kept

    def draw(rows: int) -> Array:
        return generator.permuted(np.broadcast_to(chosen, (rows, count)), axis=1).astype(float)

    possible = _count(math.lgamma(count + 1) - math.lgamma(kept + 1) - math.lgamma(count - kept + 1))
    return _reweighted(partialled, units, draw, simulations, count, possible)


def _bootstrap(sample: Sample, partialled: Partialled, simulations: int, generator: np.random.Generator) -> _Simulations:
    """Units drawn with replacement."""
    units, count = _units(partialled)

    def draw(rows: int) -> Array:
        drawn = generator.integers(0, count, (rows, count))
        return np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(float)

    return _reweighted(partialled, units, draw, simulations, count, _resamples(count))


_REFUTERS: dict[str, Callable[[Sample, Partialled, int, np.random.Generator], _Simulations]] = {
    "random_common_cause": _random_common_cause,
    "data_subset": _data_subset,
    "permuted_placebo": _permuted_placebo,
    "bootstrap": _bootstrap,
    "dummy_outcome": _dummy_outcome,
}
_SENTENCES = {
    "random_common_cause": "A random common cause moves the estimate from {0} to {1} on average",
    "data_subset": "On random subsets of 80% the estimate is {1} on average, against {0}",
    "permuted_placebo": "With the treatment shuffled the estimate is {1} on average, against {0}",
    "bootstrap": "On trials drawn with replacement the estimate is {1} on average, against {0}",
    "dummy_outcome": "With noise in place of the outcome the estimate is {1} on average, against {0}",
}
_UNDEFINED = {
    "random_common_cause": "one more covariate determines the treatment: nothing is left to compare",
    "data_subset": "some subsets have no contrast left: nothing is left to compare",
    "permuted_placebo": "some shuffles give every block one arm only: nothing is left to compare",
    "bootstrap": "some resamples have no contrast left: nothing is left to compare",
    "dummy_outcome": "there is no contrast to compare with noise",
}


def _reweighted(
    partialled: Partialled,
    units: NDArray[np.int64] | None,
    draw: Callable[[int], Array],
    simulations: int,
    count: int,
    possible: float,
) -> _Simulations:
    """Slopes with each unit counted as often as it was drawn, the basis partialled out of the rows that were."""
    slopes, seen = [], set()
    for weights in _chunks(draw, count, simulations):
        seen |= _hashes(weights)
        slopes.append(_weighted_slopes(weights, partialled, units))
    return _Simulations(np.concatenate(slopes), partialled.slope, len(seen), possible)


def _weighted_slopes(weights: Array, partialled: Partialled, units: NDArray[np.int64] | None) -> Array:
    """Slopes (S) of weighted regressions with the weights (S x units) of as many simulations."""
    columns = np.column_stack([partialled.basis, partialled.treatment, partialled.outcome])
    width = columns.shape[1]
    moments = np.zeros((len(weights), width * width))
    block = max(1, _CHUNK // (width * width))
    for start in range(0, len(columns), block):
        rows = slice(start, start + block)
        part = columns[rows]
        products = (part[:, :, None] * part[:, None, :]).reshape(len(part), -1)
        moments += (weights[:, rows] if units is None else weights[:, units[rows]]) @ products
    moments = moments.reshape(-1, width, width)
    k = width - 2
    left, right = moments[:, k, k], moments[:, k, k + 1]
    if k:
        inverse = np.linalg.pinv(moments[:, :k, :k], rcond=1e-10, hermitian=True)
        projected = np.einsum("si,sij->sj", moments[:, :k, k], inverse)
        left = left - np.einsum("sj,sj->s", projected, moments[:, :k, k])
        right = right - np.einsum("sj,sj->s", projected, moments[:, :k, k + 1])
    is_left = left > 1e-8 * moments[:, k, k]
    slopes: Array = np.divide(right, left, out=np.full(len(left), np.nan), where=is_left)
    return slopes


def _shuffle(arms: Array, partialled: Partialled) -> tuple[Callable[[int, np.random.Generator], Array], float]:
    """How to shuffle a treatment as it could have been assigned, and how many ways there are."""

    def over_rows(rows: int, generator: np.random.Generator) -> Array:
        return generator.permuted(np.broadcast_to(arms, (rows, len(arms))), axis=1)

    if partialled.clusters is None:
        return over_rows, arrangements(arms)
    _, codes = np.unique(partialled.clusters, return_inverse=True)
    sizes = np.bincount(codes)
    means = np.bincount(codes, weights=arms) / sizes
    scale = float(((arms - arms.mean()) ** 2).sum())
    if float(((arms - means[codes]) ** 2).sum()) <= DETERMINED * scale:

        def over_units(rows: int, generator: np.random.Generator) -> Array:
            return generator.permuted(np.broadcast_to(means, (rows, len(means))), axis=1)[:, codes]

        return over_units, arrangements(means.round(12))
    between = partialled.residualise(means[codes])
    if float(between @ between) > DETERMINED * scale:  # a shuffle within units would leave some of the treatment in place
        return over_rows, arrangements(arms)
    order = np.argsort(codes, kind="stable")

    def within_units(rows: int, generator: np.random.Generator) -> Array:
        # Sorting by unit plus noise below one shuffles each unit in its place.
        places = np.argsort(codes[order] + generator.random((rows, len(arms))), axis=1)
        result = np.empty((rows, len(arms)))
        result[:, order] = arms[order][places]
        return result

    ways = sum(_log_arrangements(part) for part in np.split(arms[order], np.cumsum(sizes)[:-1]))
    return within_units, _count(ways)


def _units(partialled: Partialled) -> tuple[NDArray[np.int64] | None, int]:
    """Which unit each row belongs to (None where each is its own), and how many there are."""
    if partialled.clusters is None:
        return None, len(partialled.treatment)
    _, codes = np.unique(partialled.clusters, return_inverse=True)
    return codes, int(codes.max()) + 1


def _resamples(units: int) -> float:
    """How many different bootstrap samples there are in effect: one over the probability that two of them are the same."""
    if units > 20:
        return math.inf
    series = np.array([1 / math.factorial(times) ** 2 for times in range(units + 1)])
    power = np.ones(1)
    for _ in range(units):
        power = np.convolve(power, series)[: units + 1]
    return float((units**units / math.factorial(units)) ** 2 / power[units])


def _chunks(draw: Callable[[int], Array], width: int, simulations: int) -> Iterator[Array]:
    """Rows of a `simulations` x `width` array, as many at once as memory should hold."""
    rows = max(1, _CHUNK // width)
    for start in range(0, simulations, rows):
        yield draw(min(rows, simulations - start))


def _hashes(draws: Array) -> set[int]:
    return {hash(row.tobytes()) for row in draws}


def _log_arrangements(arms: Array) -> float:
    _, counts = np.unique(arms, return_counts=True)
    return math.lgamma(len(arms) + 1) - sum(math.lgamma(count + 1) for count in counts)


def _count(logarithm: float) -> float:
    return math.exp(logarithm) if logarithm < 40 else math.inf


def _spread(column: Array) -> float:
    return float(column.std())


def _carries(sample: Sample, partialled: Partialled) -> bool:
    """Whether the remainders have a contrast, and not rounding errors only."""
    weight = float(partialled.treatment @ partialled.treatment)
    return weight > DETERMINED * len(sample.arms) * _spread(sample.arms) ** 2 and weight > 0
