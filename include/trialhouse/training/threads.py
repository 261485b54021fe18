"""One thread per process that trains, and what the last bits of its results depend on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from trialhouse.attempts import Reading


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: sums do not depend on how many share the work, and processes do not fight for CPUs."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def circumstances() -> dict[str, Reading]:
    """What the last bits of weights depend on besides content."""
    import torch

    return {
        "threads": Reading(torch.get_num_threads()),
        "isa": Reading(text=torch.backends.cpu.get_cpu_capability()),
        "torch_version": Reading(text=torch.__version__),
        "process_id": Reading(os.getpid()),
    }
