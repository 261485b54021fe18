"""What limits a loss, in the words of Bahri, Dyer, Kaplan, Lee & Sharma (2021), and whether it falls as a power law at all.

In a *variance-limited* regime the loss comes down to its limit as 1 / n, since what is left is the variance of an average over n
(examples, or the units of a layer): the exponent is 1 whatever the data are. In a *resolution-limited* regime more of n resolves
the data more finely, and the exponent, which goes with the inverse of their dimension, is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trialhouse.errors import LawError
from trialhouse.scaling_laws.choice import AGREED, Candidate, choose
from trialhouse.scaling_laws.forms import Array, Form
from trialhouse.scaling_laws.registry import FORMS
from trialhouse.scaling_laws.sample import LawSample

LIMITS = {"n": "", "size": "size", "data": "data", "width": "width"}
"""Roles of which Bahri et al. speak -> how the meaning of their exponents ends in an additive form."""
POWERS = ("pure_power_law", "power_law")
SUMS = (
    *POWERS,
    *("shifted_power_law", "transition_power_law", "data_constrained"),
    *("chinchilla", "size_steps", "size_steps_data", "width_depth", "width_depth_size"),
)
"""Forms in which an exponent says how the outcome nears its limit when nothing else limits: a power of each factor, added up."""


def regimes(form: Form, sample: LawSample, ends: Array, not_identified: Mapping[str, str]) -> list[str]:
    """One sentence per exponent of size, data, width or the one factor, by whether its 95% interval contains 1.

    Parameters
    ----------
    ends
        Intervals of the coordinates (p x 2).
    not_identified
        Parameters that nothing is said of.

    Notes
    -----
    Only of `SUMS`.
    """
    if form.name not in SUMS:
        return []
    found = []
    for role, column in sample.columns.items():
        meaning = " of ".join(filter(None, ("exponent", LIMITS.get(role, "none"))))
        for parameter, (low, high) in zip(form.parameters, ends, strict=True):
            if parameter.meaning == meaning and parameter.name not in not_identified and np.isfinite([low, high]).all():
                found.append(f"{parameter.name} ({low:.3g} to {high:.3g}) of {column!r} is {_regime(role, low, high)}")
    return found


def _regime(role: str, low: float, high: float) -> str:
    if low <= 1 <= high:
        return "consistent with variance-limited (exponent 1)"
    if low > 1:
        return "above 1: faster than variance-limited, so neither regime"
    also = (
        "; if it counts parameters that grow as a width squared, variance-limited is 1/2" if role != "data" and low <= 0.5 <= high else ""
    )
    return f"below 1: resolution-limited{also}"


def decay(candidates: Sequence[Candidate]) -> str | None:
    """Whether forms that were compared by held-out trials tell exponential decay from a power law; None if they were not both tried."""
    tried = {one.form.name: one for one in candidates}
    power = min((tried[name] for name in POWERS if name in tried), key=lambda one: one.error, default=None)
    if power is None or "exponential" not in tried:
        return None
    share = float(np.mean(power.errors < tried["exponential"].errors))
    if share >= AGREED:
        return f"a power law, no exponential decay: it forecasts held-out trials better in {share:.0%} of draws"
    if share <= 1 - AGREED:
        return f"exponential decay, no power law: it forecasts held-out trials better in {1 - share:.0%} of draws"
    return f"held-out trials cannot tell a power law from exponential decay: it forecasts better in {share:.0%} of draws"


def decay_of(sample: LawSample, delta: float, seed: int) -> str | None:
    """The same for the points of one factor; None where they are too few."""
    try:
        return decay(choose([FORMS["power_law"], FORMS["exponential"]], sample, delta=delta, seed=seed).candidates)
    except LawError:
        return None
