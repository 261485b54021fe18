"""`trialhouse explain` on a published study: in words and as JSON, and one line for every mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.trialhouse.reporting.conftest import write_warehouse
from trialhouse.__main__ import app
from trialhouse.errors import TrialhouseError
from trialhouse.settings import Settings, get_settings
from trialhouse.warehouse.read import query

Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the study's warehouse is published; nothing writes to it."""
    folder = tmp_path_factory.mktemp("explained")
    warehouse = Settings(home=folder).warehouse
    warehouse.parent.mkdir(parents=True)
    write_warehouse(warehouse, "measured")
    return folder


@pytest.fixture
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("TRIALHOUSE_HOME", str(folder))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def trial(settings: Settings, condition: str) -> Row:
    return query(f"SELECT * FROM marts.fct_trials WHERE NOT is_sentinel AND {condition} ORDER BY trial_id LIMIT 1", settings)[0]


def explained(*arguments: str) -> Row:
    found = CliRunner().invoke(app, ["explain", "pruning_digits", *arguments, "--json"])
    assert found.exception is None, found.output
    return dict(json.loads(found.output))


def test_a_latency_is_explained_and_what_it_would_have_been(there: Settings) -> None:
    slow = trial(there, "hardware_class = 'pc' AND batch_size = 512 AND pruning_ratio = 0 AND status = 'ok'")
    found = explained("--trial", slow["trial_id"], "--outcome", "latency_ms", "--do", "hardware_class=server")
    told = found["attribution"]
    assert told["value"] == pytest.approx(slow["latency_ms"])
    assert sum(item["contribution"] for item in told["contributions"]) == pytest.approx(told["value"] - told["reference"])
    assert told["monte_carlo_error"] == 0
    causes = {tuple(sorted(item["causes"])) for item in told["contributions"]}
    assert causes == {("batch_size",), ("hardware_class",), ("pruning_method", "pruning_ratio"), ("latency_ms",)}
    otherwise = found["counterfactual"]
    assert otherwise["do"] == {"hardware_class": "server"}
    # the fixture's laptops take 3.4 and its PCs 1.7 times as long as servers, each measurement with noise of 5%
    assert otherwise["value"] == pytest.approx(slow["latency_ms"] / 1.7, rel=0.05)
    assert otherwise["check"]["pairs"] >= 3
    assert found["chance_of_out_of_memory"]["value"] < 0.05
    assert set(found["no_path"]) == {"seed", "placebo"}
    assert {item["node"] for item in found["left_out"]} == {"is_oom"}
    strongest = found["arrow_strengths"][0]
    assert strongest["causes"] == ["batch_size"]
    assert strongest["variance"] > 0


def test_why_it_ran_out_of_memory(there: Settings) -> None:
    lost = trial(there, "status = 'out_of_memory' AND hardware_class = 'laptop'")
    found = explained("--trial", lost["trial_id"], "--do", "hardware_class=server")
    assert found["outcome"] == "is_oom"
    first = {name for item in found["attribution"]["contributions"][:2] for name in item["causes"]}
    assert first == {"batch_size", "hardware_class"}
    assert found["counterfactual"]["value"] < 0.1
    assert found["counterfactual"]["ci_high"] > found["counterfactual"]["check"]["missed_at_most"]
    assert {item["node"] for item in found["left_out"]} >= {"peak_memory_bytes"}  # what ran out of memory has no peak to tell


def test_it_reads_as_it_should(there: Settings) -> None:
    slow = trial(there, "hardware_class = 'pc' AND batch_size = 512 AND pruning_ratio = 0 AND status = 'ok'")
    arguments = ["--trial", slow["trial_id"][:12], "--outcome", "latency_ms", "--do", "hardware_class=laptop"]
    found = CliRunner().invoke(app, ["explain", "pruning_digits", *arguments])
    assert found.exception is None, found.output
    lines = found.output.splitlines()
    assert lines[0].startswith(f"Why did {slow['trial_id']} come to latency_ms = ")
    assert any(line.startswith("  hardware_class = pc  ") for line in lines)
    assert any(line.startswith("  together  ") for line in lines)
    assert any(line.startswith("Had it been hardware_class = laptop: ") for line in lines)
    assert any(line.startswith("- check: over ") and "the second held out" in line for line in lines)
    assert any("pruning.dot draws no path from there to latency_ms" in line for line in lines)
    assert "nan" not in found.output
    assert "None" not in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trial", "trial_none"], "--trial must be the id of one of the study's trials, or how only one begins, got 'trial_none'"),
        (["--trial", "trial_"], r"got 'trial_', with which \d+ ids begin"),
        (["--trial", "OK", "--outcome", "nothing"], "the data must have the column 'nothing'"),
        (["--trial", "OK", "--outcome", "load_ms"], "the outcome must be a node of the study's causal graph, got 'load_ms'"),
        (["--trial", "OK", "--outcome", "seed"], "something that causes 'seed' by pruning.dot must have been measured"),
        (["--trial", "OK", "--outcome", "latency_ms", "--do", "hardware_class"], "--do must be NAME=LEVEL, each name once"),
        (["--trial", "OK", "--outcome", "latency_ms", "--do", "hardware_class=phone"], "hardware_class must be set to what trials"),
        (["--trial", "OK", "--outcome", "latency_ms", "--do", "hardware_class=server"], "what is set must differ from what trial_"),
        (["--trial", "OK", "--outcome", "latency_ms", "--do", "pruning_method=none"], "must be set to a combination that was tried"),
        (["--trial", "OK", "--outcome", "latency_ms", "--do", "seed=1"], "must be a factor that causes latency_ms"),
        (["--trial", "LOST", "--outcome", "latency_ms"], "none: its status is 'out_of_memory'; ask about is_oom"),
    ],
)
def test_a_mistake_is_one_line(there: Settings, arguments: list[str], message: str) -> None:
    ids = {
        "OK": trial(there, "hardware_class = 'server' AND pruning_ratio = 0.6 AND status = 'ok'")["trial_id"],
        "LOST": trial(there, "status = 'out_of_memory'")["trial_id"],
    }
    found = CliRunner().invoke(app, ["explain", "pruning_digits", *(ids.get(word, word) for word in arguments)])
    assert isinstance(found.exception, TrialhouseError), found.output
    with pytest.raises(TrialhouseError, match=message):
        raise found.exception
    assert "\n" not in str(found.exception)


def test_a_study_that_was_never_run_is_one_line(there: Settings) -> None:
    found = CliRunner().invoke(app, ["explain", "no_such_study", "--trial", "trial_1"])
    assert isinstance(found.exception, TrialhouseError)
    assert "the study must be in the published warehouse, got 'no_such_study'" in str(found.exception)
