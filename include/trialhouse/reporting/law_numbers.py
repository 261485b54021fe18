"""How a terminal writes the numbers of laws, forecasts and splits: values, intervals, amounts of a factor, places and subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trialhouse.scaling_laws.support import in_words


def value(number: float | None, form: str = ".4g") -> str:
    """A number of a law or an outcome; `-` where there is none."""
    return "-" if number is None else f"{number:{form}}"


def interval(ends: Sequence[float | None] | None, form: str = ".4g") -> str:
    """`0.30 to 0.42`; an end that there is not is said to be none, and `-` stands for no interval."""
    return "-" if ends is None else " to ".join("no end" if end is None else f"{end:{form}}" for end in ends)


def amount(number: float) -> str:
    """Of a factor or a cost, in three digits: 1.5T, 70B, 1,100."""
    return in_words(float(f"{number:.3g}"))


def amounts(ends: Sequence[float]) -> str:
    """An interval of these."""
    return " to ".join(map(amount, ends))


def place(columns: Mapping[str, float]) -> str:
    """Amount of each factor."""
    return ", ".join(f"{column} {amount(number)}" for column, number in columns.items())


def subgroup(levels: Mapping[str, Any]) -> str:
    """Of the trials that a law is of."""
    return ", ".join(f"{factor} = {level}" for factor, level in levels.items()) or "all trials"
