"""Weights that somebody else trained, from a file: tensors only, of the network's own shapes, or one line that says why not."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialhouse.errors import WorkloadError

if TYPE_CHECKING:
    import torch

REMEDY = "fix workload.settings.weights"

_NESTED = ("state_dict", "model_state_dict", "model")
"""Where training scripts put a network's tensors in a checkpoint that has more."""


def checksum(path: Path) -> str:
    """SHA-256 of a file.

    Raises
    ------
    WorkloadError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WorkloadError(f"weights must be a readable file at {path}", error.strerror, REMEDY) from error


def read(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name, of a safetensors file or a PyTorch checkpoint. No code in either is ever run.

    Raises
    ------
    WorkloadError
        If the file is neither, or holds more than tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    checksum(path)  # says it where it cannot be read at all
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        expected = f"weights in {path} must be tensors and nothing else"
        raise WorkloadError(expected, "a pickle with code in it, or no checkpoint at all", "save the network's state_dict()") from error
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        expected, reason = f"weights in {path} must be a safetensors file or a PyTorch checkpoint", str(error).splitlines()[0]
        raise WorkloadError(expected, reason, REMEDY) from error
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WorkloadError(f"weights in {path} must be tensors by name", type(content).__name__, "save the network's state_dict()")
    tensors = {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("aux")}  # GoogLeNet's auxiliary classifiers


def check_fit(network: torch.nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Refuse tensors that are not exactly a network's.

    Raises
    ------
    WorkloadError
        Names the first that is missing, unknown or of another shape.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name, shape in expected.items():
        if name not in state and name.endswith("num_batches_tracked"):
            continue  # checkpoints of old lack these counters, and nothing depends on them
        if name not in state or tuple(state[name].shape) != shape:
            got = _shape(tuple(state[name].shape)) if name in state else "none"
            raise WorkloadError(f"weights in {source} must fit the network: {name} is {_shape(shape)}", got, REMEDY)
    if unknown := sorted(set(state) - set(expected)):
        raise WorkloadError(f"weights in {source} must fit the network, which has no {unknown[0]}", f"{len(unknown)} such tensors", REMEDY)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
