"""What the trials of an audit came to, beside what was forecast of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trialhouse.auditing.candidates import Candidate
from trialhouse.forecasting import StudyAllocation
from trialhouse.registration import Registration
from trialhouse.scaling_laws.asked import StudyForecast
from trialhouse.scaling_laws.intervals import finite
from trialhouse.scaling_laws.support import Place
from trialhouse.settings import Settings
from trialhouse.warehouse.read import published, study_frame

if TYPE_CHECKING:
    import pandas as pd

FEW = 6
"""Pairs below which an interval of their mean is called one of few."""
Interval = tuple[float, float, float]
"""Value, lower and upper end of its 95% interval (NaN where there is none)."""


@dataclass(frozen=True)
class Tested:
    """What a candidate came to, beside its forecast.

    Parameters
    ----------
    candidate
        Which.
    forecast
        Made before its trials; from the recommended split to this one (the recommended: from a rival).
    outcomes
        Of its trials, by block.
    met, inside
        Trials that ended after the forecast was made, and how many of them lie in its 95% interval of one new trial.
    lost
        Status -> number of its trials without the outcome.
    difference
        Outcome less that of the recommended split, paired by block: mean and t interval. None for that one itself.
    """

    candidate: Candidate
    forecast: StudyForecast
    outcomes: Mapping[str, float]
    met: int
    inside: int
    lost: Mapping[str, int]
    difference: Interval | None = None

    @property
    def mean(self) -> float:
        """Of its trials."""
        return float(np.mean(list(self.outcomes.values()))) if self.outcomes else float("nan")

    @property
    def verdict(self) -> str:
        """Beside the recommended split: `worse`, `better`, `not told apart`, or `unknown` from fewer than two pairs of trials."""
        _, low, high = self.difference or (np.nan,) * 3
        if np.isnan(low):
            return "unknown"
        return "worse" if low > 0 else "better" if high < 0 else "not told apart"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        assert self.forecast.found is not None
        effect = self.forecast.found.effect
        told: dict[str, Any] = {
            "names": list(self.candidate.names),
            "levels": dict(self.candidate.levels),
            "place": self.candidate.place,
            "cost": self.candidate.cost,
            "forecast": effect.after.to_dict(),
            "outcomes": dict(self.outcomes),
            "mean": finite(self.mean),
            "trials_after_forecast": self.met,
            "trials_in_interval": self.inside,
            "lost": dict(self.lost),
        }
        if self.difference is not None:
            told["forecast_difference"] = {"value": effect.difference[0], "interval": list(effect.difference[1:])}
            value, *ends = map(finite, self.difference)
            told["difference"] = {"value": value, "interval": None if None in ends else ends}
            told["verdict"] = self.verdict
        return told


@dataclass(frozen=True)
class Audit:
    """An allocation that was put to the test.

    Parameters
    ----------
    study_id
        Of the version of the study that has its trials.
    outcome, blocks
        What was forecast, and how many blocks (seeds) each candidate was run in.
    wanted
        The recommended split by the law: column -> value.
    tested
        The trials nearest to it, then its rivals.
    left_out
        Rival -> why it was not run.
    errors
        Who forecast -> root mean square of the logarithm of outcome over forecast, over the trials that ended afterwards.
    record
        Trials that this study's laws had forecast when asked, over all its versions, and how many of them lie in the 95% interval.
    """

    study_id: str
    outcome: str
    blocks: int
    wanted: Place
    tested: tuple[Tested, ...]
    left_out: Mapping[str, str]
    errors: Mapping[str, float]
    record: tuple[int, int]

    @property
    def sentence(self) -> str:
        """Whether the recommended split came out best, and how sure that is."""
        recommended, *rivals = self.tested
        if not recommended.outcomes:
            return f"The recommended split came to no {self.outcome}: {_lost(recommended)}"
        known = [one for one in rivals if one.outcomes]
        if not known:
            return "No rival came to an outcome: nothing can be said of the recommended split beside others"
        best = min(known, key=lambda one: one.mean)
        is_best = recommended.mean <= best.mean
        place = (
            f"best of {1 + len(known)}" if is_best else f"behind {sum(one.mean < recommended.mean for one in known)} of {len(known)} rivals"
        )
        told = f"The recommended split came out {place}, with a mean {self.outcome} of {recommended.mean:.4g}"
        words = [one.verdict for one in known]
        parts = [f"{words.count(word)} {text}" for word, text in _WORDS.items() if word in words]
        return f"{told}; of its rivals {', '.join(parts)} ({_blocks(self.blocks)})"

    def to_dict(self) -> dict[str, Any]:
        """As `trialhouse allocate STUDY --run --json` prints it."""
        met, inside = self.record
        return {
            "study_id": self.study_id,
            "sentence": self.sentence,
            "outcome": self.outcome,
            "blocks": self.blocks,
            "wanted": self.wanted,
            "candidates": [one.to_dict() for one in self.tested],
            "left_out": dict(self.left_out),
            "log_rmse": dict(self.errors),
            "record": {"trials": met, "in_interval": inside},
        }


_WORDS = {
    "worse": "came out worse",
    "better": "came out better",
    "not told apart": "cannot be told from it",
    "unknown": "with too few pairs to tell",
}


def scored(
    allocation: StudyAllocation,
    planned: Registration,
    forecasts: Sequence[tuple[Candidate, StudyForecast]],
    forecast_ids: Sequence[Sequence[str]],
    left_out: Mapping[str, str],
    settings: Settings,
) -> Audit:
    """Read from the marts what came of an audit's trials.

    Parameters
    ----------
    planned
        The version that ran them.
    forecasts, forecast_ids
        Of each candidate, the recommended one first; and what they are on record as, passive observers' after the law's own.
    left_out
        Rivals that were not run.
    """
    outcome = allocation.law.question.outcome
    trials = study_frame(planned.study_id, settings)
    met = _calibration([one for ids in forecast_ids for one in ids], settings)
    tested: list[Tested] = []
    for (candidate, forecast), (own_id, *_) in zip(forecasts, forecast_ids, strict=True):
        own = trials[np.logical_and.reduce([trials[name] == level for name, level in candidate.levels.items()])]
        have = own[own[outcome].notna()].sort_values(["block", "replicate"])
        pairs = have["block"] if planned.study.design.replicates == 1 else have["block"] + ", " + have["replicate"].astype(str)
        outcomes = dict(zip(pairs.astype(str), map(float, have[outcome]), strict=True))
        inside = met.loc[met["forecast_id"] == own_id, "is_in_interval"]
        lost = Counter(map(str, own.loc[own[outcome].isna(), "status"]))
        one = Tested(candidate, forecast, outcomes, len(inside), int(inside.sum()), lost)
        tested.append(replace(one, difference=_paired(outcomes, tested[0].outcomes)) if tested else one)
    return Audit(
        study_id=planned.study_id,
        outcome=outcome,
        blocks=len({(trial.block, trial.replicate) for trial in planned.trials}),
        wanted=allocation.found.place,
        tested=tuple(tested),
        left_out=dict(left_out),
        errors={str(name): float(np.sqrt((rows["log_error"] ** 2).mean())) for name, rows in met.groupby("forecaster", sort=False)},
        record=_record(planned.study.name, allocation.law.question.name, settings),
    )


def _calibration(forecast_ids: Sequence[str], settings: Settings) -> pd.DataFrame:
    """What came out after forecasts were made, the causal ones first."""
    query = """
        SELECT forecast_id, coalesce(looks_at, 'the law') AS forecaster, log_error, is_in_interval FROM marts.fct_calibration
        WHERE list_contains($ids, forecast_id) ORDER BY basis, looks_at, forecast_id, trial_id
    """
    with published(settings) as connection:
        found: pd.DataFrame = connection.execute(query, {"ids": list(forecast_ids)}).df()
    return found


def _record(study_name: str, law: str, settings: Settings) -> tuple[int, int]:
    query = """
        SELECT count(*), count(*) FILTER (is_in_interval) FROM marts.fct_calibration
        WHERE study_name = ? AND law = ? AND purpose = 'asked' AND basis = 'causal'
    """
    with published(settings) as connection:
        (row,) = connection.execute(query, [study_name, law]).fetchall()
    return int(row[0]), int(row[1])


def _paired(outcomes: Mapping[str, float], others: Mapping[str, float]) -> Interval:
    """Mean difference over the pairs, with its t interval where there are two pairs or more."""
    from scipy import stats

    differences = np.array([outcomes[pair] - others[pair] for pair in outcomes if pair in others])
    if len(differences) < 2:
        return float(differences.mean()) if len(differences) else float("nan"), float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    return float(differences.mean()), float(differences.mean() - half), float(differences.mean() + half)


def _lost(one: Tested) -> str:
    """What its trials ended as, where they came to no outcome."""
    return ", ".join(f"{count} {status}" for status, count in one.lost.items()) or "no trial"


def _blocks(count: int) -> str:
    return f"{count} {'pair' if count == 1 else 'pairs'} of trials each{', which is few' if count < FEW else ''}"
