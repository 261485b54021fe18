"""How many trials an effect takes to be seen, before any is run: simulated with the engine's own primary recipe.

A draw is the study's own assignment with made-up outcomes: each block (the repeated unit) has a level of its own and, where
`slope_sd` is not 0, an effect of its own; each trial has normal noise. The share of draws in which the cluster-robust t-test
of `trialhouse.causal.inference` rejects "no effect" at 5% is the power. Trials that are lost (out of memory, diverged) are not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from trialhouse.errors import SpecError
from trialhouse.landing import LandingZone
from trialhouse.registration import graphs_of, plan
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.designs import Trial, WorkloadIdentity, assign
from trialhouse.studies.spec import Estimand, Level, Study

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from trialhouse.causal.sample import Sample

ALPHA = 0.05
GOAL = 0.8
MOST = 256
"""Blocks (or points) beyond which nobody looks for more."""
LEAST_TRIALS = 4
"""Landed trials beyond the fitted coefficients that a pilot takes."""


@dataclass(frozen=True)
class Noise:
    """Standard deviations in units of the outcome.

    Parameters
    ----------
    sd
        Of trials alike in everything, blocks included.
    block_sd
        Of blocks' levels; matters only where blocks are not adjusted for.
    slope_sd
        Of blocks' effects.
    source
        `stated`, or the pilot in words.
    """

    sd: float
    block_sd: float = 0.0
    slope_sd: float = 0.0
    source: str = "stated"


@dataclass(frozen=True)
class Size:
    """Power at one size of the study: the smallest over its subgroups.

    Parameters
    ----------
    units
        Blocks, or points.
    trials
        Of the whole study.
    power, standard_error
        Share of draws that reject, and its simulation error.
    analytic
        Power of the t-test with the regression's own error, for comparison.
    """

    units: int
    trials: int
    power: float
    standard_error: float
    analytic: float


@dataclass(frozen=True)
class Power:
    """How large a study must be.

    Parameters
    ----------
    unit
        What is made more of: `blocks`, or `points` where there are none.
    own
        The study as it is.
    needed
        The smallest size with a power of `GOAL`; None if it is beyond `MOST`.
    tried
        All sizes that were simulated.
    detectable
        The effect that the study as it is would see with a power of `GOAL` (analytic).
    """

    estimand: str
    outcome: str
    effect: float
    noise: Noise
    unit: str
    own: Size
    needed: Size | None
    tried: tuple[Size, ...]
    detectable: float
    simulations: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "alpha": ALPHA, "goal": GOAL}

    def lines(self) -> list[str]:
        """In words."""
        noise = f"sd {self.noise.sd:.3g} within blocks, {self.noise.block_sd:.3g} between, effects' {self.noise.slope_sd:.3g}"
        own, unit = self.own, self.unit
        lines = [
            f"{self.estimand}: an effect of {self.effect:g} on {self.outcome}; {noise} ({self.noise.source})",
            f"as it is: {own.units} {unit}, {own.trials} trials: power {own.power:.2f} (simulation error {own.standard_error:.2f});"
            f" an effect of {self.detectable:.3g} would be seen with {GOAL:.0%}",
        ]
        if self.needed is None:
            return [*lines, f"for {GOAL:.0%}: more than {MOST} {unit}"]
        return [*lines, f"for {GOAL:.0%}: {self.needed.units} {unit}, {self.needed.trials} trials: power {self.needed.power:.2f}"]


def power(
    study: Study,
    *,
    effect: float,
    estimand: str | None = None,
    outcome: str | None = None,
    noise: Noise | None = None,
    simulations: int = 400,
    seed: int = 0,
    settings: Settings | None = None,
) -> Power:
    """The power of one of a study's questions, and the size that it takes.

    Parameters
    ----------
    effect
        Of the registered contrast, in units of the outcome.
    estimand
        Default: the first primary one (of `outcome`, if that is given and asked about).
    outcome
        Default: the estimand's.
    noise
        None: from the study's landed trials (`pilot`).
    simulations
        Draws for each size.

    Raises
    ------
    SpecError
        If there is no such question, or nothing tells how large the noise is.
    """
    settings = settings or get_settings()
    asked = _asked(study, estimand, outcome)
    if effect == 0 or not math.isfinite(effect):
        raise SpecError("effect must be a number other than 0", effect, "state the smallest effect that would matter")
    if simulations < 50:
        raise SpecError("simulations must be at least 50", simulations, "fewer tell nothing")
    noise = noise or pilot(study, asked, settings)
    if not noise.sd > 0 or noise.block_sd < 0 or noise.slope_sd < 0:
        raise SpecError("standard deviations must be positive", asdict(noise), "state --sd above 0")
    graphs = graphs_of(study, settings)
    unit, own = _unit(study)
    known: dict[int, Size] = {}

    def at(units: int) -> Size:
        if units not in known:
            known[units] = _simulated(_of_size(study, units), asked, graphs, effect, noise, simulations, seed, units)
        return known[units]

    return Power(
        estimand=asked.name,
        outcome=asked.outcome,
        effect=effect,
        noise=noise,
        unit=unit,
        own=at(own),
        needed=_smallest(study, asked, graphs, effect, noise, at),
        tried=tuple(known[units] for units in sorted(known)),
        detectable=_detectable(study, asked, graphs, noise, own),
        simulations=simulations,
    )


def pilot(study: Study, estimand: Estimand, settings: Settings | None = None) -> Noise:
    """The noise in what landed of a study's trials: residuals of the regression that the primary recipe fits, and blocks' means.

    Raises
    ------
    SpecError
        If too few trials landed.
    """
    import numpy as np
    import pandas as pd

    from trialhouse.causal.study import primary_samples

    settings = settings or get_settings()
    trials = [trial for trial in plan(study, settings).trials if not trial.is_sentinel]
    values = _landed(settings, estimand.outcome)
    frame = _frame(trials)
    frame[estimand.outcome] = frame["trial_id"].map(values)
    frame = frame[frame[estimand.outcome].notna()].reset_index(drop=True)
    remedy = "state --sd, or run some of its trials first (`--blocks 2`)"
    whole = estimand.model_copy(update={"by": None})
    samples = primary_samples(study, whole, frame, graphs_of(study, settings)) if len(frame) else []
    if not samples:
        raise SpecError(f"a pilot needs landed trials of study {study.name!r} with {estimand.outcome}", "none", remedy)
    sample = samples[0][1]
    block = study.block_factor.name if study.block_factor else None
    design = np.column_stack([np.ones(len(sample.values)), sample.arms, sample.matrix])
    found, _, rank, _ = np.linalg.lstsq(design, sample.values, rcond=None)
    freedom = len(sample.values) - int(rank)
    if freedom < LEAST_TRIALS:
        expected = f"a pilot needs {LEAST_TRIALS} landed trials more than coefficients in study {study.name!r}"
        raise SpecError(expected, f"{len(sample.values)} trials and {rank} coefficients", remedy)
    residuals = sample.values - design @ found
    sd = math.sqrt(float(residuals @ residuals) / freedom)
    block_sd = 0.0
    if block is not None:
        others = [name for name in sample.encoded if name not in sample.columns_of(block)]
        rest = np.column_stack([np.ones(len(sample.values)), sample.arms, sample.encoded[others].to_numpy(dtype=float)])
        left = sample.values - rest @ np.linalg.lstsq(rest, sample.values, rcond=None)[0]
        means = pd.Series(left).groupby(sample.frame[block].to_numpy()).agg(["mean", "count"])
        if len(means) > 1:
            block_sd = math.sqrt(max(0.0, float(means["mean"].var()) - sd**2 / float(means["count"].mean())))
    return Noise(sd, block_sd, 0.0, f"pilot of {len(sample.values)} landed trials")


def _asked(study: Study, name: str | None, outcome: str | None) -> Estimand:
    chosen = [item for item in study.estimands if name is None or item.name == name]
    if not chosen:
        known = [item.name for item in study.estimands]
        raise SpecError(f"estimand must be one of {known}", repr(name), f"see study {study.name!r}")
    chosen = [item for item in chosen if not item.over_training]
    if not chosen:
        expected = f"power is simulated for outcomes at the end of training, not for {name or 'estimands'} over training"
        raise SpecError(expected, "only such", "ask for another estimand")
    about = [item for item in chosen if item.outcome == outcome] or chosen
    first = next((item for item in about if item.is_primary), about[0])
    return first if outcome is None else first.model_copy(update={"outcome": outcome})


def _unit(study: Study) -> tuple[str, int]:
    if study.recorded is not None:
        raise SpecError("power is for trials that are yet to run", "a recorded study", "estimate from its table instead")
    if study.block_factor is not None:
        return "blocks", len(study.block_factor.levels)
    if not isinstance(study.design.points, int):
        expected = f"study {study.name!r} must have independent units to add: a blocked factor, or a design with points"
        raise SpecError(expected, "neither", "set assignment: blocked on a factor such as seed")
    return "points", study.design.points


def _of_size(study: Study, units: int) -> Study:
    """The study with so many blocks or points."""
    if study.block_factor is None:
        return study.model_copy(update={"design": study.design.model_copy(update={"points": units})})
    name, levels = study.block_factor.name, list(study.block_factor.levels)
    is_number = all(not isinstance(level, str | bool) for level in levels)
    top = int(max(map(float, levels))) + 1 if is_number else 0
    more: list[Level] = [top + extra if is_number else f"more_{extra}" for extra in range(units)]
    wanted = tuple([*levels, *more][:units])
    factors = tuple(f.model_copy(update={"levels": wanted}) if f.name == name else f for f in study.factors)
    return study.model_copy(update={"factors": factors})


def _trials(study: Study) -> list[Trial]:
    """The assignment alone: nothing of the workload but its name matters to it."""
    names = tuple(factor.name for factor in study.factors if not factor.is_label)
    identity = WorkloadIdentity(study.workload.name, "0", {}, "0", names, names)
    every = assign(study, identity, {name: f"hardware_{name}" for name in study.hardware_classes})
    return [trial for trial in every if not trial.is_sentinel]


def _frame(trials: list[Trial]) -> pd.DataFrame:
    import pandas as pd

    rows: list[dict[str, Any]] = [
        {"trial_id": t.trial_id, "weights_id": t.weights_id, "hardware_class": t.hardware_class, "block": t.block, "status": "ok"}
        | {**t.factors, **t.labels}
        for t in trials
    ]
    return pd.DataFrame(rows)


def _samples(study: Study, estimand: Estimand, graphs: Mapping[str, str]) -> tuple[int, list[tuple[Sample, float]]]:
    """Number of trials, and what the recipe would see of them in each subgroup."""
    from trialhouse.causal.study import primary_samples

    trials = _trials(study)
    frame = _frame(trials).assign(**{estimand.outcome: 0.0})
    for indicator in study.indicators:
        if indicator.column in frame:
            holds = frame[indicator.column] > indicator.above if indicator.above is not None else frame[indicator.column] < indicator.below
            frame[indicator.name] = holds.astype(float)
    found = primary_samples(study, estimand, frame, graphs)
    return len(trials), [(sample, span) for _, sample, span in found]


def _simulated(
    study: Study, estimand: Estimand, graphs: Mapping[str, str], effect: float, noise: Noise, simulations: int, seed: int, units: int
) -> Size:
    import numpy as np
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from trialhouse.causal.inference import least_squares

    trials, samples = _samples(study, estimand, graphs)
    # the subgroup that is hardest to tell anything about stands for all
    analytic, sample, slope = min(
        ((_analytic(item, effect / span, noise), item, effect / span) for item, span in samples), key=lambda of: of[0]
    )
    rng = np.random.default_rng([seed, units])
    with threadpool_limits(1):
        outcomes = _outcomes(sample, slope, noise, simulations, rng)
        tests = [least_squares(sample.arms, outcome, sample.matrix, sample.clusters) for outcome in outcomes]
    share = sum(test.p_value < ALPHA for test in tests) / simulations
    return Size(units, trials, share, math.sqrt(share * (1 - share) / simulations), analytic)


def _outcomes(sample: Sample, slope: float, noise: Noise, simulations: int, rng: np.random.Generator) -> Iterator[np.ndarray[Any, Any]]:
    import numpy as np

    codes = np.arange(len(sample.arms)) if sample.clusters is None else np.unique(sample.clusters, return_inverse=True)[1]
    blocks = int(codes.max()) + 1
    for _ in range(simulations):
        level, own = rng.normal(0, noise.block_sd, blocks), rng.normal(0, noise.slope_sd, blocks)
        yield (slope + own[codes]) * sample.arms + level[codes] + rng.normal(0, noise.sd, len(sample.arms))


def _analytic(sample: Sample, slope: float, noise: Noise) -> float:
    """Power of the t-test (statsmodels) with the error of a regression whose noise is independent and known.

    Exact where blocks are balanced and adjusted for: there the jackknife over blocks is the paired t-test.
    """
    import numpy as np
    from scipy import special, stats
    from statsmodels.stats.power import TTestPower

    error, freedom = _error(sample, noise)
    if not error > 0 or freedom < 1:
        return 0.0
    # effect_size is in units of the standard deviation of a single one of `nobs` differences
    count, distance = freedom + 1, abs(slope) / error
    found = float(TTestPower().power(effect_size=distance / math.sqrt(count), nobs=count, alpha=ALPHA, df=freedom))
    if math.isfinite(found):
        return found
    # SciPy's noncentral t has no value far out: the mean of a normal one over the error's own distribution
    spread = np.sqrt(stats.chi2.ppf((np.arange(2000) + 0.5) / 2000, freedom) / freedom)
    return float(special.ndtr(distance - stats.t.ppf(1 - ALPHA / 2, freedom) * spread).mean())


def _error(sample: Sample, noise: Noise) -> tuple[float, int]:
    """Standard error of the slope, and degrees of freedom of its t reference."""
    import numpy as np

    from trialhouse.causal.inference import DETERMINED

    design = np.column_stack([np.ones(len(sample.arms)), sample.matrix])
    left = sample.arms - design @ np.linalg.lstsq(design, sample.arms, rcond=None)[0]
    weight = float(left @ left)
    if weight <= DETERMINED * len(left):
        return math.nan, 0
    if sample.clusters is None:
        return noise.sd / math.sqrt(weight), len(left) - int(np.linalg.matrix_rank(design)) - 1
    shares = np.bincount(sample.clusters, weights=left**2) / weight
    levels = np.bincount(sample.clusters, weights=left) / weight  # 0 where blocks are adjusted for
    slopes = np.bincount(sample.clusters, weights=left * sample.arms) / weight
    variance = noise.sd**2 / weight + noise.block_sd**2 * float(levels @ levels) + noise.slope_sd**2 * float(slopes @ slopes)
    return math.sqrt(variance), int((shares > DETERMINED).sum()) - 1


def _smallest(study: Study, estimand: Estimand, graphs: Mapping[str, str], effect: float, noise: Noise, at: Any) -> Size | None:
    """From where the analytic power says, up or down to the smallest size whose simulated power suffices."""

    def expected(units: int) -> float:
        return min(_analytic(sample, effect / span, noise) for sample, span in _samples(_of_size(study, units), estimand, graphs)[1])

    least = 2
    low, high = least, least
    while expected(high) < GOAL:
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if expected(middle) < GOAL else (low, middle)
    units = high
    while at(units).power < GOAL:
        units += max(1, units // 20)
        if units > MOST:
            return None
    while units > least and at(units - 1).power >= GOAL:
        units -= 1
    found: Size = at(units)
    return found


def _detectable(study: Study, estimand: Estimand, graphs: Mapping[str, str], noise: Noise, own: int) -> float:
    from scipy.optimize import brentq

    samples = _samples(_of_size(study, own), estimand, graphs)[1]
    errors = [_error(sample, noise)[0] * span for sample, span in samples]
    if not all(error > 0 for error in errors):
        return math.nan
    scale = max(errors)

    def missing(multiple: float) -> float:
        return min(_analytic(sample, multiple * scale / span, noise) for sample, span in samples) - GOAL

    return float(brentq(missing, 1e-6, 1e4, xtol=1e-3)) * scale


def _landed(settings: Settings, outcome: str) -> dict[str, float]:
    """Trial -> value in its last attempt."""
    import duckdb

    files = [str(path) for path in LandingZone(settings.landing_dir).files("outcomes")]
    if not files:
        return {}
    query = (
        "SELECT unit_id, arg_max(value, attempt) FROM read_parquet($files) WHERE outcome = $outcome AND value IS NOT NULL GROUP BY unit_id"
    )
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        return dict(connection.execute(query, {"files": files, "outcome": outcome}).fetchall())
