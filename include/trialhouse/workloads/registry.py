"""Finding workloads: entry points of the group `trialhouse.workloads`, so that another package can bring its own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from trialhouse.errors import WorkloadError
from trialhouse.studies.spec import Study
from trialhouse.workloads.protocol import Workload

GROUP = "trialhouse.workloads"


def load_workload(study: Study) -> Workload:
    """The study's workload, with its settings and the study's factors checked.

    Raises
    ------
    WorkloadError
        If there is no such workload, or it cannot use a setting, a factor or a level.
    """
    workload = make_workload(study.workload.name, study.workload.settings)
    workload.check([factor for factor in study.factors if factor.assignment != "placebo"])
    return workload


def make_workload(name: str, settings: Mapping[str, Any]) -> Workload:
    """A workload by name and settings; see `load_workload`."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        raise WorkloadError(f"workload must be one of {sorted(found)}", repr(name), "fix workload.name or install its package")
    workload: Workload = found[name].load()(dict(settings))
    return workload
