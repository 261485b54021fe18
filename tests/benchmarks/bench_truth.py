"""The truth bench: does the engine say what is true, with intervals that cover, and does it refuse what it cannot know?

    python -m tests.benchmarks.bench_truth            # 2,000 draws of linear recipes, 500 of the others: hours on two cores
    python -m tests.benchmarks.bench_truth --draws 100 --linear-draws 500

Every draw of a scenario (`scenarios.py`) goes through `estimate_table`, as a user's table would; there is one row per draw
and estimate in `truth.parquet` beside the JSON, and a table in `truth.md`, both written after every scenario: what was run
before is kept until its scenario is run again, so hours of draws survive an interruption (`--scenarios` goes on with the
rest). Linear recipes cost next to nothing, so their coverage is measured on further draws, without a verdict. The value is
the share of thresholds that hold within their Monte-Carlo error (two standard errors).
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.record import record
from tests.benchmarks.scenarios import SCENARIOS, Draw
from trialhouse.settings import get_settings

PRIMARY = "adjusted_linear"
LINEAR = ("randomised", "clustered", "clustered_untold", "linear_confounding", "null_effect")
"""Scenarios whose coverage is that of a linear recipe."""
FURTHER = {"heterogeneous_linear": ("linear_dml",), "heterogeneous_tree": ("group_effects", "causal_forest")}
"""Recipes asked for beside those that go with the assignment."""


@dataclass(frozen=True)
class Threshold:
    """What a scenario must show.

    Parameters
    ----------
    scenario, sizes
        Where; sizes are numbers of rows, all if empty.
    what
        In words.
    share
        Of the rows of the primary estimate (or of `recipe`), one per draw, which are counted.
    least, most
        Between what the share must lie.
    recipe
        Which recipe's rows.
    """

    scenario: str
    what: str
    share: Callable[[pd.DataFrame], pd.Series[Any]]
    least: float = 0.0
    most: float = 1.0
    recipe: str | None = None
    sizes: tuple[int, ...] = ()


def _covered(rows: pd.DataFrame) -> pd.Series[Any]:
    return rows["is_covered"]


def _released(rows: pd.DataFrame) -> pd.Series[Any]:
    return rows.loc[rows["verdict"] != "", "verdict"] == "released"


def _flagged(rows: pd.DataFrame) -> pd.Series[Any]:
    return ~_released(rows)


def _failed(rows: pd.DataFrame) -> pd.Series[Any]:
    return rows.loc[rows["verdict"] != "", "verdict"] == "failed"


def _misleading(rows: pd.DataFrame) -> pd.Series[Any]:
    told = rows[rows["verdict"] != ""]
    return (told["verdict"] == "released") & ~told["is_covered"]


def _rejects(rows: pd.DataFrame) -> pd.Series[Any]:
    told = rows[rows["verdict"] == "released"]
    return (told["ci_low"] > 0) | (told["ci_high"] < 0)


THRESHOLDS = (
    Threshold("randomised", "coverage .93-.99", _covered, 0.93, 0.99, PRIMARY),
    Threshold("randomised", "released >= .90", _released, 0.90),
    Threshold("clustered", "coverage >= .93", _covered, 0.93, recipe=PRIMARY),
    Threshold("clustered_untold", "without the clusters < .90", _covered, 0.0, 0.90, PRIMARY),
    Threshold("linear_confounding", "coverage >= .93", _covered, 0.93, recipe=PRIMARY),
    Threshold("linear_confounding", "released >= .90", _released, 0.90),
    *(
        Threshold(f"confounding_{shape}", "released and not covering <= .05", _misleading, 0.0, 0.05, sizes=(500,))
        for shape in ("tanh", "max_and_bump", "sin_and_step")
    ),
    Threshold("omitted_confounder", "flagged >= .95", _flagged, 0.95),
    Threshold("reverse_causation", "flagged >= .95", _flagged, 0.95),
    Threshold("sound_instrument", "flagged <= .10", _flagged, 0.0, 0.10),
    Threshold("mediator_as_control", "failed: all", _failed, 1.0),
    Threshold("collider_as_control", "failed: all", _failed, 1.0),
    Threshold("thin_overlap", "withheld >= .95", _flagged, 0.95),
    Threshold("deterministic_overlap", "withheld >= .95", _flagged, 0.95),
    Threshold("null_effect", "rejects among released <= .07", _rejects, 0.0, 0.07),
    Threshold("weak_instrument", "Anderson-Rubin set covers >= .93", _covered, 0.93, recipe="anderson_rubin"),
    *(
        Threshold(f"heterogeneous_{shape}", "average effect: coverage >= .93", _covered, 0.93, recipe="doubly_robust")
        for shape in ("linear", "tree")
    ),
    Threshold("heterogeneous_linear", "effect at x: coverage >= .90", _covered, 0.90, recipe="linear_dr at x"),
    Threshold("heterogeneous_tree", "effect at x: coverage >= .90", _covered, 0.90, recipe="group_effects at x"),
)


def one_draw(scenario: str, size: Any, number: int, *, is_full: bool = True) -> list[dict[str, Any]]:
    """The rows of one draw.

    Parameters
    ----------
    size
        As in the scenario.
    number
        Of the draw: with scenario and size it is the seed.
    is_full
        Whether the whole engine runs, or only the primary recipe without a verdict.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rng = np.random.default_rng([number, *np.atleast_1d(size), *scenario.encode()])
        draw = SCENARIOS[scenario].make(rng, size)
        common = {"scenario": scenario, "n": len(draw.frame), "draw": number}
        found = list(_full(scenario, draw, number) if is_full else _linear(draw))
    return [{**common, **row} for row in found]


def _full(scenario: str, draw: Draw, number: int) -> Iterator[dict[str, Any]]:
    from trialhouse.causal import estimate_table

    results = estimate_table(
        draw.frame,
        treatment="t",
        outcome="y",
        graph=draw.graph,
        cluster=draw.cluster,
        adjustment=draw.adjustment,
        recipes=FURTHER.get(scenario, ()),
        seed=number,
    )
    for row in results.estimates:
        if row["subgroup"] is None:
            recipe, truth = row["method"], draw.truth
        else:
            recipe, truth = f"{row['method']} at x", _at(draw, float(row["subgroup"]), row["method"])
        yield _row(recipe, f"t on y, {recipe}", truth, row["estimate"], row["ci_low"], row["ci_high"], row["verdict"], row["is_primary"])
    if scenario == "weak_instrument":
        yield _anderson_rubin(draw)


def _at(draw: Draw, x: float, recipe: str) -> float:
    """The true effect at x; for groups, in the fifth of the units that has x as its median."""
    assert draw.effects is not None
    order = np.argsort(draw.frame["x"].to_numpy())
    if recipe != "group_effects":
        return float(np.interp(x, draw.frame["x"].to_numpy()[order], draw.effects[order]))
    edges = np.quantile(draw.frame["x"], np.linspace(0, 1, 6))
    group = min(int(np.searchsorted(edges, x, side="right")) - 1, 4)
    inside = (draw.frame["x"] >= edges[group]) & (draw.frame["x"] <= edges[group + 1])
    return float(draw.effects[inside.to_numpy()].mean())


def _anderson_rubin(draw: Draw) -> dict[str, Any]:
    from trialhouse.causal.instruments import instrumented
    from trialhouse.causal.sample import make_sample

    sample = make_sample(draw.frame, treatment="t", outcome="y", arms=draw.frame["t"], covariates=(), is_binary=False)
    found = instrumented(sample, ["z"])
    known = found.anderson_rubin
    row = _row("anderson_rubin", "t on y, Anderson-Rubin set", draw.truth, found.inference.estimate, known.low, known.high, "", False)
    return {**row, "is_covered": draw.truth in known}


def _linear(draw: Draw) -> Iterator[dict[str, Any]]:
    from trialhouse.causal.recipes import fit_recipe
    from trialhouse.causal.sample import make_sample

    sample = make_sample(
        draw.frame,
        treatment="t",
        outcome="y",
        arms=draw.frame["t"],
        covariates=[name for name in draw.frame if str(name).startswith("w")],
        cluster=draw.cluster,
        is_binary=draw.frame["t"].nunique() == 2,
    )
    found = fit_recipe(PRIMARY, sample).inference
    yield _row(PRIMARY, f"t on y, {PRIMARY}", draw.truth, found.estimate, found.ci_low, found.ci_high, "", True)


def _row(
    recipe: str, estimand: str, truth: float, estimate: float | None, low: float | None, high: float | None, verdict: str, is_primary: bool
) -> dict[str, Any]:
    ends = [math.nan if end is None else float(end) for end in (low, high)]
    return {
        "recipe": recipe,
        "estimand": estimand,
        "truth": truth,
        "estimate": math.nan if estimate is None else float(estimate),
        "ci_low": ends[0],
        "ci_high": ends[1],
        "is_covered": bool(ends[0] <= truth <= ends[1]),
        "verdict": verdict,
        "is_primary": is_primary,
    }


def run(draws: int = 500, linear_draws: int = 2_000, scenarios: Sequence[str] = tuple(SCENARIOS), workers: int = 2) -> pd.DataFrame:
    """All rows: `draws` of each scenario and size through the whole engine, linear recipes up to `linear_draws`."""
    from joblib import Parallel, delayed

    tasks = [
        (name, size, number, number < draws)
        for name in scenarios
        for size in SCENARIOS[name].sizes
        for number in range(linear_draws if name in LINEAR else draws)
    ]
    parts = Parallel(n_jobs=workers)(delayed(one_draw)(*task[:3], is_full=task[3]) for task in tasks)
    return pd.DataFrame([row for part in parts for row in part])


def score(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per threshold and number of rows: its share, Monte-Carlo error and whether it holds."""
    found = []
    for threshold in THRESHOLDS:
        mine = rows[rows["scenario"] == threshold.scenario]
        mine = mine[mine["is_primary"]] if threshold.recipe is None else mine[mine["recipe"] == threshold.recipe]
        for n, group in mine.groupby("n"):
            if threshold.sizes and n not in threshold.sizes:
                continue
            counted = threshold.share(group).astype(float)
            if counted.empty:
                continue
            share = float(counted.mean())
            # Draws, not rows, are independent: effects at several x come from one draw.
            per_draw = counted.groupby(group.loc[counted.index, "draw"]).mean()
            bound = threshold.least if share < threshold.least else threshold.most
            error = max(float(per_draw.std(ddof=0)), math.sqrt(bound * (1 - bound))) / math.sqrt(len(per_draw))
            holds = threshold.least - 2 * error <= share <= threshold.most + 2 * error
            found.append(
                {
                    "scenario": threshold.scenario,
                    "n": int(n),
                    "must": threshold.what,
                    "share": share,
                    "error": error,
                    "draws": len(per_draw),
                    "holds": holds,
                }
            )
    return pd.DataFrame(found)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per scenario, n and recipe: draws, bias, RMSE, coverage, share of intervals without 0, shares of verdicts."""
    told = rows.assign(
        error=rows["estimate"] - rows["truth"],
        rejects=(rows["ci_low"] > 0) | (rows["ci_high"] < 0),
        released=np.where(rows["verdict"] == "", np.nan, rows["verdict"] == "released"),
        failed=np.where(rows["verdict"] == "", np.nan, rows["verdict"] == "failed"),
    )
    grouped = told.groupby(["scenario", "n", "recipe"], sort=False)
    return grouped.agg(
        draws=("draw", "nunique"),
        bias=("error", "mean"),
        rmse=("error", lambda errors: float(np.sqrt((errors**2).mean()))),
        coverage=("is_covered", "mean"),
        rejects=("rejects", "mean"),
        released=("released", "mean"),
        failed=("failed", "mean"),
    ).reset_index()


def keep(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Write the rows in place of those that the file has of the same scenarios, and return all that it has now."""
    import duckdb

    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        if path.exists():
            before = connection.read_parquet(str(path)).df()
            rows = pd.concat([before[~before["scenario"].isin(rows["scenario"])], rows], ignore_index=True)
        part = path.with_suffix(".part")
        connection.register("rows", rows)
        connection.execute(f"COPY rows TO '{str(part).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)")
    part.replace(path)
    return rows


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table."""
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + "---|" * len(frame.columns)]
    for row in frame.itertuples(index=False):
        cells = [
            "yes" if cell is True else "NO" if cell is False else f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def page(rows: pd.DataFrame) -> str:
    """What the rows say, in Markdown: the thresholds, then every recipe."""
    return f"""# The causal engine, held against the truth

Data whose true effect is known, sent through the whole engine as `trialhouse estimate --table` sends a table:
`make bench BENCH=truth` makes these tables, `tests/benchmarks/scenarios.py` the data. Every draw has a seed of its own.
`share` is that of the draws, `error` one Monte-Carlo standard error of it; a threshold holds within two.

{markdown(score(rows))}
Every recipe, against the true effect: the mean and the root mean square of the error, how often the 95% interval covers
it and how often it does not hold zero, and which shares of the estimates were released and failed (the others were
withheld; `nan`: no verdict was asked for). The naive contrast and the recipes beside the primary one are shown to be
compared, not to be believed. `at x`: the effect at places within the data.

{markdown(table(rows))}"""


def main() -> int:
    """Run, write `truth.parquet`, `truth.md` and `truth.json`; 1 if a threshold is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--linear-draws", type=int, default=2_000)
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS), choices=list(SCENARIOS))
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    folder = get_settings().bench_dir
    for name in chosen.scenarios:
        rows = keep(run(chosen.draws, chosen.linear_draws, [name], chosen.workers), folder / "truth.parquet")
        found = score(rows)
        (folder / "truth.md").write_text(page(rows), encoding="utf-8")
        print(markdown(found[found["scenario"] == name]), flush=True)
    share = float(found["holds"].mean())
    detail = {"draws": chosen.draws, "linear_draws": chosen.linear_draws, "thresholds": found.to_dict("records")}
    record("truth", round(share, 4), "share of thresholds that hold", "all", share == 1.0, detail, ("dowhy", "econml", "scikit-learn"))
    return 0 if share == 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
