"""What an adjusted estimate rests on: how alike it makes the arms, how many trials carry it, who could not have been in either arm.

A regression weights trials as surely as a propensity score does: the effect is the sum of the outcomes times
treatment left / sum of treatment left^2 (Aronow & Samii 2016; Chattopadhyay & Zubizarreta 2023).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from trialhouse.causal.inference import Array
from trialhouse.causal.partial import Partialled
from trialhouse.causal.sample import Sample
from trialhouse.causal.verdict import ALPHA, Check, CheckVerdict

MAX_DIFFERENCE = 0.1
"""Standard deviations: the usual bound for arms that count as alike (Austin 2009)."""
MIN_EFFECTIVE_SHARE = 0.2
"""Below this share of the trials an estimate is that of few. A normally distributed treatment has a third."""
MAX_NUMBERS = 50_000_000
"""In second-degree terms; where products would take more, only squares are formed."""


class ArmWeights(NamedTuple):
    """How many trials an arm's weights amount to (Kish 1965), and the share of its weight that is negative: extrapolation."""

    effective: float
    negative: float


class Propensities(NamedTuple):
    """Share of trials beyond the limits, the effective size of each arm under inverse weights, and the largest share of one weight."""

    extreme: float
    effective: tuple[float, float]
    largest: float


def implied_weights(partialled: Partialled) -> Array:
    """The weight (n) of each trial's outcome in the effect of one unit of treatment."""
    weights: Array = partialled.treatment / float(partialled.treatment @ partialled.treatment)
    return weights


def effective_size(partialled: Partialled) -> float:
    """How many trials (or repeated units) carry the estimate: (sum of treatment left^2)^2 / sum of its squares.

    A trial counts by how much of its treatment the covariates leave (Aronow & Samii 2016): in strata where all share an
    arm, trials count for nothing.
    """
    squares = partialled.treatment**2
    if partialled.clusters is not None:
        squares = np.bincount(np.unique(partialled.clusters, return_inverse=True)[1], weights=squares).astype(float)
    return float(squares.sum() ** 2 / (squares**2).sum())


def arm_weights(arms: Array, partialled: Partialled) -> tuple[ArmWeights, ArmWeights]:
    """Both arms' implied weights, control first; arms are 0 and 1."""
    weights = implied_weights(partialled)
    control, other = (_kish(sign * weights[arms == arm]) for arm, sign in ((0, -1), (1, 1)))
    return control, other


def propensity_summary(arms: Array, propensity: Array, limits: tuple[float, float] = (0.02, 0.98)) -> Propensities:
    """What inverse propensity weights would rest on.

    Parameters
    ----------
    arms
        Length n: 0 or 1.
    propensity
        Length n: estimated probability of arm 1.
    """
    extreme = float(((propensity < limits[0]) | (propensity > limits[1])).mean())
    weights = 1 / np.clip(np.where(arms == 1, propensity, 1 - propensity), 1e-12, None)
    parts = [weights[arms == arm] for arm in (0, 1)]
    return Propensities(extreme, (_kish(parts[0]).effective, _kish(parts[1]).effective), max(float((w / w.sum()).max()) for w in parts))


def standardised_differences(columns: pd.DataFrame, sample: Sample, partialled: Partialled) -> pd.DataFrame:
    """How far the arms lie apart in each column, in its standard deviations: `before` and `after` adjustment.

    For two arms the difference of means over the root of the mean of both variances; for a quantity the correlation before,
    and the same slope after. What least squares adjusts for is 0 after by construction; squares and products are not.

    Parameters
    ----------
    columns
        n rows, numbers.
    """
    arms, values = sample.arms, columns.to_numpy(dtype=float)
    centred = arms - arms.mean()
    before = centred @ values / float(centred @ centred)
    after = implied_weights(partialled) @ partialled.residualise(values)
    if sample.is_binary:
        spread, unit = np.sqrt(np.mean([values[arms == arm].var(axis=0) for arm in (0, 1)], axis=0)), 1.0
    else:
        spread, unit = values.std(axis=0), float(arms.std())
    scale = np.where(spread > 0, unit / np.where(spread > 0, spread, 1.0), np.nan)
    return pd.DataFrame({"before": before * scale, "after": after * scale}, index=columns.columns)


def second_degree_terms(columns: pd.DataFrame) -> pd.DataFrame:
    """Squares of quantities and, unless they are too many, products of any two columns, those that vary, of standardised columns.

    They are named `a^2` and `a*b`.
    """
    values = columns.to_numpy(dtype=float)
    spread = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    terms = {}
    count = len(columns.columns)
    has_products = len(values) * count * (count + 1) / 2 <= MAX_NUMBERS
    for first, name in enumerate(columns):
        for second in range(first, count if has_products else first + 1):
            if first == second and set(np.unique(values[:, first])) <= {0.0, 1.0}:
                continue
            term = standard[:, first] * standard[:, second]
            if term.std() > 1e-9:
                terms[f"{name}^2" if first == second else f"{name}*{columns.columns[second]}"] = term
    return pd.DataFrame(terms, index=columns.index)


def balance(sample: Sample, partialled: Partialled) -> Check:
    """How alike adjustment makes the arms, in covariates and in their squares and products. It never decides."""
    from scipy.stats import norm

    name = "balance"
    if sample.encoded.empty:
        return Check(name, "not_applicable", "Nothing is adjusted for.", consequence="none")
    own = standardised_differences(sample.encoded, sample, partialled).abs()
    terms = standardised_differences(second_degree_terms(sample.encoded), sample, partialled).abs().dropna()
    after = pd.concat([own, terms])["after"].dropna()
    if after.empty or own["before"].isna().all():
        return Check(name, "not_applicable", "No covariate varies.", consequence="none")
    rows = len(sample.arms) if sample.clusters is None else len(np.unique(sample.clusters))
    share = float(sample.arms.mean()) if sample.is_binary else 0.0
    chance = math.sqrt(1 / (share * (1 - share) * rows)) if sample.is_binary else 1 / math.sqrt(rows)
    limit = max(MAX_DIFFERENCE, float(norm.ppf(1 - ALPHA / 2 / len(after))) * chance)
    worst, largest = str(after.idxmax()), float(after.max())
    first, before = str(own["before"].idxmax()), float(own["before"].max())
    word: CheckVerdict = "passed" if largest <= limit else "inconclusive"
    end = "" if word == "passed" else ", which is more than chance: the estimate leans on the shape of the model"
    reason = f"The arms lie up to {before:.2g} standard deviations apart ({first}); after adjustment up to {largest:.2g} ({worst}){end}."
    return Check(name, word, reason, largest, consequence="none")


def effective_trials(sample: Sample, partialled: Partialled) -> Check:
    """How many trials carry the estimate. It never decides."""
    rows = len(sample.arms) if partialled.clusters is None else len(np.unique(partialled.clusters))
    size = effective_size(partialled)
    what = "trials" if partialled.clusters is None else "repeated units"
    reason = f"The estimate rests on as many as {size:.3g} of {rows} {what}"
    if sample.is_binary:
        negative = max(arm.negative for arm in arm_weights(sample.arms, partialled))
        if negative > 0.005:
            reason += f"; up to {negative:.0%} of an arm's weight is negative, which is extrapolation"
    word: CheckVerdict = "passed" if size >= MIN_EFFECTIVE_SHARE * rows else "inconclusive"
    return Check("effective_trials", word, f"{reason}.", size, consequence="none")


def _kish(weights: Array) -> ArmWeights:
    size = float(np.abs(weights).sum())
    if size == 0:
        return ArmWeights(0.0, 0.0)
    return ArmWeights(size**2 / float((weights**2).sum()), float(-weights[weights < 0].sum()) / size)
