"""The process that trials are forked from: `python -m trialhouse.hardware.zygote MODULE:FUNCTION JSON`.

Importing PyTorch takes seconds, forking a process that has done so takes milliseconds. This one prepares itself by the
function named on its command line, then reads one JSON request per line and forks a child for each. It stays on one
thread, since a fork in the middle of a parallel region leaves the child hanging. Started by `trialhouse.hardware.runner`;
it ends with whoever started it, and takes a running child along.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from importlib import import_module
from typing import Any, NoReturn


def main() -> None:
    """Prepare, then serve requests until the input ends."""
    channel = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not end up between the replies
    prepare, arguments = sys.argv[1], json.loads(sys.argv[2])
    _function(prepare)(**arguments)
    gc.collect()
    gc.freeze()  # a child's collector leaves these objects alone, so their pages stay shared
    _send(channel, {"is_ready": True})
    for line in _lines(0):
        _serve(json.loads(line), channel)


def _serve(request: dict[str, Any], channel: int) -> None:
    result, result_in_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(result)
        os.close(channel)
        _work(request, result_in_child)
    os.close(result_in_child)
    _send(channel, {"pid": pid})
    text, is_timed_out = _collect(pid, result, float(request["timeout_s"]))
    os.close(result)
    _, status, usage = os.wait4(pid, 0)
    _send(
        channel,
        {
            "returncode": os.waitstatus_to_exitcode(status),
            "is_timed_out": is_timed_out,
            "reply": json.loads(text) if text.endswith(b"\n") else None,
            "usage": {name: getattr(usage, name) for name in dir(usage) if name.startswith("ru_")},
        },
    )


def _work(request: dict[str, Any], result: int) -> NoReturn:
    """In the child: call the function, send what it returns, and leave without touching what belongs to the parent."""
    reply: dict[str, Any]
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        reply = {"result": _function(request["function"])(**request["arguments"])}
    except BaseException as error:
        traceback.print_exc()
        reply = {"error": f"{type(error).__name__}: {error}"}
    code = 1
    with contextlib.suppress(BaseException):
        _send(result, reply)
        code = 0
    os._exit(code)


def _collect(pid: int, result: int, timeout_s: float) -> tuple[bytes, bool]:
    """What the child sends until it ends; it is killed at its deadline, or when nobody is left to tell."""
    deadline = time.monotonic() + timeout_s
    text = b""
    while True:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([result, 0], [], [], max(0.0, left))
        if 0 in ready:  # requests come one at a time, so this is the end of the input: the parent died
            os.kill(pid, signal.SIGKILL)
            os._exit(1)
        if result in ready:
            piece = os.read(result, 1 << 16)
            if not piece:
                return text, False
            text += piece
        elif left <= 0:
            os.kill(pid, signal.SIGKILL)
            return text, True


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def _send(target: int, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(target, data) :]


def _lines(source: int) -> Any:
    """Lines of a descriptor, read without a buffer of their own: `select` must see what has not been read."""
    rest = b""
    while piece := os.read(source, 1 << 16):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


if __name__ == "__main__":
    main()
