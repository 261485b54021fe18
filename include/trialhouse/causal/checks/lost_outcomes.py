"""Whether there is an estimate at all, and what outcomes that the treatment lost do to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.sample import Survival
from trialhouse.causal.verdict import Check

if TYPE_CHECKING:
    from trialhouse.causal.question import Question


def estimable(survival: Survival, outcome: str, found: Fit | None) -> Iterator[Check]:
    """Fails where there is no estimate, or none with an interval; says nothing elsewhere."""
    if found is None:
        reason = f"No estimate: there are no two arms with {outcome} to compare"
        if survival.stratum is not None:
            lost, assigned = survival.lost, survival.assigned
            reason = (
                "No estimate: in no stratum did every trial of both arms finish"
                f" ({lost[0]} of {assigned[0]} control and {lost[1]} of {assigned[1]} treated trials did not)"
            )
        yield Check("estimable", "failed", f"{reason}.", consequence="withheld")
    elif found.inference.note is not None:
        yield Check("estimable", "failed", f"No interval: {found.inference.note}.", consequence="withheld")


def survivors_only(survival: Survival) -> Check:
    """Of a comparison of those that finished, where some did not: it fails."""
    lost, assigned = survival.lost, survival.assigned
    if assigned[1] == 0:
        reason = f"Compares survivors only: {lost[0]} of {assigned[0]} trials did not finish, more at some levels than at others."
        return Check("survivorship", "failed", reason, consequence="withheld")
    reason = (
        f"Compares survivors only: {lost[0]} of {assigned[0]} control and {lost[1]} of {assigned[1]} treated trials did not finish,"
        " so the arms are no longer alike."
    )
    return Check("survivorship", "failed", reason, consequence="withheld")


def bounds(question: Question, frame: pd.DataFrame, arms: pd.Series[Any], seed: int) -> Iterator[Check]:
    """What the effect can be over trials that the estimate cannot speak of, because the treatment lost some of their outcomes."""
    from trialhouse.causal.bounds import trimming_bounds, worst_case_bounds

    is_counted = frame[question.outcome].notna()
    is_counted |= frame["status"].isin(list(question.lost_for)) if "status" in frame else True
    rows = frame[is_counted]
    given, values = arms[is_counted].to_numpy(dtype=float), rows[question.outcome].to_numpy(dtype=float)
    clusters = None if question.cluster is None else np.unique(rows[question.cluster].astype(str), return_inverse=True)[1]
    cells = rows.groupby(list(question.strata), sort=False, dropna=False).ngroup() if question.strata else None
    strata = None if cells is None else np.asarray(cells, dtype=np.int64)
    yield trimming_bounds(given, values, clusters=clusters, strata=strata, seed=seed).check(question.outcome)
    if len(values) > 0 and not np.isnan(values).all() and np.nanmin(values) >= 0 and np.nanmax(values) <= 1:
        yield worst_case_bounds(given, values, (0.0, 1.0), clusters=clusters).check(question.outcome)
