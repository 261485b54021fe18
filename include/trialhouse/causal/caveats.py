"""What limits an estimate without deciding over it: said beside its verdict."""

from __future__ import annotations

from collections.abc import Iterator

from trialhouse.causal.identify import Identification
from trialhouse.causal.inference import Inference
from trialhouse.causal.question import Question
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.sample import Sample, Survival, amount

FEW_UNITS = 20
"""Repeated units below which the small sample is mentioned."""


def caveats(
    question: Question,
    identification: Identification,
    survival: Survival,
    sample: Sample,
    found: Fit | None,
    *,
    is_naive: bool,
    is_attacked: bool,
) -> list[str]:
    """All caveats of one estimate, those of its question first."""
    told = list(question.caveats)
    told += identification.notes
    if survival.sentence and not is_naive and not question.is_quantity:
        told.append(survival.sentence)
    if survival.left_out:
        told.append(f"{survival.left_out} trials that crashed, or have no {question.outcome} for another reason, are left out")
    if found is not None:
        told += found.caveats
        told += _precision_caveats(question, sample, found.inference)
    if question.assignment == "observational":
        told.append("conditional on the graph and on the model's adequacy: the treatment was not assigned")
    if not is_attacked:
        told.append("exploratory: only the checks that always run were applied")
    return told


def _precision_caveats(question: Question, sample: Sample, inference: Inference) -> Iterator[str]:
    from scipy.stats import t as student

    if inference.clusters is not None and inference.clusters < FEW_UNITS:
        shared = ""
        if "weights_id" in sample.frame:
            weights = sample.frame["weights_id"].nunique()
            if weights < len(sample.frame):
                shared = f"; {len(sample.frame)} trials share {weights} sets of weights"
        yield f"small sample: {inference.clusters} repeated units ({question.cluster}){shared}"
    elif inference.clusters is None and len(sample.arms) < 2 * FEW_UNITS:
        yield f"small sample: {len(sample.arms)} trials"
    freedom, error = inference.degrees_of_freedom, inference.standard_error
    if inference.p_value >= 0.05 and freedom > 0 and error > 0:
        detectable = float(student.ppf(0.975, freedom) + student.ppf(0.8, freedom)) * error
        least = amount(detectable, question.outcome)
        yield f"low power: an effect of less than {least} would be missed in more than one of five such studies"
