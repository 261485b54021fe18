"""What should keep a reader from believing a law: each check gives a sentence or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.scaling_laws.forms import Array, Form
from trialhouse.scaling_laws.intervals import Draws, bootstrap, standard_errors
from trialhouse.scaling_laws.sample import LawSample, tied
from trialhouse.scaling_laws.search import optimum

MOVING_TOGETHER = 0.98
"""Share of a factor's variance that the others explain, from which on their parts cannot be told apart."""
OFF = 6.0
"""Robust standard deviations from the curve that make a point an outlier."""
NEAR = 1.5
"""Loss per row, over the lowest, up to which a range is as good as any."""
OF_A_LEVEL, FEWEST_LEVELS, MOST_LEVELS = 5, 4, 10
"""Neighbouring rows that are one level, and how many such levels there are."""
COPIED = 0.2
"""Share of rows from which on it is said that they are copies; outcomes of few values, such as shares of a hundred, agree by chance."""
UNMOVED = 1e-8
"""Standard error of a coordinate, as a share of it, below which no draw moves it."""
RISE_LEVEL, TRANSIENT_LEVEL, MISFIT_LEVEL = 1e-3, 1e-2, 1e-3
"""False alarms per table, the first two Bonferroni-corrected."""


@dataclass(frozen=True)
class Levels:
    """The outcome at each level of the one factor: its mean on the form's scale, the weight of its rows, the scatter of one of weight 1."""

    log_n: Array
    means: Array
    counts: Array
    noise: Array
    freedom: int


def levels(form: Form, sample: LawSample) -> Levels:
    """Means per level, and the standard deviation of one row: within levels where there are repetitions, else from second differences."""
    log_n, place = np.unique(sample.points["n"].round(9), return_inverse=True)
    target, weights = form.on_scale(sample.outcome), sample.weights
    counts = np.asarray(np.bincount(place, weights=weights), dtype=float)
    means = np.bincount(place, weights=weights * target) / counts
    repeats = len(target) - len(means)
    if repeats >= 5:
        scatter = np.sqrt((weights * (target - means[place]) ** 2).sum() / repeats)
        return Levels(log_n, means, counts, np.full(len(means), scatter), repeats)
    bends = _bends(log_n, means)
    sizes = np.abs(bends[bends != 0])  # outcomes that are all equal (scores at chance) say nothing of the noise of others
    noise = 1.4826 * float(np.median(sizes)) if len(sizes) else 0.0
    return Levels(log_n, means, counts, np.full(len(means), noise), max(len(sizes) // 2, 1))


def neighbours(form: Form, sample: LawSample) -> Levels:
    """Levels for a factor that is never the same twice, where rows scatter unequally: neighbouring rows are one level.

    The scatter is that of rows about their two neighbours: of all of them, or that of the level's own where it is larger. A median,
    as in `levels`, would be that of the ends, where scores hardly scatter, and make turns of what scatters on their way.
    """
    order = np.argsort(sample.points["n"], kind="stable")
    log_n, target = sample.points["n"][order], form.on_scale(sample.outcome)[order]
    count = min(max(len(order) // OF_A_LEVEL, FEWEST_LEVELS), MOST_LEVELS)
    place = np.arange(len(order)) * count // len(order)
    sizes = np.bincount(place)
    squares = _bends(log_n, target) ** 2
    own = np.bincount(place[1:-1], weights=squares, minlength=count) / np.maximum(np.bincount(place[1:-1], minlength=count), 1)
    noise = np.sqrt(np.maximum(own, squares.mean()))
    means = [np.bincount(place, weights=values) / sizes for values in (log_n, target)]
    return Levels(means[0], means[1], sizes.astype(float), noise, max(len(squares) // 2, 1))


def _bends(at: Array, values: Array) -> Array:
    """How far each but the ends is off the line between its neighbours, in units of one's own scatter."""
    gaps = np.diff(at)
    share = gaps[1:] / np.maximum(gaps[1:] + gaps[:-1], 1e-300)
    return np.asarray((values[1:-1] - share * values[:-2] - (1 - share) * values[2:]) / np.sqrt(1 + share**2 + (1 - share) ** 2))


def turning(form: Form, sample: LawSample, found: Levels | None = None) -> str | None:
    """Non-monotone data (double descent, overfitting): both a rise and a fall that noise does not explain; `found` in place of `levels`."""
    if form.roles != ("n",) or not form.is_monotone:
        return None
    from scipy import stats

    found = found or levels(form, sample)
    count = len(found.means)
    if count < 4 or (not found.noise.any() and not _turns(found.means)):
        return None
    later, earlier = np.tril_indices(count, -1)
    change = found.means[later] - found.means[earlier]
    spread = found.noise**2 / found.counts
    error = np.sqrt(spread[later] + spread[earlier])
    score = change / np.maximum(error, 1e-12 * np.abs(found.means).max() + 1e-300)
    critical = float(stats.t.isf(RISE_LEVEL / len(change), found.freedom))
    if score.max() <= critical or score.min() >= -critical:
        return None
    worst = int(score.argmax() if form.is_log else score.argmin())
    start, end = np.exp(found.log_n[[earlier[worst], later[worst]]])
    before, after = found.means[[earlier[worst], later[worst]]]
    values = (np.exp(before), np.exp(after)) if form.is_log else (before, after)
    turn = "rises" if after > before else "falls"
    return (
        f"the outcome {turn} from {values[0]:.4g} at {start:.4g} to {values[1]:.4g} at {end:.4g} and goes the other way elsewhere "
        "(double descent, overfitting?): no curve that only falls is drawn through it"
    )


def _turns(means: Array) -> bool:
    steps = np.sign(np.diff(means))
    return bool((steps > 0).any() and (steps < 0).any())


def wrong_way(form: Form, coordinates: Array) -> str | None:
    """A loss that grows, or a score that falls, with the factor."""
    if not form.is_monotone:
        return None
    pairs = zip(form.parameters, coordinates, strict=True)
    bad = [parameter.name for parameter, value in pairs if parameter.is_exponent and value < 0]
    if not bad:
        return None
    better = "falls" if form.is_log else "rises"
    return f"the exponent {', '.join(bad)} is negative: a law of this form {better}; is the outcome a score, or another form meant?"


def together(sample: LawSample) -> str | None:
    """Size and data that move together."""
    shares = tied(sample)
    if not shares or max(shares.values()) < MOVING_TOGETHER:
        return None
    role = max(shares, key=lambda name: shares[name])
    others = " and ".join(repr(column) for other, column in sample.columns.items() if other != role)
    return (
        f"{sample.columns[role]!r} moves with {others} (they explain {shares[role]:.1%} of its variance): "
        "what each of them does cannot be told apart"
    )


def outliers(
    form: Form, sample: LawSample, coordinates: Array, remedy: str = "; --drop-highest leaves the highest out, and says so"
) -> str | None:
    """Rows far off the curve; they stay, and the Huber loss limits their weight."""
    residuals = sample.residuals(form, coordinates)
    spread = 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))
    if spread <= 1e-12:
        return None
    far = np.flatnonzero(np.abs(residuals) > OFF * spread)
    if not len(far):
        return None
    rows = ", ".join(str(row) for row in sample.rows[far][:10]) + (", ..." if len(far) > 10 else "")
    return (
        f"{len(far)} of {len(sample)} rows lie more than {OFF:g} robust standard deviations off the curve (rows {rows}, from 0): "
        f"they are kept with limited weight{remedy}"
    )


def copies(sample: LawSample) -> str | None:
    """Rows that agree with others in factors and outcome, and are said to be independent of them."""
    rows = pd.DataFrame({**sample.points, "outcome of the law": sample.outcome})
    apart = rows if sample.clusters is None else rows.loc[~rows.assign(unit=sample.clusters).duplicated()]
    count = int(apart.duplicated().sum())
    if count < COPIED * len(sample):
        return None
    return (
        f"{count} of {len(sample)} rows are copies of others in factors and outcome: if they are the same trials again, intervals are too "
        "short; leave them out, or name the column that tells trials apart (--cluster)"
    )


def unmoved(form: Form, sample: LawSample, coordinates: Array, drawn: Draws, delta: float) -> str | None:
    """A curve that lies between groups of trials and near none: its loss is flat, no draw moves it, and so nothing says how sure it is."""
    level, _ = form.curve(coordinates[None], sample.points)
    off = np.abs(form.on_scale(sample.outcome) - level[0])
    if np.median(off) <= delta or (standard_errors(drawn.coordinates) > UNMOVED * (1 + np.abs(coordinates))).any():
        return None
    return (
        "no resampling of the trials moves the curve, for it lies between groups of them and near none, where others fit as well: "
        "split the law by what tells the groups apart"
    )


def misfit(form: Form, sample: LawSample, coordinates: Array, remedy: str = "; hold other forms against it (--form auto)") -> str | None:
    """A pattern along a factor that the curve leaves: ranks of residuals on squares, cubes and products of the factors."""
    from scipy import stats

    ranks = stats.norm.ppf(stats.rankdata(sample.residuals(form, coordinates)) / (len(sample) + 1))
    scaled = [(values - values.mean()) / values.std() for values in sample.points.values()]
    bends = [*(one**power for one in scaled for power in (2, 3)), *(a * b for a, b in combinations(scaled, 2))]
    plain = np.column_stack([np.ones(len(sample)), *scaled])
    full = np.column_stack([plain, *bends])
    rank_plain, rank_full = np.linalg.matrix_rank(plain), np.linalg.matrix_rank(full)
    freedom = len(sample) - rank_full
    if freedom < 5 or rank_full == rank_plain:
        return None
    left = [float(np.sum((ranks - matrix @ np.linalg.lstsq(matrix, ranks, rcond=None)[0]) ** 2)) for matrix in (plain, full)]
    score = (left[0] - left[1]) / (rank_full - rank_plain) / max(left[1] / freedom, 1e-300)
    if float(stats.f.sf(score, rank_full - rank_plain, freedom)) >= MISFIT_LEVEL:
        return None
    return (
        "what the curve leaves follows a pattern along the factors: the form is not quite theirs, and intervals, which take it for true, "
        f"are too short{remedy}"
    )


def perfect(form: Form, sample: LawSample, objective: float, delta: float) -> str | None:
    """A curve through all points."""
    least = 1e-10 * (np.ptp(form.on_scale(sample.outcome)) if np.isinf(delta) else delta)
    return None if objective > len(sample) * least**2 else "the curve passes through all points: without noise intervals mean nothing"


def unidentified(form: Form, coordinates: Array, ends: Array) -> dict[str, str]:
    """Parameter -> why the data do not determine it."""
    found: dict[str, str] = {}
    for parameter, value, (low, high) in zip(form.parameters, coordinates, ends, strict=True):
        name = parameter.name
        if parameter.link != "identity" and np.isinf(low) and np.isfinite(high):
            if name in ("E", "chance"):
                continue  # an interval from 0 is an answer
            found[name] = f"{name} is not identified by this range: any value below {parameter.natural(high):.3g} fits about as well"
        elif np.isinf(low) and np.isinf(high):
            found[name] = f"{name} is not identified by this range: any value fits about as well"
        elif np.isinf(low) or np.isinf(high):
            end, open_end = (high, "lower") if np.isinf(low) else (low, "upper")
            other = parameter.natural(np.array(end))
            found[name] = f"{name} is not identified by this range: its interval has no {open_end} end (the other is {other:.3g})"
        elif parameter.is_exponent:
            if low <= 0 <= high:
                found[name] = f"the exponent {name} is not identified by this range: its interval ({low:.3g} to {high:.3g}) includes 0"
            elif high - low > 2 * abs(value):
                found[name] = f"the exponent {name} is not identified by this range: its interval is {low:.3g} to {high:.3g}"
    return found


def transient(form: Form, sample: LawSample, delta: float, seed: int) -> LawSample:
    """The sample without levels of small n that are off the law of the others (warm-up).

    Levels go from the smallest on while each is off the law fitted to all larger ones. Where several hide each other, the
    search starts at the first level from which on the loss per row is as low as anywhere. Levels go only while half of
    them stay; if that is not enough the form is wrong rather than a region transient, and all are kept.
    """
    if form.roles != ("n",):
        return sample
    found = levels(form, sample)
    place = np.unique(sample.points["n"].round(9), return_inverse=True)[1]
    parameters, count = len(form.parameters), len(found.means)
    most = min(count // 2, count - parameters - 2)
    if most < 1 or len(sample.only(place > most)) < parameters + 3:
        return sample
    first = _lowest_from(form, sample, place, most, delta)
    first = first if 0 < first < most and _is_off(form, sample, place, found, first - 1, most, delta, seed) else 0
    while first <= most and _is_off(form, sample, place, found, first, most, delta, seed):
        first += 1
    if not 0 < first <= most:
        return sample
    return sample.only(place >= first, f"transient region: below {np.exp(found.log_n[first]):.4g} the curve is not yet that law's")


def _lowest_from(form: Form, sample: LawSample, place: NDArray[np.int64], most: int, delta: float) -> int:
    """The first level from which on the loss per row is near its lowest."""
    per_row = []
    for first in range(most + 1):
        rest = sample.only(place >= first)
        best = optimum(form, rest.points, rest.outcome, delta, weights=rest.weights, confirm=False)
        per_row.append(best.objective / (len(rest) - len(form.parameters)))
    return int(np.flatnonzero(np.array(per_row) <= NEAR * min(per_row))[0])


def _is_off(form: Form, sample: LawSample, place: NDArray[np.int64], found: Levels, level: int, most: int, delta: float, seed: int) -> bool:
    """Whether a level lies farther from the law of all larger ones than its noise and that law's own error explain."""
    from scipy import stats

    rest = sample.only(place > level)
    best = optimum(form, rest.points, rest.outcome, delta, weights=rest.weights, confirm=False)
    drawn = bootstrap(form, rest, best.coordinates, delta, draws=200, seed=seed)
    there = {"n": found.log_n[level : level + 1]}
    spread = float(np.std(form.curve(drawn.coordinates, there)[0]))
    freedom = len(rest) - len(form.parameters)
    residuals = rest.residuals(form, best.coordinates)
    noise = max(1.4826 * float(np.median(np.abs(residuals))), 1e-9) * np.sqrt(len(rest) / freedom)
    distance = abs(float(found.means[level] - form.curve(best.coordinates[None], there)[0][0, 0]))
    error = float(np.hypot(spread, noise / np.sqrt(found.counts[level])))
    return distance / error > float(stats.t.isf(TRANSIENT_LEVEL / 2 / most, freedom))


def sentences(candidates: Sequence[str | None]) -> list[str]:
    """Those that were found."""
    return [sentence for sentence in candidates if sentence is not None]
