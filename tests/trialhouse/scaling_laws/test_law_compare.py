"""Arms that differ in a constant, an exponent or both, planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.errors import LawError
from trialhouse.scaling_laws import Law, fit_table
from trialhouse.scaling_laws.compare import Comparison, compare

PLAIN = PLANTED["pure_power_law"]


def law(seed: int = 0, form: str = "pure_power_law", **truth: float) -> Law:
    planted = replace(PLANTED[form], truth={**PLANTED[form].truth, **truth})
    return fit_table(planted.table(seed), form=form, outcome="y", columns={"data": "data"}, draws=200, keep_transient=True)


def compared(first: Law, second: Law) -> dict[str, Comparison]:
    return {one.quantity: one for one in compare(first, second, names=("plain", "augmented"))}


def test_a_constant_is_told_from_an_exponent() -> None:
    """Data worth 1.5 times as much (n -> 1.5 n): the constant falls by 1.5 ** -.25, the exponent stays."""
    found = compared(law(0), law(1, A=8 * 1.5**-0.25))
    assert found["difference of beta"].low <= 0 <= found["difference of beta"].high
    assert "cannot be told apart" in found["difference of beta"].sentence
    ratio = found["ratio above E"]
    assert ratio.low <= 1.5**-0.25 <= ratio.high < 1
    assert "less is left with augmented" in ratio.sentence
    assert np.isnan(found["crossing"].estimate)


def test_another_exponent_crosses() -> None:
    """8 n^-.25 and 4 n^-.18 are equal at n = 2 ** (1 / .07), about 20,000."""
    found = compared(law(0), law(1, A=4, beta=0.18))
    assert found["difference of beta"].low <= -0.07 <= found["difference of beta"].high < 0
    crossing = found["crossing"]
    assert crossing.low <= 2 ** (1 / 0.07) <= crossing.high
    assert "on plain is better" in crossing.sentence


def test_equal_arms_are_seldom_told_apart() -> None:
    """Ten pairs of equal arms: at 5% more than three false alarms have a chance of 1 in 1,000."""
    laws = [law(seed) for seed in range(20)]
    alarms = [
        not one.low <= 0 <= one.high for a, b in zip(laws[::2], laws[1::2], strict=True) for one in compare(a, b, names=("a", "b"))[:1]
    ]
    assert sum(alarms) <= 3


def test_irreducible_losses_are_compared_too() -> None:
    found = compared(law(0, "power_law"), law(1, "power_law", E=0.7))
    assert found["difference of E"].low <= 0.2 <= found["difference of E"].high
    assert found["difference of E"].low > 0


def test_laws_of_other_forms_are_not_compared() -> None:
    with pytest.raises(LawError, match="must have one form, of one factor"):
        compare(law(0), law(0, "power_law"), names=("a", "b"))
