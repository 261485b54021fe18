"""Instruments: two-stage least squares, how strong the first stage is, sets that stay honest where it is weak.

An instrument moves the treatment and reaches the outcome by no other way (assigned size for realised size). It
identifies an effect whatever hidden cause treatment and outcome share, and so tells whether adjustment was enough.
Effects are taken as linear; where they differ between trials, the result is a weighted average over the trials that
the instrument moves (Imbens & Angrist 1994), which adjustment need not agree with.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

from trialhouse.causal.checks.association import association, residuals
from trialhouse.causal.inference import DETERMINED, Array, Inference, coefficient, least_squares, with_interval
from trialhouse.causal.model import CausalGraph
from trialhouse.causal.sample import Sample, amount, encode
from trialhouse.causal.verdict import ALPHA, Check

WEAK_F = 10.0
"""Effective F below which two-stage least squares and its interval are not to be trusted (Stock, Wright & Yogo 2002)."""
CONCLUSIVE_F = 20.0
"""Effective F from which on the instrument can contradict an adjusted estimate."""
MIN_POWER = 0.8
"""From which on an instrument that does not contradict is worth something."""


@dataclass(frozen=True)
class ConfidenceSet:
    """Effects that a test does not reject: one interval, two rays, everything, or nothing.

    Parameters
    ----------
    pieces
        Disjoint closed intervals in ascending order, in units of the outcome; ends may be infinite.
    """

    pieces: tuple[tuple[float, float], ...]

    @property
    def low(self) -> float:
        """Lower end, -inf where there is none, NaN for the empty set."""
        return self.pieces[0][0] if self.pieces else math.nan

    @property
    def high(self) -> float:
        """Upper end, inf where there is none, NaN for the empty set."""
        return self.pieces[-1][1] if self.pieces else math.nan

    @property
    def is_disjoint(self) -> bool:
        """Whether effects between `low` and `high` are excluded."""
        return len(self.pieces) > 1

    @property
    def is_bounded(self) -> bool:
        """Whether both ends are finite."""
        return bool(self.pieces) and math.isfinite(self.low) and math.isfinite(self.high)

    def __contains__(self, effect: float) -> bool:
        return any(low <= effect <= high for low, high in self.pieces)

    def __and__(self, other: ConfidenceSet) -> ConfidenceSet:
        pairs = [(max(one[0], two[0]), min(one[1], two[1])) for one in self.pieces for two in other.pieces]
        return ConfidenceSet(tuple(sorted((low, high) for low, high in pairs if low <= high)))

    def scaled(self, factor: float) -> ConfidenceSet:
        """The effects of `factor` units of the treatment instead of one."""
        if factor == 0:
            return ConfidenceSet(((0.0, 0.0),)) if self.pieces else self
        ends = [(low * factor, high * factor) for low, high in self.pieces]
        return ConfidenceSet(tuple(sorted((min(pair), max(pair)) for pair in ends)))

    def in_words(self, outcome: str) -> str:
        """`-3 ms to 4 ms`, `below -3 ms or above 4 ms`, `any effect`, `no effect at all`."""
        if not self.pieces:
            return "no effect at all: the instruments contradict each other"
        return " or ".join(_piece(low, high, outcome) for low, high in self.pieces)


EVERYTHING = ConfidenceSet(((-math.inf, math.inf),))


@dataclass(frozen=True)
class Instrumented:
    """What instruments say about an effect.

    Parameters
    ----------
    inference
        Two-stage least squares. Where the first stage is weak its interval is the hull of the Anderson-Rubin set, which may
        be infinite, its p-value that of the same test, and it has no standard error.
    anderson_rubin
        95% set that holds however weak the instruments are.
    effective_f
        Of the first stage (Montiel Olea & Pflueger 2013); the robust F where there is one instrument.
    caveats
        What a reader should know.
    """

    inference: Inference
    anderson_rubin: ConfidenceSet
    effective_f: float
    caveats: tuple[str, ...]


def covariates_for_instruments(
    graph: CausalGraph,
    treatment: str,
    outcome: str,
    instruments: Collection[str],
    observed: Collection[str],
    preferred: Sequence[str] = (),
) -> tuple[str, ...] | None:
    """What to adjust for so that the instruments reach the outcome by way of the treatment only; None if nothing suffices.

    Parameters
    ----------
    observed
        Columns that can be adjusted for.
    preferred
        Adjusted for if that keeps the instruments valid; else as few columns as do.

    Notes
    -----
    Conditional instruments (Brito & Pearl 2002): given the columns, none of them an effect of the treatment, an
    instrument goes with the treatment and, once the treatment's own arrows are removed, not with the outcome.
    """
    without = graph.digraph.copy()
    without.remove_edges_from(list(graph.digraph.out_edges(treatment)))
    drawn = set(instruments) & set(without)
    forbidden = graph.descendants(treatment) | {treatment, outcome} | drawn
    if len(drawn) < len(set(instruments)) or drawn & (graph.descendants(treatment) | {treatment, outcome}):
        return None
    allowed = {name for name in observed if name in without and name not in forbidden}
    kept = tuple(name for name in preferred if name in allowed or (name not in without and name in observed))
    if nx.is_d_separator(without, drawn, {outcome}, set(kept) & allowed):
        found: set[str] | None = set(kept)
    else:
        found = nx.find_minimal_d_separator(without, drawn, {outcome}, restricted=allowed)
        kept = tuple(sorted(found or ()))
    if found is None or nx.is_d_separator(without, drawn, {treatment}, found & allowed):
        return None
    return kept


def instrumented(sample: Sample, instruments: Sequence[str], categorical: Collection[str] = ()) -> Instrumented:
    """The effect of one unit of treatment by two-stage least squares, and the set that does not need a strong first stage.

    Parameters
    ----------
    sample
        Its covariates are those that the instruments need; see `covariates_for_instruments`.
    instruments
        Columns of the sample's frame.
    categorical
        Those of them that are categories though they may be numbers.

    Notes
    -----
    The estimate is linearmodels' IV2SLS. Errors are HC3 or CR3 with a t reference, of the regression of the structural
    residuals on the fitted treatment (linearmodels has HC1 and CR1, which are too small for few rows or units).
    """
    columns = instrument_columns(sample, instruments, categorical)
    strength = effective_f(sample, columns)
    if math.isnan(strength):
        note = "the covariates determine the instrument, or too few repeated units carry it"
        return Instrumented(Inference(math.nan, note=note), EVERYTHING, math.nan, ())
    inference = _two_stage(sample, columns)
    honest = anderson_rubin(sample, columns)
    if strength >= WEAK_F:
        return Instrumented(inference, honest, strength, ())
    words = honest.in_words(sample.outcome)
    told = f"weak instrument (effective F = {strength:.3g}): only the Anderson-Rubin set is to be trusted, per unit of treatment {words}"
    p_value = association(columns, sample.values, sample.matrix, sample.clusters)
    weak = replace(inference, standard_error=math.nan, ci_low=honest.low, ci_high=honest.high, p_value=p_value)
    return Instrumented(weak, honest, strength, (told,))


def instrument_columns(sample: Sample, instruments: Sequence[str], categorical: Collection[str] = ()) -> Array:
    """The instruments as numbers (n x m), without those that the covariates determine."""
    columns: Array = encode(sample.frame, list(instruments), categorical).to_numpy(dtype=float)
    left = residuals(columns, sample.matrix)
    spread = ((columns - columns.mean(axis=0)) ** 2).sum(axis=0)
    return columns[:, (left**2).sum(axis=0) > DETERMINED * np.maximum(spread, 1e-300)]


def effective_f(sample: Sample, columns: Array) -> float:
    """Effective F of the first stage (Montiel Olea & Pflueger 2013, equation 7); NaN where there is no error.

    With the instruments made orthonormal given the covariates it is the sum of squared slopes of the treatment on them
    over the sum of their squared errors (HC3 or CR3); with one instrument, its squared t.
    """
    if columns.shape[1] == 0:
        return math.nan
    basis = _basis(residuals(columns, sample.matrix))
    found = [_given_others(basis, index, sample) for index in range(basis.shape[1])]
    noise = sum(one.standard_error**2 for one in found)
    return sum(one.estimate**2 for one in found) / noise if noise > 0 else math.nan


def anderson_rubin(sample: Sample, columns: Array, alpha: float = 0.05) -> ConfidenceSet:
    """Effects b for which what is left, outcome - b x treatment, does not go with any instrument (Anderson & Rubin 1949).

    Notes
    -----
    With errors that are robust (HC3 or CR3, t reference) slope and variance of outcome - b x treatment on an instrument
    are linear and quadratic in b, so the set of one instrument is the solution of a quadratic inequality (Fieller 1954).
    Several instruments: the effects that none rejects at the level over their number.
    """
    result = EVERYTHING
    for column in columns.T:
        result = result & _one_instrument(column, sample, alpha / columns.shape[1])
    return result


def first_stage(found: Instrumented, instruments: Sequence[str], treatment: str, span: float = 1.0) -> Check:
    """Whether the instruments move the treatment enough for two-stage least squares to be trusted.

    Its details are the pieces of the Anderson-Rubin set of the effect of `span` units; an end that is not finite has no bound.
    """
    name, named = "first_stage", ", ".join(instruments)
    if math.isnan(found.effective_f):
        return Check(name, "not_applicable", f"{named} cannot be used: {found.inference.note}.", consequence="none")
    pieces = tuple({"low": low, "high": high} for low, high in found.anderson_rubin.scaled(span).pieces)
    said = f"{named} moves {treatment} with an effective F of {found.effective_f:.3g}"
    if found.effective_f >= WEAK_F:
        return Check(name, "passed", f"{said} (at least {WEAK_F:g} is needed).", found.effective_f, consequence="none", details=pieces)
    reason = f"{said}, less than {WEAK_F:g}: only the Anderson-Rubin set is to be trusted."
    return Check(name, "inconclusive", reason, found.effective_f, consequence="none", details=pieces)


def agreement_of_instruments(found: Instrumented, instruments: Sequence[str]) -> Check:
    """Whether one effect is compatible with all instruments: an empty Anderson-Rubin set says that one of them is none."""
    name, named = "agreement_of_instruments", ", ".join(instruments)
    if len(instruments) < 2 or math.isnan(found.effective_f):
        return Check(name, "not_applicable", "It takes two instruments to contradict each other.", consequence="withheld")
    if not found.anderson_rubin.pieces:
        reason = f"No effect is compatible with all of {named}: one of them reaches the outcome otherwise, or the effect has another shape."
        return Check(name, "failed", reason, consequence="withheld")
    return Check(name, "passed", f"There are effects that are compatible with all of {named}.", consequence="withheld")


def in_words(treatment: str, outcome: str, instruments: Sequence[str], given: Sequence[str] = ()) -> str:
    """The estimand of two-stage least squares."""
    named = ", ".join(instruments)
    also = f" | {', '.join(given)}" if given else ""
    told = f", given {', '.join(given)}" if given else ""
    ratio = f"Cov({outcome}, {named}{also}) / Cov({treatment}, {named}{also})"
    if len(instruments) > 1:
        ratio = f"Cov({outcome}, fitted{also}) / Cov({treatment}, fitted{also}), where fitted is what {named} predict of {treatment}"
    return (
        f"{ratio}: the effect of one unit of {treatment}, if {named} reaches {outcome} through {treatment} only{told}. Where effects differ"
        f" between trials, a weighted average over those that {named} moves, if it moves none the other way (LATE)."
    )


def durbin_wu_hausman(sample: Sample, instruments: Sequence[str], categorical: Collection[str] = ()) -> Check:
    """Whether the adjusted estimate differs from the instrument's beyond chance (Durbin 1954, Wu 1973, Hausman 1978).

    By the control function: what the instruments leave of the treatment must not go with the outcome once the treatment
    is in the regression. Robust, or for repeated units, by the errors of `least_squares`. With one instrument this is
    the same as the instrument's going with the outcome given treatment and covariates.

    Notes
    -----
    It keeps its level however weak the instrument, but an F that is enough for an interval is not enough to contradict: it
    counts as a check with power only where it would mostly see a hidden cause of a fifth of treatment and outcome.
    """
    name = "durbin_wu_hausman"
    columns = instrument_columns(sample, instruments, categorical)
    strength = effective_f(sample, columns)
    named = ", ".join(instruments)
    if math.isnan(strength):
        return Check(name, "not_applicable", f"{named} is determined by what is adjusted for, or too few repeated units carry it.")
    if strength < CONCLUSIVE_F:
        reason = f"{named} is too weak to contradict the adjusted estimate (effective F = {strength:.3g}, needed: {CONCLUSIVE_F:g})."
        return Check(name, "not_applicable", reason, strength)
    left_over = residuals(sample.arms, np.column_stack([sample.matrix, columns]))
    if float(left_over @ left_over) <= DETERMINED * float(((sample.arms - sample.arms.mean()) ** 2).sum()):
        return Check(name, "not_applicable", f"{named} determines {sample.treatment}: there is one estimate, not two.", strength)
    control = least_squares(left_over, sample.values, np.column_stack([sample.matrix, sample.arms]), sample.clusters)
    if math.isnan(control.p_value):
        return Check(name, "not_applicable", "There is no error to compare the two estimates by.", strength)
    adjusted = least_squares(sample.arms, sample.values, sample.matrix).estimate
    by_instrument = coefficient(_fitted(sample, columns), sample.values, sample.matrix)
    difference = amount(adjusted - by_instrument, sample.outcome)
    told = f"{amount(adjusted, sample.outcome)} adjusted, {amount(by_instrument, sample.outcome)} by {named}, a difference of {difference}"
    told = f"Per unit of {sample.treatment} as it enters, the effect is {told}"
    guilty = "adjustment leaves a common cause, a reversed arrow or a wrong shape"
    power = power_against_hidden_cause(strength, control.degrees_of_freedom)
    chance = f"no more than chance (a hidden cause of a fifth of both would show in {power:.0%} of such studies)."
    reason = f"{told}: {guilty}" if control.p_value < ALPHA else f"{told}: {chance}"
    return Check(name, "passed", reason, adjusted - by_instrument, control.p_value, is_test=True, has_power=power >= MIN_POWER)


def power_against_hidden_cause(strength: float, degrees_of_freedom: float, r2: float = 0.2) -> float:
    """Chance that `durbin_wu_hausman` rejects at 5% if a hidden cause explains as much of treatment and outcome as `r2`.

    Parameters
    ----------
    strength
        Effective F of the first stage.
    degrees_of_freedom
        Of the test.
    r2
        Partial R2 of the hidden cause with the treatment given the covariates, and with the outcome given treatment and
        covariates, as in Cinelli & Hazlett (2020).

    Notes
    -----
    Given the treatment, an instrument that explains the share a of it goes with the hidden cause, with the squared
    correlation a / (1 - a) times r2 / (1 - r2), and the cause takes r2 of that to the outcome; F is a / (1 - a) times the
    rows. So the test's distance from its null is the root of F r2^2 / (1 - r2), whatever the rows: at r2 = .2 a power of
    80% takes an F of about 160, one of 95% an F of about 260. Simulations agree.
    """
    from scipy.stats import nct
    from scipy.stats import t as student

    distance = math.sqrt(strength * r2**2 / (1 - r2))
    critical = float(student.ppf(1 - ALPHA / 2, degrees_of_freedom))
    return float(nct.sf(critical, degrees_of_freedom, distance) + nct.cdf(-critical, degrees_of_freedom, distance))


def _two_stage(sample: Sample, columns: Array) -> Inference:
    from linearmodels.iv import IV2SLS

    outcome, treatment, left = (residuals(item, sample.matrix) for item in (sample.values, sample.arms, columns))
    estimate = float(IV2SLS(outcome, None, treatment, _basis(left)).fit(cov_type="unadjusted").params.iloc[0])
    structural = sample.values - estimate * sample.arms
    found = least_squares(_fitted(sample, columns), structural, sample.matrix, sample.clusters)
    return with_interval(replace(found, estimate=estimate, partial_r2=math.nan))


def _fitted(sample: Sample, columns: Array) -> Array:
    """What the instruments predict of the treatment, beyond the covariates."""
    basis = _basis(residuals(columns, sample.matrix))
    result: Array = basis @ (basis.T @ residuals(sample.arms, sample.matrix))
    return result


def _basis(columns: Array) -> Array:
    """Orthonormal columns that span the same."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    result: Array = left[:, singular > 1e-9 * singular[0]]
    return result


def _given_others(basis: Array, index: int, sample: Sample) -> Inference:
    others = np.delete(basis, index, axis=1)
    return least_squares(basis[:, index], sample.arms, np.column_stack([sample.matrix, others]), sample.clusters)


def _one_instrument(column: Array, sample: Sample, alpha: float) -> ConfidenceSet:
    from scipy.stats import t as student

    units = [float(item.std()) or 1.0 for item in (sample.values, sample.arms)]
    outcome, treatment = sample.values / units[0], sample.arms / units[1]
    on_outcome, on_treatment, on_sum = (
        least_squares(column, item, sample.matrix, sample.clusters) for item in (outcome, treatment, outcome + treatment)
    )
    variance_y, variance_t, variance_sum = (found.standard_error**2 for found in (on_outcome, on_treatment, on_sum))
    if math.isnan(variance_y + variance_t) or not on_outcome.degrees_of_freedom > 0:
        return EVERYTHING
    covariance = (variance_sum - variance_y - variance_t) / 2
    critical = float(student.ppf(1 - alpha / 2, on_outcome.degrees_of_freedom)) ** 2
    square = on_treatment.estimate**2 - critical * variance_t
    half = on_treatment.estimate * on_outcome.estimate - critical * covariance
    constant = on_outcome.estimate**2 - critical * variance_y
    return _solve(square, half, constant).scaled(units[0] / units[1])


def _solve(square: float, half: float, constant: float) -> ConfidenceSet:
    """Where square b^2 - 2 half b + constant <= 0, given that it holds somewhere."""
    discriminant = half**2 - square * constant
    if square > 0:
        root = math.sqrt(max(discriminant, 0.0))
        return ConfidenceSet((((half - root) / square, (half + root) / square),))
    if square == 0 or discriminant <= 0:
        return EVERYTHING
    root = math.sqrt(discriminant)
    return ConfidenceSet(((-math.inf, (half + root) / square), ((half - root) / square, math.inf)))


def _piece(low: float, high: float, outcome: str) -> str:
    if math.isinf(low) and math.isinf(high):
        return "any effect"
    if math.isinf(low):
        return f"below {amount(high, outcome)}"
    return f"above {amount(low, outcome)}" if math.isinf(high) else f"{amount(low, outcome)} to {amount(high, outcome)}"
