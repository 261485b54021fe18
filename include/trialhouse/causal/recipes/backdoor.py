"""The estimand that DoWhy's own estimators want to be told: adjustment for columns of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trialhouse.causal.sample import Sample


def backdoor(sample: Sample, columns: Sequence[str]) -> Any:
    """DoWhy's `IdentifiedEstimand` of an effect that `trialhouse.causal.identify` has identified before."""
    from dowhy.causal_identifier import IdentifiedEstimand
    from dowhy.causal_identifier.auto_identifier import EstimandType

    return IdentifiedEstimand(
        None,
        treatment_variable=[sample.treatment],
        outcome_variable=[sample.outcome],
        estimand_type=EstimandType.NONPARAMETRIC_ATE,
        estimands={"backdoor": {"estimand": None, "assumptions": {}}},
        backdoor_variables={"backdoor": list(columns)},
        default_backdoor_id="backdoor",
        identifier_method="backdoor",
    )
