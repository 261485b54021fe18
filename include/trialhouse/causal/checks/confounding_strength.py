"""How strong a common cause that nobody measured would have to be: E-values, and bounds on the bias of omitted variables.

For partially linear models, least squares among them, a hidden cause that explains a share `outcome_r2` of what is left of the
outcome, and by which the treatment is more predictable (`treatment_r2` of what is left of it), moves the effect by at most
|rho| sqrt(outcome_r2 treatment_r2 / (1 - treatment_r2)) S, S^2 = E[errors^2] / E[treatment left^2] (Chernozhukov, Cinelli,
Newey, Sharma & Syrgkanis 2022). For least squares that is Cinelli & Hazlett (2020).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trialhouse.causal.inference import Array
from trialhouse.causal.partial import Partialled
from trialhouse.causal.verdict import ALPHA

LOG_RISK_RATIO_PER_SD = 0.91
"""Of a standardised difference of means (Chinn 2000; VanderWeele & Ding 2017)."""


class EValues(NamedTuple):
    """Risk ratios that a hidden common cause must have with both treatment and outcome.

    `estimate` to explain the effect away, `limit` to move the nearer end of its 95% interval to no effect (1: it is there already).
    """

    estimate: float
    limit: float


class Shifted(NamedTuple):
    """An effect under a hidden cause of given strength: between `low` and `high`, 95% interval for that."""

    low: float
    high: float
    ci_low: float
    ci_high: float


def e_value(risk_ratio: float) -> float:
    """The E-value of a risk ratio (VanderWeele & Ding 2017): RR + sqrt(RR (RR - 1)), of its inverse below 1."""
    if math.isnan(risk_ratio) or risk_ratio < 0:
        return math.nan
    if risk_ratio < 1:
        risk_ratio = math.inf if risk_ratio == 0 else 1 / risk_ratio
    return risk_ratio + math.sqrt(risk_ratio * (risk_ratio - 1))


def e_values_of_shares(control: float, effect: float, ci_low: float, ci_high: float) -> EValues:
    """E-values of a difference of shares, for an outcome that is 0 or 1.

    Parameters
    ----------
    control
        Share in the control arm, taken as known: the interval is that of the difference.
    effect, ci_low, ci_high
        Difference of shares and its interval.
    """

    def ratio(difference: float) -> float:
        share = min(1.0, max(0.0, control + difference))
        return share / control if control > 0 else (math.inf if share > 0 else 1.0)

    return _both(ratio(effect), ratio(ci_low), ratio(ci_high))


def e_values_of_means(effect: float, ci_low: float, ci_high: float, spread: float) -> EValues:
    """E-values of a difference of means, through the risk ratio exp(0.91 d) that a standardised difference d stands for.

    Parameters
    ----------
    spread
        Standard deviation of the outcome.
    """
    if not spread > 0:
        return EValues(math.nan, math.nan)
    ratios = [math.exp(min(LOG_RISK_RATIO_PER_SD * value / spread, 700.0)) for value in (effect, ci_low, ci_high)]
    return _both(*ratios)


def robustness_value(partial_r2: float) -> float:
    """The share of the rest of both treatment and outcome that a hidden common cause must explain to bring the effect to 0.

    Parameters
    ----------
    partial_r2
        Partial R2 of the treatment with the outcome, in [0, 1].
    """
    if partial_r2 >= 1:
        return 1.0
    return _robustness(partial_r2 / (1 - partial_r2))


def robustness_values(effect: float, error: float, degrees_of_freedom: float, scale: float, alpha: float = ALPHA) -> tuple[float, float]:
    """The robustness value, and that at a level: what it takes until the effect is not told from 0.

    Parameters
    ----------
    effect, error, degrees_of_freedom
        As reported, with whatever errors the design asks for.
    scale
        S: `bias_scale`.

    Notes
    -----
    Cinelli & Hazlett (2020), section 4.2, where the error is the classical one; with cluster-robust errors the second value
    says what it takes to bring 0 into the interval that is reported.
    """
    if not scale > 0:
        return (1.0, 1.0) if effect != 0 else (0.0, 0.0)
    from scipy.stats import t as student

    strength = abs(effect) / scale
    value = _robustness(strength**2)
    if not error > 0 or not degrees_of_freedom > 1:
        return value, math.nan
    # With one more covariate there is one degree of freedom less.
    quantile = float(student.ppf(1 - alpha / 2, degrees_of_freedom - 1)) * math.sqrt(degrees_of_freedom / (degrees_of_freedom - 1))
    critical = quantile * error / scale
    if strength <= critical:
        return value, 0.0
    if strength > 1 / critical:  # explaining less of the outcome than of the treatment leaves larger errors, which then bind
        return value, (strength**2 - critical**2) / (1 + strength**2)
    return value, _robustness((strength - critical) ** 2)


def bias_scale(partialled: Partialled) -> float:
    """S of the bias bound: root mean square of the errors over that of what is left of the treatment."""
    errors = partialled.outcome - partialled.slope * partialled.treatment
    return math.sqrt(float(errors @ errors) / float(partialled.treatment @ partialled.treatment))


def largest_bias(scale: float, outcome_r2: float, treatment_r2: float, rho: float = 1.0) -> float:
    """The bound on the bias, in units of the outcome per unit of treatment."""
    if treatment_r2 >= 1:
        return math.inf
    return abs(rho) * math.sqrt(outcome_r2 * treatment_r2 / (1 - treatment_r2)) * scale


def shifted(partialled: Partialled, outcome_r2: float, treatment_r2: float, rho: float = 1.0) -> Shifted:
    """What an effect can be under a hidden cause of given strength, with a 95% interval.

    Parameters
    ----------
    outcome_r2, treatment_r2
        Its partial R2 with the outcome and with the treatment, in [0, 1).
    rho
        How far its influences on the two go together.

    Notes
    -----
    Errors are those of the influence functions of effect, E[errors^2] and 1 / E[treatment left^2] together (their theorem 4),
    summed over repeated units, with a t reference; without confounding they are CR1 (HC1 for rows).
    """
    from scipy.stats import t as student

    treatment, slope = partialled.treatment, partialled.slope
    errors = partialled.outcome - slope * treatment
    variance, precision, scale = float((errors**2).mean()), 1 / float((treatment**2).mean()), bias_scale(partialled)
    half = largest_bias(scale, outcome_r2, treatment_r2, rho)
    of_effect = treatment * errors * precision
    of_variance, of_precision = errors**2 - variance, precision - precision**2 * treatment**2
    of_scale = (precision * of_variance + variance * of_precision) / (2 * scale) if scale > 0 else 0.0
    ends = []
    for sign in (-1, 1):
        influence = _by_unit(of_effect + sign * (half / scale if scale > 0 else 0.0) * of_scale, partialled)
        units = len(influence)
        error = math.sqrt(units / (units - 1) * float((influence**2).sum())) / len(treatment)
        quantile = float(student.ppf(1 - ALPHA / 2, units - 1))
        ends.append((slope + sign * half, slope + sign * (half + quantile * error)))
    return Shifted(ends[0][0], ends[1][0], ends[0][1], ends[1][1])


def _both(ratio: float, low: float, high: float) -> EValues:
    limit = 1.0 if low <= 1 <= high else e_value(low if low > 1 else high)
    return EValues(e_value(ratio), limit)


def _robustness(f2: float) -> float:
    return 0.5 * (math.sqrt(f2**2 + 4 * f2) - f2)


def _by_unit(influence: Array, partialled: Partialled) -> Array:
    if partialled.clusters is None:
        return influence
    sums: Array = np.bincount(np.unique(partialled.clusters, return_inverse=True)[1], weights=influence).astype(float)
    return sums
