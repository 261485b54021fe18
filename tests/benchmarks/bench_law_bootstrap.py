"""What 4,000 bootstrap draws of the Chinchilla fit cost: a loop of scipy's L-BFGS from 20 starts over ours, on one thread.

    python -m tests.benchmarks.bench_law_bootstrap [--draws 4000] [--loop 20] [--full]

The loop is what one writes: per draw the resampled rows, the summed Huber loss with its analytic gradient, 20 starts, the best
kept, with scipy's default tolerances. It runs on the first few of the same draws and is scaled, which the result says; with
`--full` it runs on all. Where it ends is compared with ours, and so is where a slower loop ends, with tolerances as tight as
they go. Ours includes the fit to all rows that the draws start from. The points are those of Chinchilla's figure where the
project has them beside it, else a table with its law planted. The figure shows both costs against the number of points, there
with fewer draws.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.record import draw_costs, record
from trialhouse.scaling_laws import FORMS
from trialhouse.scaling_laws.forms import Array
from trialhouse.scaling_laws.intervals import bootstrap
from trialhouse.scaling_laws.sample import LawSample, make_sample
from trialhouse.scaling_laws.search import optimum
from trialhouse.settings import get_settings

GOAL = 50.0
DELTA = 1e-3
STARTS = 20
SIZES = (100, 300, 1_000, 3_000, 10_000)
POINTS = Path(__file__).parents[3] / "shared" / "data" / "chinchilla_epoch" / "svg_extracted_data.csv"
FORM = FORMS["chinchilla"]
LAW = {"E": 1.8172, "A": 477.8, "alpha": 0.3473, "B": 2143.0, "beta": 0.3672}


def run(draws: int = 4_000, loop: int = 20, sizes: Sequence[int] = SIZES, curve_draws: int = 500) -> float:
    """Time both, draw the figure, record the ratio and return it; NaN if they do not end at the same optima."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        sample, source = _sample()
        _ours(sample, 100), _loop(sample, np.ones((1, len(sample))), 1)  # imports and first calls
        ours, theirs, shared = [], 0.0, None
        for _ in range(3):
            seconds, shared = _timed(lambda: _ours(sample, draws))
            ours.append(seconds)
        assert shared is not None
        theirs, found = _timed(lambda: _loop(sample, shared.weights[:loop], STARTS))
        slowly, tightly = _timed(lambda: _loop(sample, shared.weights[:loop], STARTS, is_tight=True))
        curve = [_against_points(size, curve_draws) for size in sizes]
    agreement = _agreement(shared.coordinates[:loop], shared.objective[:loop], tightly)
    ratio = theirs * draws / loop / float(np.median(ours))
    is_same = agreement["highest_of_ours_over_theirs"] <= 1 + 1e-6 and agreement["widest_difference_in_standard_errors"] <= 0.1
    figure = _draw_figure(get_settings().bench_dir / "law_bootstrap.svg", curve, curve_draws)
    errors = dict(zip(FORM.names, FORM.natural(shared.coordinates).std(axis=0, ddof=1).round(5).tolist(), strict=True))
    low, high = np.quantile(FORM.natural(shared.coordinates), [0.025, 0.975], axis=0)
    detail = {
        "points": len(sample),
        "source": source,
        "draws": draws,
        "ours_s": [round(seconds, 3) for seconds in ours],
        "loop_s": round(theirs * draws / loop, 1),
        "loop_draws_that_ran": loop,
        "is_scaled": loop < draws,
        "loop_starts": STARTS,
        "tight_loop_s": round(slowly * draws / loop, 1),
        "agreement_with_loop": _agreement(shared.coordinates[:loop], shared.objective[:loop], found),
        "agreement_with_tight_loop": agreement,
        "standard_errors": errors,
        "percentile_intervals": {name: [a, b] for name, a, b in zip(FORM.names, low.round(4), high.round(4), strict=True)},
        "converged": shared.converged,
        "against_points": curve,
        "against_points_draws": curve_draws,
        "figure": figure.name,
    }
    is_met = ratio >= GOAL and is_same
    record("law_bootstrap", round(ratio, 1), "scipy's loop / ours", f">= {GOAL:g}, same optima", is_met, detail, ["scipy", "numpy"])
    return ratio if is_same else float("nan")


def _sample() -> tuple[LawSample, str]:
    if POINTS.exists():
        frame = pd.read_csv(POINTS).rename(columns={"Model Size": "size"})
        frame = frame.assign(data=frame["Training FLOP"] / 6 / frame["size"]).sort_values("loss").iloc[:-5]
        return _as_sample(frame), "Chinchilla's figure, without its five highest losses (Besiroglu et al. 2024)"
    return _as_sample(_planted(240)), "planted: Chinchilla's law, sizes, tokens and noise"


def _planted(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(rows)
    size, data = np.exp(rng.uniform(np.log(6e7), np.log(1.6e10), rows)), np.exp(rng.uniform(np.log(8e8), np.log(3e11), rows))
    level, _ = FORM.curve(FORM.coordinates(LAW)[None], {"size": np.log(size), "data": np.log(data)})
    return pd.DataFrame({"size": size, "data": data, "loss": np.exp(level[0] + rng.laplace(0, 0.006, rows))})


def _as_sample(frame: pd.DataFrame) -> LawSample:
    return make_sample(frame.reset_index(drop=True), FORM, outcome="loss", columns={"size": "size", "data": "data"})


def _ours(sample: LawSample, draws: int) -> Any:
    best = optimum(FORM, sample.points, sample.outcome, DELTA)
    return bootstrap(FORM, sample, best.coordinates, DELTA, draws=draws, seed=0)


def _loop(sample: LawSample, weights: Array, starts: int, *, is_tight: bool = False) -> Array:
    """Coordinates and loss (draws x 6): scipy's L-BFGS for each draw from each start."""
    from scipy.optimize import minimize

    tight = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5_000, "maxfun": 10_000}
    rng = np.random.default_rng(0)
    low, high = np.array([-1.0, 0.0, 0.0, 0.0, 0.0]), np.array([1.0, 15.0, 1.0, 15.0, 1.0])
    begin = low + (high - low) * rng.random((starts, 5))
    found = []
    for own in weights.astype(int):
        size, data, loss = (np.repeat(column, own) for column in (sample.points["size"], sample.points["data"], np.log(sample.outcome)))
        tried = [
            minimize(_loss, start, args=(size, data, loss), jac=True, method="L-BFGS-B", options=tight if is_tight else {})
            for start in begin
        ]
        best = min(tried, key=lambda result: float(result.fun))
        found.append([*best.x, best.fun])
    return np.array(found)


def _loss(law: Array, size: Array, data: Array, loss: Array) -> tuple[float, Array]:
    e, a, alpha, b, beta = law
    terms = np.stack([np.full_like(size, e), a - alpha * size, b - beta * data])
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    residuals = top + np.log(total) - loss
    shares /= total
    pull = np.clip(residuals, -DELTA, DELTA)
    spread = np.abs(residuals)
    value = np.where(spread <= DELTA, residuals**2 / 2, DELTA * (spread - DELTA / 2)).sum()
    first, second, third = shares * pull
    return float(value), np.array([first.sum(), second.sum(), -second @ size, third.sum(), -third @ data])


def _agreement(ours: Array, losses: Array, theirs: Array) -> dict[str, float]:
    """How far apart both end on the same draws, in losses and in standard errors of the draws."""
    spread = ours.std(axis=0)
    return {
        "highest_of_ours_over_theirs": float((losses / theirs[:, -1]).max()),
        "highest_of_theirs_over_ours": float((theirs[:, -1] / losses).max()),
        "widest_difference_in_standard_errors": float(np.median(np.abs(ours - theirs[:, :-1]) / spread, axis=0).max()),
    }


def _against_points(points: int, draws: int) -> dict[str, float]:
    sample = _as_sample(_planted(points))
    ours, found = _timed(lambda: _ours(sample, draws))
    theirs, _ = _timed(lambda: _loop(sample, found.weights[:1], STARTS))
    return {"points": points, "ours_s": round(ours, 3), "loop_scaled_s": round(theirs * draws, 1)}


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def _draw_figure(path: Path, curve: Sequence[dict[str, float]], draws: int) -> Path:
    lines = (
        (f"scipy's L-BFGS, {STARTS} starts (from one draw, scaled)", "s--", "loop_scaled_s"),
        ("Trialhouse, all draws, with the fit", "o-", "ours_s"),
    )
    costs = [(label, style, [one[key] for one in curve]) for label, style, key in lines]
    return draw_costs(path, [one["points"] for one in curve], "points", costs, f"{draws} bootstrap draws of a law with five parameters")


def main() -> int:
    """Run with the sizes of the command line; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4_000)
    parser.add_argument("--loop", type=int, default=20, help="draws that the loop really runs")
    parser.add_argument("--full", action="store_true", help="the loop runs on all draws")
    arguments = parser.parse_args()
    return 0 if run(arguments.draws, arguments.draws if arguments.full else arguments.loop) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
