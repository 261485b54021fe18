"""What is done to a pruned network's weights, beside fine-tuning them: the controls that tell what fine-tuning adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

RECALIBRATION_BATCH = 250
RECALIBRATION_BATCHES = 20
"""Training examples from which batch-norm statistics are estimated anew: 20 batches of 250, or all of a smaller split."""


def draw_anew(network: torch.nn.Module, fresh: torch.nn.Module) -> None:
    """Give a pruned network fresh weights, in place; its shape and its masks stay.

    A trained network of this shape tells what the shape alone is worth (Liu et al. 2019, Rethinking the value of network
    pruning). Weights come from the workload's own initialisation, cut to the layer and scaled by the square root of its
    inputs before over those after (masked ones do not count): as large as that initialisation would make them in a network
    of this shape, where it goes by the number of inputs, and else as large as the next layer is used to.

    Parameters
    ----------
    network
        After pruning.
    fresh
        The same network unpruned, with new weights.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        for name, module in network.named_modules():
            source = fresh.get_submodule(name)
            factor = 1.0
            if isinstance(module, nn.Conv2d | nn.Linear):
                mask = getattr(module, "weight_mask", None)
                weights = module.weight.numel() if mask is None else int(mask.sum())
                factor = (source.weight[0].numel() * len(module.weight) / weights) ** 0.5  # type: ignore[index]
            for key, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                if key != "weight_mask":
                    whole: torch.Tensor = getattr(source, key.removesuffix("_orig"))
                    tensor.copy_(whole[tuple(slice(size) for size in tensor.shape)] * factor)


def recalibrate_batch_norm(network: torch.nn.Module, inputs: torch.Tensor, seed: int) -> None:
    """Estimate the statistics of batch norms anew, in place; no weight changes (Li et al. 2020, EagleEye).

    Parameters
    ----------
    network
        Left in evaluation mode. Without batch norms it stays as it is.
    inputs
        Training inputs (examples, channels, height, width).
    seed
        Of the choice and order of examples.
    """
    import torch
    from torch import nn

    network.eval()
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for chosen in torch.split(order, RECALIBRATION_BATCH)[:RECALIBRATION_BATCHES]:
            if len(chosen) > 1:
                network(inputs[chosen])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
