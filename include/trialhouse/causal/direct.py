"""The direct effect as a row beside the total one: what a treatment does other than through its mediators."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from trialhouse.causal.inference import Inference
from trialhouse.causal.mediation import direct_effect
from trialhouse.causal.model import CausalGraph
from trialhouse.causal.sample import Sample
from trialhouse.causal.verdict import Check, Verdict, decide
from trialhouse.errors import EstimationError

METHOD_ESTIMAND = "the effect with the mediators held at their means, weighted by the variance of the treatment given all that is held"


@dataclass(frozen=True)
class Direct:
    """A direct effect, ready to be a row."""

    inference: Inference
    adjustment: tuple[str, ...]
    expression: str
    verdict: Verdict


def direct(
    sample: Sample,
    graph: CausalGraph,
    mediators: Sequence[str],
    *,
    categorical: Collection[str],
    span: float,
    caveats: Sequence[str],
    is_random: bool,
) -> Direct:
    """Estimate it, or say why not: a treatment that was assigned does not assign its mediators.

    Parameters
    ----------
    sample
        Of the total effect.
    mediators
        Nodes between treatment and outcome.
    span
        Units of treatment between the two levels of the contrast.
    caveats
        Of the total effect.
    """
    named = ", ".join(mediators)
    try:
        found = direct_effect(sample, graph, mediators, categorical=categorical)
    except EstimationError as error:
        refused = Check("graph_rules", "failed", f"No direct effect: {error}.", consequence="withheld", has_power=True)
        return Direct(Inference(math.nan), (), f"What {sample.treatment} does other than through {named}.", decide([refused], caveats))
    checks = [
        Check("graph_rules", "passed", f"Given {', '.join(found.adjustment) or 'nothing'}, no hidden cause of {named} is drawn."),
        *found.checks,
    ]
    if found.direct.note is not None:
        checks.append(Check("estimable", "failed", f"No direct effect: {found.direct.note}.", consequence="withheld"))
    told = [*caveats, f"conditional on the graph: no cause that {named} and {sample.outcome} share is missing from it"]
    verdict = decide(checks, told, is_random=is_random)
    return Direct(found.direct.scaled(span), (*mediators, *found.adjustment), found.expression, verdict)
