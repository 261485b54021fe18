"""Weights on disk: safetensors (tensors and text, no code), written whole or not at all, rebuilt whatever was pruned away."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialhouse.errors import WorkloadError
from trialhouse.studies.spec import Level
from trialhouse.workloads.layout import is_channels_last
from trialhouse.workloads.protocol import Classifier

if TYPE_CHECKING:
    import torch


class WeightsStore:
    """Files `<weights_id>.safetensors` in one folder; `<weights_id>.failed.json` where training gave no usable weights."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, weights_id: str) -> Path:
        """Where the weights are, or would be."""
        return self.root / f"{weights_id}.safetensors"

    def has(self, weights_id: str) -> bool:
        """Whether the weights are there."""
        return self.path(weights_id).is_file()

    def failure(self, weights_id: str) -> dict[str, Any] | None:
        """Why there are no usable weights, as it was saved; None where nothing is known of a failure."""
        try:
            content: dict[str, Any] = json.loads(self._failure_path(weights_id).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return content

    def save(self, weights_id: str, network: torch.nn.Module, about: Mapping[str, Any]) -> None:
        """Write a network's tensors, and what else there is to know as JSON in the file's header."""
        from safetensors.torch import save

        tensors = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
        _write_whole(self.path(weights_id), save(tensors, {"about": json.dumps(about, sort_keys=True)}))
        self._failure_path(weights_id).unlink(missing_ok=True)

    def save_failure(self, weights_id: str, failure: Mapping[str, Any]) -> None:
        """Remember that, and why, these settings give no usable weights."""
        _write_whole(self._failure_path(weights_id), json.dumps(failure, sort_keys=True).encode())

    def about(self, weights_id: str) -> dict[str, Any]:
        """What was saved beside the tensors."""
        from safetensors import safe_open

        with safe_open(self.path(weights_id), framework="pt") as file:
            content: dict[str, Any] = json.loads(file.metadata()["about"])
        return content

    def load(self, weights_id: str, workload: Classifier, factors: Mapping[str, Level]) -> torch.nn.Module:
        """A trial's network, in evaluation mode, with the shapes that pruning left it.

        Raises
        ------
        WorkloadError
            If the weights are missing or belong to another network.
        """
        return load_network(self.path(weights_id), workload, factors)

    @contextmanager
    def making(self, weights_id: str) -> Iterator[None]:
        """Held by the one process that makes these weights; another that wants the same waits and finds them."""
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / f".{weights_id}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _failure_path(self, weights_id: str) -> Path:
        return self.root / f"{weights_id}.failed.json"


def load_network(path: Path, workload: Classifier, factors: Mapping[str, Level]) -> torch.nn.Module:
    """See `WeightsStore.load`."""
    from safetensors.torch import load_file

    if not path.is_file():
        raise WorkloadError(f"weights must be at {path}", "no such file", "make the study's weights first")
    state = load_file(path)
    network = workload.network(factors, seed=0)
    take_shapes(network, state)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise WorkloadError(f"{path.name} must fit the workload's network", reason, "make the weights anew") from error
    return network.eval()


def take_shapes(network: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Give each layer the sizes of its tensors in `state`: structured pruning removes channels, so the shapes tell all there is."""
    import torch
    from torch import nn

    for prefix, module in network.named_modules():
        weight = state.get(f"{prefix}.weight")
        if weight is None or weight.shape == module.weight.shape:
            continue
        if isinstance(module, nn.Conv2d):
            module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = weight.shape
        elif isinstance(module, nn.BatchNorm2d):
            module.num_features = weight.shape[0]
        else:
            raise WorkloadError("pruned layers must be convolutional, linear or batch norm", type(module).__name__, "extend take_shapes")
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            shape = state[f"{prefix}.{name}"].shape
            layout = torch.channels_last if is_channels_last(tensor) else torch.contiguous_format
            empty = torch.empty(shape, memory_format=layout)
            if name in module._parameters:
                module.register_parameter(name, nn.Parameter(empty))
            else:
                module.register_buffer(name, empty.to(tensor.dtype))


def _write_whole(path: Path, content: bytes) -> None:
    """The file appears complete or not at all, whatever is killed when; the last of several writers wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
