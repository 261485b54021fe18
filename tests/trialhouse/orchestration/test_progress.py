"""Progress on a pipe and on a terminal, of a run whose course is known."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trialhouse.orchestration import progress
from trialhouse.orchestration.client import AirflowClient, TaskInstance
from trialhouse.orchestration.progress import Counts, show_progress

TOTAL = {"server": 4, "laptop": 4}


def task(name: str, state: str | None, *, map_index: int = -1, try_number: int = 1) -> TaskInstance:
    return TaskInstance(name, map_index, name if map_index < 0 else f"{name}[{map_index}]", state, try_number, None, None, None)


class Course(AirflowClient):
    """A run that takes a step at every look."""

    def __init__(self, steps: list[tuple[str, list[TaskInstance], int]]) -> None:
        self.steps = steps
        self.at = -1

    def run_state(self, dag_id: str, run_id: str) -> str:
        self.at += 1
        return self.steps[self.at][0]

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        return self.steps[self.at][1]

    def failure_reason(self, dag_id: str, run_id: str, task: TaskInstance) -> str | None:
        return "ValueError: planted"

    def count(self) -> Counts:
        done = self.steps[self.at][2]
        return Counts({"server": min(done, 4), "laptop": max(done - 4, 0)}, TOTAL)


STEPS = [
    ("queued", [], 2),
    ("running", [task("register", "running")], 2),
    ("running", [task("profile", "success", map_index=0), task("profile", "running", map_index=1)], 3),
    ("running", [task("profile", "success", map_index=0), task("profile", "up_for_retry", map_index=1)], 4),
    ("running", [task("profile", "success", map_index=0), task("profile", "failed", map_index=1, try_number=2)], 6),
    ("failed", [task("profile", "success", map_index=0), task("profile", "failed", map_index=1, try_number=2)], 6),
]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds pass at every look."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.time, "sleep", lambda _: now.__setitem__(0, now[0] + 10))


def test_a_pipe_gets_a_line_per_change() -> None:
    text = io.StringIO()
    course = Course(STEPS)
    assert show_progress(course, "study", "run", course.count, console=Console(file=text, width=200)) == "failed"
    assert text.getvalue().splitlines() == [
        "0:00  2/8 trials (server 2/4, laptop 0/4); waiting for the scheduler",
        "0:10  2/8 trials (server 2/4, laptop 0/4); register",
        "0:20  3/8 trials (server 3/4, laptop 0/4); profile 1/2",
        "task profile[1] failed and is tried again: ValueError: planted",
        "0:30  4/8 trials (server 4/4, laptop 0/4); waiting for the scheduler; about 0:40 left",
        "task profile[1] failed: ValueError: planted",
        "0:40  6/8 trials (server 4/4, laptop 2/4); waiting for the scheduler; about 0:13 left",
        "0:50  6/8 trials (server 4/4, laptop 2/4); failed",
    ]


def test_a_pipe_is_not_flooded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.time, "sleep", lambda _: None)
    text = io.StringIO()
    course = Course([("running", [task("profile", "running")], done) for done in range(8)] + [("success", [], 8)])
    show_progress(course, "study", "run", course.count, console=Console(file=text, width=200))
    assert [line.split(";")[0] for line in text.getvalue().splitlines()] == [
        "0:00  0/8 trials (server 0/4, laptop 0/4)",
        "0:00  8/8 trials (server 4/4, laptop 4/4)",
    ]


def test_a_terminal_shows_every_class_and_keeps_what_failed() -> None:
    text = io.StringIO()
    course = Course(STEPS)
    console = Console(file=text, force_terminal=True, width=100)
    assert show_progress(course, "study", "run", course.count, console=console) == "failed"
    shown = text.getvalue()
    for name in TOTAL:
        assert name in shown
    assert shown.count("failed and is tried again: ValueError: planted") == 1


def test_what_check_raises_ends_the_watch() -> None:
    def check() -> None:
        raise RuntimeError("the scheduler is gone")

    course = Course(STEPS)
    with pytest.raises(RuntimeError, match="the scheduler is gone"):
        show_progress(course, "study", "run", course.count, check=check, console=Console(file=io.StringIO()))
