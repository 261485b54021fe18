"""Finding workloads: entry points of the group `trialhouse.workloads`, so that another package can bring its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from trialhouse.errors import WorkloadError
from trialhouse.studies.spec import Study
from trialhouse.workloads.protocol import Classifier, Learner, Workload

GROUP = "trialhouse.workloads"


def load_workload(study: Study) -> Workload:
    """The study's workload, with its settings and the study's factors checked.

    Raises
    ------
    WorkloadError
        If there is no such workload, or it cannot use a setting, a factor or a level.
    """
    workload = make_workload(study.workload.name, study.workload.settings)
    workload.check([factor for factor in study.factors if not factor.is_label])
    return workload


def load_classifier(study: Study) -> Classifier:
    """The same for a study that prunes and serves.

    Raises
    ------
    WorkloadError
        Also if its workload is no classifier.
    """
    load_workload(study)
    return make_classifier(study.workload.name, study.workload.settings)


def load_learner(study: Study) -> Learner:
    """The same for a study whose trials end with training.

    Raises
    ------
    WorkloadError
        Also if its workload is no learner.
    """
    workload = load_workload(study)
    if not is_learner(study.workload.name):
        raise WorkloadError("workload must be a learner", repr(study.workload.name), "make weights and profile them instead")
    return workload  # type: ignore[return-value]


def make_classifier(name: str, settings: Mapping[str, Any]) -> Classifier:
    """A classifier by name and settings; see `load_classifier`."""
    if is_learner(name):
        raise WorkloadError("workload must be a classifier", repr(name), "train the study's trials instead")
    return make_workload(name, settings)  # type: ignore[return-value]


def is_learner(name: str) -> bool:
    """Whether trials of a workload end with training; imports its module, which costs nothing heavy.

    Raises
    ------
    WorkloadError
        If there is no such workload.
    """
    return hasattr(_find(name), "learn")


def make_workload(name: str, settings: Mapping[str, Any]) -> Workload:
    """A workload by name and settings; see `load_workload`."""
    return _find(name)(dict(settings))


@lru_cache
def _find(name: str) -> Callable[[dict[str, Any]], Workload]:
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        raise WorkloadError(f"workload must be one of {sorted(found)}", repr(name), "fix workload.name or install its package")
    kind: Callable[[dict[str, Any]], Workload] = found[name].load()
    return kind
