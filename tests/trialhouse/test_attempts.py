"""From an attempt to its rows: in the right order, with reasons in place of numbers that are none."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.trialhouse.engine import rows
from trialhouse.attempts import Attempt, CurvePoint, Reading, last_attempts
from trialhouse.landing import LandingZone
from trialhouse.settings import Settings

TRIAL, WEIGHTS = "trial_0123456789abcdef", "weights_0123456789abcdef"


def full_attempt() -> Attempt:
    attempt = Attempt("trial", TRIAL, WEIGHTS, "laptop", slot_order=3)
    attempt.outcomes = {"load_ms": Reading(1.5), "loss": Reading(math.nan), "peak_memory_bytes": Reading(reason="not told")}
    attempt.realised = {"batch_size": 64, "pruning_method": "none"}
    attempt.samples = {"latency_ms": [1.0, 2.0]}
    attempt.curves = [CurvePoint("finetuning", "test", 1, "accuracy", 0.9)]
    attempt.profiles = {"machine_cpu_model": Reading(text="a CPU")}
    return attempt


def test_every_table_gets_its_rows(home: Settings) -> None:
    assert full_attempt().land(LandingZone(home.landing_dir)) == 1
    outcomes = {row["outcome"]: (row["value"], row["reason"]) for row in rows(home, "outcomes")}
    assert outcomes == {"load_ms": (1.5, None), "loss": (None, "not a finite number: nan"), "peak_memory_bytes": (None, "not told")}
    realised = {row["factor"]: (row["realised"], row["realised_value"]) for row in rows(home, "realised")}
    assert realised == {"batch_size": ("64", 64.0), "pruning_method": ("none", None)}
    assert [(row["sequence"], row["value"]) for row in rows(home, "samples")] == [(0, 1.0), (1, 2.0)]
    assert rows(home, "curves")[0]["phase"] == "finetuning"
    assert rows(home, "profiles")[0]["text"] == "a CPU"
    (row,) = rows(home, "attempts")
    assert (row["unit_kind"], row["weights_id"], row["hardware_class"], row["status"], row["slot_order"]) == (
        "trial",
        WEIGHTS,
        "laptop",
        "ok",
        3,
    )
    now = datetime.now(UTC).replace(tzinfo=None)
    assert 0 <= (now - row["started_at"]).total_seconds() < 60
    assert row["started_at"] <= row["ended_at"]


def test_the_row_of_attempts_comes_last(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = LandingZone.write

    def killed_before_the_end(self: LandingZone, table: str, *arguments: object, **more: object) -> Path:
        if table == "attempts":
            raise KeyboardInterrupt
        written.append(table)
        return write(self, table, *arguments, **more)  # type: ignore[arg-type]

    landing = LandingZone(home.landing_dir)
    with monkeypatch.context() as patch:
        patch.setattr(LandingZone, "write", killed_before_the_end)
        with pytest.raises(KeyboardInterrupt):
            full_attempt().land(landing)
    assert set(written) == {"outcomes", "samples", "curves", "profiles", "realised"}
    assert last_attempts(landing, [TRIAL]) == {}
    assert full_attempt().land(landing) == 2  # what the killed one left behind stays, and does not count
    assert last_attempts(landing, [TRIAL])[TRIAL].attempt == 2


def test_the_last_of_several_attempts_is_found_among_others(home: Settings) -> None:
    landing = LandingZone(home.landing_dir)
    first = full_attempt()
    first.fail("crashed", "twice\n  the   space")
    assert first.land(landing) == 1
    assert full_attempt().land(landing) == 2
    Attempt("weights", WEIGHTS, WEIGHTS).land(landing)
    last = last_attempts(landing, [TRIAL, "trial_ffffffffffffffff"])
    assert {name: tuple(value) for name, value in last.items()} == {TRIAL: ("ok", None, 2)}
    assert [row["failure_reason"] for row in rows(home, "attempts", TRIAL)] == ["twice the space", None]
