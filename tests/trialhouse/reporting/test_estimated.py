"""What `trialhouse estimate` prints."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trialhouse.causal import estimate_table
from trialhouse.reporting.estimated import estimate_lines, estimate_rows


def test_the_answer_is_marked_claimed_and_qualified() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"t": np.arange(60) % 2, "y": rng.normal(size=60)})
    found = estimate_table(frame, treatment="t", outcome="y", graph="assignment: randomised\nedges: [t -> y]\n")
    result = {"estimates": found.estimates, "refutations": found.refutations, "verdict": "released", "reasons": []}
    rows = estimate_rows(result)
    assert [row["method"] for row in rows if row[""] == "*"] == ["adjusted_linear"]
    assert "subgroup" not in rows[0]
    lines = list(estimate_lines(result))
    assert lines[1] == "verdict: released"
    assert lines[2].startswith("claim: E[y | do(t = 1)] - E[y | do(t = 0)]")
    assert any(line.startswith("tried to refute: ") and "passed" in line for line in lines)
    assert any(line.startswith("caveat: low power") for line in lines)


def test_levels_of_a_modifier_are_not_printed_to_their_last_digit() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"t": np.arange(80) % 2, "x": rng.normal(size=80), "y": rng.normal(size=80)})
    graph = "assignment: randomised\nedges: [t -> y, x -> y]\nroles: {effect_modifier: [x]}\n"
    found = estimate_table(frame, treatment="t", outcome="y", graph=graph)
    levels = [row["subgroup"] for row in estimate_rows({"estimates": found.estimates}) if row["subgroup"] is not None]
    assert levels
    assert all(len(level) <= len("-0.0765") for level in levels)
