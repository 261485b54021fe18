from __future__ import annotations

import numpy as np
import pytest

from trialhouse.reporting.answer import answer
from trialhouse.reporting.marts import read_study
from trialhouse.reporting.terminal import render_text
from trialhouse.reporting.trust import trust_of


def gate(column, is_success):
    return {
        "validation_id": "validation_0000000000000001",
        "study_id": "study_1111111111111111",
        "table_name": "fct_measurement_checks",
        "expectation": "expect_column_values_to_be_between",
        "column_name": column,
        "severity": "warning",
        "is_success": is_success,
        "observed": None,
        "failing_rows": None,
        "sentence": "It does not.",
        "is_current": True,
        "validated_at": None,
    }


def found(make_warehouse, change=None, stage="estimated"):
    return {trust.question: trust for trust in trust_of(read_study(*make_warehouse(stage, change)))}


def test_sound_measurements_are_told_with_their_numbers_and_raise_no_doubt(make_warehouse):
    def pass_gates(tables):
        tables["marts.fct_validations"] += [gate(name, True) for name in ("drift_p_value", "accuracy_agreement", "sampling_overhead_low")]

    rows = found(make_warehouse, pass_gates)
    assert [row.verdict for row in rows.values()] == ["passed", None, "passed", None, "passed", "passed"]
    assert "of 13 A/A comparisons have p < 0.05" in rows["Do equal treatments differ?"].found
    assert "latency varies by 3.0% (server), 3.0% (PC) and 3.0% (laptop)" in rows["How repeatable is it?"].found
    # exp(.02) - 1, and exp(.02 +- 2.571 * .03) - 1 with t(5)
    assert "+2.0% on the server (−5.6% to +10.2%)" in rows["Does it drift?"].found
    assert "0 of 21 trials differ." in rows["Do weights keep their accuracy?"].found
    assert "with the host: not asked: there was one host." in rows["Does it go with order or host?"].found
    result = answer(*make_warehouse(change=pass_gates))
    assert result.doubts == ()
    assert "Doubtful" not in render_text(result, 120)


def test_what_a_gate_found_is_a_doubt_in_the_answer(make_warehouse):
    def fail_gates(tables):
        tables["marts.fct_validations"] += [gate("drift_p_value", False), gate("accuracy_agreement", False)]
        for row in tables["marts.fct_measurement_checks"]:
            if row["check_name"] == "accuracy_agreement" and row["hardware_class"] == "laptop":
                row |= {"value": 0.021, "differing": 3}
            if row["check_name"] == "drift" and row["hardware_class"] == "laptop":
                row["value"] = np.log(1.3)

    rows = found(make_warehouse, fail_gates)
    assert rows["Does it drift?"].verdict == rows["Do weights keep their accuracy?"].verdict == "failed"
    assert rows["What does sampling cost?"].verdict is None  # not validated
    assert "3 of 21 trials differ, by at most 2.10 percentage points." in rows["Do weights keep their accuracy?"].found
    result = answer(*make_warehouse(change=fail_gates))
    assert len(result.doubts) == 2
    text = " ".join(render_text(result, 120).split())
    assert "Doubtful measurement: Does it drift? Latency from the first sentinel to the last" in text
    assert "+30.0% on the laptop" in text
    assert result.to_dict()["doubts"] == list(result.doubts)


@pytest.mark.parametrize(("rejected", "verdict"), [(0, "passed"), (2, "passed"), (3, "failed"), (13, "failed")])
def test_more_false_positives_than_chance_explains_are_a_doubt(make_warehouse, rejected, verdict):
    def reject(tables):
        rows = [row for row in tables["marts.fct_refutations"] if row["refuter"] == "placebo_arms"]
        for place, row in enumerate(rows):
            row["p_value"] = 0.01 if place < rejected else 0.5

    row = found(make_warehouse, reject)["Do equal treatments differ?"]
    assert row.verdict == verdict  # of 13, Clopper and Pearson's interval leaves 5% out from 3 on
    assert row.found.startswith(f"{rejected} of 13 A/A comparisons")


def test_what_is_not_known_says_why(make_warehouse):
    def forget(tables):
        for row in tables["marts.fct_measurement_checks"]:
            row |= {"value": None, "standard_error": None, "reason": "no trial finished"}
        tables["marts.fct_validations"] += [gate("drift_p_value", True)]

    rows = found(make_warehouse, forget, stage="running")
    assert {row.verdict for row in rows.values()} == {None}
    assert rows["Does it drift?"].found == "Not known: no trial finished."
    assert "Not asked" in rows["Do equal treatments differ?"].found
    assert found(make_warehouse, lambda tables: tables["marts.fct_measurement_checks"].clear()) == {}


def test_comparisons_of_one_outcome_in_one_place_are_one_comparison(make_warehouse):
    def share(tables):
        of = {row["estimate_id"]: row for row in tables["marts.fct_estimates"]}
        first, second, *rest = (row for row in tables["marts.fct_refutations"] if row["refuter"] == "placebo_arms")
        names = ("outcome", "subgroup_column", "subgroup")
        of[second["estimate_id"]] |= {name: of[first["estimate_id"]][name] for name in names}
        first["p_value"], second["p_value"] = 0.02, 0.03
        for row in rest:
            row["p_value"] = 0.5

    row = found(make_warehouse, share)["Do equal treatments differ?"]
    assert row.found.startswith("1 of 12 A/A comparisons")  # .04, Bonferroni's, where two hits of 13 were counted
