"""One way to write the numbers of laws, whichever command prints them."""

from __future__ import annotations

import pytest

from trialhouse.reporting.law_numbers import amount, amounts, interval, place, subgroup, value


def test_what_there_is_not_is_said() -> None:
    assert (value(None), value(1.23456), value(0.5, "+.3g")) == ("-", "1.235", "+0.5")
    assert interval(None) == "-"
    assert interval([None, 2.0]) == "no end to 2"
    assert interval([-0.01, 0.02], "+.1%") == "-1.0% to +2.0%"


@pytest.mark.parametrize(
    ("number", "text"), [(21960.0, "22,000"), (1.138e6, "1.14M"), (70e9, "70B"), (0.0123456, "0.0123"), (3e-7, "3e-07")]
)
def test_amounts_are_written_as_they_may_be_asked_for(number: float, text: str) -> None:
    assert amount(number) == text
    assert amounts([number, 2e12]) == f"{text} to 2T"
    assert place({"size": number, "data": 1e9}) == f"size {text}, data 1B"


def test_a_subgroup_is_its_levels_or_all_trials() -> None:
    assert subgroup({"architecture": "mlp", "epochs": 6}) == "architecture = mlp, epochs = 6"
    assert subgroup({}) == "all trials"
