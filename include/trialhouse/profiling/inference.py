"""One trial, as it runs in its own child: load the weights, classify batches, say how long it took and what memory it took."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialhouse.attempts import Reading
from trialhouse.hardware.classes import HardwareClass
from trialhouse.hardware.limits import lift_memory_limit, limit_cpus, limit_memory
from trialhouse.identity import canonical_json
from trialhouse.profiling.counters import PerfCounters
from trialhouse.profiling.latency import sample_latency
from trialhouse.profiling.loading import sample_stream
from trialhouse.profiling.memory import PeakMemory, is_out_of_memory, refused_bytes
from trialhouse.profiling.sampler import latency_by_turn
from trialhouse.studies.spec import Level
from trialhouse.workloads.protocol import Classifier, Examples
from trialhouse.workloads.registry import make_classifier
from trialhouse.workloads.weights import load_network

if TYPE_CHECKING:
    import torch

DEFAULT_BATCH_SIZE = 64
"""Where batch size is no factor of the study."""

WARM_UP_BATCH = 16

EVALUATION_S = 2.0
"""The trial's own look at the accuracy is given up after this: it is a control, and must not cost more than the trial."""

_prepared: dict[tuple[str, str], Classifier] = {}


def prepare(workload: str, settings: dict[str, Any], factors: dict[str, Level]) -> None:
    """Before any fork: import PyTorch and what a network needs, stay on one thread, and have the data in memory."""
    import torch

    torch.set_num_threads(1)
    _prepared[workload, canonical_json(settings)] = made = make_classifier(workload, settings)
    made.examples("test")
    made.network(factors, seed=0)


def measure(
    workload: str, settings: dict[str, Any], weights_path: str, factors: dict[str, Level], hardware: dict[str, Any]
) -> dict[str, Any]:
    """In the child: measure weights under a hardware class's limits.

    Parameters
    ----------
    workload, settings
        As prepared.
    weights_path
        Their file.
    factors
        The trial's; of them `batch_size` is the number of images per call. With `num_workers`, the images are also streamed
        through so many loading processes.
    hardware
        The class's fields.

    Returns
    -------
    dict
        `status` (`ok` or `out_of_memory`) and `failure_reason`; `outcomes` and `profiles` as readings
        [value, text, reason]; `realised`; `samples`.
    """
    import torch

    limits = HardwareClass.model_validate(hardware)
    made = _prepared[workload, canonical_json(settings)]
    inputs = made.examples("test").inputs
    counters = PerfCounters()  # before the threads that they are to count
    profiles = limit_cpus(limits)
    with torch.inference_mode():
        made.network(factors, seed=0).eval()(inputs[:WARM_UP_BATCH])  # libraries set themselves up outside the limit
        gc.collect()
        gc.disable()
        peak = PeakMemory()
        profiles |= limit_memory(limits)
        counters.start()
        report: dict[str, Any] = {
            "status": "ok",
            "failure_reason": None,
            "outcomes": {},
            "profiles": profiles,
            "realised": {},
            "samples": {},
        }
        try:
            network = _classify(report, made, Path(weights_path), inputs, factors)
        except (MemoryError, RuntimeError) as error:
            lift_memory_limit()
            if not is_out_of_memory(error):
                raise
            report |= {"status": "out_of_memory", "failure_reason": str(error).splitlines()[0] if str(error) else type(error).__name__}
            profiles["refused_allocation_bytes"] = refused_bytes(error)
        else:
            lift_memory_limit()
        profiles |= counters.read()
        peak_memory = peak.read()
        if report["status"] == "ok":  # after all else, with the limit lifted: it can spoil nothing
            report["outcomes"]["accuracy_as_served"] = _accuracy(network, made.examples("test"), report["realised"]["batch_size"])
    if report["status"] != "ok" and peak_memory.value is not None:
        peak_memory = peak_memory._replace(reason="as far as it came: the allocation that was refused is not in it")
    if limits.memory_bytes is None:
        share = Reading(reason=f"class {limits.name} has no limit")
    else:
        share = peak_memory._replace(value=None if peak_memory.value is None else peak_memory.value / limits.memory_bytes)
    profiles["baseline_rss_bytes"] = Reading(peak.baseline_bytes)
    report["outcomes"] |= {"peak_memory_bytes": peak_memory, "memory_utilisation": share}
    return report


def _classify(
    report: dict[str, Any], workload: Classifier, weights_path: Path, inputs: torch.Tensor, factors: Mapping[str, Level]
) -> torch.nn.Module:
    import torch

    start = time.perf_counter()
    network = load_network(weights_path, workload, factors)
    report["outcomes"]["load_ms"] = Reading((time.perf_counter() - start) * 1e3)
    batch_size = int(factors.get("batch_size", DEFAULT_BATCH_SIZE))
    batch = _batch(inputs, 0, batch_size)
    report["realised"]["batch_size"] = batch_size
    latency = sample_latency(lambda: network(batch), torch.get_num_threads())
    report["outcomes"]["warmup_ms"] = Reading(latency.warmup_ms)
    report["samples"] |= {"latency_ms": latency.latency_ms, "disturbed_latency_ms": latency.disturbed_latency_ms}
    report["profiles"]["latency_cpu_share"] = Reading(latency.cpu_share)
    report["profiles"] |= latency_by_turn(latency.started_s, latency.latency_ms)
    if "num_workers" in factors:
        workers = int(factors["num_workers"])
        stream = sample_stream(network, workload.images("test"), batch_size, workers)
        report["realised"]["num_workers"] = stream.workers
        report["outcomes"] |= stream.outcomes
        report["profiles"] |= stream.profiles
    return network


def _batch(inputs: torch.Tensor, first: int, size: int) -> torch.Tensor:
    """So many images from the `first` on; larger batches than there are images repeat them."""
    import torch

    return inputs[(first + torch.arange(size)) % len(inputs)]


def _accuracy(network: torch.nn.Module, examples: Examples, batch_size: int) -> Reading:
    """Share of all examples classified correctly in batches of the trial's own size; null with the reason where that fails."""
    correct, begin = 0, time.perf_counter()
    count = len(examples.targets)
    for first in range(0, count, batch_size):
        if time.perf_counter() - begin > EVALUATION_S:
            return Reading(reason=f"given up after {first} of {count} examples ({EVALUATION_S:g} s)")
        try:
            scores = network(_batch(examples.inputs, first, batch_size))
        except (MemoryError, RuntimeError) as error:
            return Reading(reason=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}")
        targets = examples.targets[first : first + batch_size]
        correct += int((scores[: len(targets)].argmax(dim=1) == targets).sum())
    return Reading(correct / count)
