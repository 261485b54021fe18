"""What the engine hands back: rows of the raw tables `estimates` and `refutations`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trialhouse.causal.inference import Inference
from trialhouse.causal.verdict import Check, Verdict, holm
from trialhouse.identity import code_version, content_id

_ENGINE = Path(__file__).parent
LIBRARIES = ("dowhy", "econml", "linearmodels", "numpy", "pandas", "pyfixest", "scikit-learn", "scipy", "statsmodels")
"""Distributions whose versions go with every estimate."""


@dataclass(frozen=True)
class Results:
    """Estimates and the attempts to refute them, as rows of the raw tables.

    Parameters
    ----------
    estimates, refutations
        One mapping per row, with the columns of `trialhouse.raw_tables.RAW_TABLES`.
    """

    estimates: list[dict[str, Any]] = field(default_factory=list)
    refutations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def primary(self) -> list[dict[str, Any]]:
        """The estimates that answers rest on."""
        return [row for row in self.estimates if row["is_primary"]]

    def extend(self, other: Results) -> None:
        """Append another's rows."""
        self.estimates.extend(other.estimates)
        self.refutations.extend(other.refutations)


@dataclass(frozen=True)
class Contrast:
    """Which number a row is: everything that names an estimate but the recipe."""

    study_id: str
    estimand: str
    treatment: str
    outcome: str
    control: str
    level: str
    subgroup_column: str | None = None
    subgroup: str | None = None
    per: str | None = None
    """What one step is (`doubling`, or a number of units), where the levels are those of a scale."""


def add_rows(
    results: Results,
    contrast: Contrast,
    *,
    method: str,
    method_estimand: str,
    is_primary: bool,
    inference: Inference,
    verdict: Verdict,
    adjustment: list[str],
    expression: str,
    trials: int,
    stratum: str | None,
    data_id: str,
    at: datetime,
    confidence_set: str | None = None,
    effective_trials: float = math.nan,
    nuisance_r2: tuple[float, float] = (math.nan, math.nan),
    seed: int | None = None,
) -> None:
    """Append the rows of one estimate and its checks."""
    estimate_id = content_id(
        "estimate",
        {
            "study_id": contrast.study_id,
            "estimand": contrast.estimand,
            "subgroup": [contrast.subgroup_column, contrast.subgroup],
            "contrast": [contrast.control, contrast.level, *([contrast.per] if contrast.per else [])],
            "method": method,
            "data_id": data_id,
            "code_version": code_version(_ENGINE),
        },
    )
    results.estimates.append(
        {
            "estimate_id": estimate_id,
            "study_id": contrast.study_id,
            "data_id": data_id,
            "code_version": code_version(_ENGINE),
            "estimand": contrast.estimand,
            "treatment": contrast.treatment,
            "outcome": contrast.outcome,
            "subgroup_column": contrast.subgroup_column,
            "subgroup": contrast.subgroup,
            "contrast_from": contrast.control,
            "contrast_to": contrast.level,
            "method": method,
            "is_primary": is_primary,
            "adjustment": json.dumps(adjustment),
            "estimand_expression": expression,
            "method_estimand": method_estimand,
            "estimate": _or_none(inference.estimate),
            "standard_error": _or_none(inference.standard_error),
            "ci_low": _or_none(inference.ci_low),
            "ci_high": _or_none(inference.ci_high),
            "p_value": _or_none(inference.p_value),
            "p_value_adjusted": None,
            "confidence_set": confidence_set,
            "trials": trials,
            "clusters": inference.clusters,
            "effective_trials": _or_none(effective_trials),
            "nuisance_r2_treatment": _or_none(nuisance_r2[0]),
            "nuisance_r2_outcome": _or_none(nuisance_r2[1]),
            "stratum": stratum,
            "verdict": verdict.word,
            "reasons": json.dumps(verdict.reasons, ensure_ascii=False),
            "caveats": json.dumps(verdict.caveats, ensure_ascii=False),
            "seed": seed,
            "library_versions": _library_versions(),
            "per": contrast.per,
            "estimated_at": at,
        }
    )
    results.refutations.extend(
        {
            "estimate_id": estimate_id,
            "study_id": contrast.study_id,
            "refuter": check.name,
            "verdict": check.verdict,
            "reason": check.reason,
            "statistic": _or_none(check.statistic),
            "p_value": _or_none(check.p_value),
            "simulations": check.simulations,
            "details": _details(check),
            "refuted_at": at,
        }
        for check in verdict.checks
    )


def adjust_for_multiplicity(results: Results) -> None:
    """Give each primary estimate its p-value after Holm over all of them: many questions have many chances to be wrong."""
    rows = [row for row in results.primary if row["p_value"] is not None]
    for row, p_value in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_value_adjusted"] = p_value


def _details(check: Check) -> str | None:
    """The rows behind a check as JSON, null for what is no finite number."""
    rows = [{name: _or_none(value) if isinstance(value, float) else value for name, value in row.items()} for row in check.details]
    return json.dumps(rows, ensure_ascii=False, allow_nan=False) if rows else None


@cache
def _library_versions() -> str:
    return json.dumps({name: version(name) for name in LIBRARIES})


def _or_none(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
