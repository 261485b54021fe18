"""How strong a common cause that nobody measured would have to be (Cinelli & Hazlett 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trialhouse.causal.checks.confounding_strength import (
    Shifted,
    e_values_of_means,
    e_values_of_shares,
    robustness_value,
    robustness_values,
    shifted,
)
from trialhouse.causal.inference import DETERMINED, Inference, partial_r2
from trialhouse.causal.partial import Partialled
from trialhouse.causal.sample import Sample, amount
from trialhouse.causal.verdict import ALPHA, Check, CheckVerdict


@dataclass(frozen=True)
class Benchmark:
    """A hidden common cause as strong as an observed column.

    Parameters
    ----------
    column
        The observed column.
    treatment_r2, outcome_r2
        Shares of what the other columns leave of treatment and outcome that it would explain.
    bias
        By how much it would move the estimate, in units of the outcome (never negative).
    """

    column: str
    treatment_r2: float
    outcome_r2: float
    bias: float


def bias(treatment_r2: float, outcome_r2: float, error: float, degrees_of_freedom: int) -> float:
    """Largest bias of a hidden common cause with these partial R2, from the classical error of the estimate.

    Notes
    -----
    error * sqrt(df * R2_outcome * R2_treatment / (1 - R2_treatment)), equation 8 of Cinelli & Hazlett (2020).
    """
    if treatment_r2 >= 1:
        return math.inf
    return error * math.sqrt(degrees_of_freedom * outcome_r2 * treatment_r2 / (1 - treatment_r2))


def _as_zero(value: float) -> float:
    """Rounding errors of regressions that explain nothing."""
    return 0.0 if value < DETERMINED else value


def benchmarks(sample: Sample, inference: Inference) -> list[Benchmark]:
    """What a hidden common cause as strong as each observed covariate would do, the worst first."""
    partial, freedom = inference.partial_r2, inference.residual_degrees_of_freedom
    if not 0 < partial < 1 or freedom < 1:
        return []
    classical = abs(inference.estimate) * math.sqrt((1 - partial) / partial / freedom)
    everything = sample.matrix
    found = []
    for covariate in sample.covariates:
        is_own = np.isin(sample.encoded.columns, sample.columns_of(covariate))
        mine, others = everything[:, is_own], everything[:, ~is_own]
        of_treatment = _as_zero(partial_r2(mine, sample.arms, others))
        of_outcome = _as_zero(partial_r2(mine, sample.values, np.column_stack([others, sample.arms])))
        # Strengths are relative to what the column itself leaves (their equation 14 with k = 1).
        treatment_r2 = min(1.0, of_treatment / (1 - of_treatment)) if of_treatment < 1 else 1.0
        outcome_r2 = _outcome_strength(of_treatment, of_outcome)
        found.append(Benchmark(covariate, treatment_r2, outcome_r2, bias(treatment_r2, outcome_r2, classical, freedom)))
    return sorted(found, key=lambda item: -item.bias)


def sensitivity(sample: Sample, inference: Inference, *, is_random: bool, partialled: Partialled | None = None, span: float = 1.0) -> Check:
    """The robustness value, beside what hidden causes as strong as the observed columns would do. It never decides on its own.

    Parameters
    ----------
    partialled, span
        What the covariates leave of treatment and outcome, and the units of treatment that the effect is of: with them the details
        tell between what each column's like could bring the effect, with a 95% interval.
    """
    if math.isnan(inference.p_value) or not 0 < inference.partial_r2 <= 1:
        return Check("sensitivity", "not_applicable", "The estimate has no sampling error to speak of.", consequence="none")
    value = robustness_value(inference.partial_r2)
    opening = (
        f"A hidden common cause would have to explain {value:.0%} of what is left of both {sample.treatment} and {sample.outcome}"
        f" to bring the effect to 0{_at_level(inference)}{_e_value(sample, inference)}"
    )
    found = benchmarks(sample, inference)
    strongest = next(iter(found), None)
    if strongest is not None:
        opening += f"; one as strong as {strongest.column} would move it by {amount(strongest.bias, sample.outcome)}"
        moved = None if is_random else _moved(strongest, partialled, span)
        if moved is not None:
            low, high, ci_low, ci_high = (amount(end, sample.outcome) for end in moved)
            opening += f", to between {low} and {high} (95% interval {ci_low} to {ci_high})"
    closing = f". {sample.treatment} was assigned by the design, so nothing but chance can cause it." if is_random else "."
    word: CheckVerdict = "passed"
    if inference.p_value >= ALPHA:
        word, opening = "inconclusive", f"{opening}; but the effect is not told from 0 to begin with"
    elif strongest is None and not is_random:
        word, opening = "inconclusive", f"{opening}; there is no observed column to compare that with"
    elif strongest is not None and strongest.bias >= abs(inference.estimate):
        word = "inconclusive"
    # What was assigned has no hidden cause, of whatever strength.
    details = () if is_random else tuple(_row(item, _moved(item, partialled, span)) for item in found)
    return Check("sensitivity", word, opening + closing, value, consequence="none", details=details)


def _moved(benchmark: Benchmark, partialled: Partialled | None, span: float) -> Shifted | None:
    """Between what a hidden cause of that strength could bring the effect of `span` units."""
    if partialled is None or benchmark.treatment_r2 >= 1:
        return None
    found = shifted(partialled, benchmark.outcome_r2, benchmark.treatment_r2)
    (low, high), (ci_low, ci_high) = sorted((found.low * span, found.high * span)), sorted((found.ci_low * span, found.ci_high * span))
    return Shifted(low, high, ci_low, ci_high)


def _row(benchmark: Benchmark, moved: Shifted | None) -> dict[str, object]:
    ends = Shifted(math.nan, math.nan, math.nan, math.nan) if moved is None else moved
    return {
        "column": benchmark.column,
        "treatment_r2": benchmark.treatment_r2,
        "outcome_r2": benchmark.outcome_r2,
        "bias": benchmark.bias,
        **ends._asdict(),
    }


def _at_level(inference: Inference) -> str:
    """What it takes to bring 0 into the interval."""
    if inference.p_value >= ALPHA or inference.partial_r2 >= 1:
        return ""
    scale = abs(inference.estimate) * math.sqrt((1 - inference.partial_r2) / inference.partial_r2)
    _, at_level = robustness_values(inference.estimate, inference.standard_error, inference.degrees_of_freedom, scale)
    return "" if math.isnan(at_level) else f", {at_level:.0%} to bring 0 into the interval"


def _e_value(sample: Sample, inference: Inference) -> str:
    """The same as a risk ratio, for two arms."""
    if not sample.is_binary or inference.p_value >= ALPHA:
        return ""
    effect = inference.estimate, inference.ci_low, inference.ci_high
    if set(np.unique(sample.values)) <= {0.0, 1.0}:
        found = e_values_of_shares(float(sample.values[sample.arms == 0].mean()), *effect)
    else:
        found = e_values_of_means(*effect, float(sample.values.std(ddof=1)))
    if not math.isfinite(found.estimate):
        return ""
    return f" (E-value {found.estimate:.2g}, {found.limit:.2g} for the interval)"


def _outcome_strength(of_treatment: float, of_outcome: float) -> float:
    """Partial R2 with the outcome of a hidden cause as strong as a column with these partial R2 (their equation 14)."""
    if of_treatment >= 1 or of_outcome >= 1:
        return 1.0
    hidden = of_treatment**2 / (1 - of_treatment) ** 2  # its R2 with the column, given the treatment, for k = 1
    if hidden >= 1:
        return 1.0
    eta = (1 + math.sqrt(hidden)) / math.sqrt(1 - hidden)
    return min(1.0, eta**2 * of_outcome / (1 - of_outcome))
