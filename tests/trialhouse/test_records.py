"""Importing a table: each trial lands once under an id made of content, and whatever is wrong with the table is one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from tests.trialhouse.warehouse.samples import build
from trialhouse.__main__ import app
from trialhouse.errors import SpecError, TrialhouseError
from trialhouse.landing import LandingZone
from trialhouse.records import land_records
from trialhouse.registration import import_table, plan, register, registered
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.catalogue import load_study, parse_study
from trialhouse.warehouse.read import query, study_frame

GRAPH = "digraph { width -> accuracy; width -> is_oom; machine -> is_oom; hardware_class -> is_oom; hardware_class -> accuracy; }"
SPEC: dict[str, Any] = {
    "name": "elsewhere",
    "title": "Runs of somebody else",
    "question": "What does the width do, in runs that somebody else made?",
    "workload": {"name": "recorded"},
    "factors": [
        {"name": "width", "kind": "ordinal", "levels": [8, 16]},
        {"name": "is_fast", "kind": "categorical", "levels": [True, False]},
        {"name": "seed", "kind": "ordinal", "levels": [0, 1]},
    ],
    "hardware_classes": ["big", "small"],
    "design": {"kind": "full_factorial", "seed": 0},
    "graph": "elsewhere.dot",
    "recorded": {
        "keep": {"campaign": [7]},
        "key": ["host", "channels", "is_fast", "seed"],
        "factors": {"width": "channels"},
        "hardware_class": {
            "column": "host",
            "classes": {
                "big": {"value": "A-1", "cpus": 8, "memory_bytes": "16 GiB", "represents": "a tower"},
                "small": {"value": "B-2", "cpus": 2, "memory_bytes": "2 GiB"},
            },
        },
        "status": {"column": "ended", "values": {"0": "ok", "137": "out_of_memory"}},
        "outcomes": {"accuracy": {"column": "acc", "scale": 0.01}, "latency_ms": {"column": "seconds", "scale": 1000}},
        "profiles": ["chip", "load"],
        "repeated_over": ["seed"],
    },
    "estimands": [
        {"name": "width_on_accuracy", "treatment": "width", "contrast": {"from": 8, "to": 16}, "outcome": "accuracy"},
        {"name": "class_on_accuracy", "treatment": "hardware_class", "contrast": {"from": "small", "to": "big"}, "outcome": "accuracy"},
    ],
}


def table() -> pd.DataFrame:
    """Every combination once, plus a row of another campaign; wide networks run out of memory on the small machine."""
    rows = [
        {"campaign": 7, "host": host, "channels": width, "is_fast": is_fast, "seed": seed, "load": 0.5 * width}
        for host in ("A-1", "B-2")
        for width in (8, 16)
        for is_fast in (True, False)
        for seed in (0, 1)
    ]
    frame = pd.DataFrame([*rows, {**rows[0], "campaign": 6}])
    is_lost = (frame["host"] == "B-2") & (frame["channels"] == 16) & ~frame["is_fast"].astype(bool)
    return frame.assign(
        ended=is_lost.map({True: 137, False: 0}),
        acc=(90.0 + frame["seed"]).where(~is_lost),
        seconds=(0.002 * frame["channels"]).where(~is_lost),
        chip=frame["host"].map({"A-1": "x86", "B-2": None}),
    )


@pytest.fixture
def here(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home with the study `elsewhere` in it and its table beside."""
    folder = home.home / "studies"
    folder.mkdir()
    write_spec(folder, SPEC)
    (folder / "elsewhere.dot").write_text(GRAPH)
    table().to_csv(home.home / "runs.csv", index=False)
    monkeypatch.setenv("TRIALHOUSE_STUDIES_DIR", str(folder))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def write_spec(folder: Path, spec: dict[str, Any]) -> None:
    (folder / "elsewhere.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


def observational() -> dict[str, Any]:
    return {**SPEC, "design": {"kind": "observational", "seed": 0}, "recorded": {**SPEC["recorded"], "key": []}}


def landed(settings: Settings, name: str) -> list[dict[str, Any]]:
    files = [str(path) for path in LandingZone(settings.landing_dir).files(name)]
    found: list[dict[str, Any]] = duckdb.execute("SELECT * FROM read_parquet(?)", [files]).df().to_dict("records") if files else []
    return found


def test_a_table_becomes_trials_of_the_marts(here: Settings) -> None:
    registration, records = import_table("elsewhere", here.home / "runs.csv")
    assert (len(registration.trials), records.left_out, registration.is_new) == (16, 1, True)
    assert len({trial.weights_id for trial in registration.trials}) == 4  # rows that differ in seed or machine alone are one unit
    build(here)
    frame = study_frame(registration.study_id)
    assert len(frame) == 16
    ok = frame[frame["status"] == "ok"]
    assert ok["accuracy"].tolist() == pytest.approx((0.9 + 0.01 * ok["seed"]).tolist())
    assert ok["latency_ms"].tolist() == pytest.approx((2.0 * ok["width"]).tolist())
    assert set(ok["is_fast"]) == {1.0, 0.0} or set(ok["is_fast"]) == {"True", "False"}
    lost = frame[frame["is_oom"] == 1]
    assert (len(lost), set(lost["hardware_class"]), set(lost["width"])) == (2, {"small"}, {16})
    assert lost["accuracy"].isna().all()
    assert query("SELECT DISTINCT failure_reason AS why FROM marts.fct_trials WHERE is_oom") == [{"why": "recorded as 137"}]
    machines = query("SELECT hardware_class, represents, cpus, memory_bytes, is_emulated FROM marts.dim_hardware_classes ORDER BY ALL")
    assert [tuple(row.values()) for row in machines] == [("big", "a tower", 8, 16 << 30, False), ("small", None, 2, 2 << 30, False)]
    chips = query("SELECT text, reason, count(*) AS rows FROM marts.fct_profiles WHERE metric = 'chip' GROUP BY ALL ORDER BY ALL")
    assert [tuple(row.values()) for row in chips] == [("x86", None, 8), (None, "the table has no value", 8)]
    told = query("SELECT is_registered_before_first_trial AS before, is_changed_after_first_trial AS changed FROM marts.dim_studies")
    assert told == [{"before": False, "changed": False}]  # nobody asked before the trials ran
    checks = query(
        "SELECT level, hardware_class, measured FROM marts.fct_design_checks WHERE check_name = 'overlap' AND factor = 'hardware_class'"
    )
    assert {(row["level"], row["hardware_class"], row["measured"]) for row in checks} == {("big", "big", 8), ("small", "small", 8)}


def test_the_same_rows_in_any_order_and_format_land_once(here: Settings) -> None:
    first, _ = import_table("elsewhere", here.home / "runs.csv")
    files = LandingZone(here.landing_dir).files()
    shuffled = table().sample(frac=1, random_state=1)
    duckdb.from_df(shuffled).write_parquet(str(here.home / "runs.parquet"))
    again, _ = import_table("elsewhere", here.home / "runs.parquet")
    assert (again.study_id, again.is_new) == (first.study_id, False)
    assert again.trials == first.trials
    assert LandingZone(here.landing_dir).files() == files
    assert registered(first.study_id).trials == first.trials


def test_another_question_lands_no_trial_again(here: Settings) -> None:
    first, _ = import_table("elsewhere", here.home / "runs.csv")
    write_spec(here.home / "studies", {**SPEC, "estimands": SPEC["estimands"][:1]})
    second, _ = import_table("elsewhere", here.home / "runs.csv")
    assert second.study_id != first.study_id
    assert [trial.trial_id for trial in second.trials] == [trial.trial_id for trial in first.trials]
    assert len(landed(here, "attempts")) == 16


def test_a_changed_value_makes_other_trials(here: Settings) -> None:
    first, _ = import_table("elsewhere", here.home / "runs.csv")
    table().assign(load=1.0).to_csv(here.home / "runs.csv", index=False)
    second, _ = import_table("elsewhere", here.home / "runs.csv")
    assert not {trial.trial_id for trial in first.trials} & {trial.trial_id for trial in second.trials}


def test_a_run_takes_up_what_was_imported_and_nothing_else(here: Settings) -> None:
    remedy = "run `trialhouse import elsewhere --table FILE`"
    with pytest.raises(SpecError, match=remedy):
        plan(load_study("elsewhere"))
    first, _ = import_table("elsewhere", here.home / "runs.csv")
    assert plan(load_study("elsewhere")).study_id == register("elsewhere").study_id == first.study_id
    (here.home / "studies" / "elsewhere.dot").write_text(GRAPH.replace("machine -> is_oom;", ""))
    with pytest.raises(SpecError, match=remedy):
        register("elsewhere")


def test_a_kill_in_the_middle_is_made_good_by_the_next_import(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    write = LandingZone.write

    def killed(zone: LandingZone, name: str, *arguments: object, **keywords: object) -> Path:
        if name == "attempts":
            raise KeyboardInterrupt
        return write(zone, name, *arguments, **keywords)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(LandingZone, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            import_table("elsewhere", here.home / "runs.csv")
    assert landed(here, "study_versions") == []
    registration, records = import_table("elsewhere", here.home / "runs.csv")
    assert registration.is_new
    assert len(landed(here, "attempts")) == 16
    land_records(records, LandingZone(here.landing_dir))
    assert len(landed(here, "outcomes")) == 32


def spoiled(**columns: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The table with the third row's cells replaced."""

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        result = frame.astype(object)
        for name, value in columns.items():
            result.loc[2, name] = value
        return result

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frame: frame.drop(columns="acc"), r"runs.csv must have the column 'acc', got the columns \[.*; fix 'recorded'"),
        (lambda frame: frame.drop(columns="seed"), "runs.csv must have the column 'seed'"),
        (spoiled(ended="exploded"), r"column 'ended' must hold \['0', '137'\], got 'exploded' in data row 3; fix recorded.status.values"),
        (spoiled(acc="n/a"), "column 'acc' must hold numbers, got 'n/a' in data row 3"),
        (spoiled(host="C-3"), r"column 'host' must hold \['A-1', 'B-2'\], got 'C-3' in data row 3"),
        (spoiled(channels=9), r"column 'channels' must hold \['8', '16'\], got '9' in data row 3; fix the levels of factor 'width'"),
        (
            lambda frame: pd.concat([frame.astype(object).assign(host=None)] * 2),
            r"no two rows may agree in the key \[.*\], got data rows 1, 9, 18",
        ),
        (spoiled(seed=1), r"no two rows may agree in the key \[.*\], got data rows 3, 4"),
        (
            lambda frame: frame[:-3],
            "must hold every combination of the factors 1 time.* got 2 missing, such as small: width=16, is_fast=False",
        ),
        (lambda frame: frame[frame["campaign"] == 6], "runs.csv must hold trials, got 1 rows, none of which the spec keeps"),
        (lambda frame: frame[:0], "runs.csv must hold trials, got no rows"),
    ],
)
def test_a_bad_table_is_one_line_and_lands_nothing(here: Settings, spoil: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
    spoil(table()).to_csv(here.home / "runs.csv", index=False)
    with pytest.raises(TrialhouseError, match=message) as error:
        import_table("elsewhere", here.home / "runs.csv")
    assert "\n" not in str(error.value)
    assert LandingZone(here.landing_dir).files() == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("runs.csv", b"", "must"),
        ("runs.parquet", b"PAR1 not really", "runs.parquet must be readable"),
        ("runs.xlsx", b"", "must be a .csv or .parquet file, got 'runs.xlsx'"),
        ("missing.csv", None, "missing.csv must be a file"),
    ],
)
def test_a_file_that_is_no_table_is_one_line(here: Settings, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (here.home / name).write_bytes(content)
    found = CliRunner().invoke(app, ["import", "elsewhere", "--table", str(here.home / name)])
    assert isinstance(found.exception, TrialhouseError)
    assert message in str(found.exception)
    assert "\n" not in str(found.exception)


def test_observed_rows_need_no_completeness_and_alike_ones_are_replicates(here: Settings) -> None:
    write_spec(here.home / "studies", observational())
    frame = table()[:-3]
    pd.concat([frame, frame[:1]]).to_csv(here.home / "runs.csv", index=False)
    registration, _ = import_table("elsewhere", here.home / "runs.csv")
    assert len(registration.trials) == len({trial.trial_id for trial in registration.trials}) == 15
    assert sorted(trial.replicate for trial in registration.trials)[-2:] == [0, 1]


def test_a_number_that_is_none_lands_as_its_reason(here: Settings) -> None:
    """A loss that overflowed is no outcome: an infinite one would pass for a large number in SQL."""
    spoiled(acc=float("inf"), load=float("inf"))(table()).to_csv(here.home / "runs.csv", index=False)
    import_table("elsewhere", here.home / "runs.csv")
    for name in ("outcomes", "profiles"):
        (row,) = [row for row in landed(here, name) if "inf" in str(row["reason"])]
        assert (row["reason"], pd.isna(row["value"])) == ("not a finite number: inf", True)


def test_nobody_may_say_that_observed_treatments_were_randomised(here: Settings) -> None:
    write_spec(here.home / "studies", observational())
    (here.home / "studies" / "elsewhere.dot").write_text(GRAPH.replace("digraph {", 'digraph { assignment="randomised";'))
    with pytest.raises(SpecError, match="must not say that the treatment was randomised in an observational study"):
        import_table("elsewhere", here.home / "runs.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workload": {"name": "small_cnn"}}, "the workload of a recorded study must be 'recorded', got 'small_cnn'"),
        ({"recorded": None}, "workload must be one of"),
        (
            {"design": {"kind": "randomised_blocks", "seed": 0}},
            "design.kind of a recorded study must be 'full_factorial' or 'observational'",
        ),
        ({"hardware_classes": ["big"]}, "recorded.hardware_class.classes must be the study's"),
        ({"recorded": {**SPEC["recorded"], "factors": {"depth": "d"}}}, "recorded.factors must name factors"),
        ({"recorded": {**SPEC["recorded"], "outcomes": {"is_oom": {"column": "o"}}}}, "which follows from the status"),
        ({"recorded": {**SPEC["recorded"], "outcomes": {"width": {"column": "o"}}}}, "an outcome needs a name of its own, got 'width'"),
        ({"estimands": [{**SPEC["estimands"][1], "by": "hardware_class"}]}, "by must be one of"),
        ({"estimands": [{**SPEC["estimands"][1], "contrast": {"from": "small", "to": "huge"}}]}, "contrast must name assigned levels"),
    ],
)
def test_a_spec_that_cannot_be_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as error:
        parse_study({**SPEC, **change}, "elsewhere.yaml")
    assert "\n" not in str(error.value)


def test_an_outcome_that_was_not_recorded_cannot_be_asked_about(here: Settings) -> None:
    write_spec(here.home / "studies", {**SPEC, "estimands": [{**SPEC["estimands"][0], "outcome": "flops"}]})
    with pytest.raises(SpecError, match=r"must be one of \['accuracy', 'is_diverged', 'is_oom', 'latency_ms'\]"):
        import_table("elsewhere", here.home / "runs.csv")
