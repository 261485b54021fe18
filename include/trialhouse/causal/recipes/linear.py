"""Least squares: the plain contrast, and the one adjusted for covariates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trialhouse.causal.inference import Array, least_squares, linear_basis
from trialhouse.causal.partial import Partialled
from trialhouse.causal.recipes.fit import Fit
from trialhouse.causal.sample import Sample


def naive(sample: Sample) -> Fit:
    """The difference of means (the slope, for a quantity) without covariates: what a passive observer reports."""
    return _fit("naive", sample, np.empty((len(sample.arms), 0)))


def adjusted_linear(sample: Sample) -> Fit:
    """Least squares on treatment and covariates.

    Where effects differ between units this is their average weighted by the variance of the treatment given the
    covariates (Angrist 1998), which is the plain average under a balanced design.
    """
    return _fit("adjusted_linear", sample, sample.matrix)


def _fit(recipe: str, sample: Sample, covariates: Array) -> Fit:
    inference = least_squares(sample.arms, sample.values, covariates, sample.clusters)
    basis = linear_basis(covariates)
    left = Partialled(sample.arms, sample.values, basis, sample.clusters)
    left = replace(left, treatment=left.residualise(sample.arms), outcome=left.residualise(sample.values))
    return Fit(recipe, inference, partialled=left)
