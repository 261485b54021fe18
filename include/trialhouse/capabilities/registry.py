"""Finding capabilities: entry points of the group `trialhouse.capabilities`, so that another package can bring its own."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from trialhouse.capabilities.protocol import Capability, Exam, Subject, UnmeasurableError
from trialhouse.errors import WorkloadError

if TYPE_CHECKING:
    import torch

GROUP = "trialhouse.capabilities"
PREFIX = "capability_"
"""Of an outcome's name."""

log = logging.getLogger(__name__)


def load_capabilities(names: Iterable[str], subject: Subject) -> list[Capability]:
    """The capabilities of these names, in their order.

    Raises
    ------
    WorkloadError
        If there is none of a name, or it is about something else.
    """
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    found: list[Capability] = []
    for name in names:
        if name not in known:
            raise WorkloadError(f"capabilities must be among {sorted(known)}", repr(name), "fix workload.settings.capabilities")
        capability: Capability = known[name].load()()
        if capability.subject != subject:
            expected = f"capabilities of a network that learns from {subject} must be about {subject}"
            raise WorkloadError(expected, f"{name!r}, which is about {capability.subject}", "remove it from workload.settings.capabilities")
        found.append(capability)
    return found


def examine(network: torch.nn.Module, capabilities: Iterable[Capability], exam: Exam) -> tuple[dict[str, float], dict[str, str]]:
    """Outcome -> value of every capability, and outcome -> reason of those that could not be measured."""
    import torch

    measured: dict[str, float] = {}
    missing: dict[str, str] = {}
    network.eval()
    for capability in capabilities:
        outcome = PREFIX + capability.name
        try:
            with torch.inference_mode():
                measured[outcome] = capability.measure(network, exam)
        except UnmeasurableError as error:
            missing[outcome] = str(error)
        except Exception as error:  # what was trained for is not lost for an exam
            log.exception("capability %s failed", capability.name)
            missing[outcome] = f"{type(error).__name__}: {error}"
    return measured, missing
