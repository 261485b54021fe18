"""Estimands over training: from learning curves to difference-in-differences, its checks and its rows.

Trials that switch in mid-training (`trialhouse.studies.switches`) are compared, before and after, with those that have not switched yet
or never do. Time is the share of the training, at the points that all curves have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pandas as pd

from trialhouse.causal.differences import Differences, difference_in_differences
from trialhouse.causal.identify import opens_no_path
from trialhouse.causal.inference import Inference, with_interval
from trialhouse.causal.model import CausalGraph
from trialhouse.causal.results import Contrast, Results, add_rows
from trialhouse.causal.sample import amount, arms_of, label, require_columns
from trialhouse.causal.verdict import Check, decide
from trialhouse.errors import EstimationError
from trialhouse.identity import frame_id
from trialhouse.studies.spec import Estimand, Level, Study
from trialhouse.studies.switches import GRID, NEVER, SWITCHED_AT, evenly_spaced, switch_step

METHOD = "difference_in_differences"
TWO_WAY = "two_way_fixed_effects"
ESTIMANDS = {
    METHOD: "the average effect on trials that switched, over all of their training after that",
    TWO_WAY: "an average of effects with weights that may be negative where they grow",
    "naive": "the difference between points after a switch and all others, whatever its cause",
}
AFTER = "share_after_switch"
"""Column of the rows that tell the effect by how much of the training has passed since the switch."""
DISTANCES = (0.05, 0.1, 0.25, 0.5)
"""Its values, as far as the curves go."""
FEW_UNITS = 20
MOST_DISAGREEMENT = 2.0
"""Standard errors between the two regressions."""


@dataclass(frozen=True)
class _Asked:
    """One contrast, in one subgroup: its trials' points, and what was lost on the way to them."""

    estimand: Estimand
    contrast: Contrast
    panel: pd.DataFrame
    cluster: str | None
    lost: int
    left_out: int


def answer_over_training(
    study: Study,
    estimand: Estimand,
    trials: pd.DataFrame,
    curves: pd.DataFrame | None,
    graph: CausalGraph,
    *,
    study_id: str,
    cluster: str | None,
    lost_for: Sequence[str],
    at: datetime,
) -> Results:
    """Estimate what an estimand `over_training` asks, and try to refute it.

    Parameters
    ----------
    trials
        One row per measured trial: `trial_id`, `status`, `switched_at`, the treatment and, if there are any, subgroups and clusters.
    curves
        One row per point: `trial_id`, `split`, `step`, `metric`, `value`.
    cluster
        Column of the repeated units; None: the trials.
    lost_for
        Words of `status` that the treatment can cause.

    Returns
    -------
    Results
        Per contrast and subgroup the registered effect by difference-in-differences between a naive comparison and a plain two-way
        regression, and, exploratory, the effect at several distances from the switch (`share_after_switch`).

    Raises
    ------
    EstimationError
        If no curves are given, a column is missing or the graph draws no path. Where too few trials switch or stay, or have a curve, the
        estimate is withheld instead.
    """
    graph.require_path(estimand.treatment, estimand.outcome)
    if curves is None:
        raise EstimationError(f"estimand {estimand.name!r} needs the learning curves of its trials", "none", "give curves")
    require_columns(trials, "trial_id", "status", SWITCHED_AT, estimand.treatment)
    require_columns(curves, "trial_id", "split", "step", "metric", "value")
    results = Results()
    for asked in _asked(study, estimand, trials, curves, study_id, cluster, lost_for):
        try:
            found = difference_in_differences(
                asked.panel, unit="trial_id", time="point", outcome="value", treated_from="first_after", cluster="cluster"
            )
        except EstimationError as error:  # what is there does not carry this answer, and it must not cost the others
            _refuse(results, asked, str(error), is_random=not study.is_observational, at=at)
        else:
            _add(results, asked, found, graph, is_random=not study.is_observational, at=at)
    return results


def curve_panel(trials: pd.DataFrame, curves: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Points at even distances of the curves of trials: `trial_id`, `point` (share of the steps times `GRID`), `value`, `first_after`.

    Parameters
    ----------
    trials
        One row per trial: `trial_id`, `switched_at`.
    outcome
        Such as `validation_loss`.

    Returns
    -------
    pandas.DataFrame
        Trials without a complete curve are not in it. `first_after` is the first point after the switch, infinite where there is none.
    """
    split, metric = outcome.split("_", 1)
    mine = curves[(curves["split"] == split) & (curves["metric"] == metric) & curves["trial_id"].isin(trials["trial_id"])]
    parts = []
    by_trial = dict(list(mine.groupby("trial_id")))
    for trial_id, switched_at in zip(trials["trial_id"], trials[SWITCHED_AT].astype(float), strict=True):
        curve = by_trial.get(trial_id)
        if curve is None:
            continue
        steps = int(curve["step"].max())
        values = curve.set_index("step")["value"].reindex(evenly_spaced(steps))
        if values.isna().any():
            continue
        points = {step: GRID * step // steps for step in values.index}
        last_before = steps if switched_at >= NEVER else switch_step(switched_at, steps)
        first_after = min((point for step, point in points.items() if step > last_before), default=math.inf)
        columns = {"point": list(points.values()), "value": values.to_numpy(dtype=float), "first_after": float(first_after)}
        parts.append(pd.DataFrame(columns).assign(trial_id=trial_id))
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in ("trial_id", "point", "value", "first_after")})
    return pd.concat(parts, ignore_index=True)


def _asked(
    study: Study,
    estimand: Estimand,
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    study_id: str,
    cluster: str | None,
    lost_for: Sequence[str],
) -> Iterator[_Asked]:
    control, level = estimand.compared
    levels: list[Level] = [level]
    if estimand.dose_response and estimand.treatment == SWITCHED_AT:
        levels += [other for other in study.factor(SWITCHED_AT).levels if label(other) not in (label(control), label(level))]
    subgroups: list[Any] = [None] if estimand.by is None else list(study.factor(estimand.by).levels)
    for value in subgroups:
        mine = trials if value is None else trials[trials[str(estimand.by)].map(label) == label(value)]
        for other in levels:
            rows = mine[arms_of(mine[estimand.treatment], control, other).notna()]
            panel = curve_panel(rows[rows["status"] == "ok"], curves, estimand.outcome)
            units = rows["trial_id"] if cluster is None else rows[cluster]
            panel["cluster"] = panel["trial_id"].map(dict(zip(rows["trial_id"], units.astype(str), strict=True)))
            contrast = Contrast(
                study_id=study_id,
                estimand=estimand.name,
                treatment=estimand.treatment,
                outcome=estimand.outcome,
                control=label(control),
                level=label(other),
                subgroup_column=estimand.by,
                subgroup=None if value is None else label(value),
            )
            lost = int(rows["status"].isin(list(lost_for)).sum())
            yield _Asked(estimand, contrast, panel, cluster, lost, len(rows) - lost - panel["trial_id"].nunique())


def _add(results: Results, asked: _Asked, found: Differences, graph: CausalGraph, *, is_random: bool, at: datetime) -> None:
    is_registered = asked.contrast.level == label(asked.estimand.compared[1])
    common = [_rules(asked, graph, is_random=is_random), *_losses(asked)]
    checks = [*common, _comparable(asked, found), found.pre_trends, _units(asked, found)]
    told = list(_caveats(asked, found))
    data_id = frame_id(asked.panel.sort_values(["trial_id", "point"]))

    def add(inference: Inference, method: str, own: Sequence[Check], caveats: Sequence[str], *, is_primary: bool, after: float = 0) -> None:
        contrast = asked.contrast
        if after:
            columns, values = [contrast.subgroup_column, AFTER], [contrast.subgroup, label(after)]
            names = [", ".join(str(item) for item in items if item is not None) for items in (columns, values)]
            contrast = replace(contrast, subgroup_column=names[0], subgroup=names[1])
        add_rows(
            results,
            contrast,
            method=method,
            method_estimand=ESTIMANDS[method],
            is_primary=is_primary,
            inference=inference,
            verdict=decide(list(own), caveats, is_random=is_random),
            adjustment=[] if method == "naive" else ["trial_id", "share_of_training"],
            expression=_expression(asked, is_random=is_random, after=after),
            trials=found.units,
            stratum=None,
            data_id=data_id,
            at=at,
        )

    add(found.naive, "naive", [*common, _mixed_up()], told, is_primary=False)
    add(found.effect, METHOD, checks, told, is_primary=asked.estimand.is_primary and is_registered)
    add(found.two_way, TWO_WAY, [*common, _agreement(found)], told, is_primary=False)
    rows = {round((row["after"] + 1) / GRID, 6): row for row in found.events.to_dict("records")}
    for share in DISTANCES:
        if share in rows:
            row = rows[share]
            inference = with_interval(replace(found.effect, estimate=row["estimate"], standard_error=row["standard_error"]))
            seen = f"exploratory; {row['units']} trials are seen {share:.0%} of the training after their switch"
            add(inference, METHOD, checks, [seen, *told], is_primary=False, after=share)


def _refuse(results: Results, asked: _Asked, reason: str, *, is_random: bool, at: datetime) -> None:
    checks = [*_losses(asked), Check("estimable", "failed", f"No estimate: {reason}.", consequence="withheld")]
    add_rows(
        results,
        asked.contrast,
        method=METHOD,
        method_estimand=ESTIMANDS[METHOD],
        is_primary=asked.estimand.is_primary and asked.contrast.level == label(asked.estimand.compared[1]),
        inference=Inference(math.nan),
        verdict=decide(checks, is_random=is_random),
        adjustment=[],
        expression=_expression(asked, is_random=is_random, after=0),
        trials=asked.panel["trial_id"].nunique(),
        stratum=None,
        data_id=frame_id(asked.panel.sort_values(["trial_id", "point"])),
        at=at,
    )


def _rules(asked: _Asked, graph: CausalGraph, *, is_random: bool) -> Check:
    if opens_no_path(graph, asked.estimand.treatment, asked.estimand.outcome, ()):
        warrant = "was assigned by the design, and nothing" if is_random else "has no cause in the graph: nothing"
        return Check("graph_rules", "passed", f"When a trial switches {warrant} in the graph leads into it.")
    reason = (
        "The graph draws causes of when a trial switches: the effect rests on parallel trends, that is on these causes setting trials apart"
        " by the same amount throughout the training"
    )
    return Check("graph_rules", "inconclusive", reason, consequence="none")


def _losses(asked: _Asked) -> Iterator[Check]:
    if asked.lost:
        reason = f"Compares survivors only: {asked.lost} trials did not come to the end of their training, and a switch can be the reason."
        yield Check("survivorship", "failed", reason, consequence="withheld")


def _comparable(asked: _Asked, found: Differences) -> Check:
    first = asked.panel.groupby("trial_id")["first_after"].first()
    cohorts = first[first < math.inf]
    reason = (
        f"{cohorts.nunique()} cohorts of trials switch ({len(cohorts)} trials), {len(first) - len(cohorts)} never do;"
        f" {found.points} points lie after a switch."
    )
    return Check("overlap", "passed", reason, float(len(first) - len(cohorts)), consequence="withheld")


def _units(asked: _Asked, found: Differences) -> Check:
    name = asked.cluster or "trial_id"
    return Check(
        "repeated_units",
        "passed",
        f"Errors are those of {found.effect.clusters} repeated units ({name}), one left out at a time.",
        has_power=True,
    )


def _mixed_up() -> Check:
    reason = "Compares points late in training with earlier ones: what time does to a curve is mixed up with the switch."
    return Check("comparable_points", "failed", reason, consequence="withheld")


def _agreement(found: Differences) -> Check:
    errors = [error for error in (found.effect.standard_error, found.two_way.standard_error) if error > 0]
    name = "recipe_agreement"
    if not errors:
        return Check(name, "not_applicable", "There is no sampling error to compare the recipes with.", consequence="withheld")
    ratio = abs(found.effect.estimate - found.two_way.estimate) / max(errors)
    reason = (
        f"Compares trials that switched early with later ones as if they were untouched; differs from {METHOD} by {ratio:.2g} standard"
        f" errors (limit {MOST_DISAGREEMENT:g})."
    )
    return Check(name, "passed" if ratio <= MOST_DISAGREEMENT else "failed", reason, ratio, consequence="withheld")


def _caveats(asked: _Asked, found: Differences) -> Iterator[str]:
    from scipy.stats import t as student

    yield "every point after a switch counts alike, so trials that switch early count more"
    if asked.left_out > 0:
        yield f"{asked.left_out} trials that crashed or have no complete curve are left out"
    if found.left_out:
        yield f"{found.left_out} points after the last times at which enough trials had not switched are left out"
    effect = found.effect
    if effect.note:
        yield f"no interval: {effect.note}"
    if effect.clusters is not None and effect.clusters < FEW_UNITS:
        yield f"small sample: {effect.clusters} repeated units ({asked.cluster or 'trial_id'})"
    if effect.p_value >= 0.05 and effect.standard_error > 0:
        detectable = float(student.ppf(0.975, effect.degrees_of_freedom) + student.ppf(0.8, effect.degrees_of_freedom))
        least = amount(detectable * effect.standard_error, asked.estimand.outcome)
        yield f"low power: an effect of less than {least} would be missed in more than one of five such studies"


def _expression(asked: _Asked, *, is_random: bool, after: float) -> str:
    estimand, contrast = asked.estimand, asked.contrast
    given = f", {estimand.by} = {contrast.subgroup}" if estimand.by else ""
    effect = " - ".join(
        f"E[{estimand.outcome}(t) | do({estimand.treatment} = {level}){given}]" for level in (contrast.level, contrast.control)
    )
    where = f"{after:.0%} of the training after the switch" if after else "over the points t of the learning curve after the switch"
    warrant = "When a trial switches was assigned by the design." if is_random else "Nobody assigned when a trial switches."
    return (
        f"{effect}, averaged {where} and over the trials that switch. Trials that have not switched yet, or never do, tell how"
        f" the others would have gone on (parallel trends). {warrant}"
    )
