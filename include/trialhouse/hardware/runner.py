"""Each trial in a process of its own, so that its limits are real and its death is an outcome, not ours."""

from __future__ import annotations

import contextlib
import json
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from trialhouse.errors import HardwareError
from trialhouse.settings import inherited_environment

START_TIMEOUT_S = 180.0
"""For the zygote's imports, on a slow disk."""

GRACE_S = 30.0
"""Beyond a call's own deadline, after which the zygote itself counts as stuck."""

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # no thread may exist before the fork; a child sets its own number
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",  # macOS aborts forked children otherwise
}


@dataclass(frozen=True)
class ChildResult:
    """How one child ended.

    Parameters
    ----------
    result
        What the function returned; None where it did not come to that.
    failure
        Why there is no result, in words.
    is_timed_out
        Killed at its deadline.
    is_out_of_memory
        Killed by the kernel for lack of memory: the process group's own counter of such kills went up.
    usage
        `rusage` of the child by field (`ru_utime` in seconds, ...).
    """

    result: Any = None
    failure: str | None = None
    is_timed_out: bool = False
    is_out_of_memory: bool = False
    usage: Mapping[str, float] = field(default_factory=dict)


class IsolatedRunner:
    """Calls functions in forked children of one prepared process; a context manager.

    Parameters
    ----------
    prepare, arguments
        `module:function` to call once before the first fork, and its keyword arguments (JSON types).
    """

    def __init__(self, prepare: str, arguments: Mapping[str, Any]) -> None:
        self._command = [sys.executable, "-m", "trialhouse.hardware.zygote", prepare, json.dumps(arguments)]
        self._process: subprocess.Popen[bytes] | None = None
        self._rest, self._is_over = b"", False

    def __enter__(self) -> IsolatedRunner:
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        timeout_s: float,
        watch: Callable[[int], None] | None = None,
        watch_every_s: float = 0.025,
    ) -> ChildResult:
        """Call `module:function` in a new child.

        Parameters
        ----------
        function, arguments
            What to call, with keyword arguments and a result of JSON types.
        timeout_s
            Deadline, after which the child is killed.
        watch, watch_every_s
            Called with the child's process id now and then while it works.

        Raises
        ------
        HardwareError
            If the prepared process cannot be started.
        """
        if self._process is None:
            self._start()
        kills = kernel_kills()
        self._send({"function": function, "arguments": dict(arguments), "timeout_s": timeout_s})
        deadline = time.monotonic() + timeout_s + GRACE_S
        started = self._receive(deadline)
        while started is not None:
            if watch is not None:
                watch(started["pid"])
            ended = self._receive(min(deadline, time.monotonic() + watch_every_s) if watch else deadline)
            if ended is not None or time.monotonic() >= deadline or self._is_over:
                break
        if started is None or ended is None:
            return self._lost(is_timed_out=not self._is_over)
        return _child_result(ended, timeout_s, was_killed_by_kernel=kernel_kills() > kills)

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=inherited_environment() | _ENVIRONMENT
        )
        self._rest, self._is_over = b"", False
        if self._receive(time.monotonic() + START_TIMEOUT_S) is None:
            self._stop()
            raise HardwareError("the process that trials are forked from must start", "none that answers", "see its message above")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _lost(self, *, is_timed_out: bool) -> ChildResult:
        """The zygote is gone or stuck; the next call starts another."""
        process = self._process
        self._stop()
        code = process.returncode if process else None
        return ChildResult(failure=f"the process that trials are forked from was lost (exit status {code})", is_timed_out=is_timed_out)

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # whoever reads next finds the end of its output
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        """The next message; None where none comes in time, or none ever will (`_is_over`)."""
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                piece = self._process.stdout.read(1 << 16)
                if not piece:
                    self._is_over = True
                    return None
                self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


def kernel_kills() -> int:
    """How many processes of this control group the kernel has killed for lack of memory (0 where it does not tell)."""
    for path in _oom_files():
        try:
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
        except (OSError, ValueError):
            continue
    return 0


def _oom_files() -> list[Path]:
    """Where versions 2 and 1 of control groups count such kills; inside a container the group is mounted as the root."""
    try:
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return []
    root = Path("/sys/fs/cgroup")
    files = []
    for _, controllers, group in groups:
        if controllers == "":
            files += [root / group.lstrip("/") / "memory.events", root / "memory.events"]
        elif "memory" in controllers.split(","):
            files += [root / "memory" / group.lstrip("/") / "memory.oom_control", root / "memory" / "memory.oom_control"]
    return files


def _child_result(ended: Mapping[str, Any], timeout_s: float, *, was_killed_by_kernel: bool) -> ChildResult:
    usage, code, reply = ended["usage"], ended["returncode"], ended["reply"]
    if ended["is_timed_out"]:
        return ChildResult(failure=f"not done after {timeout_s:g} s", is_timed_out=True, usage=usage)
    if code < 0:
        name = signal.Signals(-code).name
        if code == -signal.SIGKILL and was_killed_by_kernel:
            return ChildResult(failure="killed by the kernel for lack of memory", is_out_of_memory=True, usage=usage)
        return ChildResult(failure=f"killed by signal {name}", usage=usage)
    if reply is None:
        return ChildResult(failure=f"ended with exit status {code} and no result", usage=usage)
    if "error" in reply:
        return ChildResult(failure=reply["error"], usage=usage)
    return ChildResult(result=reply["result"], usage=usage)
