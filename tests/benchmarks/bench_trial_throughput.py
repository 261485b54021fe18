"""How fast trials train: source 000's grid of 36 on real MNIST, the product's own way against the usual one.

    python -m tests.benchmarks.bench_trial_throughput [--quick]

Three sizes x 2,000, 5,000 and 8,000 images x 3 and 5 epochs x two learning rates. The product's way is its own trial path: one-thread
worker processes that share the trials, with files landed, learning curves and all, timed from starting the processes to the end of the
last; their start-up is told apart. The usual way is `usual_training`, one model after the other with as many threads as there are CPUs.
Both evaluate as many images in all: the usual way the 10,000 of the test split after every epoch, the product 7,500 that it keeps apart and
the test split once, at the end. The product's way is also timed as it is by default (1,000 images at log-spaced steps), told beside it.
MNIST is read from TRIALHOUSE_DATA_DIR.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.record import record
from trialhouse.settings import Settings, get_settings, usable_cpus

GOAL = 5.0
HOPE = 8.0
WORKER = """
import json, sys, time
started = time.perf_counter()
from pathlib import Path
from tests.benchmarks.bench_trial_throughput import grid
from trialhouse.registration import plan
from trialhouse.settings import Settings
from trialhouse.training.trials import train_trials_for
settings = Settings(home=Path(sys.argv[1]))
study = grid(sys.argv[2] == "quick", sys.argv[3] == "default")
trials = plan(study, settings).trials
import torch
from trialhouse.workloads.image_data import _load
_load("mnist")
ready_s = time.perf_counter() - started
counts = train_trials_for(study, trials, settings=settings)
print(json.dumps({"ready_s": ready_s, "counts": counts}))
"""


def grid(is_quick: bool = False, has_default_curves: bool = False) -> Any:
    """The 36 trials as a study, evaluated as often as the usual way does, or as they are by default."""
    from trialhouse.studies.catalogue import parse_study

    settings: dict[str, Any] = {"dataset": "mnist", "batch_size": 64, "learning_rate_rule": "fixed", "schedule": "constant"}
    if not has_default_curves:
        settings |= {"curve": "epochs", "validation_examples": 7_500}
    levels: dict[str, list[float]] = {
        "width": [8, 16, 32],
        "n_train": [2000] if is_quick else [2000, 5000, 8000],
        "epochs": [3] if is_quick else [3, 5],
        "learning_rate": [0.001] if is_quick else [0.001, 0.0005],
    }
    return parse_study(
        {
            "name": "grid",
            "title": "The grid of source 000",
            "question": "How fast do these trials train?",
            "workload": {"name": "lenet", "settings": settings},
            "factors": [{"name": name, "kind": "ordinal", "levels": values} for name, values in levels.items()],
            "hardware_classes": ["host"],
            "design": {"kind": "full_factorial", "seed": 0},
            "graph": "scaling.dot",
            "estimands": [{"name": "width", "treatment": "width", "contrast": {"from": 8, "to": 32}, "outcome": "error"}],
        },
        source="grid",
    )


def run(is_quick: bool = False) -> float:
    """Time both ways, the product's before and after the other, record the ratio and return it."""
    from scipy.stats import ks_2samp

    from trialhouse.registration import plan

    root = get_settings().data_dir
    assert root is not None
    trials = plan(grid(is_quick), Settings()).trials
    workers = usable_cpus()
    first = _product(is_quick, workers)
    usual_s, usual = _usual(root, [dict(trial.factors) for trial in trials])
    second = _product(is_quick, workers)
    by_default = _product(is_quick, workers, has_default_curves=True)
    wall_s = (first["wall_s"] + second["wall_s"]) / 2
    ratio, peak = usual_s / wall_s, _peak_flops(workers)
    test = ks_2samp(usual, first["accuracies"])
    detail = {
        "trials": len(trials),
        "workers": workers,
        "usual_s": round(usual_s, 2),
        "product_s": [round(one["wall_s"], 2) for one in (first, second)],
        "start_up_s": [round(one["start_up_s"], 2) for one in (first, second)],
        "ratio_without_start_up": round(usual_s / (wall_s - (first["start_up_s"] + second["start_up_s"]) / 2), 3),
        "ratio_with_default_curves": round(usual_s / by_default["wall_s"], 3),
        "mean_accuracy_usual": round(sum(usual) / len(usual), 4),
        "mean_accuracy_product": round(sum(first["accuracies"]) / len(usual), 4),
        "kolmogorov_smirnov_p": round(float(test.pvalue), 3),
        "training_flops_per_s": round(first["training_flops"] / wall_s),
        "peak_flops_per_s": round(peak),
        "share_of_peak": round(first["training_flops"] / wall_s / peak, 3),
        "hoped_for": HOPE,
        "is_quick": is_quick,
    }
    record("trial_throughput", round(ratio, 3), "times as fast as the usual way", f">= {GOAL}", ratio >= GOAL, detail, ["torch"])
    print(f"  {detail}")
    return ratio


def _product(is_quick: bool, workers: int, *, has_default_curves: bool = False) -> dict[str, Any]:
    """The grid by worker processes, from nothing; accuracies on the test split in the order of the design."""
    import json

    from tests.trialhouse.engine import rows

    with tempfile.TemporaryDirectory(prefix="bench_throughput") as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = time.perf_counter()
        arguments = [sys.executable, "-c", WORKER, folder, "quick" if is_quick else "whole", "default" if has_default_curves else "usual"]
        children = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(workers)]
        reports = [json.loads(child.communicate()[0].splitlines()[-1]) for child in children]
        wall_s = time.perf_counter() - started
        landed = rows(Settings(home=Path(folder)), "outcomes")
    return {
        "wall_s": wall_s,
        "start_up_s": max(report["ready_s"] for report in reports),
        "accuracies": [row["value"] for row in landed if row["outcome"] == "accuracy"],
        "training_flops": sum(row["value"] for row in landed if row["outcome"] == "training_flops"),
    }


def _usual(root: Path, cells: list[dict[str, Any]]) -> tuple[float, list[float]]:
    import torch

    from tests.benchmarks.usual_training import train_usually

    threads = torch.get_num_threads()
    torch.set_num_threads(usable_cpus())
    started = time.perf_counter()
    accuracies = [train_usually(root, **cell)[0] for cell in cells]
    wall_s = time.perf_counter() - started
    torch.set_num_threads(threads)
    return wall_s, accuracies


def _peak_flops(workers: int) -> float:
    """Floating-point operations per second of large matrix products on as many threads as there are workers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(workers)
    size = 2048
    left, right = torch.randn(size, size), torch.randn(size, size)
    best = 0.0
    for _ in range(10):
        started = time.perf_counter()
        left @ right
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    torch.set_num_threads(threads)
    return best


def main() -> int:
    """Run; 0 if the goal is met, 1 if not, 2 without MNIST."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="three small trials, to see that it runs")
    is_quick = parser.parse_args().quick
    root = get_settings().data_dir
    if root is None or not (root / "MNIST" / "raw").is_dir():
        print("trial_throughput needs MNIST, got none; set TRIALHOUSE_DATA_DIR to a folder that has MNIST/raw", file=sys.stderr)
        return 2
    return 0 if run(is_quick) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
