"""Trials measured for real: latency, memory, and every way in which one can fail."""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.trialhouse.engine import LAPTOP, outcomes, rows, tiny_study, trials_of
from trialhouse.hardware.runner import ChildResult
from trialhouse.profiling import trials as module
from trialhouse.profiling.trials import profile_trials_for
from trialhouse.settings import PROJECT_DIR, Settings, get_settings
from trialhouse.studies.designs import Trial
from trialhouse.studies.spec import Study
from trialhouse.training.weights import make_weights_for
from trialhouse.workloads.weights import WeightsStore

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux enforces the memory limit")

Measured = tuple[Settings, Study, dict[tuple[Any, Any], str]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """One study measured as a whole: (ratio or method, batch size) -> trial id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIALHOUSE_HOME", str(tmp_path_factory.mktemp("home")))
        get_settings.cache_clear()
        settings, study = get_settings(), tiny_study(ratios=(0, 0.6), batch_sizes=(64, 4096))
        trials = trials_of(study)
        make_weights_for(study, trials)
        assert profile_trials_for(study, trials, LAPTOP) == {"skipped": 0, "ok": 4, "out_of_memory": 2}
        yield settings, study, {(trial.factors["pruning_method"], trial.factors["batch_size"]): trial.trial_id for trial in trials}
    get_settings.cache_clear()


@needs_linux
def test_memory_runs_out_for_real_at_the_largest_batch_unless_channels_are_gone(measured: Measured) -> None:
    settings, _, ids = measured
    attempts = {row["unit_id"]: row for row in rows(settings, "attempts") if row["unit_kind"] == "trial"}
    statuses = {cell: attempts[trial_id]["status"] for cell, trial_id in ids.items()}
    assert {cell for cell, status in statuses.items() if status == "out_of_memory"} == {("none", 4096), ("l1_mask", 4096)}
    lost = ids["none", 4096]
    assert f"you tried to allocate {80 << 20} bytes" in attempts[lost]["failure_reason"]
    refused = {row["metric"]: row["value"] for row in rows(settings, "profiles", lost)}["refused_allocation_bytes"]
    peak = outcomes(settings, lost)["peak_memory_bytes"]
    assert peak is not None
    assert peak <= LAPTOP.memory_bytes < peak + refused
    assert rows(settings, "samples", lost) == []
    reasons = {row["outcome"]: row["reason"] for row in rows(settings, "outcomes", lost)}
    assert reasons["peak_memory_bytes"] == "as far as it came: the allocation that was refused is not in it"


@needs_linux
def test_peak_memory_is_what_the_activations_take(measured: Measured) -> None:
    settings, _, ids = measured
    small, large = (outcomes(settings, ids["l1_structured", batch]) for batch in (64, 4096))
    activations = 2 * 32 * 64 * 4 * 4096  # two copies of the first layer's 32 channels of 64 pixels in single precision
    assert activations <= large["peak_memory_bytes"] <= activations + (8 << 20)  # type: ignore[operator]
    assert small["peak_memory_bytes"] < 8 << 20  # type: ignore[operator]
    assert large["memory_utilisation"] == large["peak_memory_bytes"] / LAPTOP.memory_bytes  # type: ignore[operator]


def latencies(settings: Settings, trial_id: str) -> list[float]:
    return [row["value"] for row in rows(settings, "samples", trial_id) if row["metric"] == "latency_ms"]


def test_removed_channels_save_time_and_masks_do_not(measured: Measured) -> None:
    settings, _, ids = measured
    latency = {method: latencies(settings, ids[method, 64]) for method in ("none", "l1_mask", "l1_structured")}
    assert all(5 <= len(samples) <= 30 and min(samples) > 0 for samples in latency.values())
    # the fastest of 30 calls is what a busy machine disturbs least
    fastest = {method: min(samples) for method, samples in latency.items()}
    assert fastest["l1_structured"] < 0.6 * fastest["none"]  # it does a fifth of the arithmetic
    assert 0.7 < fastest["l1_mask"] / fastest["none"] < 1.4  # the same arithmetic
    large = latencies(settings, ids["l1_structured", 4096])
    assert statistics.median(large) > 10 * statistics.median(latency["l1_structured"])


def test_an_attempt_tells_its_place_its_levels_and_the_machine(measured: Measured) -> None:
    settings, study, ids = measured
    order = {row["unit_id"]: row["slot_order"] for row in rows(settings, "attempts") if row["unit_kind"] == "trial"}
    assert [order[trial.trial_id] for trial in trials_of(study)] == list(range(6))
    trial = ids["none", 64]
    assert [(row["factor"], row["realised_value"]) for row in rows(settings, "realised", trial)] == [("batch_size", 64.0)]
    assert outcomes(settings, trial)["load_ms"] > 0  # type: ignore[operator]
    assert outcomes(settings, trial)["warmup_ms"] > 0  # type: ignore[operator]
    profiles = {row["metric"]: row for row in rows(settings, "profiles", trial)}
    assert {"enforced_cpus", "enforced_memory_bytes", "instructions", "task_clock_ns", "user_cpu_s", "cpu_share", "machine_gpu"} <= set(
        profiles
    )
    assert all(row["value"] is not None or row["text"] is not None or row["reason"] for row in profiles.values())
    assert profiles["user_cpu_s"]["value"] > 0


def test_weights_are_as_accurate_in_every_trial_as_when_they_were_made(measured: Measured) -> None:
    settings, study, _ = measured
    ended = {row["unit_id"]: row["status"] for row in rows(settings, "attempts")}
    for trial in trials_of(study):
        served = outcomes(settings, trial.trial_id).get("accuracy_as_served")
        made = outcomes(settings, trial.weights_id)["accuracy"]
        assert served == (pytest.approx(made, abs=1e-12) if ended[trial.trial_id] == "ok" else None)


def test_small_calls_tell_what_the_sampler_costs(measured: Measured) -> None:
    settings, _, ids = measured
    profiles = {row["metric"]: row for row in rows(settings, "profiles", ids["l1_structured", 64])}
    by_turn = [profiles[metric] for metric in ("sampled_latency_ms", "unsampled_latency_ms")]
    assert all((row["value"] is None) == (row["reason"] is not None) for row in by_turn)
    assert profiles["sampler_looks"]["value"] >= 1
    # a look takes half a millisecond of a CPU
    assert 0 < profiles["sampler_cpu_s"]["value"] < 0.05 * profiles["sampler_looks"]["value"]


def test_table_one_names_what_lands_and_nothing_else(measured: Measured) -> None:
    settings, _, _ = measured
    text = (PROJECT_DIR / "dbt_project" / "models" / "marts" / "fct_profiles.md").read_text()
    named = set(re.findall(r"`([a-z0-9_]+)`", text)) - {"flops"}
    landed = {row["metric"] for row in rows(settings, "profiles")}
    assert named <= landed
    assert landed - named == {"refused_allocation_bytes", "threads", "isa", "torch_version", "process_id"}


def test_landed_trials_are_skipped_without_starting_anything(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, study, _ = measured
    monkeypatch.setattr(module, "IsolatedRunner", None)
    assert profile_trials_for(study, trials_of(study), LAPTOP, settings=settings) == {"skipped": 6}


class ScriptedRunner:
    """In place of the real runner: ends as told, one end per call."""

    ends: list[ChildResult]
    calls: list[dict[str, Any]]

    def __init__(self, *arguments: Any) -> None:
        pass

    def __enter__(self) -> ScriptedRunner:
        return self

    def __exit__(self, *arguments: object) -> None:
        pass

    def call(self, function: str, arguments: dict[str, Any], timeout_s: float, watch: Any) -> ChildResult:
        self.calls.append(arguments)
        return self.ends.pop(0)


GOOD = ChildResult(result={"status": "ok", "failure_reason": None, "outcomes": {}, "profiles": {}, "realised": {}, "samples": {}})


@pytest.fixture
def one_trial(home: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[Study, list[Trial]]:
    """A study of one trial whose weights are there, to be measured by a scripted runner."""
    study = tiny_study(methods=("l1_structured",))
    trials = trials_of(study)[:1]
    path = WeightsStore(home.weights_dir).path(trials[0].weights_id)
    path.parent.mkdir(parents=True)
    path.touch()
    monkeypatch.setattr(module, "IsolatedRunner", ScriptedRunner)
    monkeypatch.setattr(ScriptedRunner, "calls", [], raising=False)
    return study, trials


CRASH, KILL = (
    ChildResult(failure="killed by signal SIGSEGV"),
    ChildResult(failure="killed by the kernel for lack of memory", is_out_of_memory=True),
)
LATE = ChildResult(failure="not done after 1 s", is_timed_out=True)


@pytest.mark.parametrize(
    ("ends", "statuses"),
    [
        ([GOOD], ["ok"]),
        ([CRASH, GOOD], ["crashed", "ok"]),
        ([CRASH, CRASH], ["crashed", "crashed"]),
        ([LATE], ["timed_out"]),
        ([KILL], ["out_of_memory"]),
    ],
)
def test_every_end_is_a_row_and_only_a_crash_is_tried_again(
    home: Settings, one_trial: tuple[Study, list[Trial]], monkeypatch: pytest.MonkeyPatch, ends: list[ChildResult], statuses: list[str]
) -> None:
    monkeypatch.setattr(ScriptedRunner, "ends", list(ends), raising=False)
    assert profile_trials_for(*one_trial, LAPTOP) == {"skipped": 0, statuses[-1]: 1}
    landed = sorted(rows(home, "attempts"), key=lambda row: row["attempt"])
    assert [row["status"] for row in landed] == statuses
    assert [row["failure_reason"] for row in landed] == [end.failure for end in ends]
    assert profile_trials_for(*one_trial, LAPTOP) == {"skipped": 1}
    monkeypatch.setattr(ScriptedRunner, "ends", [GOOD])
    assert profile_trials_for(*one_trial, LAPTOP, rerun=True) == {"skipped": 0, "ok": 1}


def test_trials_of_diverged_weights_are_rows_and_final(home: Settings, one_trial: tuple[Study, list[Trial]]) -> None:
    study, trials = one_trial
    store = WeightsStore(home.weights_dir)
    store.path(trials[0].weights_id).unlink()
    store.save_failure(trials[0].weights_id, {"status": "diverged", "reason": "loss is not finite in epoch 1 of finetuning"})
    assert profile_trials_for(study, trials, LAPTOP) == {"skipped": 0, "diverged": 1}
    assert rows(home, "attempts")[0]["failure_reason"] == "no weights to measure: loss is not finite in epoch 1 of finetuning"
    assert profile_trials_for(study, trials, LAPTOP) == {"skipped": 1}


def test_trials_of_missing_weights_are_rows_and_measured_when_they_are_there(
    home: Settings, one_trial: tuple[Study, list[Trial]], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, trials = one_trial
    path = WeightsStore(home.weights_dir).path(trials[0].weights_id)
    path.unlink()
    assert profile_trials_for(study, trials, LAPTOP) == {"skipped": 0, "crashed": 1}
    assert [row["failure_reason"] for row in rows(home, "attempts")] == ["no weights to measure: they were never made"]
    path.touch()
    monkeypatch.setattr(ScriptedRunner, "ends", [GOOD], raising=False)
    assert profile_trials_for(study, trials, LAPTOP) == {"skipped": 0, "ok": 1}


def test_a_real_timeout(home: Settings) -> None:
    study = tiny_study(methods=("l1_structured",), trial_timeout_s=0.01)
    trials = trials_of(study)[:1]
    make_weights_for(study, trials)
    assert profile_trials_for(study, trials, LAPTOP) == {"skipped": 0, "timed_out": 1}
    assert rows(home, "attempts", trials[0].trial_id)[0]["failure_reason"] == "not done after 0.01 s"


@pytest.mark.parametrize("problem", ["slow", "memory"])
def test_an_evaluation_that_cannot_be_done_is_null_with_the_reason(problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from trialhouse.profiling import inference
    from trialhouse.workloads.protocol import Examples

    def network(batch: torch.Tensor) -> torch.Tensor:
        if problem == "memory":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return torch.nn.functional.one_hot(batch.long(), 2)

    examples = Examples(torch.tensor([0, 1, 1, 0, 1]), torch.tensor([0, 1, 1, 0, 0]))
    if problem == "slow":
        assert inference._accuracy(network, examples, 2) == (0.8, None, None)  # type: ignore[arg-type]
        assert inference._accuracy(network, examples, 64) == (0.8, None, None)  # type: ignore[arg-type]
        monkeypatch.setattr(inference, "EVALUATION_S", -1.0)
    reading = inference._accuracy(network, examples, 2)  # type: ignore[arg-type]
    assert reading.value is None
    assert (
        reading.reason
        == {
            "slow": "given up after 0 of 5 examples (-1 s)",
            "memory": "RuntimeError: DefaultCPUAllocator: can't allocate memory",
        }[problem]
    )
