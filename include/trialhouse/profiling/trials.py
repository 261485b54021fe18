"""Measuring the trials of one hardware class, one at a time, each in its own process. Algorithm 1, lines 10 to 13."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from trialhouse.attempts import Attempt, LastAttempt, Reading, Status, last_attempts
from trialhouse.errors import HardwareError
from trialhouse.hardware.classes import HardwareClass, load_hardware_classes
from trialhouse.hardware.limits import require_memory
from trialhouse.hardware.probe import probe_machine
from trialhouse.hardware.runner import ChildResult, IsolatedRunner
from trialhouse.hardware.slot import machine_slot
from trialhouse.landing import LandingZone
from trialhouse.profiling.sampler import Sampler
from trialhouse.registration import registered
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.designs import Trial
from trialhouse.studies.spec import Study
from trialhouse.workloads.registry import load_classifier
from trialhouse.workloads.weights import WeightsStore

MOST_ATTEMPTS = 2
"""A crash may be chance and is tried once more; every other end is the trial's outcome."""

NO_WEIGHTS = "no weights to measure"
"""How the reason of such a trial begins."""


def profile_trials(
    study_id: str, hardware_class: str, chunk: int = 0, chunks: int = 1, *, rerun: bool = False, settings: Settings | None = None
) -> dict[str, int]:
    """Measure a registered study's trials in one hardware class, or every `chunks`-th of them, in the study's random order.

    Parameters
    ----------
    study_id
        A registered version.
    hardware_class
        One of the study's classes.
    chunk, chunks
        Which part, from 0, of how many.
    rerun
        Also measure trials that landed before.

    Returns
    -------
    dict
        Status -> count of the trials measured by this call, and `skipped`.

    Raises
    ------
    TrialhouseError
        If the study is not registered or the class cannot be used. A trial that fails is a row instead.
    """
    settings = settings or get_settings()
    registration = registered(study_id, settings)
    classes = load_hardware_classes(settings)
    if hardware_class not in registration.study.hardware_classes or hardware_class not in classes:
        expected = f"hardware_class must be one of {list(registration.study.hardware_classes)}"
        raise HardwareError(expected, repr(hardware_class), f"fix the call or study {registration.study.name!r}")
    trials = [trial for trial in registration.trials if trial.hardware_class == hardware_class]
    return profile_trials_for(registration.study, trials[chunk::chunks], classes[hardware_class], rerun=rerun, settings=settings)


def profile_trials_for(
    study: Study, trials: Sequence[Trial], hardware: HardwareClass, *, rerun: bool = False, settings: Settings | None = None
) -> dict[str, int]:
    """The same for trials in hand, in their given order; see `profile_trials`."""
    settings = settings or get_settings()
    landing, store = LandingZone(settings.landing_dir), WeightsStore(settings.weights_dir)
    landed = last_attempts(landing, [trial.trial_id for trial in trials])
    todo = [trial for trial in trials if rerun or not _is_final(landed.get(trial.trial_id), store.has(trial.weights_id))]
    counts: Counter[str] = Counter(skipped=len(trials) - len(todo))
    if not todo:
        return dict(counts)
    require_memory(hardware)
    load_classifier(study).identity()  # missing data stop the call here, in one line
    about = {"workload": study.workload.name, "settings": dict(study.workload.settings)}
    with ExitStack() as stack:
        with machine_slot("shared", settings):  # its imports keep a CPU busy
            prepared = {**about, "factors": dict(todo[0].factors)}
            runner = stack.enter_context(IsolatedRunner("trialhouse.profiling.inference:prepare", prepared))
        order = itertools.count()
        for trial in todo:
            is_final = False
            while not is_final:
                with machine_slot("exclusive", settings):
                    attempt = _attempt(runner, trial, hardware, about, study.trial_timeout_s, next(order), store)
                    number = attempt.land(landing)
                last = LastAttempt(attempt.status, attempt.failure_reason, number)
                is_final = _is_final(last, store.has(trial.weights_id)) or not store.has(trial.weights_id)
            counts[attempt.status] += 1
    return dict(counts)


def _is_final(last: LastAttempt | None, has_weights: bool) -> bool:
    """Whether a trial's last attempt is its outcome. A crash is not yet, nor a lack of weights that are there now."""
    if last is None:
        return False
    if (last.failure_reason or "").startswith(NO_WEIGHTS):
        return not has_weights and last.status == "diverged"
    return last.status != "crashed" or last.attempt >= MOST_ATTEMPTS


def _attempt(
    runner: IsolatedRunner, trial: Trial, hardware: HardwareClass, about: dict[str, Any], timeout_s: float, order: int, store: WeightsStore
) -> Attempt:
    """Measure one trial, and collect what it and the machine tell."""
    attempt = Attempt("trial", trial.trial_id, trial.weights_id, trial.hardware_class, slot_order=order)
    if not store.has(trial.weights_id):
        failure = store.failure(trial.weights_id) or {"status": "crashed", "reason": "they were never made"}
        attempt.fail(failure["status"], f"{NO_WEIGHTS}: {failure['reason']}")
        return attempt
    arguments = {
        **about,
        "weights_path": str(store.path(trial.weights_id)),
        "factors": dict(trial.factors),
        "hardware": hardware.model_dump(mode="json"),
    }
    sampler = Sampler()
    child = runner.call("trialhouse.profiling.inference:measure", arguments, timeout_s, sampler.watch_by_turns)
    _take(attempt, child)
    attempt.profiles |= sampler.read(child.usage) | probe_machine()
    return attempt


def _take(attempt: Attempt, child: ChildResult) -> None:
    """What became of the child, as the attempt's status and rows."""
    report = child.result
    if report is None:
        status: Status = "out_of_memory" if child.is_out_of_memory else "timed_out" if child.is_timed_out else "crashed"
        attempt.fail(status, child.failure or "no reason given")
        return
    if report["status"] != "ok":
        attempt.fail(report["status"], report["failure_reason"])
    attempt.outcomes = {name: Reading(*reading) for name, reading in report["outcomes"].items()}
    attempt.profiles = {name: Reading(*reading) for name, reading in report["profiles"].items()}
    attempt.realised = report["realised"]
    attempt.samples = report["samples"]
