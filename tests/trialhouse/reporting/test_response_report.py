"""Responses in the report: the numbers that landed, who forecasts better, and a reason where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.trialhouse.reporting.conftest import Row, write_warehouse
from tests.trialhouse.reporting.law_rows import WHEN
from tests.trialhouse.reporting.test_report import HOSTILE, Page
from trialhouse.reporting.marts import read_study
from trialhouse.reporting.report import write_report
from trialhouse.reporting.responses import KINDS, ResponsePanel, response_panels
from trialhouse.scaling_laws.response_study import response_rows, responses_of
from trialhouse.studies.spec import Study

ASKED = {"name": "all", "question": HOSTILE, "outcome": "loss", "looks_at": ["flops"], "by": ["hardware_class"]}


def planted(tables: dict[str, list[Row]]) -> None:
    """A loss that more pruning raises, the more the larger the batch; on the laptop a third of it is lost."""
    dim = tables["marts.dim_studies"][0]
    dim["spec"] = json.dumps(json.loads(dim["spec"]) | {"responses": [ASKED]})
    rng = np.random.default_rng(0)
    trials = [trial for trial in tables["marts.fct_trials"] if not trial["is_sentinel"]]
    for number, trial in enumerate(trials):
        effect = 0.5 * trial["pruning_ratio"] * np.log(trial["batch_size"] / 64)
        trial |= {"loss": float(np.exp(effect + rng.normal(0, 0.05))), "flops": 1e6 * (1.1 - trial["pruning_ratio"])}
        if trial["hardware_class"] == "laptop" and number % 3 == 0:
            trial["loss"] = None
    frame = pd.DataFrame(trials)
    found = responses_of(Study.model_validate(json.loads(dim["spec"])), frame)
    rows = response_rows(dim["study_id"], "1", found)
    for row in rows:
        row["warnings"] = json.dumps([*json.loads(row["warnings"]), HOSTILE])
    common = {"study_name": "pruning_digits", "is_current": True, "fitted_at": WHEN}
    tables["marts.fct_scaling_laws"] = [{**row, **common} for row in rows]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[ResponsePanel, ...], Page, list[Row]]:
    home = tmp_path_factory.mktemp("responses")
    study_id, warehouse = write_warehouse(home / "trialhouse.duckdb", change=planted)
    data = read_study(study_id, warehouse)
    page: Path = write_report(study_id, warehouse, home / "reports")
    return response_panels(data), Page(page.read_text()), list(data.laws)


def test_the_page_has_the_numbers_that_landed(house: tuple[tuple[ResponsePanel, ...], Page, list[Row]]) -> None:
    panels, page, rows = house
    assert [panel.where for panel in panels] == ["laptop", "PC", "server"]
    server = panels[2]
    (row,) = (row for row in rows if row["quantity"] == "pruning_ratio x batch_size" and "server" in row["subgroup"])
    (shown,) = (one for _, _, own in server.groups for one in own if one.name == "pruning ratio × batch size")
    assert shown.change == f"{np.expm1(row['estimate']):+.1%}"
    assert shown.interval == f"{np.expm1(row['ci_low']):+.1%} to {np.expm1(row['ci_high']):+.1%}"
    assert shown.is_sure
    truth = 0.5 * 0.6 * np.log(64)
    assert row["ci_low"] < truth < row["ci_high"]
    text = " ".join(page.text.split())
    for said in (shown.change, shown.interval, shown.sentence, server.rests_on, "who looks at FLOPs only"):
        assert said in text
    assert [who for who, _, _, is_chosen in server.errors if is_chosen] in (["interactions model"], ["curved model"])


def test_a_response_that_is_withheld_has_its_reason_and_no_numbers(house: tuple[tuple[ResponsePanel, ...], Page, list[Row]]) -> None:
    panels, page, _ = house
    assert panels[0].parts[0].startswith("Laptop: loss by all factors together: 95% of the trials")
    assert panels[2].parts[0] == "Server: loss by all factors together: "
    assert panels[2].parts[1] in " ".join(page.text.split())
    assert (panels[0].groups, panels[0].errors, panels[0].sentence) == ((), (), "")
    assert "95% of the trials of a response must have loss" in page.text
    assert "script" not in page.tags
    assert HOSTILE in page.text


def test_of_many_interactions_the_answer_names_the_strongest(house: tuple[tuple[ResponsePanel, ...], Page, list[Row]]) -> None:
    server = house[0][2]
    ((heading, definition, rows),) = (group for group in server.groups if group[0] == KINDS["interaction"])
    pairs = [replace(rows[0], name=f"{size}", size=size, is_sure=size > 0.1, sentence=f"by {size}") for size in (0.2, 0.1, 0.4, 0.3)]
    many = replace(server, groups=((heading, definition, tuple(pairs)),))
    assert many.parts[1] == "3 of 4 pairs of factors depend on each other, these most: by 0.4; by 0.3"
    assert replace(many, groups=((heading, definition, tuple(pairs[1:3])),)).parts[1] == "by 0.4"
