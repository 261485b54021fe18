"""Units of a treatment that people ask for: effects per unit, per doubling, per million parameters.

The treatment is put on the scale before anything is estimated, so that one unit on it is what is asked for; effects on a
logarithmic scale are another question than effects per unit, not the same one in other words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.causal.sample import is_number, label
from trialhouse.errors import EstimationError

DOUBLING = "doubling"


@dataclass(frozen=True)
class Scale:
    """A unit of treatment.

    Parameters
    ----------
    per
        `doubling`, or a number of units.
    """

    per: str | float = 1.0

    def __post_init__(self) -> None:
        if self.per == DOUBLING:
            return
        is_amount = isinstance(self.per, int | float) and not isinstance(self.per, bool)
        if not is_amount or not 0 < float(self.per) < math.inf:
            raise EstimationError(f"per must be {DOUBLING!r} or a positive number of units", repr(self.per), "fix per")

    def of(self, value: float) -> float:
        """A value of the treatment on this scale: the effect of one unit there is what is asked for."""
        if self.per != DOUBLING:
            return float(value) / float(self.per)
        if not value > 0:
            raise EstimationError(
                "a treatment must be positive for effects per doubling", label(value), "ask per unit, or leave such rows out"
            )
        return math.log2(value)

    def column(self, column: pd.Series[Any]) -> pd.Series[Any]:
        """A treatment's column on this scale.

        Raises
        ------
        EstimationError
            If it holds no numbers, or some that cannot be doubled.
        """
        if not is_number(column):
            raise EstimationError(
                f"effects {self.words(str(column.name))} need a treatment of numbers", str(column.dtype), "compare levels"
            )
        if self.per != DOUBLING:
            return column / float(self.per)
        wrong = column[~(column > 0)]
        if len(wrong):
            expected = f"treatment {column.name!r} must be positive for effects per doubling"
            raise EstimationError(expected, label(wrong.iloc[0]), "ask per unit, or leave such rows out")
        return pd.Series(np.log2(column.to_numpy(dtype=float)), index=column.index, name=column.name)

    def __str__(self) -> str:
        """`doubling`, or the number of units."""
        return DOUBLING if self.per == DOUBLING else label(float(self.per))

    def words(self, treatment: str) -> str:
        """`per doubling of parameters`, `per +1M parameters`, `per unit of width`."""
        if self.per == DOUBLING:
            return f"per doubling of {treatment}"
        return f"per unit of {treatment}" if self.per == 1 else f"per +{_short(float(self.per))} {treatment}"


def read_scale(text: str) -> Scale:
    """The scale that a word or number names: `doubling`, `1000000`, `1e6`.

    Raises
    ------
    EstimationError
        If it is neither.
    """
    if text.strip() == DOUBLING:
        return Scale(DOUBLING)
    try:
        return Scale(float(text))
    except ValueError:
        raise EstimationError(f"per must be {DOUBLING!r} or a positive number of units", repr(text), "fix per") from None


def _short(amount: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if amount >= size:
            return f"{label(amount / size)}{letter}"
    return label(amount)
