"""Arms that differ in a constant, an exponent or both, planted."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import kstest, t

from tests.benchmarks.planted_laws import PLANTED, ladder
from trialhouse.errors import LawError
from trialhouse.scaling_laws import Law, fit_table
from trialhouse.scaling_laws.compare import Comparison, _last_crossing, compare
from trialhouse.scaling_laws.intervals import degrees_of_freedom

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
    assert np.isnan(found["crossing"].p_value)


def test_another_exponent_crosses() -> None:
    """8 n^-.25 and 4 n^-.18 are equal at n = 2 ** (1 / .07), about 20,000."""
    found = compared(law(0), law(1, A=4, beta=0.18))
    assert found["difference of beta"].low <= -0.07 <= found["difference of beta"].high < 0
    crossing = found["crossing"]
    assert crossing.low <= 2 ** (1 / 0.07) <= crossing.high
    assert "on plain is better" in crossing.sentence
    assert "on augmented is better" in compared(law(1, A=4, beta=0.18), law(0))["crossing"].sentence


def test_of_several_crossings_the_last_one_counts() -> None:
    """What one arm wins on the way is not what it stays ahead by; a row without a crossing has none."""
    places = _last_crossing(np.array([[3.0, -1.0, 1.0, 3.0], [1.0, 2.0, 3.0, 4.0]]), np.array([0.0, 1.0, 2.0, 3.0]))
    assert places[0] == pytest.approx(1.5)
    assert np.isnan(places[1])


def test_of_scores_the_larger_one_is_better() -> None:
    """Both come to half of the way at 30,000, from where on the steeper one is above."""
    found = compared(law(0, "bounded"), law(1, "bounded", beta=1.1))["crossing"]
    assert found.low <= 3e4 <= found.high
    assert "on augmented is better" in found.sentence


def test_a_difference_is_as_sure_as_the_arm_of_fewer_trials() -> None:
    many, few = law(0), replace(PLAIN, places=ladder(6, 2)).table(1)
    few_law = fit_table(few, form="pure_power_law", outcome="y", columns={"data": "data"}, draws=200, keep_transient=True)
    for found in (compared(many, few_law)["difference of beta"], compared(few_law, many)["difference of beta"]):
        df = float(degrees_of_freedom(few_law.form, few_law.sample, few_law.coordinates)[1])
        half = found.estimate - found.low if found.estimate > 0 else found.high - found.estimate
        assert found.p_value == pytest.approx(2 * t.sf(abs(found.estimate) / half * t.ppf(0.975, df), df), rel=1e-9)


@pytest.fixture(scope="module")
def equal() -> list[Law]:
    return [law(seed) for seed in range(20)]


def test_equal_arms_are_seldom_told_apart(equal: list[Law]) -> None:
    """Ten pairs of equal arms: at 5% more than three false alarms have a chance of 1 in 1,000; and p-values lean to no small ones."""
    pairs = [compare(a, b, names=("a", "b"))[:2] for a, b in zip(equal[::2], equal[1::2], strict=True)]
    for found in zip(*pairs, strict=True):
        assert sum(one.p_value < 0.05 for one in found) <= 3
        assert kstest([one.p_value for one in found], "uniform", alternative="greater").pvalue > 1e-3


def test_p_values_say_what_intervals_say(equal: list[Law]) -> None:
    """From equal to far apart: below .05 just where the interval excludes no difference."""
    others = [*equal, *(law(k, A=8 * 0.99**k, beta=0.25 + 0.002 * k) for k in (3, 6, 9))]
    tests = [one for a, b in combinations(others[12:], 2) for one in compare(a, b, names=("a", "b")) if one.quantity != "crossing"]
    excluded = [not one.low <= (one.quantity == "ratio above E") <= one.high for one in tests]
    assert excluded == [one.p_value < 0.05 for one in tests]
    assert 10 < sum(excluded) < len(tests) / 2 + 20
    assert all(0 < one.p_value <= 1 for one in tests)


def test_a_p_value_is_no_smaller_than_its_draws_tell() -> None:
    found = compared(law(0), law(1, A=4))
    assert found["ratio above E"].p_value == pytest.approx(2 / 201)
    assert found["difference of beta"].p_value > 0.05


def test_irreducible_losses_are_compared_too() -> None:
    """By Zou & Donner (2008), equations 5 and 6: each end takes the side of each arm that lies towards it."""
    first, second = law(0, "power_law"), law(1, "power_law", E=0.7)
    found = compared(first, second)["difference of E"]
    assert 0 < found.low <= 0.2 <= found.high
    (a, b), ((al, ah), (bl, bh)) = ((one.parameters["E"] for one in (first, second)), (one.intervals["E"] for one in (first, second)))
    assert ah - a < 0.95 * (a - al)
    assert found.low == pytest.approx(b - a - np.hypot(b - bl, ah - a), rel=1e-9)
    assert found.high == pytest.approx(b - a + np.hypot(bh - b, a - al), rel=1e-9)


def test_what_can_be_reduced_is_what_is_above_an_irreducible_loss_that_is_known() -> None:
    """Twice as much is above E, whether E was fitted or fixed; taken from zero it would be less than 1.2 times."""
    planted = PLANTED["power_law"]
    tables = [replace(planted, truth={**planted.truth, "A": scale}).table(seed) for seed, scale in enumerate((20, 40))]
    own = [
        fit_table(table, form="power_law", outcome="y", columns={"data": "data"}, fixed={"E": 0.5}, draws=200, keep_transient=True)
        for table in tables
    ]
    ratio = compared(*own)["ratio above E"]
    assert ratio.low <= 2 <= ratio.high
    assert ratio.low > 1.5


def test_of_scores_nothing_is_left_to_be_reduced() -> None:
    found = compared(law(0, "bounded"), law(1, "bounded", n0=2e3))
    assert set(found) == {"difference of beta", "crossing"}


def test_laws_of_other_forms_are_not_compared() -> None:
    with pytest.raises(LawError, match="must have one form, got"):
        compare(law(0), law(0, "power_law"), names=("a", "b"))


def test_laws_of_several_factors_differ_in_their_constant_or_in_an_exponent_and_do_not_cross() -> None:
    """A loss that is 1.2 times as high everywhere, and one that falls more slowly with the data, in a study of each."""
    planted = PLANTED["pure_coupled"]
    higher = 1.2 ** (1 / planted.truth["c"])
    arms = [{}, {name: planted.truth[name] * higher for name in ("A", "B")}, {"beta": planted.truth["beta"] / 2}]
    plain, worse, slower = (
        fit_table(
            replace(planted, truth={**planted.truth, **arm}).table(seed),
            form="pure_coupled",
            outcome="y",
            columns=planted.columns,
            draws=200,
        )
        for seed, arm in enumerate(arms)
    )
    found = compared(plain, worse)
    assert set(found) == {"difference of alpha", "difference of beta", "difference of c", "ratio above E"}
    assert all(found[name].low <= 0 <= found[name].high for name in found if name.startswith("difference"))
    assert found["ratio above E"].low <= 1.2 <= found["ratio above E"].high
    assert found["ratio above E"].low > 1
    assert "at size " in found["ratio above E"].sentence
    assert "smaller with augmented" in compared(plain, slower)["difference of beta"].sentence
