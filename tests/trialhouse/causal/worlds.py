"""Simulated structural models whose counterfactuals, root causes and arrow strengths are known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trialhouse.causal.model import CausalGraph, read_graph

EFFECT = -0.02
"""Of `treated` on `accuracy`, for every trial: -.05 directly and +.03 by way of `memory`."""

GRAPH = """
edges:
  - treated -> memory
  - batch -> memory
  - memory -> accuracy
  - treated -> accuracy
  - hidden -> treated
"""


def graph(text: str = GRAPH, name: str = "world.yaml") -> CausalGraph:
    return read_graph(text, name)


def accuracies(seed: int = 0, *, units: int = 12, members: int = 16, noise: float = 0.002) -> pd.DataFrame:
    """A linear world: memory = 100 + 10 batch + 30 treated + N(0, 5); accuracy = .9 - .05 treated + .001 memory + N(0, noise)."""
    rng = np.random.default_rng(seed)
    count = units * members
    treated, batch = rng.integers(0, 2, count), rng.choice([1.0, 2.0, 4.0], count)
    memory = 100 + 10 * batch + 30 * treated + rng.normal(0, 5, count)
    accuracy = 0.9 - 0.05 * treated + 0.001 * memory + rng.normal(0, noise, count)
    unit = np.repeat(np.arange(units), members)
    names = [f"trial_{place:04d}" for place in range(count)]
    return pd.DataFrame(
        {"trial_id": names, "unit": unit, "treated": treated, "batch": batch, "memory": memory, "accuracy": accuracy, "status": "ok"}
    )


LATENCY_GRAPH = """
edges:
  - device -> latency_ms
  - batch -> latency_ms
"""
SLOWNESS = {"server": 1.0, "laptop": 3.0}


def latencies(seed: int = 0, *, units: int = 6, shared: float = 0.1, own: float = 0.02) -> pd.DataFrame:
    """Every configuration measured on both devices: latency = batch x slowness x exp(shared + own), each N(0, its SD).

    What is `shared` by the two measurements of a configuration is what a counterfactual carries over; `own` is not.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for unit in range(units):
        for batch in (1.0, 2.0, 8.0):
            common = rng.normal(0, shared)
            for device, slowness in SLOWNESS.items():
                latency = batch * slowness * np.exp(common + rng.normal(0, own))
                rows.append({"unit": unit, "batch": batch, "device": device, "latency_ms": latency, "common": common})
    frame = pd.DataFrame(rows)
    frame["trial_id"] = [f"trial_{place:04d}" for place in range(len(frame))]
    return frame
