"""What structured pruning removes first: an importance per channel, and whether it is compared within a layer or over all of them.

Compared within each layer, so that every layer loses the same share:

- `random_structured`: a random number, the control that tells whether the choice matters.
- `l1_structured`: sum of absolute weights (Li et al. 2017, "Pruning filters for efficient ConvNets").
- `l2_structured`: sum of squared weights (He et al. 2018, "Soft filter pruning").

Compared globally, by one threshold over all layers:

- `batch_norm_scale`: absolute scale of the channel's batch norm, as trained here without the paper's sparsity penalty; channels
  without batch norm stay (Liu et al. 2017, "Learning efficient convolutional networks through network slimming").
- `taylor`: sum of (weight x gradient)^2, a first-order estimate of the squared change of the loss (Molchanov et al. 2019,
  "Importance estimation for neural network pruning").
- `lamp`: squared weights, as a share of those of all channels of the layer that are at least as important (Lee et al. 2021,
  "Layer-adaptive sparsity for the magnitude-based pruning"; there of single weights).

Channels that depend on each other (a convolution, its batch norm and the inputs of the next layer; all ends of a residual
stream) are removed together and scored together (Fang et al. 2023, DepGraph; computed by Torch-Pruning). Another package
adds a method as an entry point of the group `trialhouse.importance` that names an `Importance`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from trialhouse.errors import PruningError
from trialhouse.workloads.factors import IMPORTANCE_GROUP, structured_methods

if TYPE_CHECKING:
    import torch

Measure = Callable[[Any], "torch.Tensor | None"]
"""Scores the channels of a Torch-Pruning group, shape (channels,), the least important lowest; None where it cannot."""


@dataclass(frozen=True)
class Importance:
    """A structured method.

    Parameters
    ----------
    measure
        Makes the measure; called when a network is pruned, so that importing a method imports no library.
    is_global
        Whether one threshold holds for all layers; otherwise each layer loses the same share of its channels.
    needs_gradients
        Whether the measure reads `.grad`: for each weight the mean of its squared gradient over a few batches of training
        data, in evaluation mode.
    """

    measure: Callable[[], Measure]
    is_global: bool
    needs_gradients: bool = False


def load_importance(method: str) -> Importance:
    """The importance that a structured method goes by.

    Raises
    ------
    PruningError
        If there is no such method.
    """
    found = {entry.name: entry for entry in entry_points(group=IMPORTANCE_GROUP)}
    if method not in found:
        raise PruningError(f"a method that removes channels must be one of {list(structured_methods())}", repr(method), "fix it")
    importance: Importance = found[method].load()
    return importance


def _torch_pruning(name: str, **settings: Any) -> Callable[[], Measure]:
    def make() -> Measure:
        import torch_pruning

        measure: Measure = getattr(torch_pruning.importance, name)(**settings)
        return measure

    return make


RANDOM = Importance(_torch_pruning("RandomImportance"), is_global=False)
L1 = Importance(_torch_pruning("GroupMagnitudeImportance", p=1), is_global=False)
L2 = Importance(_torch_pruning("GroupMagnitudeImportance", p=2), is_global=False)
# Network slimming compares the scales as they are; the library's default would divide them by each layer's mean.
BATCH_NORM_SCALE = Importance(_torch_pruning("BNScaleImportance", normalizer=None), is_global=True)
# The library's Taylor measure is |weight x gradient of the whole sample|, near zero where training ended. The paper's is the
# mean over batches of (weight x gradient)^2: the library's weight^2 x `.grad` of squared gradients. A sum over all that is
# removed, not normalised: changes of the loss can be compared between layers.
TAYLOR = Importance(_torch_pruning("GroupHessianImportance", normalizer=None, group_reduction="sum"), is_global=True, needs_gradients=True)
LAMP = Importance(_torch_pruning("LAMPImportance"), is_global=True)
