"""Regimes are named where intervals tell, and exponential decay is told from a power law both ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.planted_laws import PLANTED, ladder
from trialhouse.reporting.fitted import law_lines
from trialhouse.scaling_laws import Law, fit_table
from trialhouse.scaling_laws.regimes import regimes
from trialhouse.scaling_laws.sample import make_sample


def law(planted: str = "power_law", form: str = "power_law", **truth: float) -> Law:
    own = replace(PLANTED[planted], truth={**PLANTED[planted].truth, **truth})
    own = replace(own, places=ladder(high=1e4)) if "beta" in truth else own
    return fit_table(own.table(0), form=form, outcome="y", columns={"data": "data"}, draws=200, keep_transient=True)


def test_an_exponent_of_1_is_consistent_with_variance_limited() -> None:
    """A loss that comes down to .5 as 1 / n, as an average over n examples does."""
    found = law(beta=1.0, A=50)
    assert found.intervals["beta"][0] < 1 < found.intervals["beta"][1]
    assert [line.partition(" is ")[2] for line in found.regimes] == ["consistent with variance-limited (exponent 1)"]
    assert f"regime: {found.regimes[0]}" in list(law_lines(found.to_dict()))


def test_a_smaller_exponent_is_resolution_limited_and_a_larger_one_neither() -> None:
    assert "of 'data' is below 1: resolution-limited" in law().regimes[0]
    assert "neither regime" in law(beta=2.5, A=5e5).regimes[0]


def test_both_exponents_of_two_factors_are_named() -> None:
    planted = PLANTED["chinchilla"]
    found = fit_table(planted.table(0), form="chinchilla", outcome="y", columns=planted.columns, draws=200)
    assert [line.split(" (")[0] for line in found.regimes] == ["alpha", "beta"]


@pytest.mark.parametrize(("role", "said"), [("size", True), ("data", False)])
def test_parameters_of_a_network_of_growing_width_are_half_a_width(role: str, said: bool) -> None:
    """An average over a width w falls as 1 / w, so as 1 / sqrt(N) where N grows as w squared; nothing like it holds of data."""
    planted = PLANTED["chinchilla"]
    found = fit_table(planted.table(0), form="chinchilla", outcome="y", columns=planted.columns, draws=200)
    ends = found.ends.copy()
    ends[[2, 4]] = [0.4, 0.6]
    lines = dict(zip(("size", "data"), regimes(found.form, found.sample, ends, {}), strict=True))
    assert ("variance-limited is 1/2" in lines[role]) == said


def test_nothing_is_named_of_what_is_not_identified_or_does_not_fit() -> None:
    found = law()
    assert regimes(found.form, found.sample, found.ends, {"beta": "why"}) == []
    assert regimes(found.form, found.sample, np.full((3, 2), np.inf), {}) == []
    assert law("exponential").regimes == ()
    assert law("broken_power_law", "broken_power_law").regimes == ()


@pytest.mark.parametrize("name", ["bounded", "multiplicative", "saturating_power_law"])
def test_nothing_is_named_of_exponents_that_are_not_those_of_what_is_left_above_the_limit(name: str) -> None:
    """The slope of a score's logit; a product, in which the other factor always limits; a curve that nears its limit as 1 / n anyway."""
    planted = PLANTED[name]
    form = planted.family
    sample = make_sample(planted.table(0), form, outcome="y", columns=planted.columns)
    assert any(parameter.meaning.startswith("exponent") for parameter in form.parameters)
    assert regimes(form, sample, np.tile([0.9, 1.1], (len(form.parameters), 1)), {}) == []


def test_a_power_law_through_exponential_decay_is_told_so_and_the_other_way_round() -> None:
    assert any(warning.startswith("exponential decay, no power law") for warning in law("exponential").warnings)
    assert any(warning.startswith("a power law, no exponential decay") for warning in law("power_law", "exponential").warnings)
