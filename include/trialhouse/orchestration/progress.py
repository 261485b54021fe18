"""What a terminal shows of a run: trials done per hardware class, what is running, what failed and why, time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from trialhouse.orchestration.client import FINISHED_RUN_STATES, AirflowClient, TaskInstance

_PLAIN_INTERVAL_S = 5.0


@dataclass(frozen=True)
class Counts:
    """Trials that have an outcome, and trials in all, by hardware class."""

    done: Mapping[str, int]
    total: Mapping[str, int]


@dataclass
class _Watch:
    """What has been seen so far of a run."""

    began: float
    first: tuple[float, int] | None = None
    latest: int | None = None
    told: set[tuple[str, int]] = field(default_factory=set)

    def time_left_s(self, counts: Counts) -> float | None:
        """Seconds that the remaining trials take at the pace so far; None before there is a pace."""
        done, total = sum(counts.done.values()), sum(counts.total.values())
        if self.latest is not None and self.first is None and done > self.latest:
            self.first = (time.monotonic(), done)  # Trials that were there before say nothing about the pace.
        self.latest = done
        if self.first is None or done == self.first[1] or done == total:
            return None
        return (total - done) * (time.monotonic() - self.first[0]) / (done - self.first[1])


def show_progress(
    client: AirflowClient,
    dag_id: str,
    run_id: str,
    count: Callable[[], Counts],
    *,
    check: Callable[[], None] = lambda: None,
    console: Console | None = None,
    poll_s: float = 1.0,
) -> str:
    """Show a run until it has finished, and return its state.

    Live where the console is a terminal; elsewhere one plain line at most every five seconds, and only when something changed.

    Parameters
    ----------
    client, dag_id, run_id
        The run.
    count
        Counts the trials.
    check
        Called at every poll; may raise (for example `LocalAirflow.check`).
    console
        Where to show it; standard output by default.
    poll_s
        Seconds between looks.

    Returns
    -------
    ``success`` or ``failed``.
    """
    console = console or Console()
    watch = _Watch(time.monotonic())
    with Live(console=console, transient=True, refresh_per_second=4) if console.is_terminal else _Plain(console) as display:
        while True:
            check()
            state = client.run_state(dag_id, run_id)
            tasks = client.task_instances(dag_id, run_id)
            _tell_failures(client, dag_id, run_id, tasks, watch, console)
            counts = count()
            left_s = None if state in FINISHED_RUN_STATES else watch.time_left_s(counts)
            if isinstance(display, Live):
                display.update(_picture(counts, _stage(tasks, state), time.monotonic() - watch.began, left_s))
            else:
                display.update(counts, _stage(tasks, state), time.monotonic() - watch.began, left_s, is_last=state in FINISHED_RUN_STATES)
            if state in FINISHED_RUN_STATES:
                return state
            time.sleep(poll_s)


class _Plain:
    """One line per change, for pipes and log files."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[float, str] | None = None

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, counts: Counts, stage: str, elapsed_s: float, left_s: float | None, *, is_last: bool) -> None:
        classes = ", ".join(f"{name} {counts.done.get(name, 0)}/{total}" for name, total in counts.total.items())
        news = f"{sum(counts.done.values())}/{sum(counts.total.values())} trials ({classes}); {stage}"
        now = time.monotonic()
        if self._last is not None and (news == self._last[1] or (now - self._last[0] < _PLAIN_INTERVAL_S and not is_last)):
            return
        self._last = (now, news)
        left = "" if left_s is None else f"; about {_clock(left_s)} left"
        self._console.print(f"{_clock(elapsed_s)}  {news}{left}", highlight=False, soft_wrap=True)


def _picture(counts: Counts, stage: str, elapsed_s: float, left_s: float | None) -> Group:
    bars = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    for name, total in counts.total.items():
        bars.add_task(name, total=total, completed=counts.done.get(name, 0))
    left = "" if left_s is None else f", about {_clock(left_s)} of trials left"
    return Group(bars, Text(f"{_clock(elapsed_s)}{left}  {stage}", style="dim"))


def _stage(tasks: list[TaskInstance], state: str) -> str:
    """The tasks that are running now; for mapped ones, how many of how many have finished."""
    running = dict.fromkeys(task.task_id for task in tasks if task.state == "running")
    if not running:
        return state if state in FINISHED_RUN_STATES else "waiting for the scheduler"
    parts = []
    for task_id in running:
        instances = [task for task in tasks if task.task_id == task_id]
        finished = sum(task.state in {"success", "failed", "skipped", "upstream_failed"} for task in instances)
        parts.append(f"{task_id} {finished}/{len(instances)}" if len(instances) > 1 else task_id)
    return ", ".join(parts)


def _tell_failures(client: AirflowClient, dag_id: str, run_id: str, tasks: list[TaskInstance], watch: _Watch, console: Console) -> None:
    """One line per failed attempt, once."""
    for task in tasks:
        is_retried = task.state == "up_for_retry"
        key = (task.name, task.try_number)
        if (is_retried or task.state == "failed") and key not in watch.told:
            watch.told.add(key)
            reason = client.failure_reason(dag_id, run_id, task) or "no reason in its log"
            line = Text(
                f"task {task.name} failed{' and is tried again' if is_retried else ''}: {reason}", style="yellow" if is_retried else "red"
            )
            console.print(line, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
