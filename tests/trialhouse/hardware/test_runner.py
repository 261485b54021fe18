"""Every way in which a child can end becomes a result, and the next call works."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trialhouse.errors import HardwareError
from trialhouse.hardware.runner import IsolatedRunner, kernel_kills

CHILDREN = "tests.trialhouse.hardware.children"


@pytest.fixture(scope="module")
def runner() -> Iterator[IsolatedRunner]:
    with IsolatedRunner(f"{CHILDREN}:prepare", {"greeting": "hello"}) as started:
        yield started


def test_a_child_sees_what_was_prepared_and_returns_its_result(runner: IsolatedRunner) -> None:
    first = runner.call(f"{CHILDREN}:echo", {"number": 1}, timeout_s=10)
    second = runner.call(f"{CHILDREN}:echo", {"number": 2}, timeout_s=10)
    assert first.failure is None
    assert (first.result["prepared"], first.result["called"]) == ({"greeting": "hello"}, {"number": 1})
    assert second.result["pid"] != first.result["pid"]
    assert first.usage["ru_utime"] >= 0


def test_children_cannot_change_each_other(runner: IsolatedRunner) -> None:
    assert runner.call(f"{CHILDREN}:forget", {"key": "greeting"}, timeout_s=10).failure is None
    assert runner.call(f"{CHILDREN}:echo", {}, timeout_s=10).result["prepared"] == {"greeting": "hello"}


def test_replies_larger_than_a_pipe_come_whole(runner: IsolatedRunner) -> None:
    assert len(runner.call(f"{CHILDREN}:long_reply", {}, timeout_s=10).result) == 3_000_000


def test_what_is_printed_is_no_reply(runner: IsolatedRunner) -> None:
    assert runner.call(f"{CHILDREN}:noisy", {}, timeout_s=10).result == "quiet"


@pytest.mark.parametrize(
    ("function", "arguments", "failure"),
    [
        ("fail", {}, "ValueError: no luck"),
        ("die", {"signal_name": "SIGSEGV"}, "killed by signal SIGSEGV"),
        ("die", {"signal_name": "SIGKILL"}, "killed by signal SIGKILL"),
        ("leave", {}, "ended with exit status 3 and no result"),
        ("no_such_function", {}, f"AttributeError: module '{CHILDREN}' has no attribute 'no_such_function'"),
    ],
)
def test_a_failure_is_told_in_words(runner: IsolatedRunner, function: str, arguments: dict[str, str], failure: str) -> None:
    ended = runner.call(f"{CHILDREN}:{function}", arguments, timeout_s=10)
    assert (ended.result, ended.failure, ended.is_timed_out, ended.is_out_of_memory) == (None, failure, False, False)


def test_a_child_is_killed_at_its_deadline(runner: IsolatedRunner) -> None:
    start = time.monotonic()
    ended = runner.call(f"{CHILDREN}:sleep", {"seconds": 60}, timeout_s=0.3)
    assert (ended.is_timed_out, ended.failure) == (True, "not done after 0.3 s")
    assert time.monotonic() - start < 5


def test_a_kill_is_out_of_memory_only_if_the_kernel_says_so(runner: IsolatedRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter([7, 8])
    monkeypatch.setattr("trialhouse.hardware.runner.kernel_kills", lambda: next(kills))
    ended = runner.call(f"{CHILDREN}:die", {"signal_name": "SIGKILL"}, timeout_s=10)
    assert ended.is_out_of_memory
    assert ended.failure == "killed by the kernel for lack of memory"


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        ("0::/work/a\n", "work/a/memory.events", "low 0\nhigh 0\noom 2\noom_kill 4\n"),
        ("0::/\n", "memory.events", "oom_kill 4\n"),
        ("5:cpu:/\n4:memory,x:/b\n0::/\n", "memory/b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
    ],
)
def test_the_kernels_kills_are_read_from_both_kinds_of_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, file: str, text: str
) -> None:
    (tmp_path / "cgroup").write_text(groups)
    (tmp_path / "root" / file).parent.mkdir(parents=True)
    (tmp_path / "root" / file).write_text(text)
    real = Path
    places = {"/proc/self/cgroup": tmp_path / "cgroup", "/sys/fs/cgroup": tmp_path / "root"}
    monkeypatch.setattr("trialhouse.hardware.runner.Path", lambda name: places.get(name, real(name)))
    assert kernel_kills() == 4


def test_the_child_is_watched_while_it_works(runner: IsolatedRunner) -> None:
    seen: list[int] = []
    ended = runner.call(f"{CHILDREN}:sleep", {"seconds": 0.3}, timeout_s=10, watch=seen.append, watch_every_s=0.05)
    assert ended.failure is None
    assert len(set(seen)) == 1
    assert 3 <= len(seen) <= 8


def test_a_lost_zygote_is_a_result_and_the_next_call_starts_another(runner: IsolatedRunner) -> None:
    ended = runner.call(f"{CHILDREN}:kill_zygote", {}, timeout_s=10)
    assert ended.failure == "the process that trials are forked from was lost (exit status -9)"
    assert not ended.is_timed_out
    assert runner.call(f"{CHILDREN}:echo", {}, timeout_s=10).result["prepared"] == {"greeting": "hello"}


def test_a_zygote_that_cannot_prepare_is_one_line() -> None:
    with pytest.raises(HardwareError, match="the process that trials are forked from must start"), IsolatedRunner("no.module:prepare", {}):
        pass


def test_a_killed_parent_takes_zygote_and_child_along(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        from trialhouse.hardware.runner import IsolatedRunner
        with IsolatedRunner("{CHILDREN}:prepare", {{}}) as runner:
            runner.call("{CHILDREN}:write_pid_and_sleep", {{"path": "{tmp_path}/pid"}}, timeout_s=60)
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
    child = _wait_for(lambda: int((tmp_path / "pid").read_text()))
    parent.kill()
    parent.wait()
    _wait_for(lambda: _must_be_gone(child))


def _must_be_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    raise ValueError("alive")


def _wait_for(read):  # type: ignore[no-untyped-def]
    for _ in range(200):
        try:
            return read()
        except (OSError, ValueError):
            time.sleep(0.05)
    raise AssertionError("not in ten seconds")
