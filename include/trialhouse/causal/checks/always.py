"""The checks of every estimate: rules of the graph, overlap, agreement of recipes, repeated units, columns that the graph leaves out.

The stock refuters hardly ever reject, whatever is wrong: against an omitted confounder, a mediator as control, pseudo-replication or
outliers their power in simulations is nil. These can fail.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from trialhouse.causal.checks.battery import STOCK_REFUTERS
from trialhouse.causal.identify import Identification
from trialhouse.causal.inference import Array, is_degenerate, least_squares, partial_r2
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.sample import Sample, amount, encode, is_number
from trialhouse.causal.verdict import ALPHA, Check, CheckVerdict, holm
from trialhouse.errors import EstimationError

REFUTERS = (*STOCK_REFUTERS, "left_out_columns", "sensitivity")

MIN_OVERLAP = 0.9
PROPENSITY_LIMITS = (0.02, 0.98)
MAX_TREATMENT_R2 = 0.9
MAX_ERROR_RATIO = 1.5
MAX_DISAGREEMENT = 2.0
"""Standard errors."""


def check_refuters(names: Sequence[str]) -> None:
    """Raise an `EstimationError` unless all these refuters are known."""
    for name in names:
        if name not in REFUTERS:
            raise EstimationError(f"a refuter must be one of {list(REFUTERS)}", repr(name), "fix refuters")


def graph_rules(identification: Identification, *, by_instrument: bool = False) -> Check:
    """Whether what is adjusted for keeps the rules of the graph, and the graph identifies the effect at all."""
    if by_instrument:
        adjusted = ", ".join(identification.columns) or "nothing"
        named = ", ".join(identification.instruments)
        reason = f"Adjusting for {adjusted}, {named} reaches the outcome only through the treatment: an instrument, if the graph is right."
        return Check("graph_rules", "passed", reason)
    if identification.violations:
        return Check("graph_rules", "failed", f"{'; '.join(identification.violations)}.", has_power=True)
    if not identification.is_identified:
        hidden = ", ".join(identification.unobserved)
        reason = f"Not identified: no observed columns close every path that is not the effect (unobserved: {hidden})."
        return Check("graph_rules", "failed", reason, consequence="withheld", has_power=True)
    adjusted = ", ".join(identification.columns) or "nothing"
    reason = f"Adjusting for {adjusted} keeps the rules of the graph: no effect of the treatment, no open path."
    return Check("graph_rules", "passed", reason)


def overlap(sample: Sample, needed: Sequence[str], *, is_random: bool, seed: int) -> Check:
    """Whether units of every kind could have been in either arm, given what identification adjusts for."""
    name = "overlap"
    if sample.is_binary:
        sizes = [int((sample.arms == arm).sum()) for arm in (0, 1)]
        if min(sizes) < 2:
            reason = f"An arm has fewer than two trials (control {sizes[0]}, treated {sizes[1]})."
            return Check(name, "failed", reason, float(min(sizes)), consequence="withheld")
    columns = [name for covariate in needed for name in sample.columns_of(covariate)]
    if not columns:
        sizes_text = f" ({sizes[0]} control, {sizes[1]} treated trials)" if sample.is_binary else ""
        reason = "Assigned by the design: every trial could have been in either arm" if is_random else "Nothing is adjusted for"
        return Check(name, "passed", f"{reason}{sizes_text}.", 1.0, consequence="withheld")
    covariates = sample.encoded[columns].to_numpy(dtype=float)
    explained = partial_r2(covariates, sample.arms, np.empty((len(sample.arms), 0)))
    if explained > 1 - 1e-9 or _is_function(covariates, sample.arms):
        reason = f"{', '.join(needed)} determine {sample.treatment}: no two trials alike in them differ in it."
        return Check(name, "failed", reason, 0.0, consequence="withheld")
    if not sample.is_binary:
        predicted = _out_of_fold_r2(covariates, sample, seed, is_random=is_random)
        reason = (
            f"{', '.join(needed)} predict {max(predicted, 0):.0%} of the variance of {sample.treatment} (at most {MAX_TREATMENT_R2:.0%})."
        )
        return Check(name, _word(predicted <= MAX_TREATMENT_R2), reason, predicted, consequence="withheld")
    low, high = PROPENSITY_LIMITS
    propensity = _propensity(covariates, sample.arms)
    share = float(((propensity > low) & (propensity < high)).mean())
    predicted = 0.0 if is_random else _out_of_fold_r2(covariates, sample, seed, is_random=False)
    if predicted > MAX_TREATMENT_R2:
        reason = (
            f"{', '.join(needed)} predict who is in which arm nearly without fault (R2 {predicted:.2g}): hardly any trial had a choice."
        )
        return Check(name, "failed", reason, predicted, consequence="withheld")
    reason = f"{share:.0%} of the trials could have been in either arm (propensity within {low}-{high}; needed: {MIN_OVERLAP:.0%})."
    return Check(name, _word(share >= MIN_OVERLAP), reason, share, consequence="withheld")


def recipe_agreement(fit: Fit, peers: Sequence[Fit]) -> Iterator[Check]:
    """Whether recipes that ought to agree with this one do so within two standard errors (the larger one of each pair)."""
    ratios: dict[str, float] = {}
    for peer in peers:
        errors = [one.inference.standard_error for one in (fit, peer)]
        difference = abs(fit.inference.estimate - peer.inference.estimate)
        if not math.isnan(difference) and not all(math.isnan(error) for error in errors):
            error = float(np.nanmax(errors))
            ratios[peer.recipe] = round(difference / error, 6) if error > 0 else 0.0
    if peers and not ratios:
        reason = "There is no sampling error to compare the recipes with."
        yield Check("recipe_agreement", "not_applicable", reason, consequence="withheld")
    if ratios:
        worst = max(ratios.values())
        told = ", ".join(f"{ratio:.2g} from {name}" for name, ratio in ratios.items())
        reason = f"In standard errors, {fit.recipe} is {told} (limit {MAX_DISAGREEMENT:g})."
        yield Check("recipe_agreement", _word(worst <= MAX_DISAGREEMENT), reason, worst, consequence="withheld")


def repeated_units(sample: Sample, primary: Fit, cluster: str | None, ids: Sequence[str] = ()) -> Check:
    """Whether rows that are no independent trials are taken for such (pseudo-replication)."""
    name = "repeated_units"
    if sample.clusters is not None:
        inference = primary.inference
        ratio = inference.standard_error / inference.unclustered_error if inference.unclustered_error > 0 else math.nan
        found = f"; their error is {ratio:.2g} times that of independent rows" if not math.isnan(ratio) else ""
        reason = f"Errors are those of {inference.clusters} repeated units ({cluster}){found}."
        return Check(name, "passed", reason, None if math.isnan(ratio) else ratio, has_power=True)
    candidates = list(_units(sample, ids))
    if not candidates:
        return Check(name, "not_applicable", "No column groups the rows into units that share a treatment; rows are taken as independent.")
    worst, ratio, groups = "", 0.0, 0
    for column, codes in candidates:
        clustered = least_squares(sample.arms, sample.values, sample.matrix, codes)
        here = clustered.standard_error / clustered.unclustered_error if clustered.unclustered_error > 0 else math.nan
        if here > ratio:
            worst, ratio, groups = column, here, int(codes.max()) + 1
    if ratio > MAX_ERROR_RATIO:
        reason = (
            f"{len(sample.arms)} rows are not independent trials: all rows of a {worst} share their treatment, and the error of"
            f" {groups} such units is {ratio:.2g} times the one reported; give {worst} as the cluster."
        )
        return Check(name, "failed", reason, ratio, has_power=True)
    tried = ", ".join(column for column, _ in candidates)
    reason = f"Rows that share {tried} do not go together: clustered errors are at most {ratio:.2g} times as large."
    return Check(name, "passed", reason, ratio, has_power=True)


def left_out_columns(sample: Sample, candidates: Sequence[str], *, is_random: bool) -> Check:
    """Whether a measured column that the graph leaves out goes with both treatment and outcome.

    For each column: its association with the treatment given the covariates, and with the outcome given treatment and
    covariates. The larger p-value counts (both must hold), Holm-corrected over the columns.
    """
    name = "left_out_columns"
    found: dict[str, float] = {}
    for column in candidates:
        levels = sample.frame[column]
        if levels.isna().any() or levels.nunique() < 2 or (not is_number(levels) and levels.nunique() > len(levels) / 4):
            continue
        columns = encode(sample.frame, [column]).to_numpy(dtype=float)
        p_values = _both_associations(columns, sample)
        if p_values is not None:
            found[column] = p_values
    if not found:
        return Check(name, "not_applicable", "No measured column that could be a common cause is left out of the graph.")
    adjusted = dict(zip(found, holm(list(found.values())), strict=True))
    guilty = [column for column, p_value in adjusted.items() if p_value < ALPHA]
    p_value = min(adjusted.values())
    both = f"with both {sample.treatment} and {sample.outcome}"
    if guilty:
        chance = " (the treatment was assigned by the design, so look for a fault in carrying it out)" if is_random else ""
        reason = f"The graph leaves out {', '.join(guilty)}, which goes {both}: draw it, as a cause or as an effect{chance}"
    else:
        reason = f"Of the measured columns that the graph leaves out ({', '.join(found)}), none goes {both}."
    return Check(name, "passed", reason, float(len(guilty)), p_value, is_test=True, has_power=True)


def placebo_arms(sample: Sample, label: str) -> Check:
    """Whether the same treatment, taken twice, differs: an A/A test, or negative-control treatment.

    The primary recipe on the same trials, with a label drawn at random as the treatment and the real arms among the
    covariates. What it finds is a false positive: of errors that are too small, or of a measurement that the label reaches.
    """
    name = "placebo_arms"
    levels = sorted(sample.frame[label].dropna().unique())
    if len(levels) != 2 or sample.frame[label].isna().any():
        return Check(name, "not_applicable", f"The trials compared do not have two levels of {label}.")
    arms = (sample.frame[label] == levels[1]).to_numpy(dtype=float)
    found = least_squares(arms, sample.values, np.column_stack([sample.matrix, sample.arms]), sample.clusters)
    if math.isnan(found.p_value) or is_degenerate(found, sample.values):
        return Check(name, "not_applicable", f"Nothing varies that two arms of {label} could differ in.")
    difference = amount(found.estimate, sample.outcome)
    reason = f"The same treatment twice ({label} {levels[1]} against {levels[0]}) differs by {difference}: p = {found.p_value:.2g}"
    return Check(name, "passed", reason if found.p_value < ALPHA else f"{reason}.", found.estimate, found.p_value, is_test=True)


def seed_of(*parts: object) -> int:
    """A seed that depends on all the parts and on nothing else: the same in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def _word(is_good: bool) -> CheckVerdict:
    return "passed" if is_good else "failed"


def _propensity(covariates: Array, arms: Array) -> Array:
    from sklearn.linear_model import LogisticRegression

    spread = covariates.std(axis=0)
    standard = (covariates - covariates.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    # The penalty is next to nothing: it only keeps separated data from going to infinity.
    fitted = LogisticRegression(C=1e3, max_iter=1_000).fit(standard, arms)
    result: Array = fitted.predict_proba(standard)[:, 1]
    return result


def _is_function(covariates: Array, arms: Array) -> bool:
    """Whether covariates repeat, and trials alike in them never differ in the treatment."""
    _, profile = np.unique(covariates, axis=0, return_inverse=True)
    profile = profile.ravel()
    if int(profile.max()) + 1 > len(arms) / 2:
        return False
    spread = pd.Series(arms).groupby(profile).agg(np.ptp)
    return bool((spread <= 1e-12 * max(float(np.ptp(arms)), 1e-300)).all())


def _out_of_fold_r2(covariates: Array, sample: Sample, seed: int, *, is_random: bool) -> float:
    """How well the covariates predict the treatment, by a line or, where it was not assigned, by trees as well."""
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import GroupKFold, KFold, cross_val_predict

    from trialhouse.causal.nuisances import learner

    groups = sample.clusters
    count = min(5, len(sample.arms) if groups is None else len(np.unique(groups)))
    if count < 2:
        return 0.0
    state = seed % 2**32
    folds = KFold(count, shuffle=True, random_state=state) if groups is None else GroupKFold(count, shuffle=True, random_state=state)
    centred = sample.arms - sample.arms.mean()
    found = []
    for model in (LinearRegression(), *(() if is_random else (learner("boosting", {}, state % 2**31),))):
        left = sample.arms - cross_val_predict(model, covariates, sample.arms, cv=folds, groups=groups)
        found.append(1 - float(left @ left) / float(centred @ centred))
    return max(found)


def _units(sample: Sample, ids: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Columns that may name repeated units: several rows each, at least six of them, the treatment the same within each."""
    known = {sample.treatment, sample.outcome, *sample.covariates}
    for column in sample.frame.columns:
        values = sample.frame[column]
        if column in known or values.isna().any() or (pd.api.types.is_float_dtype(values) and column not in ids):
            continue
        codes = np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)
        groups = int(codes.max()) + 1
        if not 6 <= groups <= len(values) / 2:
            continue
        spread = pd.Series(sample.arms).groupby(codes).agg(np.ptp)
        if (spread == 0).all():
            yield str(column), codes


def _both_associations(columns: Array, sample: Sample) -> float | None:
    """p-value that one of the columns goes with treatment and outcome alike; None where covariates determine them."""
    with_treatment = np.column_stack([sample.matrix, sample.arms])
    pairs = []
    for column in columns.T:
        of_treatment = least_squares(column, sample.arms, sample.matrix, sample.clusters)
        of_outcome = least_squares(column, sample.values, with_treatment, sample.clusters)
        if not math.isnan(of_treatment.estimate) and not math.isnan(of_outcome.estimate):
            pairs.append((_p(of_treatment.p_value), _p(of_outcome.p_value)))
    if not pairs:
        return None
    smallest = [min(pair[side] for pair in pairs) for side in (0, 1)]
    return min(1.0, len(pairs) * max(smallest))


def _p(p_value: float) -> float:
    return 1.0 if math.isnan(p_value) else p_value
