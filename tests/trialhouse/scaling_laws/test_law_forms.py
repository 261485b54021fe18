"""Forms: derivatives, limits, names, and that each is found again where there is no noise."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.errors import LawError
from trialhouse.scaling_laws import FORMS, form_named
from trialhouse.scaling_laws.forms import ROLES
from trialhouse.scaling_laws.sample import make_sample
from trialhouse.scaling_laws.search import optimum


def points(form_roles: tuple[str, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {role: rng.uniform(3, 12, 30) for role in form_roles}
    if "unique" in found:
        found["unique"] = found["data"] - rng.uniform(0.1, 3, 30)
    return found


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_derivatives_are_those_of_the_curve(form) -> None:
    """Central differences of 1e-6: their own error is of the order of 1e-9."""
    where = points(form.roles)
    outcome = 0.5 + np.exp(-0.3 * where[form.roles[0]])
    grid = form.grid(where, outcome if form.is_log else 1 - outcome / 3)
    assert np.isfinite(grid).all()
    laws = grid[np.random.default_rng(1).integers(0, len(grid), 6)]
    level, slopes = form.curve(laws, where)
    assert level.shape == (6, 30)
    assert slopes.shape == (6, len(form.parameters), 30)
    for k in range(len(form.parameters)):
        step = np.zeros(len(form.parameters))
        step[k] = 1e-6
        numeric = (form.curve(laws + step, where)[0] - form.curve(laws - step, where)[0]) / 2e-6
        assert slopes[:, k] == pytest.approx(numeric, abs=1e-7 * max(1.0, np.abs(numeric).max()))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_say_what_they_are(form) -> None:
    assert form.formula
    assert "(20" in form.source or "McLeish" in form.source
    assert form.applies
    assert form.roles == ("n",) or set(form.roles) <= set(ROLES)
    assert len(set(form.names)) == len(form.names)
    for name in form.names:
        assert name.rstrip("0123456789") in form.formula, f"{name} is not in the formula"


def test_every_form_is_planted() -> None:
    assert set(PLANTED) == set(FORMS)


@pytest.mark.parametrize("law", PLANTED.values(), ids=PLANTED)
def test_a_law_without_noise_is_found(law) -> None:
    sample = make_sample(law.table(0, noise=0.0), law.family, outcome="y", columns=law.columns)
    best = optimum(law.family, sample.points, sample.outcome, 1e-3)
    found = dict(zip(law.family.names, law.family.natural(best.coordinates), strict=True))
    assert found == pytest.approx(dict(law.truth), rel=1e-3)


@pytest.mark.parametrize("seed", [20, 28, 29])
def test_the_search_finds_two_breaks_wherever_they_are(seed: int) -> None:
    """Starts once had breaks at the ends of the range only: these tables without their largest trials ended up to 1.4 times too high."""
    law = PLANTED["broken_power_law_2"]
    sample = make_sample(law.table(seed), law.family, outcome="y", columns=law.columns)
    small = sample.only(sample.points["n"] < np.quantile(sample.points["n"], 0.8))
    truth = law.family.coordinates(law.truth)[None]
    found, known = (
        optimum(law.family, small.points, small.outcome, 1e-3, starts=starts, confirm=False).objective for starts in (None, truth)
    )
    assert found <= known * 1.001


def test_alabdulmohsins_m4_solves_its_equation() -> None:
    form = FORMS["transition_power_law"]
    law = {"E": 0.1, "R": 2.2, "A": 800, "beta": 0.7, "alpha": 1.5}
    n = np.geomspace(10, 1e7, 20)
    z = (form.predict(form.coordinates(law), {"n": np.log(n)})[0] - law["E"]) / law["R"]
    assert z / (1 - z) ** law["alpha"] == pytest.approx(law["A"] * n ** -law["beta"], rel=1e-8)


def test_repeated_data_are_worth_what_muennighoff_et_al_say() -> None:
    """One epoch: all of it. R* = 15.4 (theirs): at 4 epochs 93% of new data's worth, and no more than 1 + R* epochs ever."""
    form = FORMS["data_constrained"]
    law = form.coordinates({"E": 1e-15, "A": 1e-15, "alpha": 0.3, "B": 1, "beta": 1, "R*": 15.4})
    epochs = np.array([1.0, 4.0, 1e6])
    where = {"size": np.zeros(3), "unique": np.log(np.full(3, 100.0)), "data": np.log(100 * epochs)}
    worth = 1 / form.predict(law, where)[0] / 100
    assert worth == pytest.approx([1, 1 + 15.4 * (1 - np.exp(-3 / 15.4)), 16.4], rel=1e-6)
    assert 0.92 < worth[1] / 4 < 0.94


def test_a_fixed_parameter_is_no_longer_free() -> None:
    without = FORMS["power_law"].with_fixed({"E": 0})
    assert without.names == ("A", "beta")
    where = {"n": np.linspace(2, 9, 5)}
    law = np.array([[1.0, 0.3]])
    assert without.predict(law, where) == pytest.approx(FORMS["pure_power_law"].predict(law, where))
    with pytest.raises(LawError, match="must be one of E, A, beta, got 'Q'"):
        FORMS["power_law"].with_fixed({"Q": 1})
    with pytest.raises(LawError, match="at least 0, got -1"):
        FORMS["power_law"].with_fixed({"E": -1})


def test_an_unknown_form_is_refused_with_those_there_are() -> None:
    with pytest.raises(LawError, match=r"one of pure_power_law, power_law, .*, got 'cubic'"):
        form_named("cubic")


def test_less_than_one_epoch_has_seen_no_more_distinct_data_than_it_has_seen() -> None:
    """Whatever more of them lie ready: half an epoch of 1e10 examples is worth what one of 5e9 is, and more of it is worth more."""
    form = FORMS["data_constrained"]
    theta = form.coordinates(PLANTED["data_constrained"].truth)
    points = {"size": np.log([1e8, 1e8, 1e8]), "data": np.log([5e9, 5e9, 1e9]), "unique": np.log([1e10, 5e9, 1e10])}
    half, whole, tenth = form.predict(theta, points)[0]
    assert half == pytest.approx(whole)
    assert tenth > half
