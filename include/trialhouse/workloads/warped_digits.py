"""Handwritten digits without end: scikit-learn's 1,797, each time turned, scaled, slanted, moved and noised anew.

What it stands for: one fixed distribution that can be sampled for ever, which one-pass ("online") training and learning curves
over two orders of magnitude need and 1,797 images are not. Training and test images are drawn from it alike and
share the originals, so an error on it is about this distribution, not about the handwriting of anybody else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

VERSION = "1"
"""Part of the checksum: raised whenever other images come out."""
COUNTS = {"train": 131_072, "test": 5_000}
TURN, SLANT, SCALE, MOVE, NOISE = math.radians(15), 0.2, 0.15, 0.15, 0.1
"""Deviations of a turn (radians), a slant, the logarithm of the scale and a move (in half images), and of a pixel's noise (of 16
grey levels)."""


def warp(
    images: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], count: int, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """So many images of the distribution.

    Parameters
    ----------
    images
        Originals, shape (originals, 1, 8, 8), from 0 to 16.
    targets
        Their class numbers (originals,).
    count, seed
        How many, and of which draw.

    Returns
    -------
    tuple
        Images (count, 1, 8, 8) and class numbers (count,).
    """
    import torch
    from torch.nn import functional

    chance = np.random.default_rng([seed, 1797])
    chosen = chance.integers(len(images), size=count)
    turn, slant = TURN * chance.standard_normal(count), SLANT * chance.standard_normal(count)
    scale, move = np.exp(SCALE * chance.standard_normal(count)), MOVE * chance.standard_normal((count, 2))
    cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
    maps = np.stack([np.stack([cosine, slant - sine, move[:, 0]], axis=1), np.stack([sine, cosine, move[:, 1]], axis=1)], axis=1)
    warped = np.empty((count, *images.shape[1:]), dtype=np.float32)
    for part in np.array_split(np.arange(count), max(1, count // 4096)):
        originals = torch.from_numpy(images[chosen[part]])
        grid = functional.affine_grid(torch.from_numpy(maps[part].astype(np.float32)), list(originals.shape), align_corners=False)
        warped[part] = functional.grid_sample(originals, grid, align_corners=False).numpy()
    warped += 16 * NOISE * chance.standard_normal(warped.shape, dtype=np.float32)
    return warped, targets[chosen]
