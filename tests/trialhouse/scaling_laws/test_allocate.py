"""Allocation under laws whose best split is known: closed forms, limits, intervals that cover, trials that help, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks.planted_laws import PLANTED
from trialhouse.errors import ForecastError
from trialhouse.forecasting import Purse
from trialhouse.scaling_laws import FORMS, Law, fit_table
from trialhouse.scaling_laws.allocate import Allocation, allocate
from trialhouse.scaling_laws.cost import Limit, Powers, flops, measured, read_limits, training_flops
from trialhouse.scaling_laws.fit import DELTA, plain_law
from trialhouse.scaling_laws.next_trials import next_trials
from trialhouse.scaling_laws.optimum import Box, best_places
from trialhouse.scaling_laws.sample import make_sample

CHINCHILLA = Path(__file__).parents[4] / "shared" / "data" / "chinchilla_epoch" / "svg_extracted_data.csv"
BOTH = {"size": "size", "data": "data"}
PAIR = PLANTED["chinchilla"]
FORM = FORMS["chinchilla"]


def plain(frame: pd.DataFrame, draws: int = 200) -> Law:
    return plain_law(FORM, make_sample(frame, FORM, outcome="y", columns=BOTH), DELTA, draws=draws)


def best_size(truth: dict[str, float], budget: float) -> float:
    """Hoffmann et al. (2022), equation 4."""
    total = truth["alpha"] + truth["beta"]
    scale = (truth["alpha"] * truth["A"] / (truth["beta"] * truth["B"])) ** (1 / total)
    return float(scale * (budget / 6) ** (truth["beta"] / total))


@pytest.fixture(scope="module")
def law() -> Law:
    return plain(PAIR.table(1))


@pytest.fixture(scope="module")
def found(law: Law) -> Allocation:
    return allocate(law, 1e21, flops(law, 6))


def test_the_search_finds_the_closed_form_for_every_draw(law: Law) -> None:
    assert law.drawn is not None
    box = Box(("size", "data"), np.log([1e4, 1e4]), np.log([1e15, 1e16]))
    optima = best_places(FORM, law.drawn.coordinates, box, flops(law, 6), 1e21)
    values = [dict(zip(FORM.names, row, strict=True)) for row in FORM.natural(law.drawn.coordinates)]
    assert np.exp(optima.logs[:, 0]) == pytest.approx([best_size(one, 1e21) for one in values], rel=1e-4)
    assert np.exp(optima.logs.sum(axis=1)) * 6 == pytest.approx(1e21)
    assert not optima.is_at_edge.any()


def test_the_search_finds_the_closed_form_for_unequal_costs_and_three_factors() -> None:
    """Where the cost is k w^2 p d, the marginal gain per cost is the same for all factors."""
    planted = PLANTED["width_depth"]
    form, truth = planted.family, planted.truth
    box = Box(("width", "depth", "data"), np.log([4, 0.1, 1e6]), np.log([1e5, 1e3, 1e13]))
    cost = Powers("FLOPs", np.log(72), {"width": 2.0, "depth": 1.0, "data": 1.0}, "")
    w, p, d = best_places(form, form.coordinates(truth)[None], box, cost, 1e18).logs[0]
    assert np.log(72) + 2 * w + p + d == pytest.approx(np.log(1e18))
    gains = [
        truth["alpha"] * truth["A"] * np.exp(-truth["alpha"] * w) / 2,
        truth["beta"] * truth["B"] * np.exp(-truth["beta"] * p),
        truth["gamma"] * truth["C"] * np.exp(-truth["gamma"] * d),
    ]
    assert gains == pytest.approx([gains[0]] * 3, rel=1e-3)


def test_intervals_cover_the_best_split_and_its_exponent() -> None:
    """16 studies, a budget 14 times the dearest trial; fewer than 12 of 16 has a chance of 1 in 1,000 at 95%."""
    truth = dict(PAIR.truth)
    real, exponent = best_size(truth, 1e24), truth["beta"] / (truth["alpha"] + truth["beta"])
    covered = {"size": 0, "exponent": 0, "ratio": 0}
    for seed in range(16):
        law = plain(PAIR.table(seed), draws=100)
        found = allocate(law, 1e24, flops(law, 6))
        assert found.data_per_size is not None
        covered["size"] += found.best["size"][1] <= real <= found.best["size"][2]
        covered["exponent"] += found.exponents["size"][1] <= exponent <= found.exponents["size"][2]
        covered["ratio"] += found.data_per_size[1][0] <= 1e24 / 6 / real**2 <= found.data_per_size[1][1]
    assert min(covered.values()) >= 12, covered


def test_the_frontier_ends_at_the_budget_and_falls(found: Allocation) -> None:
    outcomes = [row["outcome"]["mean"] for row in found.frontier]
    assert outcomes == sorted(outcomes, reverse=True)
    assert found.frontier[-1]["best"]["size"]["value"] == pytest.approx(found.place["size"])
    assert found.exponents["size"][0] + found.exponents["data"][0] == pytest.approx(1, abs=1e-5)
    assert found.spent == pytest.approx(found.budget)


def test_isoflops_have_their_lowest_point_on_the_frontier(found: Allocation) -> None:
    curve = found.isoflops[-1]
    lowest = int(np.argmin(curve["outcome"]))
    assert 0 < lowest < len(curve["outcome"]) - 1
    assert abs(np.log(curve["size"][lowest] / found.place["size"])) < np.log(curve["size"][1] / curve["size"][0])
    assert np.array(curve["size"]) * np.array(curve["data"]) * 6 == pytest.approx(found.budget)
    assert min(curve["outcome"]) >= found.outcome.mean - 1e-9


def test_others_rules_do_no_better_than_the_best(found: Allocation) -> None:
    excess = {recipe.name: recipe.excess for recipe in found.recipes}
    assert len(excess) == 4
    assert all(one is not None and one[0] >= -1e-9 for one in excess.values())
    twenty = next(recipe for recipe in found.recipes if recipe.name.startswith("Chinchilla: 20"))
    assert twenty.place["data"] / twenty.place["size"] == pytest.approx(20)
    kaplan = next(recipe for recipe in found.recipes if recipe.name.startswith("Kaplan: "))
    assert kaplan.place["size"] == pytest.approx(1.3e9 * (1e21 / 8.64e19) ** 0.73)
    assert kaplan.excess is not None
    assert twenty.excess is not None
    assert kaplan.excess[0] > twenty.excess[0]


def test_a_limit_that_binds_moves_the_rest(law: Law, found: Allocation) -> None:
    frame = PAIR.table(1).assign(latency_ms=lambda table: 3e-9 * table["size"] ** 1.0)
    capped = allocate(law, 1e21, flops(law, 6), limits=read_limits(["size<=500M"], BOTH, law, frame))
    assert capped.place["size"] == pytest.approx(5e8, rel=1e-3)
    assert capped.place["size"] * capped.place["data"] * 6 == pytest.approx(1e21)
    assert capped.outcome.mean > found.outcome.mean
    slow = allocate(law, 1e21, flops(law, 6), limits=read_limits(["latency_ms<=1.5"], BOTH, law, frame))
    assert slow.place == pytest.approx(capped.place, rel=1e-3)
    loose = allocate(law, 1e21, flops(law, 6), limits=read_limits(["size<=100B"], BOTH, law, frame))
    assert loose.place == pytest.approx(found.place, rel=1e-4)


def test_limits_on_everything_leave_some_of_the_budget(law: Law) -> None:
    frame = PAIR.table(1)
    found = allocate(law, 1e22, flops(law, 6), limits=read_limits(["size<=1e9,data<=1e10"], BOTH, law, frame))
    assert found.place == pytest.approx({"size": 1e9, "data": 1e10}, rel=1e-3)
    assert found.spent == pytest.approx(6e19, rel=1e-2)
    assert any("no use for 99% of the budget" in caveat for caveat in found.caveats)


def test_the_wall_of_the_search_is_no_optimum_although_there_is_a_limit(law: Law) -> None:
    """A limit on data leaves most of the budget to size, which the search stops at a hundred times the largest: the limit does not."""
    frame = PAIR.table(1)
    for budget, limits in ((1e28, ["data<=1e11"]), (1e28, ["data<=1e11", "size<=1e30"])):
        with pytest.raises(ForecastError, match="within 100 times of the trials"):
            allocate(law, budget, flops(law, 6), limits=read_limits(limits, BOTH, law, frame))


def test_what_lies_at_a_wall_of_the_search_is_not_on_the_frontier(law: Law) -> None:
    """By limits on both a place near the trials is best; without them, as exponents are said to be, there is none near."""
    limits = read_limits(["size<=1e9,data<=1e10"], BOTH, law, PAIR.table(1))
    found = allocate(law, 1e32, flops(law, 6), limits=limits)
    assert found.place == pytest.approx({"size": 1e9, "data": 1e10}, rel=1e-3)
    assert (found.exponents, found.next_trials) == ({}, ())
    assert 1 < len(found.frontier) <= 7
    narrow = allocate(law, 1e21, flops(law, 6), farthest=0)
    low = PAIR.table(1).min()
    assert len(narrow.frontier) == 6
    assert all(row["best"][role]["value"] > 1.001 * low[role] for row in narrow.frontier for role in BOTH)


def test_flops_are_those_that_trials_counted_themselves_where_they_go_by_the_factors(law: Law) -> None:
    frame = PAIR.table(1)
    assert training_flops(law, frame) == flops(law, 6)
    counted = frame.assign(training_flops=40 * frame["size"] ** 0.8 * frame["data"])
    own = training_flops(law, counted)
    assert own.exponents == pytest.approx({"size": 0.8, "data": 1.0})
    assert (own.name, "training_flops = 40 x" in own.sentence) == ("training FLOPs", True)
    lawless = frame.assign(training_flops=np.random.default_rng(0).uniform(1, 2, len(frame)))
    assert training_flops(law, lawless) == flops(law, 6)


def test_a_product_of_powers_has_no_best_split_and_says_what_to_buy_first() -> None:
    form = FORMS["multiplicative"]
    law = plain_law(form, make_sample(PLANTED["multiplicative"].table(0), form, outcome="y", columns=BOTH), DELTA, draws=50)
    with pytest.raises(
        ForecastError, match=r"falls as C\^-0\.2\d if the budget goes into size and as C\^-0\.(19|20|21) if into data.*; buy size"
    ):
        allocate(law, 1e9, flops(law, 6))
    known = form.with_fixed({"alpha": 0.25})
    law = plain_law(known, make_sample(PLANTED["multiplicative"].table(0), known, outcome="y", columns=BOTH), DELTA, draws=50)
    with pytest.raises(ForecastError, match=r"falls as C\^-0\.25 if the budget goes into size"):
        allocate(law, 1e9, flops(law, 6))


def test_what_a_cost_is_counted_by_is_heard_or_refused(law: Law) -> None:
    frame = PAIR.table(1).assign(joules=lambda table: 1e-9 * table["size"] * table["data"])
    with pytest.raises(ForecastError, match="--examples-per-step goes with a law in steps"):
        Purse(1e21, examples_per_step=512).split(law, frame, BOTH)
    for other in ({"per": 6.0}, {"examples_per_step": 512.0}):
        with pytest.raises(ForecastError, match="--cost says all that a trial costs"):
            Purse(1e9, cost="joules", **other).split(law, frame, BOTH)


def test_trials_without_their_cost_are_counted(law: Law) -> None:
    frame = PAIR.table(1).assign(joules=lambda table: 1e-9 * table["size"] * table["data"])
    assert "of 49" not in measured(law, frame, "joules").sentence
    frame.loc[:2, "joules"] = np.nan
    assert "fitted to that of 46 of 49 trials" in measured(law, frame, "joules").sentence


def test_a_measured_cost_is_fitted_and_said_so(law: Law) -> None:
    rng = np.random.default_rng(0)
    frame = PAIR.table(1)
    frame = frame.assign(joules=1e-9 * frame["size"] ** 0.8 * frame["data"] * np.exp(rng.normal(0, 0.05, len(frame))))
    cost = measured(law, frame, "joules")
    assert cost.exponents == pytest.approx({"size": 0.8, "data": 1.0}, abs=0.01)
    assert "fitted to the trials' own" in cost.sentence
    found = allocate(law, 1e9, cost)
    assert cost.log({role: np.log([found.place[role]]) for role in BOTH}) == pytest.approx(np.log(1e9), abs=1e-6)
    assert all("from the middle of the trials" in recipe.name for recipe in found.recipes)
    assert "1B joules" in found.sentence


@pytest.mark.parametrize(("free", "costly"), [("data", "size"), ("size", "data")])
def test_a_factor_that_costs_nothing_goes_to_its_limit(law: Law, free: str, costly: str) -> None:
    """No rule of others is about such a cost, and there is no curve of equal cost."""
    frame = PAIR.table(1)
    frame = frame.assign(seconds=1e-9 * frame[costly])
    found = allocate(law, 5, measured(law, frame, "seconds"), limits=read_limits([f"{free}<=2e9"], BOTH, law, frame))
    assert found.place == pytest.approx({free: 2e9, costly: 5e9}, rel=1e-6)
    assert (found.recipes, found.isoflops) == ((), ())
    assert set(found.exponents) == {costly}


@pytest.mark.parametrize(
    ("column", "is_flops"),
    [("train_flops", True), ("FLOPs", True), ("total FLOP", True), ("gflops", False), ("pflop_days", False), ("flops_per_token", False)],
)
def test_kaplans_size_is_said_of_budgets_in_flops_only(law: Law, column: str, is_flops: bool) -> None:
    """It is a size per PF-day: of a budget in petaFLOPs it would be 10^11 times too small."""
    frame = PAIR.table(1)
    found = allocate(law, 1e21, measured(law, frame.assign(**{column: 6 * frame["size"] * frame["data"]}), column))
    assert any(recipe.name.startswith("Kaplan: size") for recipe in found.recipes) == is_flops
    assert sum("from the middle of the trials" in recipe.name for recipe in found.recipes) == 2


def test_next_trials_make_the_optimum_surer_by_as_much_as_they_say(law: Law) -> None:
    """Six more trials at the first proposal's place, against what the ensemble promises; the bootstrap of 1,000 draws is sure within 7%."""
    rng = np.random.default_rng(0)
    frame = PAIR.table(1)
    before = plain(frame, draws=1000)

    def spread(one: Law) -> tuple[float, np.ndarray]:
        assert one.drawn is not None
        values = FORM.natural(one.drawn.coordinates)
        logs = np.log([best_size(dict(zip(FORM.names, row, strict=True)), 1e23) for row in values])
        return float(np.std(np.clip(logs, *np.quantile(logs, [0.01, 0.99])))) / np.log(10), logs

    sd, logs = spread(before)
    proposed = next_trials(before, logs, flops(before, 6), count=6)
    assert proposed[0].sd_before == pytest.approx(sd, rel=0.02)
    sds = [proposed[0].sd_before, *(trial.sd_after for trial in proposed)]
    assert sds == sorted(sds, reverse=True)
    new = pd.DataFrame([trial.place for trial in proposed])
    level, _ = FORM.curve(FORM.coordinates(PAIR.truth)[None], {role: np.log(new[role].to_numpy()) for role in BOTH})
    after = plain(pd.concat([frame, new.assign(y=np.exp(level[0] + rng.normal(0, PAIR.noise, 6)))]), draws=1000)
    assert spread(after)[0] == pytest.approx(sds[-1], rel=0.35)
    assert spread(after)[0] < 0.9 * sd


def test_trials_at_one_place_add_up_as_an_average_does(law: Law) -> None:
    """n of them lower a variance by c^2 / (v + s^2 / n): its inverse is linear in 1 / n."""
    assert law.drawn is not None
    values = FORM.natural(law.drawn.coordinates)
    logs = np.log([best_size(dict(zip(FORM.names, row, strict=True)), 1e21) for row in values])
    found = next_trials(law, logs, flops(law, 6), count=3, at_most=1e20)
    assert found[0].place == found[1].place == found[2].place
    first, second, third = (1 / (found[0].sd_before ** 2 - one.sd_after**2) for one in found)
    assert (first - second) / (1 - 1 / 2) == pytest.approx((second - third) / (1 / 2 - 1 / 3), rel=1e-6)
    assert first > second > third


def test_next_trials_are_affordable_and_keep_the_limits(law: Law) -> None:
    frame = PAIR.table(1)
    limits = read_limits(["data<=1e11"], BOTH, law, frame)
    free, found = (allocate(law, 1e21, flops(law, 6), limits=own, batch=3, trial_budget=1e20) for own in ((), limits))
    assert len(found.next_trials) == 3
    assert all(trial.cost <= 1e20 * 1.0001 and trial.place["data"] <= 1.001e11 for trial in found.next_trials)
    assert any(trial.place["data"] > 1.001e11 for trial in free.next_trials)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda law: allocate(law, 1e30, flops(law, 6)), "must stay within 100 times of the trials|identified|buy"),
        (lambda law: allocate(law, 1e3, flops(law, 6)), "buy a trial near those there were"),
        (lambda law: allocate(law, -1, flops(law, 6)), "positive number, got -1"),
        (lambda law: allocate(law, 1e21, flops(law, 6), farthest=-1), "--farthest must be .* got -1"),
        (lambda law: allocate(law, 1e21, flops(law, 6), farthest=float("nan")), "--farthest must be .* got nan"),
        (lambda law: allocate(law, 1e21, flops(law, 6), batch=-1), "--batch must be 0 or more, got -1"),
        (lambda law: allocate(law, 1e21, flops(law, 6), trial_budget=0), "--trial-budget must be a positive number, got 0"),
        (lambda law: flops(law, 0), "must be positive, got 0"),
        (lambda law: measured(law, PAIR.table(1), "joules"), "column of the table, got 'joules'"),
        (
            lambda law: measured(law, PAIR.table(1).assign(luck=np.random.default_rng(0).uniform(1, 2, 49)), "luck"),
            "product of powers of size and data",
        ),
        (lambda law: read_limits(["size>=3"], BOTH, law, PAIR.table(1)), "NAME<=NUMBER, got 'size>=3'"),
        (lambda law: read_limits(["size<=2x"], BOTH, law, PAIR.table(1)), "NAME<=NUMBER"),
        (lambda law: read_limits(["size<=1.2.3"], BOTH, law, PAIR.table(1)), "NAME<=NUMBER, got 'size<=1.2.3'"),
        (lambda law: read_limits(["size<=0"], BOTH, law, PAIR.table(1)), "NAME<=NUMBER"),
        (lambda law: read_limits(["size<=1e999"], BOTH, law, PAIR.table(1)), "NAME<=NUMBER"),
    ],
)
def test_nonsense_is_refused_in_one_line(law: Law, change: Callable[[Law], object], said: str) -> None:
    with pytest.raises(ForecastError, match=said) as error:
        change(law)
    assert "\n" not in str(error.value)


def of_one_size(seed: int) -> pd.DataFrame:
    """Trials of about one size: which size is best nobody can tell from them."""
    rng = np.random.default_rng(seed)
    size, data = 1e9 * np.exp(rng.normal(0, 0.15, 40)), np.geomspace(1e9, 1e12, 40)
    level = np.log(1.8 + 480 / size**0.35 + 2100 / data**0.37)
    return pd.DataFrame({"size": size, "data": data, "y": np.exp(level + rng.normal(0, 0.01, 40))})


def test_a_split_that_the_trials_do_not_identify_is_refused() -> None:
    law = plain(of_one_size(2))
    with pytest.raises(ForecastError, match="must be identified"):
        allocate(law, 1e22, flops(law, 6))


def test_so_is_one_whose_law_is_withheld_however_sure_its_draws_look() -> None:
    law = fit_table(of_one_size(1), form="chinchilla", outcome="y", columns=BOTH, draws=100)
    with pytest.raises(ForecastError, match="needs a law that is released"):
        allocate(law, 1e22, flops(law, 6))


def test_steps_cost_what_their_examples_cost() -> None:
    """The planted law's own optimum, where alpha A / N^alpha = gamma C / S^gamma on 6 N S b = budget, lies in the interval."""
    planted, tokens, budget = PLANTED["size_steps"], 1e6, 6e21
    law = fit_table(planted.table(0), form="size_steps", outcome="y", columns=planted.columns, draws=200)
    found = allocate(law, budget, flops(law, 6, tokens))
    truth = planted.truth
    log_product = np.log(budget / 6 / tokens)
    ratio = np.log(truth["alpha"] * truth["A"] / (truth["gamma"] * truth["C"]))
    log_size = (ratio + truth["gamma"] * log_product) / (truth["alpha"] + truth["gamma"])
    value, low, high = found.best["size"]
    assert low <= np.exp(log_size) <= high
    assert value * found.best["steps"][0] == pytest.approx(budget / 6 / tokens, rel=1e-6)
    for wrong in (None, 0.0):
        with pytest.raises(ForecastError, match=r"how many examples one step sees, got (none|0\.0); say --examples-per-step"):
            flops(law, 6, wrong)


def test_data_that_cost_nothing_need_a_limit_beside_steps() -> None:
    planted = PLANTED["size_steps_data"]
    law = fit_table(planted.table(0), form="size_steps_data", outcome="y", columns=planted.columns, draws=100)
    cost = flops(law, 6, 1e6)
    with pytest.raises(ForecastError, match="data must cost something or have a limit"):
        allocate(law, 6e20, cost)
    found = allocate(law, 6e20, cost, limits=read_limits(["data<=1e10"], planted.columns, law, planted.table(0)))
    assert found.best["data"][0] == pytest.approx(1e10, rel=1e-6)


def test_one_factor_is_no_split() -> None:
    planted = PLANTED["power_law"]
    law = fit_table(planted.table(0), form="power_law", outcome="y", columns={"data": "data"}, draws=100)
    with pytest.raises(ForecastError, match="two factors or more, got a law in data alone"):
        allocate(law, 1e6, Powers("examples", 0.0, {"n": 1.0}, ""))
    with pytest.raises(ForecastError, match="--cost COLUMN"):
        flops(law, 6)


def test_json_is_plain(found: Allocation) -> None:
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert {"sentence", "best", "exponents", "frontier", "isoflops", "recipes", "next_trials", "reach", "caveats"} <= set(content)


def test_a_limit_names_a_column_with_spaces(law: Law) -> None:
    frame = PAIR.table(1).assign(**{"peak memory": lambda table: 4 * table["size"]})
    (limit,) = read_limits(["peak memory <= 4k"], BOTH, law, frame)
    assert (limit.quantity.name, limit.at_most) == ("peak memory", 4000)


def test_a_limit_on_a_name_that_is_two_factors_is_refused(law: Law) -> None:
    with pytest.raises(ForecastError, match="size must be one factor"):
        read_limits(["size<=1e9"], {"size": "params", "data": "size"}, law, PAIR.table(1))


def test_a_limit_of_a_quantity_that_falls_with_data_is_kept(law: Law) -> None:
    """At least 1e11 examples, said as an upper limit of their inverse."""
    limit = Limit(Powers("1 / data", 0.0, {"data": -1.0}, ""), 1e-11)
    found = allocate(law, 1e20, flops(law, 6), limits=[limit])
    assert found.place["data"] >= 0.999e11


@pytest.mark.skipif(not CHINCHILLA.exists(), reason="the points of Chinchilla's figure are not on this machine")
def test_chinchillas_own_budget() -> None:
    """At 5.76e23 FLOPs 17.9 tokens per parameter (80% interval 10 to 29), as an independent computation had it; exponent .51."""
    frame = pd.read_csv(CHINCHILLA).rename(columns={"Model Size": "size"})
    frame = frame.assign(data=frame["Training FLOP"] / 6 / frame["size"])
    law = fit_table(frame, form="chinchilla", outcome="loss", columns=BOTH, drop_highest=5, draws=1000)
    found = allocate(law, 5.76e23, flops(law, 6))
    assert found.data_per_size is not None
    value, _, (low, high) = found.data_per_size
    assert value == pytest.approx(17.9, abs=0.1)
    assert (low, high) == pytest.approx((10, 29), rel=0.1)
    assert found.exponents["size"][0] == pytest.approx(0.513, abs=0.003)
