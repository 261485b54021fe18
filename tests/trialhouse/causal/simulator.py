"""Made-up measurements of the shipped pruning study, with known effects, in the shape of its analysis view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.studies.catalogue import load_study
from trialhouse.studies.designs import WorkloadIdentity, assign
from trialhouse.studies.spec import Study

GRAPH = Path(__file__).parents[3] / "include" / "studies" / "pruning.dot"

MEMORY = {"server": 4e9, "pc": 1.2e9, "laptop": 5e8}
ACCURACY_SLOPE = -0.1
"""Of the accuracy on the pruning ratio, the same for every method."""
BYTES_PER_IMAGE = 1.2e5
KEPT = {"l1_structured": 1.0, "random_structured": 1.0, "l1_mask": 0.0, "none": 0.0}
"""Share of the pruning ratio by which a method shrinks activations."""


def shipped_study() -> Study:
    return load_study("pruning_digits")


def graphs() -> dict[str, str]:
    return {"pruning.dot": GRAPH.read_text(encoding="utf-8")}


def simulate(study: Study | None = None, *, seed: int = 0, hardware_classes: tuple[str, ...] = tuple(MEMORY)) -> pd.DataFrame:
    """One row per trial. Trials whose memory exceeds their class's run out of it and have no accuracy in service.

    The accuracy is that of the weights: seeds differ (SD .02), weights of a seed too (SD .01). Latency grows with what
    pruning leaves; memory is deterministic up to 1% noise.
    """
    study = study or shipped_study()
    names = tuple(factor.name for factor in study.factors if factor.name != "batch_size")
    workload = WorkloadIdentity("small_cnn", "1", {}, "0" * 64, names, names)
    trials = assign(study, workload, {name: f"hardware_{name}" for name in study.hardware_classes})
    rng = np.random.default_rng(seed)
    of_seed: dict[Any, float] = {}
    of_weights: dict[str, float] = {}
    rows = []
    for trial in sorted(trials, key=lambda item: item.trial_id):
        if trial.hardware_class not in hardware_classes or trial.is_sentinel:
            continue
        ratio, method, batch = float(trial.factors["pruning_ratio"]), str(trial.factors["pruning_method"]), int(trial.factors["batch_size"])
        of_seed.setdefault(trial.factors["seed"], rng.normal(0, 0.02))
        of_weights.setdefault(trial.weights_id, rng.normal(0, 0.01))
        accuracy = 0.95 + of_seed[trial.factors["seed"]] + ACCURACY_SLOPE * ratio + of_weights[trial.weights_id]
        left = 1 - KEPT[method] * ratio
        memory = (5e7 + BYTES_PER_IMAGE * batch * left) * (1 + 0.01 * rng.normal())
        limit = MEMORY[trial.hardware_class]
        is_oom = memory > limit
        rows.append(
            {
                "study_id": "study_0123456789abcdef",
                "trial_id": trial.trial_id,
                "weights_id": trial.weights_id,
                "hardware_class": trial.hardware_class,
                "block": trial.block,
                "replicate": trial.replicate,
                "position": trial.position,
                "slot_order": trial.position,
                "host": "one",
                "status": "out_of_memory" if is_oom else "ok",
                "is_measured": True,
                **trial.factors,
                **trial.labels,
                "accuracy": np.nan if is_oom else accuracy,
                "weights_accuracy": accuracy,
                "latency_ms": np.nan if is_oom else batch * 0.02 * left * (1 + 0.05 * rng.normal()),
                "peak_memory_bytes": min(memory, limit),
                "memory_utilisation": min(memory, limit) / limit,
                "is_oom": int(is_oom),
                "flops": 1e6 * left,
                "parameters": 1e5 * left,
            }
        )
    return pd.DataFrame(rows)
