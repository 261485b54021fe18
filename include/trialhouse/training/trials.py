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
from trialhouse.identity import content_id
from trialhouse.landing import LandingZone
from trialhouse.learning.engine import DivergedError, TimedOutError
from trialhouse.registration import registered
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.designs import Trial
from trialhouse.studies.spec import Study
from trialhouse.training.threads import circumstances, one_thread
from trialhouse.workloads.protocol import GroupLearner, Learner, Lesson, TrunkLearner, work_of
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
    before = {unit_id: last.attempt for unit_id, last in last_attempts(landing, [trial.trial_id for trial in trials]).items()}

    def is_done(trial: Trial) -> bool:
        """Also by another process since `before` was read."""
        last = last_attempts(landing, [trial.trial_id]).get(trial.trial_id)
        return last is not None and (not rerun or last.attempt > before.get(trial.trial_id, 0))

    counts: Counter[str] = Counter()
    for group in groups_of(learner, trials, settings):
        with _claim(settings.home / "locks" / "trials", group[0].trial_id) as is_ours:
            todo = [trial for trial in group if not is_done(trial)] if is_ours else []
            counts["skipped"] += len(group) - len(todo)
            if not todo:
                continue
            attempts = {trial.trial_id: _Journal(trial, landing) for trial in group}
            with machine_slot("shared", settings), one_thread():
                if len(group) == 1:
                    _train(learner, attempts[group[0].trial_id], study.trial_timeout_s)
                elif (
                    learner.plan(group[0].factors).trunk_id is not None
                ):  # those that are left: each comes to the same bits whoever is with it
                    _train_branches(learner, [attempts[trial.trial_id] for trial in todo], study.trial_timeout_s)
                else:  # all of them, whichever have landed: another group would come to other bits
                    _train_together(learner, list(attempts.values()), study.trial_timeout_s)
            for trial in todo:
                attempts[trial.trial_id].attempt.land(landing)
                counts[attempts[trial.trial_id].attempt.status] += 1
    return {status: count for status, count in counts.items() if count}


def groups_of(learner: Learner, trials: Sequence[Trial], settings: Settings) -> list[list[Trial]]:
    """The trials in the order in which they are trained: the longest first, together where a GPU makes that faster or they share a trunk.

    Which trials form a group depends on the study alone, not on what has landed.
    """
    plans = {trial.trial_id: learner.plan(trial.factors) for trial in trials}
    groups: dict[str, list[Trial]] = {}
    can_group = isinstance(learner, GroupLearner) and _is_worth_grouping(settings)
    for trial in sorted(trials, key=lambda trial: trial.position):
        key = plans[trial.trial_id].trunk_id
        if key is None and can_group:
            key = learner.together_key(trial.factors)  # type: ignore[attr-defined]
        groups.setdefault(key or trial.trial_id, []).append(trial)

    def order(group: list[Trial]) -> tuple[float, int]:
        return -work_of([plans[trial.trial_id] for trial in group]), group[0].position

    return sorted(groups.values(), key=order)


def _is_worth_grouping(settings: Settings) -> bool:
    import torch

    return settings.train_together == "always" or (settings.train_together == "auto" and torch.cuda.is_available())


class _Journal:
    """A trial's attempt while it trains: points of its curve land every few seconds."""

    def __init__(self, trial: Trial, landing: LandingZone) -> None:
        self.trial, self._landing, self._landed_at = trial, landing, time.monotonic()
        self.attempt = Attempt("trial", trial.trial_id, trial.weights_id, trial.hardware_class)

    def note(self, step: int, values: Mapping[tuple[str, str], float]) -> None:
        self.attempt.curves += [CurvePoint("training", split, step, metric, value) for (split, metric), value in values.items()]
        if time.monotonic() - self._landed_at > STREAM_EVERY_S:
            self.attempt.stream(self._landing)
            self._landed_at = time.monotonic()

    def take(self, lesson: Lesson) -> None:
        self.attempt.outcomes = {name: Reading(value) for name, value in lesson.outcomes.items()}
        self.attempt.outcomes |= {name: Reading(reason=reason) for name, reason in lesson.missing.items()}
        self.attempt.realised = dict(lesson.realised)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Whatever goes wrong is the attempt's status: a failed trial is a row, never a lost task."""
        try:
            yield
        except DivergedError as error:
            self.attempt.fail("diverged", str(error))
        except TimedOutError as error:
            self.attempt.fail("timed_out", str(error))
        except TrialhouseError as error:  # it says all there is to know
            log.warning("trial %s cannot be trained: %s", self.trial.trial_id, error)
            self.attempt.fail("crashed", str(error))
        except Exception as error:
            log.exception("trial %s crashed", self.trial.trial_id)
            self.attempt.fail("crashed", f"{type(error).__name__}: {error}")


def _train(learner: Learner, journal: _Journal, timeout_s: float) -> None:
    journal.attempt.profiles = circumstances()
    with journal.failures():
        journal.take(learner.learn(journal.trial.factors, journal.note, timeout_s))


def _train_branches(learner: Learner, journals: Sequence[_Journal], timeout_s: float) -> None:
    assert isinstance(learner, TrunkLearner)
    told = {"trunk_id": Reading(text=learner.plan(journals[0].trial.factors).trunk_id)}
    lessons: list[Lesson | Exception]
    try:
        notes = [journal.note for journal in journals]
        lessons = [*learner.learn_branches([journal.trial.factors for journal in journals], notes, timeout_s * len(journals))]
    except Exception as error:  # what stops the call stops all of its trials
        lessons = [error] * len(journals)
    _take_all(journals, lessons, told)


def _train_together(learner: Learner, journals: Sequence[_Journal], timeout_s: float) -> None:
    import torch

    assert isinstance(learner, GroupLearner)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    together_id = content_id("together", {"trials": sorted(journal.trial.trial_id for journal in journals)})
    told = {"trained_together_id": Reading(text=together_id), "device": Reading(text=str(device))}
    lessons: list[Lesson | DivergedError | Exception]
    try:
        factors = [journal.trial.factors for journal in journals]
        lessons = [*learner.learn_together(factors, [journal.note for journal in journals], device, timeout_s * len(journals))]
    except Exception as error:  # what stops one call stops all of its trials
        lessons = [error] * len(journals)
    _take_all(journals, lessons, told)


def _take_all(journals: Sequence[_Journal], lessons: Sequence[Lesson | Exception], told: dict[str, Reading]) -> None:
    for journal, lesson in zip(journals, lessons, strict=True):
        journal.attempt.profiles = circumstances() | told
        with journal.failures():
            if isinstance(lesson, Exception):
                raise lesson
            journal.take(lesson)


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
