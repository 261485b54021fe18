"""Registration: questions land before trials, once; what is run last is the current version."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
import yaml

from trialhouse.errors import HardwareError, SpecError, TrialhouseError
from trialhouse.landing import LandingZone
from trialhouse.registration import plan, register, registered
from trialhouse.settings import PROJECT_DIR, Settings, get_settings
from trialhouse.studies.catalogue import load_study


def versions(settings: Settings) -> list[str]:
    files = [str(path) for path in LandingZone(settings.landing_dir).files("study_versions")]
    rows = duckdb.execute("SELECT study_id FROM read_parquet(?) ORDER BY registered_at", [files]).fetchall()
    return [row[0] for row in rows]


def test_a_class_with_more_memory_than_the_machine_stops_before_anything_runs(home: Settings, tmp_path: Path) -> None:
    classes = tmp_path / "classes.yaml"
    giant = {"cpus": 1, "threads": 1, "memory_bytes": "1000 TiB"}
    classes.write_text(yaml.safe_dump({"server": giant, "pc": giant, "laptop": giant}))
    settings = home.model_copy(update={"hardware_file": classes})
    with pytest.raises(HardwareError, match="memory_bytes of hardware class 'server' must be at most this machine's"):
        register("pruning_digits", settings=settings)
    assert not any(home.landing_dir.rglob("*.parquet"))


def test_what_is_registered_is_read_back_as_it_was(home: Settings) -> None:
    first = register("pruning_digits")
    again = registered(first.study_id)
    assert first.is_new
    assert again.study == first.study
    assert again.trials == first.trials
    assert [trial.factors for trial in again.trials] == [trial.factors for trial in first.trials]
    assert [trial.labels for trial in again.trials] == [trial.labels for trial in first.trials]
    assert sum(trial.is_sentinel for trial in again.trials) == 21
    assert again.graphs == first.graphs


def test_registering_twice_lands_once(home: Settings) -> None:
    register("pruning_digits")
    before = LandingZone(home.landing_dir).files()
    assert not register("pruning_digits").is_new
    assert LandingZone(home.landing_dir).files() == before


def test_a_version_that_is_run_again_becomes_current_again(home: Settings) -> None:
    full = register("pruning_digits").study_id
    small = register("pruning_digits", {"blocks": 2}).study_id
    assert versions(home) == [full, small]
    register("pruning_digits")
    register("pruning_digits")
    assert versions(home) == [full, small, full]


def test_a_kill_in_the_middle_leaves_nothing_registered(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    study_id = plan(load_study("pruning_digits")).study_id
    write = LandingZone.write

    def killed(zone: LandingZone, table: str, *arguments: object, **keywords: object) -> Path:
        if table == "assignments":
            raise KeyboardInterrupt
        return write(zone, table, *arguments, **keywords)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(LandingZone, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            register("pruning_digits")
    with pytest.raises(SpecError, match="must be registered"):
        registered(study_id)
    assert register("pruning_digits").study_id == study_id
    assert len(registered(study_id).trials) == 216 + 21


def test_a_form_that_cannot_be_met_lands_nothing(home: Settings) -> None:
    with pytest.raises(SpecError, match="blocks must be in"):
        register("pruning_digits", {"blocks": 0})
    assert LandingZone(home.landing_dir).files() == []


@pytest.mark.parametrize(
    ("change", "graph", "message"),
    [
        ({"outcome": "colour"}, None, "outcome of estimand 'pruning_on_accuracy' must be one of .*, got 'colour'"),
        ({"outcome": "load_ms"}, None, "pruning.dot must name 'load_ms'"),
        ({}, "digraph { accuracy -> pruning_ratio; pruning_ratio -> accuracy }", "must have no cycle"),
        ({}, "digraph { pruning_ratio -> flops; seed -> accuracy }", "must draw a path from 'pruning_ratio' to 'accuracy', got none"),
        ({"graph": "nowhere.dot"}, None, "got 'nowhere.dot'"),
    ],
)
def test_what_could_only_fail_at_the_end_is_refused_before_anything_lands(
    home: Settings, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], graph: str | None, message: str
) -> None:
    folder = home.home / "studies"
    folder.mkdir()
    content = yaml.safe_load((PROJECT_DIR / "include/studies/pruning_digits.yaml").read_text())
    content |= {"name": "mine", "estimands": [{**content["estimands"][0], **change}]}
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    (folder / "pruning.dot").write_text(graph or (PROJECT_DIR / "include/studies/pruning.dot").read_text())
    monkeypatch.setenv("TRIALHOUSE_STUDIES_DIR", str(folder))
    get_settings.cache_clear()
    with pytest.raises(TrialhouseError, match=message):
        register("mine")
    assert LandingZone(home.landing_dir).files() == []
