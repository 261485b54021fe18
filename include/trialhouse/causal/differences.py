"""Difference-in-differences where units are treated at different times: what a switch does to the rest of a curve.

Units that are not treated yet, or never, tell how a treated one would have gone on: their outcomes give an effect of each unit and of
each time (parallel trends), which are subtracted from the treated ones' outcomes. What is left, averaged, is the effect (Gardner 2022;
Borusyak, Jaravel & Spiess 2024). One regression with two-way fixed effects compares treated units with each other besides, and is
biased where effects grow or differ between cohorts (Goodman-Bacon 2021); it is told beside, never instead.

Errors leave out one repeated unit at a time (the jackknife, CV3), with a t reference for their number less one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.causal.inference import Inference, with_interval
from trialhouse.causal.sample import require_columns
from trialhouse.causal.verdict import Check
from trialhouse.errors import EstimationError

MOST_LEADS = 3
"""Stretches of time before the treatment that the test of parallel trends looks at."""
LEAST_CLUSTERS = 2
"""Repeated units that must be left on either side of a comparison when one of them is left out, and one more."""
EXACT = 1e-6
"""Share of the outcome's deviation below which two trends are the same but for rounding."""


@dataclass(frozen=True)
class Differences:
    """What the curves of units that are treated at different times say.

    Parameters
    ----------
    effect
        Mean over all points of treated units from their treatment on; each point counts alike.
    events
        One row per distance from the treatment: `after` (0 is the first point of a treated unit), `units` (how many are seen there:
        those treated late are not seen far after), `estimate`, `standard_error`, `ci_low`, `ci_high`, `p_value`.
    naive
        Treated points less all others, nothing taken into account.
    two_way
        One regression on unit, time and treatment.
    pre_trends
        Whether units that are treated soon went another way before.
    units, points
        Numbers of units, and of their treated points.
    left_out
        Treated points left out because too few repeated units are untreated at that time.
    """

    effect: Inference
    events: pd.DataFrame
    naive: Inference
    two_way: Inference
    pre_trends: Check
    units: int
    points: int
    left_out: int


def difference_in_differences(
    panel: pd.DataFrame, *, unit: str, time: str, outcome: str, treated_from: str, cluster: str | None = None
) -> Differences:
    """The effect of a treatment that starts at different times, and what can be said against it.

    Parameters
    ----------
    panel
        One row per unit and time, none missing the outcome.
    unit, time, outcome
        Columns; times are numbers, and as far apart as their ranks for what is told by distance.
    treated_from
        Column with the first time at which a unit is treated, the same in all of its rows; missing or infinite: never.
    cluster
        Column of the repeated units; None: the units themselves.

    Raises
    ------
    EstimationError
        If a column is missing, a row has no outcome or stands there twice, or too few repeated units are treated, or not.
    """
    rows = _rows(panel, unit, time, outcome, treated_from, cluster)
    rows, left_out = _with_controls(rows)
    clusters = rows["cluster"].unique()
    with _one_thread():
        effect, events = _effects(rows)
        parts = [_effects(rows[rows["cluster"] != one]) for one in clusters]
        naive, two_way = (_regression(rows, formula, len(clusters)) for formula in ("y ~ treated", "y ~ treated | unit + time"))
        pre_trends = _pre_trends(rows, len(clusters))
    treated = rows[rows["treated"] == 1]
    table = [
        {"after": after, "units": int((treated["event"] == after).sum())}
        | _columns(_jackknife(value, [part.get(after, math.nan) for _, part in parts]))
        for after, value in events.items()
    ]
    whole = _jackknife(effect, [part for part, _ in parts])
    return Differences(whole, pd.DataFrame(table), naive, two_way, pre_trends, rows["unit"].nunique(), len(treated), left_out)


def _rows(panel: pd.DataFrame, unit: str, time: str, outcome: str, treated_from: str, cluster: str | None) -> pd.DataFrame:
    """The columns under fixed names: `unit`, `cluster`, `time` (rank), `y`, `treated` (0, 1), `event` (ranks since treatment)."""
    require_columns(panel, unit, time, outcome, treated_from, *([cluster] if cluster else []))
    if panel[outcome].isna().any():
        raise EstimationError(f"every row must have {outcome}", f"{int(panel[outcome].isna().sum())} without", "leave those units out")
    if panel.duplicated([unit, time]).any():
        raise EstimationError(f"there must be one row per {unit} and {time}", "several", "aggregate them or name the unit")
    if (panel.groupby(unit)[treated_from].nunique(dropna=False) > 1).any():
        raise EstimationError(f"{treated_from} must be the same in all rows of a {unit}", "several", "give the first time of treatment")
    times = np.sort(panel[time].unique())
    first = panel[treated_from].astype(float).fillna(math.inf).to_numpy()
    at = np.searchsorted(times, panel[time].to_numpy())
    since = at - np.searchsorted(times, first)  # a time between two points belongs to the later one
    rows = pd.DataFrame(
        {
            "unit": panel[unit].astype(str).to_numpy(),
            "cluster": panel[cluster or unit].astype(str).to_numpy(),
            "time": at,
            "y": panel[outcome].to_numpy(dtype=float),
            "treated": (since >= 0).astype(int),
            "event": since,
            "is_ever": np.isin(panel[unit], panel[unit][since >= 0]),
        }
    )
    rows = rows[rows.groupby("unit")["treated"].transform("min") == 0]  # without a time before there is no difference
    return rows.sort_values(["unit", "time"], kind="stable").reset_index(drop=True)


def _with_controls(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The rows of times at which enough repeated units are untreated to tell how time goes on, and how many others were dropped."""
    untreated = rows[rows["treated"] == 0].groupby("time")["cluster"].nunique()
    is_known = rows["time"].map(untreated).fillna(0) > LEAST_CLUSTERS
    kept = rows[is_known].reset_index(drop=True)
    treated = kept[kept["treated"] == 1]
    if treated["cluster"].nunique() <= LEAST_CLUSTERS:
        expected = f"more than {LEAST_CLUSTERS} repeated units must be treated while more than {LEAST_CLUSTERS} are not"
        raise EstimationError(expected, f"{treated['cluster'].nunique()} treated", "repeat the trials with more seeds")
    return kept, int((rows["treated"][~is_known] == 1).sum())


def _effects(rows: pd.DataFrame) -> tuple[float, dict[int, float]]:
    """The mean effect over treated points, and over those at each distance from the treatment."""
    import pyfixest

    untreated, exactly = rows[rows["treated"] == 0], pyfixest.MapDemeaner(fixef_tol=1e-10)
    fitted = pyfixest.feols("y ~ 1 | unit + time", data=untreated, vcov="iid", fixef_rm="none", demeaner=exactly)
    treated = rows[rows["treated"] == 1]
    gaps = treated["y"] - fitted.predict(newdata=treated, atol=1e-12, btol=1e-12)
    return float(gaps.mean()), {int(after): float(mean) for after, mean in gaps.groupby(treated["event"]).mean().items()}


def _jackknife(estimate: float, without: list[float]) -> Inference:
    """CV3 of MacKinnon, Nielsen & Webb (2023): how far the estimate moves when each repeated unit is left out."""
    count = len(without)
    deviations = np.array(without) - estimate
    if np.isnan(deviations).any():
        return Inference(estimate, clusters=count, note="too few repeated units carry it")
    error = math.sqrt((count - 1) / count * float(deviations @ deviations))
    return with_interval(Inference(estimate, error, degrees_of_freedom=count - 1, clusters=count))


def _regression(rows: pd.DataFrame, formula: str, clusters: int) -> Inference:
    import pyfixest

    fitted: Any = pyfixest.feols(formula, data=rows, vcov={"CRV3": "cluster"}, fixef_rm="none")
    estimate, error = float(fitted.coef()["treated"]), float(fitted.se()["treated"])
    return with_interval(Inference(estimate, error, degrees_of_freedom=clusters - 1, clusters=clusters))


def _pre_trends(rows: pd.DataFrame, clusters: int) -> Check:
    """Whether, before any treatment, units go another way in the time just before their own than others do at that time.

    On untreated rows alone, so that the effect has no part in it. Up to three stretches before the treatment get a
    coefficient each; the reference is all that is earlier. Hotelling's T-squared over the repeated units.
    """
    import pyfixest
    from scipy.stats import f as fisher

    name = "pre_trends"
    before = rows[rows["treated"] == 0].copy()
    lengths = before[before["is_ever"]].groupby("unit").size()
    leads = min(MOST_LEADS, int(lengths.min()) - 1, clusters - 2)
    if leads < 1:
        return Check(name, "not_applicable", "There are too few points before the treatment, or too few repeated units, to test trends.")
    width = max(1, int(lengths.min()) // (leads + 1))
    names = [f"lead_{number}" for number in range(1, leads + 1)]
    for number, column in enumerate(names):
        is_there = before["is_ever"] & (before["event"] < -number * width) & (before["event"] >= -(number + 1) * width)
        before[column] = is_there.astype(float)
    fitted: Any = pyfixest.feols(f"y ~ {' + '.join(names)} | unit + time", data=before, vcov={"CRV3": "cluster"}, fixef_rm="none")
    found = fitted.coef()
    points = f"{leads * width} points before it"
    if len(found) < leads:
        return Check(name, "not_applicable", "Units and times determine who is about to be treated: trends cannot be told from them.")
    if float(np.abs(found).max()) < EXACT * float(before["y"].std()):
        reason = f"Until the treatment the trends are the same but for rounding, {points} too: the design makes them so."
        return Check(name, "passed", reason, 0.0, 1.0, has_power=True)
    statistic = float(fitted.wald_test(R=np.eye(leads), distribution="F")["statistic"]) * (clusters - leads) / (clusters - 1)
    p_value = float(fisher.sf(statistic, leads, clusters - leads))
    reason = f"In the {points}, units about to be treated go the way of the others: F({leads}, {clusters - leads}) = {statistic:.2g}"
    if p_value < 0.05:
        reason = reason.replace("go the way of the others", "do not go the way of the others")
    return Check(name, "passed", f"{reason}, p = {p_value:.2g}.", statistic, p_value, is_test=True, has_power=True)


def _columns(inference: Inference) -> dict[str, float]:
    return {name: getattr(inference, name) for name in ("estimate", "standard_error", "ci_low", "ci_high", "p_value")}


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same bits whatever runs beside; and no word about packages that pyfixest would like to have."""
    import warnings

    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
