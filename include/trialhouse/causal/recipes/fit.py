"""What a recipe hands back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trialhouse.causal.inference import Inference, is_degenerate, score_interval
from trialhouse.causal.partial import Partialled
from trialhouse.causal.sample import Sample

if TYPE_CHECKING:
    import pandas as pd

    from trialhouse.causal.instruments import Instrumented


@dataclass(frozen=True)
class Fit:
    """What one recipe says about one contrast.

    Parameters
    ----------
    recipe
        Its name.
    inference
        The effect of one unit of treatment (of the other arm, where there are two), in units of the outcome.
    caveats
        What is known besides, as sentences.
    partialled
        What its nuisances left of treatment (in its own units) and outcome, for recipes that are a slope of one on the other.
    nuisance_r2
        Shares of the variance of treatment and outcome that nuisances predict out of fold; NaN where they were not told.
    instrumented
        What instruments say, for the recipe that uses them.
    effects
        Effects by level of what modifies them, one row each, for recipes that estimate such.
    """

    recipe: str
    inference: Inference
    caveats: tuple[str, ...] = ()
    partialled: Partialled | None = None
    nuisance_r2: tuple[float, float] = (math.nan, math.nan)
    effects: pd.DataFrame | None = None
    instrumented: Instrumented | None = None

    def scaled(self, span: float) -> Fit:
        """The effect of `span` units of the treatment."""
        return replace(self, inference=self.inference.scaled(span), effects=None if self.effects is None else _scaled(self.effects, span))


def _scaled(effects: pd.DataFrame, span: float) -> pd.DataFrame:
    ends = effects[["ci_low", "ci_high"]] * span
    low, high = ends.min(axis=1, skipna=False), ends.max(axis=1, skipna=False)
    return effects.assign(effect=effects["effect"] * span, ci_low=low, ci_high=high)


def honest(fit: Fit, sample: Sample) -> Fit:
    """The same with an honest interval where all trials of an arm agree, or every repeated unit says the same."""
    inference = fit.inference
    if not is_degenerate(inference, sample.values):
        return replace(fit, caveats=(*fit.caveats, f"no interval: {inference.note}")) if inference.note else fit
    blank = replace(inference, standard_error=math.nan, ci_low=math.nan, ci_high=math.nan, p_value=math.nan, degrees_of_freedom=math.nan)
    is_share = sample.is_binary and set(sample.values.tolist()) <= {0.0, 1.0}
    if not is_share:
        sentence = "no interval: treatment and covariates determine the outcome, so there is no error to estimate"
        return replace(fit, inference=blank, caveats=(*fit.caveats, sentence))
    trials = tuple(int((sample.arms == arm).sum()) for arm in (0, 1))
    events = tuple(int(sample.values[sample.arms == arm].sum()) for arm in (0, 1))
    low, high, p_value = score_interval(events, trials)  # type: ignore[arg-type]
    low, high = min(low, inference.estimate), max(high, inference.estimate)
    seen = f"{events[0]} of {trials[0]} control and {events[1]} of {trials[1]} treated trials"
    units = "" if sample.clusters is None else f" (from {len(set(sample.clusters.tolist()))} repeated units)"
    if sum(events) in (0, sum(trials)):
        which = "no trial" if sum(events) == 0 else "every trial"
        possible = min(1.0, 3 / min(trials))
        sentence = (
            f"{which} has {sample.outcome} = 1: {seen}{units}; the effect seen is exactly 0, and the interval is what so many independent"
            f" trials can exclude (Newcombe's score interval; rule of three: a share of {possible:.2g} in an arm stays possible)"
        )
    else:
        sentence = (
            f"every repeated unit shows the same: {seen}{units}; that leaves no error to estimate, so the interval is that of independent"
            " trials (Newcombe's score interval, Fisher's exact p-value)"
        )
    known = replace(blank, ci_low=low, ci_high=high, p_value=p_value)
    return replace(fit, inference=known, caveats=(*fit.caveats, sentence))
