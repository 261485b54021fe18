"""The first line of a study with twins: three effects of one question side by side."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from trialhouse.reporting.answer import Answer
from trialhouse.reporting.confounding import first_line
from trialhouse.reporting.findings import Effect, Finding
from trialhouse.reporting.formats import quantity


def effect(half: str, method: str, estimate: float, verdict: str = "released", **changed: Any) -> Effect:
    given = {"estimand": "width_on_error", "treatment": "width", "outcome": "error", "contrast_from": "8", "contrast_to": "32", **changed}
    known = {"subgroup_column": "half", "subgroup": half, "method": method, "estimate": estimate, "verdict": verdict, **given}
    known |= {"ci_low": estimate - 0.05, "ci_high": estimate + 0.05, "reasons": (), "caveats": (), "adjustment": ()}
    return Effect(**{field.name: known.get(field.name) for field in fields(Effect)})


def finding(half: str, naive: float, adjusted: float, verdict: str = "released") -> Finding:
    others = (effect(half, "naive", naive, "failed" if half == "observational" else "released"),)
    headline = effect(half, "adjusted_linear", adjusted, verdict)
    return Finding(headline, others, quantity("error", {}), "width 32 instead of 8", None, True)


def test_naive_adjusted_and_interventional_effects_stand_side_by_side() -> None:
    found = (finding("observational", -0.28, -0.14), finding("randomised", -0.125, -0.11))
    line = first_line(found, "half")
    assert line is not None
    assert line.startswith("Width 32 instead of 8, error: naive −28")
    assert "adjusted −14" in line
    assert "interventional (the randomised twins) −11" in line
    answer = Answer("s", "n", "t", "q", "estimated", {"total": 1}, found, (), (), (), (), twin="half")
    assert answer.summary.startswith(line)


def test_what_was_not_released_says_so_and_without_twins_there_is_no_line() -> None:
    found = (finding("observational", -0.28, -0.14, "withheld"), finding("randomised", -0.125, -0.11))
    assert ", withheld)" in str(first_line(found, "half"))
    assert first_line(found[:1], "half") is None
    assert first_line(found, None) is None
