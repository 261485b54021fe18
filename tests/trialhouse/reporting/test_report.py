from __future__ import annotations

import json
import re
import stat
from html.parser import HTMLParser

import duckdb
import pytest

from trialhouse.errors import EstimationError, WarehouseError
from trialhouse.reporting.formats import effect_text, quantity
from trialhouse.reporting.marts import read_study
from trialhouse.reporting.report import snippets, write_report

HOSTILE = "<script>alert('x')</script><img src=http://evil.test/x onerror=1>\"'&"
VOID = {"meta", "link", "br", "hr", "img", "rect", "line", "circle", "path", "polyline"}


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def page_of(make_warehouse, tmp_path):
    def page(stage="estimated", change=None):
        study_id, warehouse = make_warehouse(stage, change)
        return Page(write_report(study_id, warehouse, tmp_path / "reports").read_text())

    return page


def test_report_is_where_people_look_for_it_and_readable(make_warehouse, tmp_path):
    path = write_report(*make_warehouse(), tmp_path / "reports")
    assert path == tmp_path / "reports" / "pruning_digits" / "index.html"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]


@pytest.mark.parametrize("stage", ["running", "measured", "gates_failed", "estimated"])
def test_the_same_data_give_the_same_bytes_at_every_stage(make_warehouse, tmp_path, stage):
    study_id, warehouse = make_warehouse(stage)
    first = write_report(study_id, warehouse, tmp_path / "reports").read_bytes()
    assert write_report(study_id, warehouse, tmp_path / "reports").read_bytes() == first


@pytest.mark.parametrize("stage", ["running", "gates_failed", "estimated"])
def test_nothing_is_fetched_and_nothing_runs(page_of, stage):
    page = page_of(stage)
    assert not {"script", "link", "iframe", "object", "embed", "img", "base", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert name not in ("src", "srcset", "data", "action", "xlink:href")
        assert not name.startswith("on")
        if name == "href":
            assert tag == "a"
            assert not re.match(r"\s*(javascript|data):", value)


def test_style_sheet_fetches_nothing_and_knows_dark_and_print(make_warehouse, tmp_path):
    text = write_report(*make_warehouse(), tmp_path).read_text()
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert 'name="viewport"' in text


def test_sections_come_in_the_order_of_the_questions_that_people_ask(page_of):
    ids = [value for tag, name, value in page_of().attributes if tag == "section" and name == "id"]
    first, last = (
        ["answer", "design", "graph", "dose", "methods", "memory", "trust", "choice"],
        ["refutation", "verdicts", "validation", "failures"],
    )
    assert ids == [*first, *last, "further", "provenance"]


def test_hostile_text_stays_text(page_of):
    def poison(tables):
        tables["marts.dim_studies"][0] |= {"title": HOSTILE, "question": HOSTILE, "estimands_id": HOSTILE, "code_version": HOSTILE}
        spec = json.loads(tables["marts.dim_studies"][0]["spec"])
        spec["factors"][0]["unit"] = HOSTILE
        spec["factors"][2]["levels"][0] = HOSTILE
        spec["workload"]["settings"] = {HOSTILE: HOSTILE}
        tables["marts.dim_studies"][0]["spec"] = json.dumps(spec)
        for row in tables["marts.dim_hardware_classes"]:
            row |= {"represents": HOSTILE, "not_emulated": HOSTILE}
        for row in tables["marts.fct_trials"]:
            row["failure_reason"] = HOSTILE
            if row["pruning_method"] == "l1_mask":
                row["pruning_method"] = HOSTILE
        for row in tables["marts.fct_validations"]:
            row |= {"sentence": HOSTILE, "observed": HOSTILE, "failing_rows": json.dumps([HOSTILE])}
        for row in tables["marts.fct_estimates"]:
            row |= {"reasons": json.dumps([HOSTILE]), "caveats": json.dumps([HOSTILE]), "stratum": HOSTILE, "estimand_expression": HOSTILE}
        for row in tables["marts.fct_refutations"]:
            row["reason"] = HOSTILE

    page = page_of(change=poison)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.text.count("alert('x')") > 20


def test_a_failed_gate_names_itself_and_its_rows_and_nothing_is_estimated(page_of):
    rows = []
    page = page_of("gates_failed", lambda tables: rows.extend(json.loads(tables["marts.fct_validations"][0]["failing_rows"])))
    assert "No effect was estimated: the data failed 1 gate." in page.text
    assert "accuracy must lie in [0, 1]" in page.text
    assert len(rows) == 2
    assert all(row in page.text for row in rows)
    assert "percentage points" not in page.text
    assert "lowers" not in page.text
    ids = [value for tag, name, value in page.attributes if tag == "section" and name == "id"]
    assert "verdicts" not in ids
    assert "methods" not in ids


def test_a_study_whose_first_trial_has_not_started_has_a_report(page_of):
    def nothing_yet(tables):
        unknown = dict.fromkeys(
            ("host", "slot_order", "started_at", "ended_at", "accuracy", "latency_ms", "peak_memory_bytes", "memory_utilisation")
        )
        for row in tables["marts.fct_trials"]:
            row |= {"status": "pending", "is_measured": False, "is_oom": False, "failure_reason": None, "attempts": 0, **unknown}

    page = page_of("running", nothing_yet)
    assert "0 of 216 trials are done" in page.text
    assert "no trial has started yet" in page.text
    assert "Nothing has been measured yet." in page.text


def test_pre_registration_is_told_as_it_was(page_of):
    assert "before the first trial started (2026-11-22 09:00:00 UTC). They have not been changed" in page_of().text

    def change(tables):
        study = tables["marts.dim_studies"][0]
        study |= {"is_changed_after_first_trial": True, "registered_at": study["registered_at"].replace(hour=10)}

    page = page_of(change=change)
    assert "They were changed after the first trial of this study had started" in page.text
    assert "216 trials of this version had been measured before that" in page.text
    assert "before the first trial started" not in page.text


def test_flagged_numbers_stand_in_brackets_and_in_no_sentence(page_of, make_warehouse):
    def flag(tables):
        for row in tables["marts.fct_estimates"]:
            row |= {"verdict": "withheld", "reasons": json.dumps(["the recipes disagree"])}

    page = page_of(change=flag)
    answer = page.text.split("How it was found", 2)[1]
    assert "no finding on accuracy" in answer
    assert not re.search(r"raises|lowers|percentage points|can be told from zero:", answer)
    with duckdb.connect(str(make_warehouse(change=flag)[1]), read_only=True) as warehouse:
        values = warehouse.execute(
            "SELECT estimate, ci_low, ci_high FROM marts.fct_estimates WHERE is_primary AND outcome = 'accuracy' AND is_current"
        ).fetchall()
    assert values
    for value in values:
        assert f"({effect_text(*value, quantity('accuracy')).with_unit})" in page.text


def test_figures_of_the_source_are_there(page_of, make_warehouse):
    page = page_of()
    with duckdb.connect(str(make_warehouse()[1]), read_only=True) as warehouse:
        lost = warehouse.execute("SELECT hardware_class, count(*) FROM marts.fct_trials WHERE is_oom GROUP BY ALL").fetchall()
    ((where, count),) = lost
    assert where == "laptop"
    assert "Out-of-memory incidents by class and batch size" in page.text
    assert f"{count} of 24" in page.text
    assert f"Trials that ran out of memory: 0 of 72 on the server, 0 of 72 on the PC and {count} of 72 on the laptop." in page.text
    assert "Memory utilisation by class" in page.text
    labels = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert "Causal graph pruning.dot with 12 variables and 23 arrows" in labels
    # 4 estimated dose-response panels, 3 of what pruning removes, 4 outcomes x 3 classes observed, 2 x 3 of memory, 3 of where it
    # runs out, 3 Pareto fronts, 1 graph
    assert len(labels) == 4 + 3 + 12 + 6 + 3 + 3 + 1


def test_accuracy_of_survivors_stands_beside_that_of_all_weights(page_of, make_warehouse):
    page = page_of()
    with duckdb.connect(str(make_warehouse()[1]), read_only=True) as warehouse:
        difference, lost = warehouse.execute(
            """
            WITH per_block AS (
                SELECT
                    avg(weights_accuracy) FILTER (pruning_ratio = 0.6) - avg(weights_accuracy) FILTER (pruning_ratio = 0) AS difference
                FROM (SELECT DISTINCT ON (weights_id) * FROM marts.fct_trials WHERE hardware_class = 'laptop' AND is_measured)
                GROUP BY block
            )
            SELECT avg(difference), (SELECT count(*) FROM marts.fct_trials WHERE is_oom AND pruning_ratio = 0) FROM per_block
            """
        ).fetchone()
    assert f"{lost} of 18 and " in page.text
    assert f"{100 * difference:+.1f}".replace("-", "−") in page.text
    assert page.text.count("Accuracy, by whom is counted") == 1

    def survived(tables):
        for trial in tables["marts.fct_trials"]:
            trial["is_oom"] = False

    assert "by whom is counted" not in page_of(change=survived).text


def test_each_class_gets_its_best_configuration_and_how_sure_it_is(page_of, make_warehouse):
    page = page_of()
    with duckdb.connect(str(make_warehouse()[1]), read_only=True) as warehouse:
        best = warehouse.execute(
            "SELECT hardware_class, configuration, best_share, held_out_accuracy FROM marts.fct_configurations WHERE is_best"
        ).fetchall()
    assert best
    for _, configuration, share, held_out in best:
        assert f"batch size {json.loads(configuration)['batch_size']}" in page.text
        assert f"{share:.0%}" in page.text
        assert f"an accuracy of {100 * held_out:.1f}% on average" in page.text
    assert page.text.count("latency at most 1.00 ms and memory utilisation at most 25.0%") == 3


def test_a_class_where_nothing_keeps_the_limits_says_so(page_of):
    def nothing(tables):
        for row in tables["marts.fct_configurations"]:
            row["is_best"] = False

    text = page_of(change=nothing).text
    assert text.count("No configuration that was measured keeps these limits.") == 3
    assert "Nothing that was measured keeps the limits on the server, PC and laptop." in text


def test_every_variable_of_the_graph_is_drawn_in_its_role(make_warehouse, tmp_path):
    text = write_report(*make_warehouse(), tmp_path).read_text()
    nodes = re.findall(r'<g class="node (\w+)"><rect[^>]*/><text[^>]*>([^<]*)</text>', text)
    roles = {name: role for role, name in nodes}
    assert len(nodes) == 12
    assert roles["pruning ratio"] == "treatment"
    assert roles["latency"] == roles["out of memory"] == "outcome"
    assert roles["batch size"] == roles["hardware class"] == "assigned"
    assert roles["parameters"] == "covariate"
    assert text.count('class="edge') == 23


def test_snippets_run_against_the_published_warehouse(make_warehouse):
    import duckdb

    study_id, warehouse = make_warehouse()
    found = snippets(read_study(study_id, warehouse))
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = {snippet.title: len(connection.execute(snippet.sql).fetchall()) for snippet in found}
    assert len(rows) >= 5
    assert all(rows.values())


def test_provenance_names_versions_hosts_and_times(page_of):
    text = page_of().text
    for part in ("host-a", "data_0000000000000001", "duckdb 2", "dowhy 0.14", "2026-11-22 09:11:00 UTC", "Trialhouse 0.1.0"):
        assert part in text


def test_a_broken_report_leaves_the_old_one(make_warehouse, tmp_path):
    study_id, warehouse = make_warehouse()
    path = write_report(study_id, warehouse, tmp_path / "reports")
    before = path.read_bytes()

    def break_graph(tables):
        tables["marts.dim_studies"][0]["graph"] = json.dumps({"pruning.dot": "digraph { a -> b; b -> a }"})

    broken = tmp_path / "broken"
    broken.mkdir()
    study_id, warehouse = make_warehouse(change=break_graph, folder=broken)
    with pytest.raises(EstimationError, match="cycle"):
        write_report(study_id, warehouse, tmp_path / "reports")
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]


def test_a_study_name_cannot_lead_out_of_the_reports_folder(make_warehouse, tmp_path):
    study_id, warehouse = make_warehouse(change=lambda tables: tables["marts.dim_studies"][0].update(study_name="../outside"))
    with pytest.raises(WarehouseError, match="outside"):
        write_report(study_id, warehouse, tmp_path / "reports")
    assert not (tmp_path / "outside").exists()
