"""`trialhouse forecast --table`: from a file to an answer in words and in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.__main__ import app
from trialhouse.errors import ForecastError, LawError

LAW = PLANTED["chinchilla"]
USUAL = ("--form", "chinchilla", "--outcome", "loss", "--size", "N", "--data", "D", "--draws", "100")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    LAW.table(1).rename(columns={"size": "N", "data": "D", "y": "loss"}).assign(
        C=lambda frame: frame["D"] ** 0.9, J=lambda frame: frame["N"] ** 0.8 * frame["D"]
    ).to_csv(path, index=False)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None:
        raise result.exception
    return result.output


def test_a_forecast_in_words_and_in_json_is_the_same(table: Path) -> None:
    asked = ("forecast", "--table", table, *USUAL, "--do", "data=10x", "--at", "size=1e9,D=1e10", "--assignment", "randomised")
    said, content = run(*asked), json.loads(run(*asked, "--json"))
    assert content["sentence"] in said
    assert content["start"] == {"N": 1e9, "D": 1e10}
    assert content["end"] == {"N": 1e9, "D": 1e11}
    assert set(content["correlational"]) == {"D", "the product of all factors"}
    assert "correlational: looks at D only" in said
    assert "causal: a design assigned N and D" in said
    assert "'C' goes with 'D' (correlation 1.00)" in said


def test_the_held_out_check_is_told_where_it_is_asked_for(table: Path) -> None:
    asked = ("forecast", "--table", table, *USUAL, "--do", "data=2x")
    said, content = run(*asked, "--held-out"), json.loads(run(*asked, "--held-out", "--json"))
    assert json.loads(run(*asked, "--json"))["held_out"] is None
    assert {score["kind"] for score in content["held_out"]["scores"]} == {"interpolation", "extrapolation"}
    assert "in the 95% interval" in said
    assert content["held_out"]["sentences"]["extrapolation"] in said


def test_too_few_trials_for_a_held_out_check_still_have_a_forecast(tmp_path: Path) -> None:
    """They once had neither."""
    path = tmp_path / "few.csv"
    path.write_text("D,loss\n100,3.02\n1000,0.951\n10000,0.302\n100000,0.0945\n")
    law = ("--form", "pure_power_law", "--outcome", "loss", "--data", "D", "--draws", "100")
    asked = ("forecast", "--table", path, *law, "--do", "data=2x")
    content = json.loads(run(*asked, "--held-out", "--json"))
    plain = json.loads(run(*asked, "--json"))
    assert content["sentence"] == plain["sentence"]
    assert content["held_out"] is None
    (why,) = set(content["caveats"]) - set(plain["caveats"])
    assert why.startswith("no held-out check: a held-out check of pure_power_law needs trials at more than 2 places")
    assert f"caveat: {why}" in run(*asked, "--held-out")


def test_an_allocation_in_words_and_in_json_is_the_same(table: Path) -> None:
    asked = ("allocate", "--table", table, *USUAL, "--budget", "1e22", "--limit", "N<=1e11", "--batch", "2")
    said, content = run(*asked), json.loads(run(*asked, "--json"))
    assert content["sentence"] in said
    assert content["best"]["N"]["value"] * content["best"]["D"]["value"] * 6 == pytest.approx(1e22)
    assert len(content["next_trials"]) == 2
    for words in (
        "FLOPs = 6 x N x D",
        "limit: N at most 100B",
        "along the frontier N grows as C^0.5",
        "- Kaplan: size ~ C^0.73",
        "next trials",
        "2 times, each for ",
    ):
        assert words in said


def test_a_measured_cost_takes_the_place_of_counted_flops(table: Path) -> None:
    content = json.loads(run("allocate", "--table", table, *USUAL, "--budget", "1e20", "--cost", "J", "--json"))
    assert content["cost"]["exponents"] == pytest.approx({"size": 0.8, "data": 1})
    with pytest.raises(ForecastError, match=r"N must cost something or have a limit, got a cost that grows as N\^"):
        run("allocate", "--table", table, *USUAL, "--budget", "1e10", "--cost", "C")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (("--do", "steps=2x"), ForecastError, "one of the law's"),
        (("--do", "data=2x", "--assignment", "random"), ForecastError, "got 'random'"),
        (("--do", "data=2x", "--fix", "E"), LawError, "NAME=VALUE"),
        (("--do", "data=2x", "--fix", "E=0", "--fix", "E=1"), LawError, "E must be fixed once, got twice"),
        (("--do", "data=1e6x"), ForecastError, "must stay within 100 times of the trials"),
    ],
)
def test_mistakes_are_one_line(table: Path, options: tuple[str, ...], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        run("forecast", "--table", table, *USUAL, *options)
