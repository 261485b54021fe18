"""What refuting one double-machine-learning estimate costs: DoWhy's own loop over ours, same refuters, same simulations.

    python -m tests.benchmarks.bench_refutation_battery

Both sides estimate with EconML's LinearDML (partially linear, five folds) and cheap nuisances, scikit-learn's LassoCV over 20
penalties on ten covariates, and attack the estimate with random common cause, permuted placebo, data subset, bootstrap and
dummy outcome, 100 simulations each, on one thread. DoWhy refits for every simulation; ours fits once, inside the time that is
taken, and starts from what that fit leaves. Dearer nuisances (forests, boosting) only raise the ratio: their price is paid once
against 501 times.

Decisions are compared on sound data and on an estimator with a fault: nuisances that leave the means in, which gives any
treatment an effect. The figure, `refutation_battery.svg` beside the JSON, shows both costs against the number of rows; there
DoWhy's loop runs few simulations and is scaled, which its label says. In the value nothing is scaled.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.record import draw_costs, record
from trialhouse.causal.checks.battery import STOCK_REFUTERS, stock_refuter
from trialhouse.causal.partial import Partialled
from trialhouse.causal.sample import Sample, make_sample
from trialhouse.causal.verdict import ALPHA, Check, decide
from trialhouse.settings import get_settings

GOAL = 10.0
COVARIATES = 10
EFFECT = 0.5
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)


def run(rows: int = 5_000, simulations: int = 100, sizes: Sequence[int] = SIZES, scaled: int = 2) -> float:
    """Time both batteries, draw the figure, record the ratio and return it; NaN if decisions differ."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = _draw(60)
        _ours(small, simulations), _dowhys(small, 1)  # imports and first calls
        sound, faulty = _draw(rows), _draw(rows, mean=3.0)
        repeats = [_timed(lambda: _ours(sound, simulations)) for _ in range(3)]
        ours = statistics.median(seconds for seconds, _ in repeats)
        theirs, p_values = _timed(lambda: _dowhys(sound, simulations))
        decisions = {
            "sound": _words(repeats[0][1], p_values),
            "faulty": _words(_ours(faulty, simulations, is_faulty=True), _dowhys(faulty, simulations, is_faulty=True)),
        }
        curve = [_against_rows(size, simulations, scaled) for size in sizes]
    is_same = all(here == there for words in decisions.values() for here, there in words.values())
    ratio = theirs / ours
    figure = _draw_figure(get_settings().bench_dir / "refutation_battery.svg", curve, simulations, scaled)
    detail = {
        "rows": rows,
        "covariates": COVARIATES,
        "refuters": list(STOCK_REFUTERS),
        "simulations": simulations,
        "nuisances": "LassoCV(alphas=20) for treatment and outcome, 5 folds, EconML LinearDML on both sides",
        "ours_s": [round(seconds, 4) for seconds, _ in repeats],
        "dowhy_s": round(theirs, 2),
        "is_scaled": False,
        "decisions_ours_dowhy": decisions,
        "are_decisions_the_same": is_same,
        "against_rows": curve,
        "against_rows_dowhy_simulations": scaled,
        "figure": figure.name,
    }
    record(
        "refutation_battery",
        round(ratio, 2),
        "DoWhy's loop / ours",
        f">= {GOAL:g}, same decisions",
        ratio >= GOAL and is_same,
        detail,
        ["dowhy", "econml", "scikit-learn", "numpy"],
    )
    return ratio if is_same else float("nan")


def _draw(rows: int, mean: float = 0.0) -> Sample:
    rng = np.random.default_rng(rows)
    covariates = rng.normal(size=(rows, COVARIATES))
    treatment = covariates[:, 0] + 0.5 * covariates[:, 1] + rng.normal(size=rows) + mean
    outcome = EFFECT * treatment + covariates[:, 0] - covariates[:, 2] + rng.normal(size=rows) + mean
    names = [f"w{number}" for number in range(COVARIATES)]
    frame = pd.DataFrame(covariates, columns=names).assign(t=treatment, y=outcome)
    return make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=names, is_binary=False)


def _learner(is_faulty: bool) -> Any:
    from econml.dml import LinearDML
    from sklearn.dummy import DummyRegressor
    from sklearn.linear_model import LassoCV

    nuisance = DummyRegressor(strategy="constant", constant=0.0) if is_faulty else LassoCV(alphas=20)
    return LinearDML(model_y=nuisance, model_t=nuisance, cv=5, random_state=0)


def _ours(sample: Sample, simulations: int, *, is_faulty: bool = False) -> list[Check]:
    """Fit once, refute from what is left."""
    learner = _learner(is_faulty)
    learner.fit(sample.values, sample.arms, W=sample.matrix, cache_values=True, inference=None)
    outcome, treatment = (left.ravel() for left in learner.residuals_[:2])
    rows = len(outcome)
    basis = np.empty((rows, 0)) if is_faulty else np.full((rows, 1), rows**-0.5)
    left = Partialled(treatment, outcome, basis)
    return [stock_refuter(name, sample, left, simulations=simulations, seed=number) for number, name in enumerate(STOCK_REFUTERS)]


def _dowhys(sample: Sample, simulations: int, *, is_faulty: bool = False) -> dict[str, float]:
    """DoWhy's p-values, from its own refuters driving its own wrapper of LinearDML; the fit that they start from included."""
    import networkx as nx
    from dowhy import CausalModel
    from dowhy.causal_estimators.econml import Econml
    from dowhy.causal_refuters import (
        refute_bootstrap,
        refute_data_subset,
        refute_dummy_outcome,
        refute_placebo_treatment,
        refute_random_common_cause,
    )
    from dowhy.causal_refuters.placebo_treatment_refuter import PlaceboType

    frame = sample.numbers
    graph = nx.DiGraph([("t", "y"), *((name, end) for name in sample.covariates for end in "ty")])
    estimand = CausalModel(frame, "t", "y", graph=graph).identify_effect(proceed_when_unidentifiable=True)
    estimand.set_identifier_method("backdoor")
    estimator = Econml(estimand, _learner(is_faulty))
    found = estimator.fit(frame, effect_modifier_names=[]).estimate_effect(frame, target_units="ate")
    common = {"data": frame, "target_estimand": estimand, "estimate": found, "num_simulations": simulations, "n_jobs": 1}
    calls: dict[str, Callable[[], Any]] = {
        "random_common_cause": lambda: refute_random_common_cause(**common),
        "data_subset": lambda: refute_data_subset(**common),
        "permuted_placebo": lambda: refute_placebo_treatment(**common, treatment_names=["t"], placebo_type=PlaceboType.PERMUTE),
        "bootstrap": lambda: refute_bootstrap(**common),
        "dummy_outcome": lambda: refute_dummy_outcome(**common, treatment_name=["t"], outcome_name="y", required_variables=True)[0],
    }
    np.random.seed(0)
    return {name: float(np.squeeze(calls[name]().refutation_result["p_value"])) for name in STOCK_REFUTERS}


def _words(checks: Sequence[Check], p_values: Mapping[str, float]) -> dict[str, tuple[str, str]]:
    """Per refuter whether it rejects, ours first, and what the five add up to after Holm."""
    theirs = [Check(name, "passed", "", p_value=p_values[name], is_test=True) for name in STOCK_REFUTERS]
    words = {
        name: tuple("rejects" if (check.p_value or 0.0) < ALPHA else "does not reject" for check in pair)
        for name, *pair in zip(STOCK_REFUTERS, checks, theirs, strict=True)
    }
    return {**words, "verdict": (decide(checks).word, decide(theirs).word)}  # type: ignore[dict-item]


def _against_rows(rows: int, simulations: int, scaled: int) -> dict[str, float]:
    sample = _draw(rows)
    ours, _ = _timed(lambda: _ours(sample, simulations))
    fit, _ = _timed(lambda: _learner(False).fit(sample.values, sample.arms, W=sample.matrix, inference=None))
    theirs, _ = _timed(lambda: _dowhys(sample, scaled))
    return {
        "rows": rows,
        "ours_s": round(ours, 4),
        "of_which_fit_s": round(fit, 4),
        "dowhy_scaled_s": round((theirs - fit) * simulations / scaled + fit, 2),
    }


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def _draw_figure(path: Path, curve: Sequence[Mapping[str, float]], simulations: int, scaled: int) -> Path:
    lines = (
        (f"DoWhy's loop (from {scaled} of {simulations} simulations, scaled)", "s--", "dowhy_scaled_s"),
        (f"Trialhouse, all {simulations} simulations, with the fit", "o-", "ours_s"),
        ("of that, the one fit of the nuisances", ":", "of_which_fit_s"),
    )
    costs = [(label, style, [point[key] for point in curve]) for label, style, key in lines]
    return draw_costs(path, [point["rows"] for point in curve], "rows", costs, "Five refuters of one LinearDML estimate")


def main() -> int:
    """Run with the sizes of the command line; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--simulations", type=int, default=100)
    arguments = parser.parse_args()
    return 0 if run(arguments.rows, arguments.simulations) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
