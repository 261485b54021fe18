"""What an effect can be where the treatment itself loses outcomes (out of memory, diverged): bounds instead of a number.

Two kinds. *Worst-case* bounds hold over all trials whatever the lost ones would have shown, as long as that lies within known
limits (Manski 1990; Horowitz & Manski 2000). *Trimming* bounds (Lee 2009) speak of the trials that would finish in either
arm, need no limits, and hold if the treatment moves every trial's finishing in one direction only. Both need a treatment
that was assigned at random. Intervals cover the effect, not the whole range (Imbens & Manski 2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trialhouse.causal.inference import Array, least_squares
from trialhouse.causal.sample import amount
from trialhouse.causal.verdict import ALPHA, Check, holm
from trialhouse.errors import EstimationError

SIMULATIONS = 1_000
"""Bootstrap samples for the errors of trimmed means."""


@dataclass(frozen=True)
class Bounds:
    """Between what an effect lies. NaN where it cannot be had.

    Parameters
    ----------
    kind
        `worst_case` (of all trials) or `trimming` (of those that would finish in either arm).
    low, high
        Bounds, in units of the outcome.
    ci_low, ci_high
        A 95% interval for the effect between them.
    finished
        Shares of the trials that finished, control first.
    trimmed
        Share of the survivors of the arm with more of them that is trimmed; 0 for worst-case bounds.
    is_monotone
        False where trials of some stratum are lost in the other direction, more than by chance: trimming bounds do not hold then.
    note
        What else has to be said.
    """

    kind: Literal["worst_case", "trimming"]
    low: float
    high: float
    ci_low: float
    ci_high: float
    finished: tuple[float, float]
    trimmed: float = 0.0
    is_monotone: bool = True
    note: str | None = None

    def check(self, outcome: str) -> Check:
        """The bounds beside an estimate: `passed` if they tell the effect from 0, whatever the lost outcomes would have been."""
        said = self.sentence(outcome)
        name, reason = f"{self.kind}_bounds", f"{said[:1].upper()}{said[1:]}."
        if math.isnan(self.low) or not self.is_monotone:
            return Check(name, "not_applicable", reason, consequence="none")
        is_told = self.ci_low <= self.ci_high and (self.ci_low > 0 or self.ci_high < 0)
        ends = {"low": self.low, "high": self.high, "ci_low": self.ci_low, "ci_high": self.ci_high}
        row = {**ends, "finished_control": self.finished[0], "finished_treated": self.finished[1], "trimmed": self.trimmed}
        return Check(name, "passed" if is_told else "inconclusive", reason, consequence="none", details=(row,))

    def sentence(self, outcome: str) -> str:
        """The bounds in words."""
        if math.isnan(self.low):
            return f"no bounds: {self.note}"
        low, high, ci_low, ci_high = (amount(end, outcome) for end in (self.low, self.high, self.ci_low, self.ci_high))
        said = f"the effect lies between {low} and {high}"
        if self.ci_low <= self.ci_high:
            said += f" (95% interval {ci_low} to {ci_high})"
        if self.note:
            said += f"; {self.note}"
        if self.kind == "worst_case":
            return f"over all trials, whatever the lost ones would have shown, {said}"
        if not self.is_monotone:
            return f"no trimming bounds: {self.note}"
        more = "fewer" if self.finished[1] >= self.finished[0] else "more"
        return f"among trials that would finish in either arm, if the treatment only ever makes {more} of them fail, {said}"


def worst_case_bounds(
    arms: Array, values: Array, limits: tuple[float, float], covariates: Array | None = None, clusters: NDArray[np.int64] | None = None
) -> Bounds:
    """Bounds over all trials, lost ones taken at the limits of the outcome.

    Parameters
    ----------
    arms
        Length n: 0 (control) or 1.
    values
        Length n: the outcome, NaN where it was lost.
    limits
        Lowest and highest value that the outcome can have.
    covariates
        n x k: blocks and whatever else was known before the treatment.
    clusters
        Length n: codes of the repeated units.

    Raises
    ------
    EstimationError
        If a value lies beyond the limits.
    """
    low, high = limits
    if not (np.nanmin(values) >= low and np.nanmax(values) <= high):
        seen = f"{np.nanmin(values):.6g} to {np.nanmax(values):.6g}"
        raise EstimationError(f"the outcome must lie within its limits, {low:.6g} to {high:.6g}", seen, "widen the limits")
    is_lost = np.isnan(values)
    covariates = np.empty((len(arms), 0)) if covariates is None else covariates
    ends = []
    for treated, control in ((low, high), (high, low)):
        filled = np.where(is_lost, np.where(arms == 1, treated, control), values)
        ends.append(least_squares(arms, filled, covariates, clusters))
    bounds = ends[0].estimate, ends[1].estimate
    freedom = ends[0].degrees_of_freedom
    ci_low, ci_high = interval(bounds, (ends[0].standard_error, ends[1].standard_error), freedom)
    return Bounds("worst_case", *bounds, ci_low, ci_high, _finished(arms, is_lost))


def trimming_bounds(
    arms: Array, values: Array, *, clusters: NDArray[np.int64] | None = None, strata: NDArray[np.int64] | None = None, seed: int = 0
) -> Bounds:
    """Lee's (2009) bounds for the trials that would finish in either arm.

    Parameters
    ----------
    arms, values
        As for `worst_case_bounds`.
    clusters
        Length n: codes of the repeated units, resampled whole.
    strata
        Length n: codes of combinations of other assigned factors, in each of which losses have to go in the same direction.
    seed
        Of the bootstrap.

    Notes
    -----
    Of the arm with more survivors the highest (lowest) values are trimmed until as large a share is left as the other arm
    has; ties are trimmed in part. Errors are those of a bootstrap over units, in which direction and share are found
    anew, with a t reference of two degrees of freedom less than units.
    """
    is_lost = np.isnan(values)
    finished = _finished(arms, is_lost)
    if min(finished) == 0:
        why = "no trial of one arm finished, so none is known that would finish in either"
        return Bounds("trimming", math.nan, math.nan, math.nan, math.nan, finished, note=why)
    order = np.argsort(values, kind="stable")
    arms, values, is_lost = arms[order], values[order], is_lost[order]
    groups = np.arange(len(arms)) if clusters is None else np.unique(clusters[order], return_inverse=True)[1]
    count = int(groups.max()) + 1
    low, high = (float(end[0]) for end in _trimmed(arms, values, is_lost, np.ones((1, len(arms)))))
    generator = np.random.default_rng(seed)
    rows = max(1, 4_000_000 // len(arms))
    parts = []
    for start in range(0, SIMULATIONS, rows):
        drawn = generator.integers(0, count, (min(rows, SIMULATIONS - start), count))
        weights = np.stack([np.bincount(draw, minlength=count) for draw in drawn])[:, groups].astype(float)
        parts.append(np.stack(_trimmed(arms, values, is_lost, weights)))
    errors = np.nanstd(np.concatenate(parts, axis=1), axis=1, ddof=1)
    ci_low, ci_high = interval((low, high), (float(errors[0]), float(errors[1])), count - 2)
    is_monotone, note = _direction(arms, is_lost, None if strata is None else strata[order])
    trimmed = 1 - min(finished) / max(finished)
    return Bounds("trimming", low, high, ci_low, ci_high, finished, trimmed, is_monotone, note)


def interval(bounds: tuple[float, float], errors: tuple[float, float], degrees_of_freedom: float) -> tuple[float, float]:
    """95% interval for an effect between two estimated bounds (Imbens & Manski 2004, equations 6-7), with a t reference.

    Wide bounds need one side's quantile only, bounds that coincide need both.
    """
    from scipy.optimize import brentq
    from scipy.stats import t as student

    largest = max(errors)
    if not largest > 0 or not degrees_of_freedom > 0:
        return math.nan, math.nan
    gap = max(0.0, bounds[1] - bounds[0]) / largest

    def missing(quantile: float) -> float:
        covered = student.cdf(quantile + gap, degrees_of_freedom) - student.cdf(-quantile, degrees_of_freedom)
        return float(covered) - (1 - ALPHA)

    quantile = brentq(missing, 0.0, float(student.ppf(1 - ALPHA / 4, degrees_of_freedom)))
    return bounds[0] - quantile * errors[0], bounds[1] + quantile * errors[1]


def _finished(arms: Array, is_lost: NDArray[np.bool_]) -> tuple[float, float]:
    return float(1 - is_lost[arms == 0].mean()), float(1 - is_lost[arms == 1].mean())


def _trimmed(arms: Array, values: Array, is_lost: NDArray[np.bool_], weights: Array) -> tuple[Array, Array]:
    """Both bounds (S) under weights (S x n); rows are in the order of their values."""
    means: dict[int, tuple[Array, Array]] = {}
    survivors = {arm: (arms == arm) & ~is_lost for arm in (0, 1)}
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = {arm: weights[:, survivors[arm]].sum(axis=1) / weights[:, arms == arm].sum(axis=1) for arm in (0, 1)}
        for arm in (0, 1):
            kept = np.minimum(1.0, shares[1 - arm] / shares[arm])
            own, mine = values[survivors[arm]], weights[:, survivors[arm]]
            means[arm] = _lowest(own, mine, kept), -_lowest(-own[::-1], mine[:, ::-1], kept)
    return means[1][0] - means[0][1], means[1][1] - means[0][0]


def _lowest(values: Array, weights: Array, kept: Array) -> Array:
    """Mean of the lowest share `kept` (S) of values (m, ascending) under weights (S x m)."""
    total = weights.sum(axis=1)
    above = np.cumsum(weights, axis=1) - weights
    parts = np.clip((kept * total)[:, None] - above, 0.0, weights)
    result: Array = parts @ values / parts.sum(axis=1)
    return result


def _direction(arms: Array, is_lost: NDArray[np.bool_], strata: NDArray[np.int64] | None) -> tuple[bool, str | None]:
    """Whether trials are lost in the same direction everywhere, and what there is to say about it."""
    from scipy.stats import fisher_exact

    def p_value(rows: NDArray[np.bool_], alternative: str) -> float:
        table = [[int((is_lost & rows & (arms == arm)).sum()), int((~is_lost & rows & (arms == arm)).sum())] for arm in (0, 1)]
        return float(fisher_exact(table, alternative=alternative).pvalue)

    everywhere = np.ones(len(arms), dtype=bool)
    finished = _finished(arms, is_lost)
    if finished[0] == finished[1] and strata is None:
        return True, None
    # Odds of being lost in the control arm, against the other: "less" asks whether the control arm loses fewer.
    against = "less" if finished[1] >= finished[0] else "greater"
    if strata is not None:
        codes = np.unique(strata)
        adjusted = holm([p_value(strata == code, against) for code in codes])
        reversed_in = sum(value < ALPHA for value in adjusted)
        if reversed_in:
            return False, f"in {reversed_in} of {len(codes)} strata trials are lost in the other direction, more than by chance"
    if p_value(everywhere, "two-sided") >= ALPHA:
        return True, "in which direction the treatment loses trials is not told from chance"
    return True, None
