from __future__ import annotations

import json
import re

import pytest

from trialhouse.errors import WarehouseError
from trialhouse.reporting.answer import answer
from trialhouse.reporting.terminal import render_text


def rows_of(tables, **where):
    return [row for row in tables["marts.fct_estimates"] if all(row[name] == value for name, value in where.items())]


def test_headlines_are_the_registered_contrasts_by_class(make_warehouse):
    found = answer(*make_warehouse())
    assert found.state == "estimated"
    names = [(finding.headline.estimand, finding.headline.subgroup) for finding in found.primary]
    assert names[:3] == [("pruning_on_accuracy", "server"), ("pruning_on_accuracy", "pc"), ("pruning_on_accuracy", "laptop")]
    assert len(names) == 4 * 3 + 1
    assert {finding.headline.contrast_to for finding in found.primary} == {"0.6", "1"}
    assert {finding.headline.method for finding in found.findings} == {"adjusted_linear"}
    assert all(finding.naive is not None and finding.naive.method == "naive" for finding in found.findings)


def test_a_part_of_the_treated_arm_is_no_headline(make_warehouse):
    def add_part(tables):
        part = dict(rows_of(tables, estimand="pruning_on_accuracy", subgroup="server", is_primary=True)[0])
        part |= {"estimate_id": "estimate_part", "subgroup_column": "hardware_class, pruning_method", "subgroup": "server, l1_mask"}
        tables["marts.fct_estimates"].append(part | {"estimate": 99.0, "is_primary": False})

    found = answer(*make_warehouse(change=add_part))
    assert len(found.primary) == 13
    assert all(finding.headline.estimate != 99.0 for finding in found.findings)


@pytest.mark.parametrize("word", ["withheld", "failed"])
def test_a_flagged_estimate_states_no_number_and_no_direction(make_warehouse, word):
    def flag(tables):
        for row in tables["marts.fct_estimates"]:
            row |= {"verdict": word, "reasons": json.dumps(["the recipes disagree."])}

    found = answer(*make_warehouse(change=flag))
    verb = {"withheld": "was withheld", "failed": "failed"}[word]
    for finding in found.findings:
        assert "no finding" in finding.sentence.lower()
        assert finding.sentence.endswith(f": the estimate {verb}. The recipes disagree.")
        assert not any(claim in finding.sentence for claim in ("raises", "lowers", "percentage", "interval", "told from zero"))
    text = render_text(found, 120)
    for finding in found.primary:
        assert finding.text().interval not in text
    assert text.count(word) >= 13


def test_a_released_estimate_says_no_more_than_its_interval(make_warehouse):
    def set_effects(tables):
        for subgroup, low, value, high in (("server", -0.03, -0.02, -0.01), ("pc", -0.02, -0.01, 0.01), ("laptop", 0.0, 0.0, 0.0)):
            row = rows_of(tables, estimand="pruning_on_accuracy", subgroup=subgroup, is_primary=True)[0]
            row |= {"estimate": value, "ci_low": low, "ci_high": high, "verdict": "released", "reasons": "[]", "stratum": None}

    server, pc, laptop = answer(*make_warehouse(change=set_effects)).primary[:3]
    change = "pruning ratio 0.6 instead of 0"
    assert server.sentence == f"On the server, {change} lowers accuracy: −2.0 percentage points (95% interval −3.0 to −1.0)."
    assert (
        pc.sentence
        == f"On the PC, no effect of {change} on accuracy can be told from zero: −1.0 percentage points (95% interval −2.0 to +1.0)."
    )
    assert laptop.sentence == f"On the laptop, {change} made no difference to accuracy: it was the same in every trial of both arms."


def test_the_stratum_is_said_with_the_effect(make_warehouse):
    found = answer(*make_warehouse())
    laptop = next(finding for finding in found.primary if finding.headline.stratum)
    assert "It speaks only of the strata where both arms survive (batch size: 64 | 512)." in laptop.sentence
    assert laptop.control_level is None


def test_a_missing_estimate_is_not_a_finding(make_warehouse):
    def remove(tables):
        row = rows_of(tables, estimand="pruning_on_accuracy", subgroup="server", is_primary=True)[0]
        row |= {"estimate": None, "ci_low": None, "ci_high": None, "p_value": None, "verdict": "released"}

    server = answer(*make_warehouse(change=remove)).primary[0]
    assert not server.is_released
    assert server.sentence == "On the server, no finding on accuracy: the estimate has no value."


def test_control_level_is_of_finished_trials_at_the_control_level(make_warehouse):
    levels = {}

    def note(tables):
        trials = [
            row
            for row in tables["marts.fct_trials"]
            if row["hardware_class"] == "laptop" and row["pruning_ratio"] == 0 and not row["is_sentinel"]
        ]
        levels["oom"] = sum(row["status"] == "out_of_memory" for row in trials) / len(trials)

    found = answer(*make_warehouse(change=note))
    out_of_memory = next(finding for finding in found.primary if finding.headline.outcome == "is_oom" and finding.where == "laptop")
    assert 0 < levels["oom"] < 1
    assert out_of_memory.control_level == pytest.approx(levels["oom"])


def test_failed_gates_stop_the_answer_and_name_the_rows(make_warehouse):
    def keep_old_estimates(tables):
        keep_old_estimates.rows = tables["marts.fct_validations"][0]["failing_rows"]

    found = answer(*make_warehouse("gates_failed", keep_old_estimates))
    assert found.state == "gates_failed"
    assert found.findings == ()
    text = render_text(found, 100)
    assert "No effect was estimated: the data failed 1 gate." in text
    assert "accuracy must lie in [0, 1]" in text
    assert all(row in text for row in json.loads(keep_old_estimates.rows))


def test_estimates_made_before_a_gate_failed_are_not_findings(make_warehouse):
    def fail(tables):
        tables["marts.fct_validations"][0]["is_success"] = False

    found = answer(*make_warehouse("estimated", fail))
    assert (found.state, found.findings) == ("gates_failed", ())


def test_a_failed_warning_does_not_stop_the_answer_and_is_told_with_it(make_warehouse):
    assert any(not row["is_success"] for row in _validations(make_warehouse))
    found = answer(*make_warehouse())
    assert found.state == "estimated"
    assert [gate.expectation for gate in found.warnings] == ["expect_balance"]
    assert "Warning, not met in fct_trials: batch_size differs by 0.31 SD" in " ".join(render_text(found, 100).split())


def _validations(make_warehouse):
    rows = []
    make_warehouse(change=lambda tables: rows.extend(tables["marts.fct_validations"]))
    return rows


@pytest.mark.parametrize(
    ("stage", "state", "sentence"),
    [
        ("running", "running", "No effect has been estimated yet: 72 of 216 trials are done."),
        ("measured", "not_estimated", "No effect has been estimated yet: all 216 trials are done and await validation and estimation."),
    ],
)
def test_before_estimation(make_warehouse, stage, state, sentence):
    found = answer(*make_warehouse(stage))
    assert (found.state, found.summary) == (state, sentence)


def test_terminal_table_fits_its_width_and_says_what_tried_to_refute(make_warehouse):
    found = answer(*make_warehouse())
    for width in (60, 80, 120):
        assert max(map(len, render_text(found, width).splitlines())) <= width
    text = render_text(found, 120)
    assert "Tried to refute: random common cause (passed 13); permuted placebo (passed 12, failed 1); data subset (passed 13);" in text
    assert "\x1b[" not in text
    assert "\x1b[" in render_text(found, 120, has_colour=True)


def test_markup_in_the_data_is_plain_text_in_the_terminal(make_warehouse):
    found = answer(*make_warehouse(change=lambda tables: tables["marts.dim_studies"][0].update(title="[bold]not bold[/bold]")))
    assert "[bold]not bold[/bold]" in render_text(found, 100)


def test_json_holds_the_stored_numbers_and_the_verdicts(make_warehouse):
    found = answer(*make_warehouse())
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    first = content["findings"][0]
    assert first["headline"]["estimate"] == found.findings[0].headline.estimate
    assert {entry["headline"]["verdict"] for entry in content["findings"]} == {"released", "withheld", "failed"}
    assert first["sentence"] == found.findings[0].sentence


def test_caveats_are_said_once_with_what_they_belong_to(make_warehouse):
    caveats = dict(answer(*make_warehouse()).caveats)
    assert caveats["six blocks: intervals rest on few repeated units"] == "all"
    assert caveats["trials that ran out of memory are left out"] == "accuracy: laptop; latency: laptop"


def test_caveats_that_differ_in_numbers_or_the_outcomes_name_are_one(make_warehouse):
    def add(tables):
        for index, row in enumerate(tables["marts.fct_estimates"]):
            row["caveats"] = json.dumps(
                [f"{index} of 18 trials without {row['outcome']} are left out; they crashed.", "small sample: 6 blocks"]
            )

    (left_out, of), small = answer(*make_warehouse(change=add)).caveats
    assert re.fullmatch(r"\d+ to \d+ of 18 trials without outcome are left out", left_out)
    assert of == "all"
    assert small == ("small sample: 6 blocks", "all")


def test_caveats_name_the_treatment_where_an_outcome_has_effects_of_several(make_warehouse):
    """Once it read `(accuracy: all trials, all trials)`."""

    def ask_of_another(tables):
        study = tables["marts.dim_studies"][0]
        spec = json.loads(study["spec"])
        first = next(item for item in spec["estimands"] if item["name"] == "pruning_on_accuracy")
        study["spec"] = json.dumps({**spec, "estimands": [*spec["estimands"], {**first, "name": "batch", "treatment": "batch_size"}]})
        for row in rows_of(tables, estimand="pruning_on_accuracy"):
            row["caveats"] = json.dumps(["only here"])
            other = {"estimate_id": f"{row['estimate_id']}_b", "estimand": "batch", "treatment": "batch_size", "caveats": "[]"}
            tables["marts.fct_estimates"].append(row | other)

    assert dict(answer(*make_warehouse(change=ask_of_another)).caveats)["only here"] == "pruning ratio on accuracy: server, PC, laptop"


def test_the_smallest_effect_that_would_be_seen_has_its_outcomes_unit_and_no_range_with_anothers(make_warehouse):
    least = {
        "pruning_on_accuracy": ["0.0054", "0.234"],
        "pruning_on_latency": ["2.5 ms", "1.2e+03 ms"],
        "pruning_on_memory": ["12.5 MiB", "30 MiB"],
    }

    def add(tables):
        for row in tables["marts.fct_estimates"]:
            row["caveats"] = "[]"
            if row["estimand"] in least and row["subgroup"] in ("server", "pc"):
                value = least[row["estimand"]][row["subgroup"] == "pc"]
                text = f"low power: an effect of less than {value} would be missed in more than one of five such studies"
                row["caveats"] = json.dumps([text])

    found = answer(*make_warehouse(change=add))
    opening, closing = "low power: an effect of less than", "would be missed in more than one of five such studies"
    assert dict(found.caveats) == {
        f"{opening} 0.540 to 23.4 percentage points {closing}": "accuracy: server, PC",
        f"{opening} 2.50 to 1,200 ms {closing}": "latency: server, PC",
        f"{opening} 12.5 to 30.0 MiB {closing}": "peak memory: server, PC",
    }


def test_what_cannot_be_read_is_said_in_one_line(make_warehouse, tmp_path):
    study_id, path = make_warehouse()
    with pytest.raises(WarehouseError, match="study_other"):
        answer("study_other", path)
    with pytest.raises(WarehouseError, match="no file"):
        answer(study_id, tmp_path / "none.duckdb")
    import duckdb

    with duckdb.connect(str(tmp_path / "empty.duckdb")):
        pass
    with pytest.raises(WarehouseError, match="must hold the marts"):
        answer(study_id, tmp_path / "empty.duckdb")


def test_what_survivors_seem_to_say_is_told_with_why_it_is_not_the_effect(make_warehouse):
    def lose(tables):
        row = rows_of(tables, estimand="pruning_on_accuracy", subgroup="laptop", method="naive", contrast_to="0.6")[0]
        reason = "Compares survivors only: 6 of 18 control and 2 of 18 treated trials did not finish, so the arms are no longer alike."
        row |= {"estimate": 0.054, "ci_low": 0.05, "ci_high": 0.058, "verdict": "withheld", "reasons": json.dumps([reason])}

    found = {finding.where: finding for finding in answer(*make_warehouse(change=lose)).primary[:3]}
    assert found["server"].survivors is None
    assert found["laptop"].survivors == (
        "Over all trials that finished the difference is +5.40 percentage points, which compares survivors only: 6 of 18 control"
        " and 2 of 18 treated trials did not finish, so the arms are no longer alike."
    )


def test_the_same_effect_on_two_graphs_is_told_apart_by_name(make_warehouse):
    def ask_again(tables):
        study = tables["marts.dim_studies"][0]
        spec = json.loads(study["spec"])
        first = next(item for item in spec["estimands"] if item["name"] == "pruning_on_accuracy")
        study["spec"] = json.dumps({**spec, "estimands": [*spec["estimands"], {**first, "name": "without_seeds"}]})
        for row in rows_of(tables, estimand="pruning_on_accuracy"):
            tables["marts.fct_estimates"].append(row | {"estimate_id": f"{row['estimate_id']}_b", "estimand": "without_seeds"})

    plain, doubled = answer(*make_warehouse()), answer(*make_warehouse(change=ask_again))
    assert plain.twins == frozenset()
    assert doubled.twins == {"pruning_on_accuracy", "without_seeds"}
    assert "(without seeds)" in render_text(doubled, 160)
    assert "(pruning on accuracy)" not in render_text(plain, 160)
