"""Instruments on data whose truth is known: intervals that cover, sets that stay honest when the instrument is weak."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from linearmodels.iv import IV2SLS

from trialhouse.causal.checks.overidentification import overidentification
from trialhouse.causal.inference import least_squares
from trialhouse.causal.instruments import (
    ConfidenceSet,
    agreement_of_instruments,
    anderson_rubin,
    covariates_for_instruments,
    durbin_wu_hausman,
    effective_f,
    first_stage,
    in_words,
    instrument_columns,
    instrumented,
    power_against_hidden_cause,
)
from trialhouse.causal.model import read_graph
from trialhouse.causal.sample import Sample, make_sample
from trialhouse.causal.verdict import decide

TRUTH = 0.5


def draw(
    rng: np.random.Generator, rows: int, strength: float, *, hidden: float = 0.45, units: int | None = None, instruments: int = 1
) -> pd.DataFrame:
    """z -> t -> y with a hidden common cause u (its slope on both is `hidden`) and an observed one, w."""
    unit = np.arange(rows) if units is None else np.repeat(np.arange(units), rows // units)

    def noise() -> np.ndarray:
        own = rng.normal(size=rows)
        return own if units is None else (own + rng.normal(size=unit.max() + 1)[unit]) / math.sqrt(2)

    z = rng.normal(size=(unit.max() + 1, instruments))[unit]
    w, u = rng.normal(size=rows), noise()
    rest = math.sqrt(max(1 - instruments * strength**2 - hidden**2, 0))
    t = strength * z.sum(axis=1) + hidden * u + rest * noise() + 0.5 * w
    y = TRUTH * t + hidden * u + math.sqrt(1 - hidden**2) * noise() + w
    return pd.DataFrame({**{f"z{k}": z[:, k] for k in range(instruments)}, "w": w, "t": t, "y": y, "unit": unit})


def sample_of(frame: pd.DataFrame, cluster: str | None = None) -> Sample:
    return make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=("w",), cluster=cluster, is_binary=False)


def at_least(share: float, draws: int) -> float:
    """What a share of so many draws exceeds but for a chance of 1 in 200."""
    return share - 2.6 * math.sqrt(share * (1 - share) / draws)


def at_most(share: float, draws: int) -> float:
    return share + 2.6 * math.sqrt(share * (1 - share) / draws)


@pytest.mark.parametrize("strength", [0.7, 0.25, 0.05])
@pytest.mark.parametrize("cluster", [None, "unit"])
def test_the_closed_form_is_the_test_inverted(strength: float, cluster: str | None) -> None:
    sample = sample_of(draw(np.random.default_rng(3), 60, strength, units=12), cluster)
    column = instrument_columns(sample, ["z0"])
    found = anderson_rubin(sample, column)
    for effect in [*np.linspace(-8, 8, 41), *(end + shift for end in found.pieces[0] for shift in (-1e-4, 1e-4) if math.isfinite(end))]:
        tested = least_squares(column[:, 0], sample.values - effect * sample.arms, sample.matrix, sample.clusters)
        assert (effect in found) == (tested.p_value >= 0.05)


def test_sets_take_all_three_shapes() -> None:
    shapes = set()
    for seed in range(40):
        sample = sample_of(draw(np.random.default_rng(seed), 60, 0.25))
        found = anderson_rubin(sample, instrument_columns(sample, ["z0"]))
        shapes.add("bounded" if found.is_bounded else "two rays" if found.is_disjoint else "everything")
        estimate = instrumented(sample, ["z0"]).inference.estimate
        assert estimate in found
    assert shapes == {"bounded", "two rays", "everything"}


@pytest.mark.parametrize(("rows", "units", "strength"), [(200, None, 0.12), (36, None, 0.28), (36, 12, 0.4)])
def test_anderson_rubin_covers_where_the_instrument_is_weak(rows: int, units: int | None, strength: float) -> None:
    """First-stage F about 3; 95% nominal, 150 draws."""
    rng, draws = np.random.default_rng(1), 150
    covered, strengths = 0, []
    for _ in range(draws):
        sample = sample_of(draw(rng, rows, strength, units=units, hidden=0.8), "unit" if units else None)
        columns = instrument_columns(sample, ["z0"])
        covered += TRUTH in anderson_rubin(sample, columns)
        strengths.append(effective_f(sample, columns))
    assert 1.5 < np.median(strengths) < 5
    assert covered / draws > at_least(0.95, draws)


def test_intervals_of_few_units_cover_where_those_of_linearmodels_do_not() -> None:
    """6 units of 6 rows; 60 draws, linearmodels with its small-sample corrections."""
    from scipy.stats import t as student

    rng, draws = np.random.default_rng(2), 60
    ours = theirs = 0
    for _ in range(draws):
        frame = draw(rng, 36, 0.85, units=6)
        sample = sample_of(frame, "unit")
        found = instrumented(sample, ["z0"])
        own = IV2SLS(frame["y"], frame[["w"]].assign(one=1.0), frame["t"], frame[["z0"]]).fit(
            cov_type="clustered", clusters=frame["unit"], debiased=True
        )
        assert found.inference.estimate == pytest.approx(own.params["t"], rel=1e-6, abs=1e-9)
        ours += found.inference.ci_low <= TRUTH <= found.inference.ci_high
        theirs += abs(own.params["t"] - TRUTH) <= student.ppf(0.975, 5) * own.std_errors["t"]
    assert ours / draws > at_least(0.95, draws)
    assert theirs / draws < 0.9


def test_many_rows_give_the_error_of_linearmodels() -> None:
    frame = draw(np.random.default_rng(4), 5_000, 0.5, instruments=2)
    found = instrumented(sample_of(frame), ["z0", "z1"])
    own = IV2SLS(frame["y"], frame[["w"]].assign(one=1.0), frame["t"], frame[["z0", "z1"]]).fit(cov_type="robust")
    assert found.inference.estimate == pytest.approx(own.params["t"], rel=1e-6)
    assert found.inference.standard_error == pytest.approx(own.std_errors["t"], rel=0.01)
    assert found.effective_f == pytest.approx(own.first_stage.diagnostics["f.stat"].iloc[0] / 2, rel=0.1)  # theirs is a chi2 of two


def test_effective_f_of_one_instrument_is_the_robust_f() -> None:
    sample = sample_of(draw(np.random.default_rng(5), 100, 0.4))
    columns = instrument_columns(sample, ["z0"])
    slope = least_squares(columns[:, 0], sample.arms, sample.matrix)
    assert effective_f(sample, columns) == pytest.approx((slope.estimate / slope.standard_error) ** 2, rel=1e-6)
    # A second column that says the same adds nothing.
    assert effective_f(sample, np.column_stack([columns, 2 * columns - sample.matrix])) == pytest.approx(
        effective_f(sample, columns), rel=1e-6
    )


def test_a_weak_first_stage_leaves_the_set_only() -> None:
    weak = instrumented(sample_of(draw(np.random.default_rng(6), 200, 0.02)), ["z0"])
    check = first_stage(weak, ["z0"], "t")
    assert (check.verdict, check.consequence) == ("inconclusive", "none")
    assert "only the Anderson-Rubin set is to be trusted" in check.reason
    assert math.isnan(weak.inference.standard_error)
    assert (weak.inference.ci_low, weak.inference.ci_high) == (weak.anderson_rubin.low, weak.anderson_rubin.high)
    assert "weak instrument" in weak.caveats[0]
    assert (weak.inference.p_value < 0.05) == (0 not in weak.anderson_rubin)
    strong = instrumented(sample_of(draw(np.random.default_rng(6), 200, 0.6)), ["z0"])
    assert first_stage(strong, ["z0"], "t").verdict == "passed"
    assert strong.inference.ci_low < TRUTH < strong.inference.ci_high
    assert strong.anderson_rubin.is_bounded


def test_an_instrument_that_the_covariates_determine_says_nothing() -> None:
    frame = draw(np.random.default_rng(7), 100, 0.6).assign(z0=lambda data: 2 * data["w"])
    found = instrumented(sample_of(frame), ["z0"])
    assert math.isnan(found.inference.estimate)
    assert first_stage(found, ["z0"], "t").verdict == "not_applicable"
    assert durbin_wu_hausman(sample_of(frame), ["z0"]).verdict == "not_applicable"
    assert found.anderson_rubin.in_words("y") == "any effect"


def test_instruments_that_contradict_each_other_leave_no_effect() -> None:
    frame = draw(np.random.default_rng(8), 500, 0.6, instruments=2)
    frame["y"] += 2 * frame["z1"]
    sample = sample_of(frame)
    found = anderson_rubin(sample, instrument_columns(sample, ["z0", "z1"]))
    assert found.pieces == ()
    assert "contradict" in found.in_words("y")
    check = agreement_of_instruments(instrumented(sample, ["z0", "z1"]), ["z0", "z1"])
    assert (check.verdict, check.consequence) == ("failed", "withheld")
    assert agreement_of_instruments(instrumented(sample, ["z0"]), ["z0"]).verdict == "not_applicable"
    agreeing = sample_of(draw(np.random.default_rng(8), 500, 0.6, instruments=2))
    assert agreement_of_instruments(instrumented(agreeing, ["z0", "z1"]), ["z0", "z1"]).verdict == "passed"


def test_the_estimand_in_words() -> None:
    assert in_words("t", "y", ["z"], ["w"]).startswith(
        "Cov(y, z | w) / Cov(t, z | w): the effect of one unit of t, if z reaches y through t only"
    )
    assert "fitted is what z0, z1 predict of t" in in_words("t", "y", ["z0", "z1"])


def test_sets_as_words_and_in_other_units() -> None:
    rays = ConfidenceSet(((-math.inf, -1.0), (2.0, math.inf)))
    assert rays.in_words("latency_ms") == "below -1 ms or above 2 ms"
    assert rays.is_disjoint
    assert not rays.is_bounded
    assert 0 not in rays
    assert rays.scaled(-2).pieces == ((-math.inf, -4.0), (2.0, math.inf))
    assert (rays & ConfidenceSet(((-3.0, 3.0),))).pieces == ((-3.0, -1.0), (2.0, 3.0))
    assert ConfidenceSet(((1.0, 2.0),)).in_words("y") == "1 to 2"


def drawn(text: str) -> tuple[object, ...]:
    return (read_graph(f"digraph {{ {text} }}", "g.dot"), "t", "y", ["z"])


def test_the_graph_says_what_an_instrument_needs() -> None:
    hidden = "z -> t; u -> t; u -> y; t -> y; w -> y; w -> t"
    assert covariates_for_instruments(*drawn(hidden), observed=["z", "w"], preferred=["w"]) == ("w",)
    assert covariates_for_instruments(*drawn(hidden), observed=["z", "w"]) == ()
    assert covariates_for_instruments(*drawn(f"{hidden}; z -> y"), observed=["z", "w"]) is None
    assert covariates_for_instruments(*drawn(f"{hidden}; u -> z"), observed=["z", "w"]) is None
    assert covariates_for_instruments(*drawn(f"{hidden}; w -> z"), observed=["z", "w"]) == ("w",)
    assert covariates_for_instruments(*drawn(f"{hidden}; w -> z"), observed=["z"]) is None
    # An effect of the treatment must not be given, nor may it be the instrument.
    assert covariates_for_instruments(*drawn(f"{hidden}; t -> m"), observed=["z", "m"], preferred=["m"]) == ()
    assert covariates_for_instruments(*drawn("t -> z; t -> y"), observed=["z"]) is None
    assert covariates_for_instruments(*drawn("z; t -> y"), observed=["z"]) is None  # it does not move the treatment
    assert covariates_for_instruments(*drawn("t -> y"), observed=["z"]) is None


@pytest.mark.parametrize(("rows", "strength"), [(36, 0.8), (100, 0.7)])
def test_adjustment_that_suffices_does_not_differ_from_the_instrument(rows: int, strength: float) -> None:
    rng, draws = np.random.default_rng(9), 120
    rejected = applied = 0
    for _ in range(draws):
        check = durbin_wu_hausman(sample_of(draw(rng, rows, strength, hidden=0)), ["z0"])
        applied += check.p_value is not None
        rejected += check.p_value is not None and check.p_value < 0.05
    assert applied > 0.9 * draws
    assert rejected / draws < at_most(0.05, draws)


def test_a_hidden_common_cause_shows_between_adjustment_and_instrument() -> None:
    """The hidden cause explains a fifth of treatment and outcome each; 40 draws of 500 rows."""
    rng, draws = np.random.default_rng(10), 40
    checks = [durbin_wu_hausman(sample_of(draw(rng, 500, 0.65)), ["z0"]) for _ in range(draws)]
    assert sum(check.p_value is not None and check.p_value < 0.05 for check in checks) / draws >= 0.95
    assert checks[0].is_test
    assert checks[0].has_power
    assert "adjusted" in checks[0].reason
    assert "common cause" in checks[0].reason


def test_power_against_a_hidden_cause_is_that_of_simulations() -> None:
    """A middling and a strong instrument; 120 draws of 500 rows each."""
    rng, draws, r2 = np.random.default_rng(12), 120, 0.2
    for share in (0.1, 0.3):
        rejected, told = 0, []
        for _ in range(draws):
            z, u, noise, rest = rng.normal(size=(4, 500))
            t = math.sqrt(share) * z + math.sqrt(r2) * u + math.sqrt(1 - share - r2) * noise
            y = TRUTH * t + math.sqrt(r2) / (1 - r2) * u + rest  # given t, the variance of u is 1 - r2
            frame = pd.DataFrame({"z": z, "t": t, "y": y})
            sample = make_sample(frame, treatment="t", outcome="y", arms=frame["t"], covariates=(), is_binary=False)
            rejected += (durbin_wu_hausman(sample, ["z"]).p_value or 1) < 0.05
            told.append(power_against_hidden_cause(effective_f(sample, instrument_columns(sample, ["z"])), 497))
        power = float(np.mean(told))
        assert abs(rejected / draws - power) < 2.6 * math.sqrt(power * (1 - power) / draws)
    assert power_against_hidden_cause(160, 497) == pytest.approx(0.8, abs=0.01)
    assert power_against_hidden_cause(260, 497) == pytest.approx(0.95, abs=0.01)


def test_an_instrument_that_would_miss_much_does_not_count_as_power() -> None:
    """An F of 50 is plenty for an interval, and sees a hidden cause of a fifth in one of three studies."""
    check = durbin_wu_hausman(sample_of(draw(np.random.default_rng(13), 500, 0.3, hidden=0)), ["z0"])
    assert check.p_value is not None
    assert not check.has_power
    assert "would show in" in check.reason


def test_an_instrument_too_weak_to_contradict_is_not_asked() -> None:
    check = durbin_wu_hausman(sample_of(draw(np.random.default_rng(11), 200, 0.1)), ["z0"])
    assert check.verdict == "not_applicable"
    assert "too weak" in check.reason
    exact = draw(np.random.default_rng(11), 200, 0.1).assign(z0=lambda data: data["t"])
    assert "one estimate, not two" in durbin_wu_hausman(sample_of(exact), ["z0"]).reason


@pytest.mark.parametrize(("rows", "units"), [(100, None), (200, 20)])
def test_instruments_that_are_all_valid_agree(rows: int, units: int | None) -> None:
    rng, draws = np.random.default_rng(17), 150
    checks = []
    for _ in range(draws):
        frame = draw(rng, rows, 0.5, units=units, instruments=2)
        frame["y"] += frame[["z0", "z1"]].abs().sum(axis=1) * rng.normal(size=rows)  # errors that Sargan's own test does not bear
        checks.append(overidentification(sample_of(frame, None if units is None else "unit"), ["z0", "z1"]))
    asked = [check for check in checks if check.p_value is not None]
    assert len(asked) > 0.7 * draws
    assert sum(check.p_value < 0.05 for check in asked) / len(asked) <= at_most(0.05, len(asked))


def test_an_instrument_that_reaches_the_outcome_otherwise_fails_the_estimate() -> None:
    rng, draws = np.random.default_rng(18), 60
    rejected = 0
    for _ in range(draws):
        frame = draw(rng, 100, 0.5, instruments=2)
        check = overidentification(sample_of(frame.assign(y=frame["y"] + 0.5 * frame["z0"])), ["z0", "z1"])
        rejected += check.p_value is not None and check.p_value < 0.05
    assert rejected / draws >= at_least(0.9, draws)
    assert "one of them reaches the outcome otherwise" in check.reason
    verdict = decide([check])
    assert (verdict.word, verdict.checks[0].verdict) == ("failed", "failed")


def test_instruments_are_held_against_each_other_only_where_that_can_be() -> None:
    frame = draw(np.random.default_rng(19), 100, 0.5, units=10, instruments=2)
    twice = sample_of(frame.assign(z1=2 * frame["z0"]))
    assert "no instrument more" in overidentification(twice, ["z0", "z1"]).reason
    assert "no instrument more" in overidentification(twice, ["z0"]).reason
    few = sample_of(frame.assign(unit=np.repeat(range(4), 25)), "unit")
    assert "too few repeated units" in overidentification(few, ["z0", "z1"]).reason
    weak = sample_of(draw(np.random.default_rng(20), 100, 0.05, instruments=2))
    assert "too little to tell" in overidentification(weak, ["z0", "z1"]).reason
    exact = sample_of(frame.assign(y=2 * frame["t"]))
    assert "no error" in overidentification(exact, ["z0", "z1"]).reason
