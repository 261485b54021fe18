"""Profile intervals where textbooks have them: with a wide Huber delta a pure power law is a straight line by least squares."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from trialhouse.scaling_laws import Law, fit_table

SEEDS, LEVELS = 6, 12


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    """Each seed at each amount of data, with a luck and a slope of its own."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"data": np.tile(np.geomspace(1e2, 1e6, LEVELS), SEEDS), "seed": np.repeat(np.arange(SEEDS), LEVELS)})
    log_n = np.log(frame["data"])
    own = 0.05 * rng.normal(size=SEEDS)[frame["seed"]] + 0.02 * rng.normal(size=SEEDS)[frame["seed"]] * (log_n - log_n.mean())
    return frame.assign(y=np.exp(2 - 0.25 * log_n + own + rng.normal(0, 0.05, len(frame))))


def fitted(frame: pd.DataFrame, cluster: str | None = None) -> Law:
    options = {"delta": 10.0, "draws": 2000, "keep_transient": True}
    return fit_table(frame, form="pure_power_law", outcome="y", columns={"data": "data"}, cluster=cluster, **options)  # type: ignore[arg-type]


def regression(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Design, inverse of its square, and residuals."""
    design = np.column_stack([np.ones(len(frame)), -np.log(frame["data"])])
    inverse = np.linalg.inv(design.T @ design)
    target = np.log(frame["y"].to_numpy())
    return design, inverse, target - design @ (inverse @ design.T @ target)


def test_of_independent_rows_it_is_the_interval_of_a_regression(trials: pd.DataFrame) -> None:
    """Within 6%: the dispersion is a mean over 2,000 draws, sure to about 3%, and no smaller than the residual variance."""
    shuffled = trials.assign(y=np.exp(2 - 0.25 * np.log(trials["data"]) + np.random.default_rng(2).normal(0, 0.05, len(trials))))
    design, inverse, residuals = regression(shuffled)
    law = fitted(shuffled)
    error = np.sqrt(residuals @ residuals / (len(shuffled) - 2) * inverse[1, 1])
    influence = (inverse @ design.T)[1] ** 2
    carriers = influence.sum() ** 2 / (influence**2).sum()
    low, high = law.intervals["beta"]
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, min(70, carriers - 1)) * error, rel=0.06)
    robust = np.sqrt(((inverse @ design.T)[1] ** 2) @ residuals**2)
    assert law.standard_errors["beta"] == pytest.approx(robust, rel=0.06)


def test_of_repeated_units_it_is_the_cluster_robust_one(trials: pd.DataFrame) -> None:
    """CR1 with t(G - 1): G / (G - 1) (n - 1) / (n - p) times the sums of scores by seed, which all have the same design."""
    design, inverse, residuals = regression(trials)
    scores = np.array([design[own].T @ residuals[own] for own in (trials["seed"].to_numpy() == seed for seed in range(SEEDS))])
    rows = len(trials)
    variance = inverse @ (scores.T @ scores) @ inverse * SEEDS / (SEEDS - 1) * (rows - 1) / (rows - 2)
    low, high = fitted(trials, "seed").intervals["beta"]
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, SEEDS - 1) * np.sqrt(variance[1, 1]), rel=0.06)


def test_draws_that_went_astray_do_not_decide_an_interval() -> None:
    """Runs of eight sizes in six seeds, with five lengths each: the searches of a few draws end elsewhere, other draws other ones."""
    rng = np.random.default_rng(13)
    sizes = (3120, 12384, 12432, 49344, 49440, 196992, 197184, 787584)
    runs = [(size, (place + 3 * repeat) % 6) for place, size in enumerate(sizes) for repeat in range(3)]
    steps = np.array([100, 200, 400, 800, 1600])
    frame = pd.DataFrame([{"size": size, "data": 1024 * length, "seed": seed} for size, seed in runs for length in steps])
    level = 0.458 * np.log(16.4 / frame["size"] ** 0.18 + 164 / frame["data"] ** 0.2855)
    frame["loss"] = np.exp(level + np.repeat(rng.normal(0, 0.02, len(runs)), 5) + rng.normal(0, 0.015, len(frame)))
    columns = {"size": "size", "data": "data"}
    laws = [
        fit_table(frame, form="pure_coupled", outcome="loss", columns=columns, cluster="seed", draws=200, seed=seed) for seed in range(2)
    ]
    one, other = (np.ptp(law.intervals["beta"]) for law in laws)
    # Without a second search one of the two had no end; each width is a root of a mean of 200 and so 1 / sqrt(2 x 200) = 5% uncertain.
    assert one / other == pytest.approx(1, abs=4 * 0.05 * np.sqrt(2))
