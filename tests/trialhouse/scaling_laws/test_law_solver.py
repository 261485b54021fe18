"""The vectorised solver against scipy, one law at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.scaling_laws.forms import Form
from trialhouse.scaling_laws.sample import LawSample, make_sample
from trialhouse.scaling_laws.search import mean_stop, optimum, ranked_starts
from trialhouse.scaling_laws.solver import huber, minimise, objective


def planted(name: str, seed: int = 0) -> tuple[Form, LawSample]:
    law = PLANTED[name]
    return law.family, make_sample(law.table(seed), law.family, outcome="y", columns=law.columns)


def test_huber_is_square_then_straight() -> None:
    assert huber(np.array([0.0, 0.5, 1.0, 3.0]), 1.0) == pytest.approx([0, 0.125, 0.5, 2.5])
    assert huber(np.array([3.0]), np.inf) == pytest.approx([4.5])


@pytest.mark.parametrize("name", ["power_law", "chinchilla"])
def test_each_draw_is_where_a_loop_of_scipys_finds_it(name: str) -> None:
    """Four resamples; L-BFGS from the optimum of all rows and three starts, as tight as it goes, never ends lower, and at times higher."""
    form, sample = planted(name)
    target = form.on_scale(sample.outcome)
    best = optimum(form, sample.points, sample.outcome, 1e-3)
    weights = sample.resampled(4, np.random.default_rng(0))
    ours = minimise(form, sample.points, target, np.tile(best.coordinates, (4, 1)), weights=weights, delta=1e-3)
    starts = [best.coordinates, *ranked_starts(form, sample.points, sample.outcome, 1e-3, 3)]
    assert ours.is_converged.all()
    for own, lowest, coordinates in zip(weights, ours.objective, ours.coordinates, strict=True):

        def loss(law: np.ndarray, own: np.ndarray = own) -> tuple[float, np.ndarray]:
            level, slopes = form.curve(law[None], sample.points)
            residuals = level[0] - target
            return float((own * huber(residuals, 1e-3)).sum()) * 1e4, 1e4 * slopes[0] @ (own * np.clip(residuals, -1e-3, 1e-3))

        found = min(
            (minimize(loss, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9}) for start in starts),
            key=lambda r: r.fun,
        )
        assert lowest <= found.fun / 1e4 * (1 + 1e-9)
        assert lowest == pytest.approx(found.fun / 1e4, rel=1e-3)
        assert coordinates[-1] == pytest.approx(found.x[-1], rel=0.03)


def test_what_is_held_stays() -> None:
    form, sample = planted("power_law")
    start = np.tile(form.coordinates({"E": 0.5, "A": 20, "beta": 0.4}), (3, 1))
    start[:, 2] = [0.3, 0.4, 0.5]
    held = np.zeros((3, 3), dtype=bool)
    held[:2, 2] = True
    target = form.on_scale(sample.outcome)
    solved = minimise(form, sample.points, target, start, weights=np.ones(len(sample)), delta=1e-3, held=held)
    assert solved.coordinates[:2, 2].tolist() == [0.3, 0.4]
    assert solved.objective.argmin() == 2
    assert solved.objective == pytest.approx(objective(form, solved.coordinates, sample.points, target, 1e-3))


def test_with_an_infinite_delta_it_is_least_squares() -> None:
    form, sample = planted("pure_power_law")
    target = form.on_scale(sample.outcome)
    best = optimum(form, sample.points, sample.outcome, np.inf, confirm=False)
    slope, constant = np.polyfit(sample.points["n"], target, 1)
    assert best.coordinates == pytest.approx([constant, -slope], rel=1e-8)


def test_the_same_rows_give_the_same_bits() -> None:
    form, sample = planted("chinchilla")
    first, second = (optimum(form, sample.points, sample.outcome, 1e-3) for _ in range(2))
    assert (first.coordinates == second.coordinates).all()
    assert first.confirmed
    assert first.reached > 1


def test_an_averaged_loss_stops_early() -> None:
    form, sample = planted("chinchilla")
    best = optimum(form, sample.points, sample.outcome, 1e-3)
    stop = mean_stop(form, sample.points, sample.outcome, 1e-3, ranked_starts(form, sample.points, sample.outcome, 1e-3, 1))
    assert stop.objective > 1.02 * best.objective
    assert stop.iterations < 50


def test_only_starts_that_end_at_the_lowest_loss_are_said_to_reach_it() -> None:
    """After one step the one that began there is there, and the one that began far away is not."""
    planted = PLANTED["power_law"]
    sample = make_sample(planted.table(0), planted.family, outcome="y", columns=planted.columns)
    best = optimum(planted.family, sample.points, sample.outcome, 1e-3)
    starts = np.stack([best.coordinates, best.coordinates, best.coordinates + np.array([2.0, 2.0, 0.5])])
    found = optimum(planted.family, sample.points, sample.outcome, 1e-3, starts=starts, confirm=False, iterations=1)
    assert (found.starts, found.reached) == (3, 2)
    assert found.objective == pytest.approx(best.objective)
