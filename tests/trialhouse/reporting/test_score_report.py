"""Scores in the report: the map of the numbers in `fct_scaling_laws`, none for one that is withheld, and what follows from it in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.trialhouse.reporting.conftest import write_warehouse
from tests.trialhouse.reporting.law_rows import MAP, ONE, SCORED, with_laws
from tests.trialhouse.reporting.test_report import Page
from trialhouse.reporting.answer import answer
from trialhouse.reporting.law_panels import LawSection, law_sections
from trialhouse.reporting.marts import StudyData, read_study
from trialhouse.reporting.plots import Band, Dots, Line, Plot
from trialhouse.reporting.report import write_report
from trialhouse.reporting.terminal import render_text


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Id of the study, its warehouse and its report: a map for the server; the PC guesses, and the laptop's loss turns."""
    home = tmp_path_factory.mktemp("scores")
    study_id, warehouse = write_warehouse(home / "trialhouse.duckdb", change=lambda tables: with_laws(tables, ONE | SCORED))
    return study_id, warehouse, write_report(study_id, warehouse, home / "reports")


@pytest.fixture(scope="module")
def data(house: tuple[str, Path, Path]) -> StudyData:
    return read_study(house[0], house[1])


@pytest.fixture(scope="module")
def section(data: StudyData) -> LawSection:
    (found,) = law_sections(data)
    return found


@pytest.fixture(scope="module")
def page(house: tuple[str, Path, Path]) -> Page:
    return Page(house[2].read_text())


def numbers(data: StudyData, where: str) -> dict[str, dict[str, float]]:
    rows = [row for row in data.laws if row["form"] == "score_map" and where in row["subgroup"]]
    return {row["quantity"]: row for row in rows}


def drawn(plot: Plot, kind: type, style: str) -> list:
    return [layer for layer in plot.layers if isinstance(layer, kind) and layer.style == style]


def test_the_map_is_that_of_the_numbers_that_landed(data: StudyData, section: LawSection) -> None:
    (score,) = section.scores
    (plot,) = score.curves.plots
    found = numbers(data, "server")
    middle, steep = found["L0"]["estimate"], found["k"]["estimate"]
    assert (middle, steep) == pytest.approx(MAP, rel=0.1)
    beyond, solid = drawn(plot, Line, "arm0")
    assert (beyond.is_dashed, solid.is_dashed) == (True, False)
    losses = [row["loss"] for row in data.trials if row["hardware_class"] == "server" and row["loss"]]
    assert (min(solid.xs), max(solid.xs)) == pytest.approx((min(losses), max(losses)))
    assert max(beyond.xs) == pytest.approx(min(losses))
    assert min(beyond.xs) < min(losses)
    for line in (beyond, solid):
        assert line.ys == pytest.approx(0.2 + 0.7 / (1 + np.exp(steep * (np.array(line.xs) - middle))), rel=1e-6)
    (band,) = drawn(plot, Band, "arm0")
    assert (np.array(band.lows) < np.array(band.highs)).all()
    assert plot.reference == 0.2
    assert not plot.x.is_log


def test_a_map_that_is_withheld_has_points_and_the_reason(section: LawSection, page: Page) -> None:
    (score,) = section.scores
    (plot,) = score.curves.plots
    for style in ("arm1", "arm2"):
        assert not drawn(plot, Line, style)
        assert sum(len(dots.xs) for dots in drawn(plot, Dots, style)) == 36
    assert [label.text for label in plot.labels] == ["server", "PC (withheld)", "laptop (withheld)"]
    reasons = {where: reason for reason, where in score.reasons}
    assert "does not rise as loss falls" in reasons["PC"]
    assert reasons["laptop"].startswith("its law of loss has no curve: the outcome rises")
    assert "No curve for PC: Weights_accuracy does not rise" in page.text


def test_words_tell_where_it_is_half_of_the_way(data: StudyData, house: tuple[str, Path, Path], page: Page) -> None:
    middle = numbers(data, "server")["L0"]
    told = "Server: accuracy of the weights rises from 20.0% by guessing towards 90.0% as loss falls, half of the way at "
    told += f"{middle['estimate']:.2f}"
    found = answer(house[0], house[1])
    (line,) = (law for law in found.laws if law.kind == "Score" and law.verdict == "released")
    assert line.sentence.startswith(told)
    assert f"Score: {told}" in render_text(found, 200)
    assert "PC: no map from loss to accuracy of the weights: " in page.text
    assert "Score: accuracy of the weights, by way of loss" in page.text
    assert "trialhouse forecast pruning_digits --score weights_accuracy" in page.text
    assert "score = chance + (0.9 - chance) / (1 + exp(k (L - L0)))" in page.text


def test_errors_on_held_out_trials_are_in_scores_and_apart_from_those_of_the_loss(data: StudyData, section: LawSection) -> None:
    (score,) = section.scores
    assert {row.where for row in score.held_out_rows} == {"server"}
    assert {row.where for row in section.held_out_rows} == {"server", "PC"}
    own = [row for row in data.held_out if row["outcome"] == "weights_accuracy" and row["purpose"] == "extrapolation"]
    (row,) = (row for row in score.held_out_rows if row.kind == "extrapolation")
    assert float(row.rmse) == pytest.approx(np.sqrt(np.mean([one["error"] ** 2 for one in own])), rel=5e-3)
    assert score.held_out is not None
    assert score.held_out.plots[0].x.label == "observed accuracy of the weights"


def test_the_law_of_the_loss_is_as_without_scores(tmp_path: Path, section: LawSection) -> None:
    (alone,) = law_sections(read_study(*write_warehouse(tmp_path / "trialhouse.duckdb", change=with_laws)))
    assert alone.scores == ()
    assert alone.curves == section.curves
    assert alone.answer.laws == section.answer.laws
    assert alone.held_out_rows == section.held_out_rows


def test_every_picture_of_a_score_is_a_file(house: tuple[str, Path, Path], section: LawSection) -> None:
    names = {plot.name for plot in section.plots}
    assert {"size_weights_accuracy_map_1", "size_weights_accuracy_held_out_extrapolation", "size_curves_1"} <= names
    assert {file.stem for file in (house[2].parent / "figures").iterdir()} == names


def test_a_law_that_is_withheld_forecasts_no_score(tmp_path: Path) -> None:
    """The map is drawn all the same."""

    def change(tables: dict[str, list[dict]]) -> None:
        with_laws(tables, ONE | SCORED)
        for row in tables["marts.fct_scaling_laws"]:
            if row["outcome"] == "loss":
                row |= {"verdict": "withheld", "reasons": json.dumps(["too few sizes"])}

    (section,) = law_sections(read_study(*write_warehouse(tmp_path / "trialhouse.duckdb", change=change)))
    (score,) = section.scores
    assert score.notes == ("Not forecast, because the law of loss is withheld: server.",)
    assert drawn(score.curves.plots[0], Line, "arm0")
    assert not drawn(section.curves.plots[0], Line, "arm0")
