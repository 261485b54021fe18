"""A tiny study for the engine's tests: real digits, one seed, two sizes of batch."""

from __future__ import annotations

from typing import Any

from trialhouse.hardware.classes import HardwareClass
from trialhouse.landing import LandingZone
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import parse_study
from trialhouse.studies.designs import Trial, assign
from trialhouse.studies.spec import Study
from trialhouse.workloads.registry import load_workload

LAPTOP = HardwareClass(name="laptop", cpus=1, threads=1, memory_bytes=96 << 20)  # type: ignore[arg-type]
METHODS = {"applies_when": {"factor": "pruning_ratio", "above": 0}, "otherwise": "none"}


def tiny_study(
    settings: dict[str, Any] | None = None,
    *,
    seeds: tuple[int, ...] = (0,),
    ratios: tuple[float, ...] = (0, 0.6),
    methods: tuple[str, ...] = ("l1_structured", "l1_mask"),
    batch_sizes: tuple[int, ...] = (64,),
    **fields: Any,
) -> Study:
    content = {
        "name": "tiny",
        "title": "A tiny study",
        "question": "Does the engine work?",
        "workload": {"name": "small_cnn", "settings": {"pretraining_epochs": 2, "finetuning_epochs": 1, **(settings or {})}},
        "factors": [
            {"name": "seed", "kind": "ordinal", "assignment": "blocked", "levels": seeds},
            {"name": "pruning_ratio", "kind": "continuous", "levels": ratios},
            {"name": "pruning_method", "kind": "categorical", "levels": methods, **METHODS},
            {"name": "batch_size", "kind": "ordinal", "levels": batch_sizes},
        ],
        "hardware_classes": ["laptop"],
        "design": {"kind": "randomised_blocks", "seed": 0},
        "graph": "pruning.dot",
        "estimands": [
            {"name": "effect", "treatment": "batch_size", "contrast": {"from": 64, "to": 4096}, "outcome": "latency_ms"}
            if len(batch_sizes) > 1
            else {"name": "effect", "treatment": "pruning_ratio", "contrast": {"from": 0, "to": ratios[-1]}, "outcome": "accuracy"}
        ],
        **fields,
    }
    return parse_study(content, source="tiny")


def trials_of(study: Study) -> list[Trial]:
    return assign(study, load_workload(study).identity(), {"laptop": LAPTOP.hardware_id})


def rows(settings: Settings, table: str, unit_id: str | None = None) -> list[dict[str, Any]]:
    """Everything that landed in a table, or what is about one unit."""
    import duckdb

    files = [str(path) for path in LandingZone(settings.landing_dir).files(table) if unit_id is None or path.name.startswith(unit_id)]
    if not files:
        return []
    result = duckdb.execute("SELECT * FROM read_parquet(?)", [files])
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def outcomes(settings: Settings, unit_id: str, attempt: int = 1) -> dict[str, float | None]:
    return {row["outcome"]: row["value"] for row in rows(settings, "outcomes", unit_id) if row["attempt"] == attempt}
