"""Laws in the report: the numbers of `fct_scaling_laws`, curves of these numbers, none for a law that is withheld, files for a paper."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.trialhouse.reporting.conftest import write_warehouse
from tests.trialhouse.reporting.law_rows import ONE, TWO, Row, with_laws
from tests.trialhouse.reporting.test_report import HOSTILE, Page
from trialhouse.reporting.answer import answer, answer_of
from trialhouse.reporting.drawn_laws import drawn_laws
from trialhouse.reporting.law_panels import LawSection, _frontier, _residuals, law_sections
from trialhouse.reporting.laws import Estimated, law_answers
from trialhouse.reporting.marts import StudyData, read_study
from trialhouse.reporting.plots import Band, Dots, Line, Plot
from trialhouse.reporting.report import write_report
from trialhouse.reporting.terminal import render_text
from trialhouse.studies.spec import Study


def planted(tables: dict[str, list[Row]]) -> None:
    """Two questions; every text that a study or the engine gives is hostile."""
    with_laws(tables, ONE | {"question": HOSTILE}, TWO)
    for row in tables["marts.fct_scaling_laws"]:
        if "laptop" in (row["subgroup"] or ""):
            row["reasons"] = json.dumps([HOSTILE])
        row["warnings"] = json.dumps([*json.loads(row["warnings"]), HOSTILE])
        row["sentence"] = row["sentence"] and HOSTILE


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Id of the study, its warehouse and its report."""
    home = tmp_path_factory.mktemp("laws")
    study_id, warehouse = write_warehouse(home / "trialhouse.duckdb", change=planted)
    stale = home / "reports" / "pruning_digits" / "figures" / "size_curves_99.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of a law that is no more")
    return study_id, warehouse, write_report(study_id, warehouse, home / "reports")


@pytest.fixture(scope="module")
def data(house: tuple[str, Path, Path]) -> StudyData:
    return read_study(house[0], house[1])


@pytest.fixture(scope="module")
def sections(data: StudyData) -> tuple[LawSection, ...]:
    return law_sections(data)


@pytest.fixture(scope="module")
def page(house: tuple[str, Path, Path]) -> Page:
    return Page(house[2].read_text())


def value(data: StudyData, quantity: str, where: str | None) -> Row:
    (row,) = (
        row
        for row in data.laws
        if row["quantity"] == quantity and row["compared_with"] is None and where in (None, *json.loads(row["subgroup"] or "{}").values())
    )
    return row


def drawn(plot: Plot, kind: type, style: str) -> list:
    return [layer for layer in plot.layers if isinstance(layer, kind) and layer.style == style]


def test_the_page_has_the_numbers_of_the_warehouse(data: StudyData, page: Page) -> None:
    for law in ("server", "pc"):
        row = value(data, "beta", law)
        assert f"{row['estimate']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})" in page.text
        power = f"parameters^−{row['estimate']:.3f}"
        assert f"{power} (95% interval −{row['ci_high']:.3f} to −{row['ci_low']:.3f})" in re.sub(r"(\^\S+) +\(", r"\1 (", page.text)
    alpha = value(data, "alpha", None)
    assert f"{alpha['estimate']:.3f} ({alpha['ci_low']:.3f} to {alpha['ci_high']:.3f})" in page.text
    (ratio,) = (row for row in data.laws if row["quantity"] == "ratio above E")
    assert f"{ratio['estimate']:.3f}" in page.text
    assert "chinchilla: L = E + A / N^alpha + B / D^beta" in page.text


def test_a_curve_is_that_of_the_numbers_that_landed(data: StudyData, sections: tuple[LawSection, ...]) -> None:
    (plot,) = sections[0].curves.plots
    e, a, beta = (value(data, name, "server")["estimate"] for name in ("E", "A", "beta"))
    solid, beyond = drawn(plot, Line, "arm0")
    assert (solid.is_dashed, beyond.is_dashed) == (False, True)
    for line in (solid, beyond):
        assert line.ys == pytest.approx(e + a * np.array(line.xs) ** -beta, rel=1e-9)
    assert (min(solid.xs), max(solid.xs)) == pytest.approx((100, 1e6))
    assert max(beyond.xs) == pytest.approx(10**6.5)
    (band,) = drawn(plot, Band, "arm0")
    inside = np.interp(np.log(band.xs), np.log([*solid.xs, *beyond.xs[1:]]), [*solid.ys, *beyond.ys[1:]])
    assert (np.array(band.lows) < inside).all()
    assert (inside < np.array(band.highs)).all()


def test_trials_that_a_law_leaves_out_are_crosses(sections: tuple[LawSection, ...]) -> None:
    (plot,) = sections[0].curves.plots
    (crosses,) = (dots for dots in drawn(plot, Dots, "arm1") if dots.kind == "left-out")
    assert len(crosses.xs) == 6
    assert max(crosses.xs) < 300
    kept = [dots for dots in drawn(plot, Dots, "arm1") if dots.kind == "trial"]
    assert sum(len(dots.xs) for dots in kept) == 30
    before, solid, _ = drawn(plot, Line, "arm1")
    assert before.is_dashed
    assert max(before.xs) == pytest.approx(min(solid.xs))
    assert "Crosses are trials that the law leaves out" in sections[0].curves.note


def test_a_law_that_is_withheld_has_points_a_reason_and_no_curve(sections: tuple[LawSection, ...], page: Page) -> None:
    (plot,) = sections[0].curves.plots
    assert not drawn(plot, Line, "arm2")
    assert not drawn(plot, Band, "arm2")
    assert sum(len(dots.xs) for dots in drawn(plot, Dots, "arm2") if dots.kind == "trial") == 36
    assert [label.text for label in plot.labels] == ["server", "PC", "laptop (withheld)"]
    assert sections[0].reasons == ((HOSTILE, "laptop"),)
    assert "No curve for laptop:" in page.text
    assert "Laptop: no law of loss: " in page.text
    assert all("laptop" not in label.text for one in sections[0].residuals.plots for label in one.labels)


@pytest.mark.parametrize("what", ["trials", "code"])
def test_what_is_not_the_law_of_these_trials_is_not_drawn(tmp_path: Path, what: str) -> None:
    def change(tables: dict[str, list[Row]]) -> None:
        with_laws(tables)
        if what == "trials":
            next(trial for trial in tables["marts.fct_trials"] if trial["hardware_class"] == "pc" and trial["loss"])["loss"] *= 1.5
        else:
            for row in tables["marts.fct_scaling_laws"]:
                if row["subgroup"] == '{"hardware_class": "pc"}' and row["objective"]:
                    row["objective"] *= 1.01

    (section,) = law_sections(read_study(*write_warehouse(tmp_path / "trialhouse.duckdb", change=change)))
    (plot,) = section.curves.plots
    assert drawn(plot, Line, "arm0")
    assert not drawn(plot, Line, "arm1")
    ((reason, where), _) = section.reasons
    assert where == "PC"
    assert what in reason
    assert "run the study again" in reason


def test_each_panel_of_residuals_says_what_it_is_over(data: StudyData) -> None:
    """Three panels of one law had its name alone."""
    assert data.frame is not None
    answer = law_answers(data)[1]
    pictures = _residuals(answer, [("wide networks", drawn_laws(Study.model_validate(data.spec), data.frame, answer))])
    assert pictures is not None
    assert [plot.title for plot in pictures.plots] == [
        f"Wide networks, over {what}" for what in ("fitted value", "nonzero parameters", "FLOPs")
    ]


def test_residuals_are_those_of_the_fit(sections: tuple[LawSection, ...]) -> None:
    fitted, over_size = sections[0].residuals.plots
    for plot in (fitted, over_size):
        values = np.concatenate([dots.ys for dots in drawn(plot, Dots, "arm0")])
        assert len(values) == 36
        assert np.std(values) == pytest.approx(0.02, abs=3 * 0.02 / np.sqrt(2 * 36))  # the noise that was planted
    assert (fitted.x.label, over_size.x.label) == ("fitted loss, nats", "parameters")
    assert len(sections[1].residuals.plots) == 3


def test_errors_on_held_out_trials_are_the_engines(data: StudyData, sections: tuple[LawSection, ...], page: Page) -> None:
    rows = sections[1].held_out_rows
    assert [row.kind for row in rows] == ["interpolation", "extrapolation"]
    assert {row.sentence for row in rows} == {""}, "said above the table"
    for row, said in zip(rows, sections[1].held_out_said, strict=True):
        misses, observer = map(float, re.search(r"by ([\d.]+) \(95% .* by ([\d.]+): the causal", said).groups())
        assert float(row.rmse) == pytest.approx(misses, rel=5e-3)  # of three digits
        errors = [float(part.rsplit(" ", 1)[1]) for part in row.observers.split("; ")]
        assert min(errors) == pytest.approx(observer, rel=5e-3)
        assert said in page.text
    interpolation, _ = sections[1].held_out.plots
    assert sum(len(layer.xs) for layer in interpolation.layers) == sum(
        row["purpose"] == "interpolation" and row["law"] == "both" for row in data.held_out
    )
    assert interpolation.labels[0].text == "the law"
    assert sections[0].held_out_said[-1].endswith("too few configurations to hold any out: laptop.")
    assert "a passive observer of the same trials has the same law" in sections[0].held_out.note


def test_a_law_of_two_factors_has_a_curve_per_level_and_a_frontier(sections: tuple[LawSection, ...], page: Page) -> None:
    (plot,) = sections[1].curves.plots
    assert [label.text for label in plot.labels] == ["10⁷", "3.16×10⁷", "10⁸", "10⁹", "3.16×10⁹"]
    assert all(drawn(plot, Line, f"arm{number}") for number in range(5))
    ((where, pictures, sentences),) = sections[1].frontiers
    assert where == ""
    assert [one.name for one in pictures.plots] == ["both_frontier_1", "both_compute_1"]
    assert sentences[0].startswith("With a budget of ")
    assert sentences[0] in page.text
    assert sentences[1].startswith("Cost: FLOPs = 6 x ")
    assert pictures.title == "Where a budget goes"
    assert sections[0].frontiers == ()


def test_each_frontier_says_whose_it_is(data: StudyData) -> None:
    """Those of two subgroups had one heading."""
    assert data.frame is not None
    answer = law_answers(data)[1]
    (drawn_law,) = drawn_laws(Study.model_validate(data.spec), data.frame, answer)
    found = replace(drawn_law.found, subgroup={"corruption": 0.2})
    _, pictures, _ = _frontier(data.frame.assign(corruption=0.2), replace(answer, laws=(found,)), replace(drawn_law, found=found))
    assert pictures is not None
    assert pictures.title == "Where a budget goes: corruption 0.2"


def test_every_picture_is_a_file_and_no_other_is_left(house: tuple[str, Path, Path], sections: tuple[LawSection, ...], page: Page) -> None:
    plots = [plot for section in sections for plot in section.plots]
    links = [text for tag, name, text in page.attributes if (tag, name) == ("a", "href") and text.startswith("figures/")]
    assert sorted(links) == sorted(f"figures/{plot.name}{suffix}" for plot in plots for suffix in (".svg", ".png"))
    folder = house[2].parent / "figures"
    assert {f"figures/{file.name}" for file in folder.iterdir()} == set(links)
    for file in folder.iterdir():
        if file.suffix == ".svg":
            root = ElementTree.fromstring(file.read_text())
            assert root.attrib["aria-label"]
            assert not [name for element in root.iter() for name in element.attrib if name in ("class", "href", "style")]
        else:
            assert file.read_bytes().startswith(b"\x89PNG")


def test_hostile_text_stays_text_and_nothing_is_fetched(page: Page) -> None:
    assert page.text.count("<script>alert('x')</script>") >= 4
    assert not {"script", "link", "iframe", "object", "embed", "img", "base", "form"} & set(page.tags)
    for tag, name, text in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcset", "xlink:href")
        if name == "href":
            assert tag == "a"
            assert not re.match(r"\s*(javascript|data|http)", text)
    drawings = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert sum("law" in text or "Residuals" in text for text in drawings) >= 5


def test_the_terminal_and_json_have_a_line_per_law(house: tuple[str, Path, Path], data: StudyData) -> None:
    found = answer(house[0], house[1])
    beta, floor = value(data, "beta", "server"), value(data, "E", "server")
    line = (
        f"Server: loss falls as parameters^−{beta['estimate']:.3f} (95% interval −{beta['ci_high']:.3f} to −{beta['ci_low']:.3f}), "
        f"towards {floor['estimate']:.3f} ({floor['ci_low']:.3f} to {floor['ci_high']:.3f})."
    )
    assert f"Law: {line}\n" in render_text(found, 200)
    assert found.to_dict()["laws"][0]["sentence"] == line
    assert found.laws[3].sentence.startswith("Load falls in two parts, as nonzero_parameters^−0.3")


def test_data_that_failed_a_gate_have_no_law(make_warehouse: Callable[..., tuple[str, Path]], tmp_path: Path) -> None:
    study_id, warehouse = make_warehouse("gates_failed", with_laws)
    path = write_report(study_id, warehouse, tmp_path / "reports")
    assert 'id="laws"' not in path.read_text()
    assert not (path.parent / "figures").exists()
    assert answer_of(read_study(study_id, warehouse)).laws == ()


def test_a_parameter_next_to_nothing_is_written_as_zero() -> None:
    assert Estimated("E", 1.1e-12, 0.0, 0.0125).text == "0 (0 to 0.0125)"
    assert Estimated("A", 1.1e-12, 1e-13, 1e-11).number != "0"
