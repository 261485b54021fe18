"""What the report says an effect could be otherwise: other choices, hidden causes, instruments, modifiers, lost outcomes."""

from __future__ import annotations

import json
import re

import pytest

from tests.trialhouse.reporting.test_report import HOSTILE, Page
from trialhouse.reporting import panels, robustness
from trialhouse.reporting.answer import answer_of
from trialhouse.reporting.marts import read_study
from trialhouse.reporting.report import write_report
from trialhouse.reporting.terminal import render_text


def primary(tables, estimand="pruning_on_latency", subgroup="server"):
    return next(
        row for row in tables["marts.fct_estimates"] if row["is_primary"] and (row["estimand"], row["subgroup"]) == (estimand, subgroup)
    )


def add_check(tables, estimate, refuter, details, *, reason="A reason.", verdict="passed", **fields):
    row = next(row for row in tables["marts.fct_refutations"] if row["estimate_id"] == primary(tables)["estimate_id"])
    names = ("estimate_id", "estimand", "outcome", "treatment", "method", "subgroup")
    own = {name: estimate[name] for name in names}
    found = {
        **row,
        **own,
        "refuter": refuter,
        "verdict": verdict,
        "reason": reason,
        "statistic": None,
        "p_value": None,
        "simulations": None,
    }
    tables["marts.fct_refutations"] = [
        row for row in tables["marts.fct_refutations"] if (row["estimate_id"], row["refuter"]) != (found["estimate_id"], refuter)
    ]
    tables["marts.fct_refutations"].append(found | {"details": json.dumps(details)} | fields)


def choice(adjustment, estimate, half, transformation="none", outliers="all trials"):
    ends = {"estimate": estimate, "ci_low": estimate - half, "ci_high": estimate + half}
    return {
        "adjustment": adjustment,
        "recipe": "adjusted_linear",
        "transformation": transformation,
        "outliers": outliers,
        **ends,
        "p_value": 0.1,
    }


CHOICES = [
    choice("seed, batch_size", -3.0, 1.0),
    choice("batch_size", -2.0, 1.5, "log"),
    choice("batch_size", -1.0, 2.0, outliers="without far-out trials"),
    choice("nothing", 0.5, 2.0),
]


def everything(tables):
    """One effect with all that there can be beside it."""
    effect = primary(tables)
    effect |= {"verdict": "released", "reasons": "[]", "estimate": -2.0, "ci_low": -3.0, "ci_high": -1.0}
    add_check(tables, effect, "specification_curve", CHOICES)
    moved = {"treatment_r2": 0.2, "outcome_r2": 0.1, "bias": 1.0, "low": -3.0, "high": -1.0, "ci_low": -4.0, "ci_high": 0.3}
    unbounded = {"column": "seed", **dict.fromkeys(("treatment_r2", "outcome_r2", "bias", "low", "high", "ci_low", "ci_high"))}
    add_check(tables, effect, "sensitivity", [unbounded, {"column": "hardware_class", **moved}])
    ends = {"low": -3.0, "high": -1.0, "ci_low": -4.0, "ci_high": -0.5}
    told = "Among trials that would finish in either arm, the effect lies between -3 ms and -1 ms."
    add_check(tables, effect, "trimming_bounds", [{**ends, "finished_control": 0.5, "finished_treated": 0.75, "trimmed": 0.3}], reason=told)
    effect["caveats"] = json.dumps(["small sample: 6 blocks", told])
    by_instrument = {**effect, "estimate_id": "estimate_iv", "method": "instrumental_variables", "is_primary": False, "estimate": -1.5}
    tables["marts.fct_estimates"].append(by_instrument)
    add_check(
        tables,
        by_instrument,
        "first_stage",
        [{"low": None, "high": -0.5}, {"low": 4.0, "high": None}],
        verdict="inconclusive",
        statistic=3.2,
    )
    add_check(tables, by_instrument, "overidentification", [], p_value=0.0002)
    add_check(tables, effect, "durbin_wu_hausman", [], p_value=0.31)
    for place, (level, value) in enumerate((("64", -1.0), ("512", -9.0))):
        part = {"estimate_id": f"estimate_m{place}", "subgroup_column": "hardware_class, batch_size", "subgroup": f"server, {level}"}
        tables["marts.fct_estimates"].append({**effect, **part, "method": "linear_dr", "is_primary": False, "estimate": value})


@pytest.fixture
def read(make_warehouse):
    def data_of(change):
        data = read_study(*make_warehouse(change=change))
        return data, answer_of(data)

    return data_of


@pytest.fixture
def page_of(make_warehouse, tmp_path):
    def page(change=None):
        text = write_report(*make_warehouse(change=change), tmp_path / "reports").read_text()
        return Page(text), text

    return page


def test_a_panel_appears_only_where_there_is_something_to_show(page_of):
    titles = ("Under other sensible choices", "By what modifies the effect", "By adjustment and by instrument", "Where outcomes were lost")
    plain, full = page_of()[0].text, page_of(everything)[0].text
    for title in (*titles, "a hidden cause as strong as"):
        assert title not in plain
        assert title in full


def test_a_specification_curve_shows_each_choice_in_order_with_what_it_chose(read):
    (curve,) = robustness.curves(*read(everything))
    assert curve.title == "Latency: pruning ratio 0.6 instead of 0, server"
    assert curve.note == (
        "4 sensible choices give estimates of −3.0 to +0.5 ms; 3 have the sign of the reported estimate (−2.0 ms, dotted);"
        " 2 can be told from zero (filled)."
    )
    assert curve.svg.count('class="point s0"') == 2
    assert curve.svg.count('class="point s0 flagged"') == 2
    heights = [float(y) for y in re.findall(r'class="point [^"]*" cx="[\d.]+" cy="([\d.]+)"', curve.svg)]
    assert heights == sorted(heights, reverse=True)
    places = re.findall(r'class="point [^"]*" cx="([\d.]+)"', curve.svg)
    marks = re.findall(r'class="mark" cx="([\d.]+)" cy="([\d.]+)"', curve.svg)
    rows = sorted({y for _, y in marks}, key=float)
    chosen = [[places.index(x) for x, y in marks if y == row] for row in rows]
    assert chosen == [[0], [0, 1, 2], [1], [2]]  # adjusted for seed, for batch size, logarithm, without far-out trials
    names = ["adjusted for seed", "adjusted for batch size", "logarithm of the outcome", "without far-out trials"]
    assert re.findall(r'class="tick end" x="184" y="[\d.]+">([a-z][^<]*)<', curve.svg) == names


def test_one_choice_is_no_curve(read):
    assert robustness.curves(*read(lambda tables: add_check(tables, primary(tables), "specification_curve", CHOICES[:1]))) == []


def test_hidden_causes_say_where_they_could_bring_the_effect(read):
    by_seed, by_class = robustness.hidden_causes(*read(everything))
    assert (by_seed.moved, by_seed.interval, by_seed.is_told) == ("anything", "unbounded", False)
    assert (by_class.column, by_class.moved, by_class.interval) == ("hardware class", "−3.0 to −1.0 ms", "−4.0 to +0.3 ms")
    assert by_class.finding.headline.estimand == "pruning_on_latency"
    assert not by_class.is_told


def test_bounds_stand_in_a_table_and_not_among_the_caveats(read, page_of):
    data, found = read(everything)
    (row,) = robustness.bounds(data, found)
    assert (row.kind, row.finished, row.verdict) == ("would finish in either arm", "50%, 75%", "passed")
    assert (row.between, row.interval) == ("−3.0 to −1.0 ms", "−4.0 to −0.5 ms")
    assert not any("would finish in either arm" in caveat for caveat, _ in found.caveats)
    assert "small sample: 6 blocks" in dict(found.caveats)
    assert "would finish in either arm" not in render_text(found)
    assert page_of(everything)[0].text.count("the effect lies between -3 ms and -1 ms") == 1  # among every check of the effect


def test_an_instrument_stands_beside_adjustment_with_its_set_in_words(read):
    ((forest, (sentence,)),) = panels.instruments(*read(everything))
    assert [(row.what, row.effect.method) for _, rows in forest.groups for row in rows] == [
        ("adjusted", "adjusted_linear"),
        ("instrumental variables", "instrumental_variables"),
    ]
    assert sentence == (
        "Server: the first stage has an effective F of 3.2 (10 are needed). Effects that it does not exclude, however weak it is"
        " (Anderson-Rubin, 95%): below −0.5 or above +4.0 ms, so the set is unbounded."
        " That the two are the same has p = 0.31 (Durbin-Wu-Hausman). That the instruments agree has p < 0.001 (Hansen’s J)."
    )


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([{"low": -3.0, "high": -1.0}], "(Anderson-Rubin, 95%): −3.0 to −1.0 ms. "),
        ([{"low": None, "high": None}], "exclude no effect at all: their Anderson-Rubin set is unbounded on both sides"),
        ([], "No effect is compatible with all instruments"),
    ],
)
def test_anderson_rubin_sets_of_all_shapes_are_said(read, pieces, said):
    def change(tables):
        everything(tables)
        row = next(row for row in tables["marts.fct_refutations"] if row["refuter"] == "first_stage")
        row["details"] = json.dumps(pieces)

    ((_, (sentence,)),) = panels.instruments(*read(change))
    assert said in sentence


def test_effects_by_modifier_are_told_by_level_and_not_taken_for_methods(read):
    data, found = read(everything)
    ((forest, estimand),) = panels.forests_by_modifier(data, found)
    assert forest.title == "Latency: pruning ratio 0.6 instead of 0, by linear DR"
    ((where, rows),) = forest.groups
    assert (where, [row.what for row in rows]) == ("server", ["batch size 64", "batch size 512"])
    assert estimand == "the average effect"
    assert panels.forests_by_method(data, found) == []


def test_hostile_details_stay_text(page_of):
    def poison(tables):
        everything(tables)
        for row in tables["marts.fct_refutations"]:
            rows = json.loads(row["details"] or "[]")
            text = [{key: HOSTILE if isinstance(value, str) else value for key, value in item.items()} for item in rows]
            row["details"] = json.dumps(text)
        for row in tables["marts.fct_estimates"]:
            row["method_estimand"] = HOSTILE
            if row["method"] == "linear_dr":
                row |= {"subgroup": f"server, {HOSTILE}", "subgroup_column": f"hardware_class, {HOSTILE}"}

    page, text = page_of(poison)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "<script" not in text
    assert page.text.count("alert('x')") > 5


def test_an_effect_per_doubling_is_said_as_one(read):
    def ask(tables):
        study = tables["marts.dim_studies"][0]
        spec = json.loads(study["spec"])
        estimand = next(item for item in spec["estimands"] if item["name"] == "pruning_on_latency")
        estimand |= {"contrast": None, "per": "doubling", "dose_response": False}
        study["spec"] = json.dumps(spec)
        for row in tables["marts.fct_estimates"]:
            if row["estimand"] == "pruning_on_latency":
                row |= {"contrast_from": "0", "contrast_to": "1", "per": "doubling", "verdict": "released", "reasons": "[]"}

    _, found = read(ask)
    mine = [finding for finding in found.primary if finding.headline.per is not None]
    assert len(mine) == 3
    assert mine[0].change == "a doubling of pruning ratio"
    assert mine[0].control_level is None
    assert mine[0].sentence.startswith("On the server, a doubling of pruning ratio lowers latency: −")
    assert "A doubling of pruning ratio" in render_text(found)
