"""`trialhouse fit --table`: the public contract, on files that the project has never seen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.__main__ import app
from trialhouse.errors import LawError, TableError, TrialhouseError
from trialhouse.laws import TableLaw

LAW = PLANTED["chinchilla"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    LAW.table(1).rename(columns={"size": "N", "data": "D", "y": "loss"}).to_csv(path, index=False)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["fit", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_json_is_as_the_contract_says(table: Path) -> None:
    common = ("--table", table, "--form", "chinchilla", "--outcome", "loss", "--size", "N", "--data", "D", "--draws", "200", "--json")
    content = json.loads(run(*common))
    assert {"form", "parameters", "intervals", "objective", "warnings"} <= set(content)
    assert content["form"] == "chinchilla"
    assert content["rows"] == 49
    for name, value in LAW.truth.items():
        low, high = content["intervals"][name]
        assert low < content["parameters"][name] < high
        assert abs(content["parameters"][name] - value) < 4 * content["standard_errors"][name]
    assert json.loads(run(*common)) == content


@pytest.mark.parametrize(
    ("command", "asks", "extra"),
    [("fit", "laws.law_of_table", ("--delta", "0.1")), ("forecast", "forecasting.forecast_of_table", ("--do", "data=2x"))],
)
def test_every_option_of_a_table_is_heard(monkeypatch: pytest.MonkeyPatch, command: str, asks: str, extra: tuple[str, ...]) -> None:
    class Heard(Exception):
        pass

    def ask(path: Path, question: TableLaw, **_: object) -> None:
        raise Heard(path, question)

    monkeypatch.setattr(f"trialhouse.{asks}", ask)
    given = ("--outcome", "y", "--steps", "s", "--size", "n", "--form", "f", "--cluster", "c", "--fix", "E=0", "--drop-highest", "2")
    score = ("--keep-transient", "--draws", "300", "--score", "z", "--chance", "0.2", "--ceiling", "0.9", "--weight", "w")
    found = CliRunner().invoke(app, [command, "--table", "runs.csv", *given, *score, *extra])
    assert isinstance(found.exception, Heard)
    delta = 0.1 if command == "fit" else 1e-3
    asked = TableLaw("y", {"size": "n", "steps": "s"}, "f", "c", ["E=0"], 2, True, 300, delta, "z", 0.2, 0.9, "w")
    assert found.exception.args == (Path("runs.csv"), asked)


def test_weights_are_said(tmp_path: Path) -> None:
    table = tmp_path / "means.csv"
    PLANTED["pure_power_law"].table(0).assign(trials=range(1, 37)).to_csv(table, index=False)
    said = run("--table", table, "--form", "pure_power_law", "--outcome", "y", "--data", "data", "--weight", "trials", "--draws", "100")
    assert "fitted to 36 rows, weighted by trials: data from 100 to 1e+06" in said


def test_parquet_gives_the_same(table: Path) -> None:
    other = table.with_suffix(".parquet")
    duckdb.execute(f"COPY (FROM read_csv('{table}')) TO '{other}' (FORMAT parquet)")
    options = ("--form", "chinchilla", "--outcome", "loss", "--size", "N", "--data", "D", "--draws", "100", "--json")
    assert json.loads(run("--table", other, *options)) == json.loads(run("--table", table, *options))


def test_words_tell_law_intervals_verdict_and_what_to_keep_in_mind(table: Path) -> None:
    said = run("--table", table, "--form", "chinchilla", "--outcome", "loss", "--size", "N", "--data", "D", "--drop-highest", "2")
    assert "L = E + A / N^alpha + B / D^beta" in said
    assert "95% interval" in said
    assert "fitted to 47 rows: N from 1e+07 to 1e+10" in said
    assert "verdict: released" in said
    assert "warning: left out: 2 rows, the 2 highest outcomes, as asked" in said


def test_auto_tells_how_it_chose(table: Path) -> None:
    said = run("--table", table, "--outcome", "loss", "--size", "N", "--data", "D", "--draws", "100")
    assert "choice: " in said
    assert "- pure_coupled: error on held-out trials" in said


def test_a_withheld_law_says_why(tmp_path: Path) -> None:
    n = np.geomspace(100, 1e6, 12)
    frame = pd.DataFrame({"n": n, "loss": 0.5 + 20 * n**-0.4 + np.where((n > 2e3) & (n < 2e4), 1.0, 0.0)})
    frame.to_csv(tmp_path / "runs.csv", index=False)
    said = run("--table", tmp_path / "runs.csv", "--outcome", "loss", "--data", "n")
    assert "verdict: withheld\n- the outcome rises" in said


def test_a_known_parameter(table: Path) -> None:
    content = json.loads(
        run(
            "--table",
            table,
            "--form",
            "chinchilla",
            "--outcome",
            "loss",
            "--size",
            "N",
            "--data",
            "D",
            "--fix",
            "E=1.8",
            "--draws",
            "100",
            "--json",
        )
    )
    assert "E" not in content["parameters"]
    assert content["fixed"] == {"E": 1.8}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (("--fix", "E"), LawError, "NAME=VALUE, got 'E'"),
        (("--form", "cubic"), LawError, "got 'cubic'"),
        (("--cluster", "seed"), LawError, "one of the table's, got 'seed'"),
        (("--table", "none.csv"), TableError, "must be a file"),
    ],
)
def test_mistakes_are_one_line(table: Path, options: tuple[str, ...], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as found:
        run("--table", table, "--form", "chinchilla", "--outcome", "loss", "--size", "N", "--data", "D", *options)
    assert said in str(found.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("theory_rates", "--size", "width"), "--size goes with --table, got study 'theory_rates'; leave it out: a study's YAML says"),
        (("theory_rates", "--drop-highest", "0"), "--drop-highest goes with --table"),
        (("theory_rates", "--table", "runs.csv"), "give a STUDY or --table FILE, got both"),
        ((), "give a STUDY or --table FILE, got neither"),
    ],
)
def test_what_a_study_has_registered_cannot_be_said_again(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(TrialhouseError, match=re.escape(said)):
        run(*arguments)


def test_a_table_has_no_laws_to_choose_from(table: Path) -> None:
    result = CliRunner().invoke(app, ["forecast", "--table", str(table), "--outcome", "loss", "--do", "data=2x", "--where", "seed=1"])
    assert str(result.exception) == "--where goes with a STUDY, got --table; leave it out"
