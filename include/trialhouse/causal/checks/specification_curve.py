"""The estimate under every sensible choice (Simonsohn, Simmons & Nelson 2020): adjustment sets that the graph allows, recipes,
the outcome or its logarithm, with and without far-out trials. Data to look at, and a sentence; it decides nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.causal.checks.robust_shift import far_out
from trialhouse.causal.identify import rules_broken
from trialhouse.causal.model import CausalGraph
from trialhouse.causal.recipes import PRIMARY, Nuisances, fit_recipe
from trialhouse.causal.sample import Sample, amount, make_sample

MAX_SETS = 12
MAX_CANDIDATES = 10
"""Covariates whose subsets are tried; further ones, by name, are not."""


class Choice(NamedTuple):
    """One row of a curve; estimates are in units of the outcome, those of its logarithm at the control arm's mean."""

    adjustment: str
    recipe: str
    transformation: str
    outliers: str
    estimate: float
    ci_low: float
    ci_high: float
    p_value: float
    trials: int


def allowed_sets(graph: CausalGraph, treatment: str, outcome: str, observed: Collection[str]) -> list[tuple[str, ...]]:
    """Sets of observed columns that meet the backdoor criterion, small ones first, the largest always among them.

    At most `MAX_SETS`; empty if there is none. Instruments are in none: adjusting for them is allowed, but enlarges what bias there is.
    """
    instruments = set(graph.roles.get("instrument", ()))
    causes = {node for node in graph.digraph if node in observed} - graph.descendants(treatment) - {treatment, outcome} - instruments
    candidates = sorted(causes)[:MAX_CANDIDATES]
    subsets = itertools.chain.from_iterable(itertools.combinations(candidates, size) for size in range(len(candidates) + 1))
    found = [subset for subset in subsets if not rules_broken(graph, treatment, outcome, subset)]
    return found if len(found) <= MAX_SETS else [*found[: MAX_SETS - 1], found[-1]]


def specification_curve(
    frame: pd.DataFrame,
    *,
    treatment: str,
    outcome: str,
    arms: pd.Series[Any],
    adjustments: Sequence[Sequence[str]],
    recipes: Sequence[str] = (PRIMARY,),
    categorical: Collection[str] = (),
    cluster: str | None = None,
    span: float = 1.0,
    is_binary: bool = True,
    seed: int = 0,
    nuisances: Nuisances | None = None,
) -> pd.DataFrame:
    """One row per choice, ordered by estimate; columns are the fields of `Choice`.

    Parameters
    ----------
    frame, treatment, outcome, arms, categorical, cluster, is_binary
        As for `trialhouse.causal.sample.make_sample`.
    adjustments
        Sets of covariates, such as `allowed_sets` finds.
    recipes, span, seed, nuisances
        As for `trialhouse.causal.recipes.fit_recipe`.
    """
    rows = []
    for covariates in adjustments:
        sample = make_sample(
            frame,
            treatment=treatment,
            outcome=outcome,
            arms=arms,
            covariates=covariates,
            categorical=categorical,
            cluster=cluster,
            is_binary=is_binary,
        )
        transformations = ["none", "log"] if (sample.values > 0).all() and np.ptp(sample.values) > 0 else ["none"]
        for transformation in transformations:
            base = float(sample.values[sample.arms == 0].mean()) if is_binary else float(sample.values.mean())
            changed = replace(sample, values=np.log(sample.values)) if transformation == "log" else sample
            for outliers, kept in _outlier_rules(changed):
                for recipe in recipes:
                    found = fit_recipe(recipe, kept, span=span, seed=seed, nuisances=nuisances).inference
                    ends = (found.estimate, found.ci_low, found.ci_high)
                    if transformation == "log":
                        ends = tuple(base * math.expm1(min(end, 700.0)) for end in ends)  # type: ignore[assignment]
                    label = ", ".join(covariates) or "nothing"
                    rows.append(Choice(label, recipe, transformation, outliers, *ends, found.p_value, len(kept.arms)))
    return pd.DataFrame(rows, columns=list(Choice._fields)).sort_values("estimate", kind="stable", ignore_index=True)


def summary(curve: pd.DataFrame, estimate: float, outcome: str) -> str:
    """A sentence about a curve, beside the estimate that is reported."""
    known = curve.dropna(subset=["estimate"])
    if known.empty:
        return "no other choice gives an estimate."
    same = int((np.sign(known["estimate"]) == np.sign(estimate)).sum())
    told = int(((known["ci_low"] > 0) | (known["ci_high"] < 0)).sum())
    low, middle, high = (amount(float(known["estimate"].quantile(share)), outcome) for share in (0, 0.5, 1))
    return (
        f"Under {len(known)} sensible choices the estimate lies between {low} and {high} (median {middle}, reported"
        f" {amount(estimate, outcome)}); {same} have the reported sign, {told} are told from 0."
    )


def _outlier_rules(sample: Sample) -> list[tuple[str, Sample]]:
    rules = [("all trials", sample)]
    fit = fit_recipe(PRIMARY, sample)
    if fit.partialled is None or math.isnan(fit.inference.estimate):
        return rules
    far = far_out(fit.partialled)
    if far is not None and far.any() and np.ptp(sample.arms[~far]) > 0:
        rules.append(("without far-out trials", _rows(sample, ~far)))
    return rules


def _rows(sample: Sample, kept: NDArray[np.bool_]) -> Sample:
    return replace(
        sample,
        frame=sample.frame[kept].reset_index(drop=True),
        arms=sample.arms[kept],
        values=sample.values[kept],
        encoded=sample.encoded[kept].reset_index(drop=True),
        clusters=None if sample.clusters is None else sample.clusters[kept],
    )
