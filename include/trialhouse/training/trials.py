"""Trials of learners: each trains on one thread beside others, streams its learning curve, and lands what came of it."""

from __future__ import annotations

import fcntl
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from trialhouse.attempts import Attempt, CurvePoint, Reading, last_attempts
from trialhouse.errors import TrialhouseError
from trialhouse.hardware.slot import machine_slot
from trialhouse.landing import LandingZone
from trialhouse.learning.engine import DivergedError, TimedOutError
from trialhouse.registration import registered
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.designs import Trial
from trialhouse.studies.spec import Study
from trialhouse.training.threads import circumstances, one_thread
from trialhouse.workloads.protocol import Learner
from trialhouse.workloads.registry import load_learner

log = logging.getLogger(__name__)

STREAM_EVERY_S = 5.0
"""Points of a learning curve land so often while a trial runs: what a kill may cost."""


def train_trials(study_id: str, *, rerun: bool = False, settings: Settings | None = None) -> dict[str, int]:
    """Train trials of a registered study until none is left. Several processes may do so at once: each takes the longest free trial.

    Parameters
    ----------
    study_id
        A registered version.
    rerun
        Also train trials that landed before this call.

    Returns
    -------
    dict
        Status -> count of the trials trained by this call, and `skipped` (landed before, or taken by another process).

    Raises
    ------
    TrialhouseError
        If the study is not registered or its workload cannot be used. A trial that fails is a row instead.
    """
    settings = settings or get_settings()
    registration = registered(study_id, settings)
    return train_trials_for(registration.study, registration.trials, rerun=rerun, settings=settings)


def train_trials_for(study: Study, trials: Sequence[Trial], *, rerun: bool = False, settings: Settings | None = None) -> dict[str, int]:
    """The same for a study and trials in hand; see `train_trials`."""
    settings = settings or get_settings()
    learner, landing = load_learner(study), LandingZone(settings.landing_dir)
    price = {trial.trial_id: learner.plan(trial.factors).training_flops for trial in trials}
    ordered = sorted(trials, key=lambda trial: (-price[trial.trial_id], trial.position))
    before = {unit_id: last.attempt for unit_id, last in last_attempts(landing, price).items()}
    counts: Counter[str] = Counter()
    for trial in ordered:
        with _claim(settings.home / "locks" / "trials", trial.trial_id) as is_ours:
            # another process may have finished it since `before` was read
            last = last_attempts(landing, [trial.trial_id]).get(trial.trial_id) if is_ours else None
            is_done = last is not None and (not rerun or last.attempt > before.get(trial.trial_id, 0))
            if not is_ours or is_done:
                counts["skipped"] += 1
                continue
            with machine_slot("shared", settings), one_thread():
                attempt = _attempt(learner, trial, study.trial_timeout_s, landing)
            attempt.land(landing)
        counts[attempt.status] += 1
    return dict(counts)


def _attempt(learner: Learner, trial: Trial, timeout_s: float, landing: LandingZone) -> Attempt:
    """Train one trial; whatever goes wrong with it is the attempt's status."""
    attempt = Attempt("trial", trial.trial_id, trial.weights_id, trial.hardware_class)
    attempt.profiles = circumstances()
    landed_at = time.monotonic()

    def note(step: int, values: Mapping[tuple[str, str], float]) -> None:
        nonlocal landed_at
        attempt.curves += [CurvePoint("training", split, step, metric, value) for (split, metric), value in values.items()]
        if time.monotonic() - landed_at > STREAM_EVERY_S:
            attempt.stream(landing)
            landed_at = time.monotonic()

    try:
        lesson = learner.learn(trial.factors, note, timeout_s)
    except DivergedError as error:
        attempt.fail("diverged", str(error))
    except TimedOutError as error:
        attempt.fail("timed_out", str(error))
    except TrialhouseError as error:  # it says all there is to know
        log.warning("trial %s cannot be trained: %s", trial.trial_id, error)
        attempt.fail("crashed", str(error))
    except Exception as error:  # a failed trial is a row, never a lost task
        log.exception("trial %s crashed", trial.trial_id)
        attempt.fail("crashed", f"{type(error).__name__}: {error}")
    else:
        attempt.outcomes = {name: Reading(value) for name, value in lesson.outcomes.items()}
        attempt.realised = dict(lesson.realised)
    return attempt


@contextmanager
def _claim(folder: Path, trial_id: str) -> Iterator[bool]:
    """Whether the trial is ours to train: the operating system gives the claim back however the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{trial_id}.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True  # the empty file stays: if its name went while another process opens it, two could hold it
