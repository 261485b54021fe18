"""What nuisance regressions leave of treatment and outcome: all that a partially linear recipe needs afterwards.

The effect is the slope of one remainder on the other (Frisch & Waugh 1933; Lovell 1963; Robinson 1988). Refuters that
shuffle, resample or replace one of them start from here instead of fitting the nuisances again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trialhouse.causal.inference import Array


@dataclass(frozen=True)
class Partialled:
    """Remainders of one sample, under one recipe's nuisances.

    Parameters
    ----------
    treatment, outcome
        Length n: what is left of each.
    basis
        n x k, orthonormal: what the nuisances would take out of a column that is noise. The span of the constant and the
        covariates for a linear regression; the constant alone for a cross-fitted learner, which finds nothing in noise.
    clusters
        Length n: codes of the repeated units, if there are any.
    """

    treatment: Array
    outcome: Array
    basis: Array
    clusters: NDArray[np.int64] | None = None

    @property
    def slope(self) -> float:
        """The effect of one unit of treatment."""
        return float(self.treatment @ self.outcome) / float(self.treatment @ self.treatment)

    def residualise(self, columns: Array) -> Array:
        """What the same nuisances leave of columns (n or n x m) that are noise."""
        result: Array = columns - self.basis @ (self.basis.T @ columns)
        return result
