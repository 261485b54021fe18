"""A subsample of the authors' table in which machine and batch size decide how much a network is pruned.

    python -m tests.authors.confounded pruning_runs.csv confounded.csv

The factorial is balanced, so its plain contrast is the truth. From it, a row with a ratio above 0.3 is kept with probability
1 / (1 + exp(-3.5 (c + q - 1))), any other with the rest to 1, where c is 0 for the server, 1/2 for the PC and 1 for the
laptop, and q goes from 0 to 1 over the batch sizes 4, 8, ..., 128: as if whoever ran into memory limits had pruned harder.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

SEED = 0
STRENGTH = 3.5
RANK = {"Server": 0.0, "PC": 0.5, "Laptop": 1.0}


def confounded(table: pd.DataFrame, seed: int = SEED) -> pd.DataFrame:
    """About half of the rows of the three machines that ran the whole factorial."""
    rows = table[table["platform"].isin(list(RANK))]
    pressure = rows["platform"].map(RANK) + np.log2(rows["batch_size"] / 4) / 5 - 1
    sign = np.where(rows["prune_ratio"] > 0.3, 1, -1)
    keep = 1 / (1 + np.exp(-STRENGTH * sign * pressure))
    return rows[np.random.default_rng(seed).random(len(rows)) < keep]


if __name__ == "__main__":
    confounded(pd.read_csv(sys.argv[1])).to_csv(sys.argv[2], index=False)
