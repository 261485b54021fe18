"""The tutorial says what happens."""

from __future__ import annotations

import doctest
from pathlib import Path

TUTORIAL = Path(__file__).parents[3] / "include" / "trialhouse" / "causal" / "tutorial.md"


def test_the_tutorial_runs_as_it_stands() -> None:
    found = doctest.testfile(str(TUTORIAL), module_relative=False, optionflags=doctest.REPORT_NDIFF)
    assert found.attempted > 30
    assert found.failed == 0
