"""From loss to capability: a score as a bounded sigmoid of the loss, composed with a law of the loss.

Scores of benchmarks stay at the level of guessing and then rise, so that small trials tell little about them; their losses fall
smoothly. The map is fitted to the measured losses and scores of the same trials, and the composed law is a law like any other: it
forecasts in units of the score, with an interval that carries what is unsure about both steps.

Sources: Gadre et al. (2024), equation 5, whose error eps - k exp(-gamma L) is the map's lower tail; Dubey et al. (2024), The Llama 3
herd of models, section 3.2.1, where the sigmoid is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.errors import LawError
from trialhouse.scaling_laws import diagnostics
from trialhouse.scaling_laws.fit import Law
from trialhouse.scaling_laws.forms import Array, Form, Parameter, Points
from trialhouse.scaling_laws.intervals import Draws, profile_intervals
from trialhouse.scaling_laws.prediction import levels_at
from trialhouse.scaling_laws.sample import LawSample
from trialhouse.scaling_laws.search import optimum
from trialhouse.scaling_laws.solver import minimise

RELATED = 0.01
"""One-sided p-value of the rank correlation between loss and score from which on a loss tells nothing about a score."""
MAP_NAME = "score_map"
SOURCE = "Gadre et al. (2024), equation 5; Dubey et al. (2024), Llama 3, section 3.2.1"


@dataclass(frozen=True)
class TwoStepLaw(Law):
    """A law of a score by way of a loss; see `two_step`.

    Parameters
    ----------
    loss
        The law of the loss.
    map
        The second step alone, a law of the score in the loss (`n`), with its own intervals, reasons and warnings.
    scores
        Of all rows of its table, NaN where there is none.
    chance, ceiling
        As they were given.
    """

    loss: Law = field(kw_only=True)
    map: Law = field(kw_only=True)
    scores: pd.Series[float] = field(kw_only=True)
    chance: float | None = field(kw_only=True)
    ceiling: float = field(kw_only=True)

    @property
    def about(self) -> set[str]:
        """The loss as well."""
        return {*super().about, *self.loss.about}

    @property
    def least_places(self) -> int:
        """Those of the law of the loss: the map has as many losses as there are trials."""
        return self.loss.least_places

    @property
    def supposed(self) -> str:
        """That the loss tells the score, too."""
        return f"{super().supposed}, and {self.loss.sample.outcome_name} tells {self.sample.outcome_name} alike, whatever changed it"

    def refitted(self, part: LawSample, *, draws: int, seed: int = 0) -> Law:
        """Both steps again, of some of the trials."""
        rows = self.loss.sample.only(np.isin(self.loss.sample.rows, part.rows))
        loss = self.loss.refitted(rows, draws=draws, seed=seed)
        return two_step(loss, self.scores.to_frame(), str(self.scores.name), chance=self.chance, ceiling=self.ceiling, is_plain=True)

    def doubts_at(self, points: Points) -> list[str]:
        """Where losses leave those that the map was fitted to."""
        name, loss = self.sample.outcome_name, self.loss.sample
        seen = loss.outcome[np.isin(loss.rows, self.sample.rows)]
        asked = np.exp(levels_at(self.loss, points).centre)
        ends = [("below", float(asked.min()), float(seen.min())), ("above", -float(asked.max()), -float(seen.max()))]
        return [
            f"a {loss.outcome_name} of {abs(far):.4g} is {word} that of any trial ({abs(end):.4g}): there the map to {name} is drawn "
            "beyond them, and the interval holds no doubt about its form"
            for word, far, end in ends
            if far < end
        ]


def score_map(ceiling: float = 1.0) -> Form:
    """The map as a form of one factor, the loss: parameters `chance`, `L0` (half of the way) and `k` (steepness, positive)."""

    def curve(coordinates: Array, points: Points) -> tuple[Array, Array]:
        c, place, steep = (coordinates[..., k, None] for k in range(3))
        chance = 1 / (1 + np.exp(-np.clip(c, -700, 700)))
        middle, k = np.exp(np.clip(place, -30, 30)), np.exp(np.clip(steep, -30, 30))
        distance = np.exp(points["n"]) - middle
        share = np.exp(-np.logaddexp(0, np.clip(k * distance, -700, 700)))
        bend = (ceiling - chance) * share * (1 - share)
        slopes = np.broadcast_arrays(chance * (1 - chance) * (1 - share), bend * k * middle, -bend * k * distance)
        return chance + (ceiling - chance) * share, np.stack(slopes, axis=-2)

    def grid(points: Points, outcome: Array) -> Array:
        loss = np.exp(points["n"])
        width = max(np.ptp(loss), 1e-9)
        lowest = float(np.clip(outcome.min(), 0.01, 0.9 * ceiling))
        chances = [np.log(c / (1 - c)) for c in (0.01, lowest / 2, lowest)]
        places = np.log(np.maximum(loss.min() + width * np.array([-2, -1, -0.5, 0, 0.25, 0.5, 0.75, 1]), 0.05 * loss.min()))
        return np.array([[c, place, np.log(k / width)] for c in chances for place in places for k in (1, 3, 10, 30)])

    return Form(
        name=MAP_NAME,
        formula=f"score = chance + ({ceiling:g} - chance) / (1 + exp(k (L - L0)))",
        source=SOURCE,
        applies="scores are of the trials whose losses these are, and rise as the loss falls",
        roles=("n",),
        parameters=(
            Parameter("chance", "score of guessing", "of the score", "logit"),
            Parameter("L0", "loss at which half of the way from chance to the ceiling is done", "of the loss", "log"),
            Parameter("k", "steepness", "1 / loss", "log"),
        ),
        curve=curve,
        grid=grid,
        is_log=False,
    )


def two_step(
    law: Law, frame: pd.DataFrame, score: str, *, chance: float | None = None, ceiling: float = 1.0, is_plain: bool = False
) -> TwoStepLaw:
    """Compose a law of a loss with the map from that loss to a score.

    Parameters
    ----------
    law
        Of the loss, a form with `E` or not, fitted to rows of `frame`.
    frame
        The table that the law was fitted to.
    score
        Column: in [0, 1], missing where a trial has none.
    chance, ceiling
        What guessing and the best come to. Chance is fitted where it is not known.
    is_plain
        As `trialhouse.scaling_laws.fit.plain_law`: no intervals of the map's parameters, and no reasons to withhold.

    Returns
    -------
    TwoStepLaw
        Of the score: outcome, residuals and intervals are in its units. Each draw of the bootstrap resamples trials (or repeated units)
        once for both steps.

    Raises
    ------
    LawError
        For a law that is not of a loss or has no curve, a column that is no score, or too few trials that have one.
    """
    if law.drawn is None or not law.form.is_log:
        raise LawError("a two-step law starts from a law of a loss that has a curve", law.form.name, "name another --outcome or --form")
    own = fit_map(law.sample, law.drawn.weights, frame, score, chance=chance, ceiling=ceiling, delta=law.delta)
    points = law.sample.only(np.isin(law.sample.rows, own.sample.rows)).points
    if not is_plain:
        own = _judged(own, points, law.sample.columns)
    assert own.drawn is not None
    return TwoStepLaw(
        form=_composed(law.form, own.form),
        sample=replace(own.sample, points=points, columns=law.sample.columns),
        coordinates=np.concatenate([law.coordinates, own.coordinates]),
        objective=own.objective,
        delta=law.delta,
        ends=np.concatenate([law.ends, own.ends]),
        drawn=replace(own.drawn, coordinates=np.concatenate([law.drawn.coordinates, own.drawn.coordinates], axis=1)),
        not_identified={**law.not_identified, **own.not_identified},
        warnings=(*law.warnings, *(f"map from loss to score: {one}" for one in own.warnings)),
        reasons=(*law.reasons, *own.reasons),
        search={**own.search, "loss": law.to_dict()},
        choice=law.choice,
        regimes=law.regimes,
        loss=law,
        map=own,
        scores=frame[score],
        chance=chance,
        ceiling=ceiling,
    )


def fit_map(
    losses: LawSample, weights: Array, frame: pd.DataFrame, score: str, *, chance: float | None, ceiling: float, delta: float
) -> Law:
    """The second step alone, as `plain_law`: no intervals of parameters, and no reasons to withhold.

    Parameters
    ----------
    losses, weights
        Of the law of the loss: its points, and the weights (draws x n) of its bootstrap.
    frame, score, chance, ceiling
        As in `two_step`, and so are the errors.
    delta
        Of the Huber loss, in scores.
    """
    form = _known(chance, ceiling)
    there, has_score = _scored(losses, frame, score, form, ceiling)
    best = optimum(form, there.points, there.outcome, delta, weights=there.weights)
    kept = weights[:, has_score]
    solved = minimise(form, there.points, there.outcome, np.tile(best.coordinates, (len(kept), 1)), weights=kept, delta=delta)
    drawn = Draws(solved.coordinates, solved.objective, kept, float(solved.is_converged.mean()))
    search = {"starts": best.starts, "reached": best.reached, "is_confirmed": best.confirmed, "draws": len(kept)}
    ends = np.full((len(best.coordinates), 2), np.nan)
    return Law(form, there, best.coordinates, best.objective, delta, ends, drawn, {}, (), (), search)


def _judged(own: Law, factors: Points, names: Mapping[str, str]) -> Law:
    """A map with the intervals of its parameters, and what should keep one from believing it; `factors` are those of its trials."""
    assert own.drawn is not None
    form, there = own.form, own.sample
    lost = len(there.left_out.get(_without(there.outcome_name), ()))
    told = (
        [f"{lost} of {lost + len(there)} trials have no {there.outcome_name} and serve the law of {there.columns['n']} alone"]
        if lost
        else []
    )
    if reasons := diagnostics.sentences([_unrelated(there), diagnostics.turning(form, there, diagnostics.neighbours(form, there))]):
        nothing = dict.fromkeys(form.names, reasons[0])
        return replace(own, not_identified=nothing, reasons=tuple(reasons), warnings=(*reasons, *told))
    ends = profile_intervals(form, there, own.coordinates, own.objective, own.drawn, own.delta)
    not_identified = diagnostics.unidentified(form, own.coordinates, ends)
    reasons = list(not_identified.values())
    found = [
        diagnostics.misfit(form, there, own.coordinates, remedy=""),
        _goes_past(own, factors, names),
        diagnostics.outliers(form, there, own.coordinates, remedy=""),
    ]
    warnings = (*reasons, *told, *diagnostics.sentences(found))
    return replace(own, ends=ends, not_identified=not_identified, reasons=tuple(reasons), warnings=warnings)


def _known(chance: float | None, ceiling: float) -> Form:
    if not 0 < ceiling <= 1:
        raise LawError("the ceiling of a score must be in (0, 1]", ceiling, "leave it out for 1")
    if chance is not None and not 0 <= chance < ceiling:
        raise LawError(f"the score of guessing must be in [0, {ceiling:g})", chance, "leave it out to fit it")
    return score_map(ceiling).with_fixed({} if chance is None else {"chance": chance})


def _scored(losses: LawSample, frame: pd.DataFrame, score: str, form: Form, ceiling: float) -> tuple[LawSample, NDArray[np.bool_]]:
    """The scores by their losses, and which of the losses have one."""
    if score not in frame.columns:
        raise LawError("column must be one of the table's", repr(score), f"it has {', '.join(map(str, frame.columns))}")
    if not pd.api.types.is_numeric_dtype(frame[score]) or pd.api.types.is_bool_dtype(frame[score]):
        raise LawError(f"score {score!r} must be numbers", str(frame[score].dtype), "convert it or choose another")
    values = frame[score].to_numpy(dtype=float, na_value=np.nan)[losses.rows]
    has_score = np.isfinite(values)
    if ((values < 0) | (values > ceiling))[has_score].any():
        wrong = values[has_score & ((values < 0) | (values > ceiling))][0]
        raise LawError(f"score {score!r} must be in [0, {ceiling:g}]", f"{wrong:g}", "rescale it or state its ceiling")
    needed = len(form.parameters) + 3
    if has_score.sum() < needed:
        raise LawError(f"a map from loss to score needs at least {needed} trials with {score!r}", int(has_score.sum()), "add trials")
    if np.ptp(values[has_score]) == 0:
        raise LawError(f"score {score!r} must vary", f"only {values[has_score][0]:g}", "these trials are all at chance, or all alike")
    there = replace(losses, points={"n": np.log(losses.outcome)}, columns={"n": losses.outcome_name}, outcome=values, outcome_name=score)
    there = there.only(has_score, _without(score))
    if there.units < 2:
        raise LawError(f"trials with {score!r} must be of at least two repeated units", "one", "add trials")
    return there, has_score


def _without(score: str) -> str:
    """Why a trial is left out of a map."""
    return f"no {score}"


def _unrelated(there: LawSample) -> str | None:
    """All at chance, or a score that this loss does not tell."""
    from scipy import stats

    found = stats.spearmanr(there.points["n"], there.outcome, alternative="less")
    if float(found.pvalue) < RELATED:
        return None
    score, loss, together = there.outcome_name, there.columns["n"], f"rank correlation {float(found.statistic):.2f}"
    if float(found.pvalue) > 1 - RELATED:
        return f"{score} falls as {loss} falls ({together}): a score rises; if it is an error, ask for what is left to 1"
    return f"{score} does not rise as {loss} falls ({together}): these trials are at chance, or this loss says nothing about it"


def _goes_past(own: Law, factors: Points, names: Mapping[str, str]) -> str | None:
    """A score that goes with a factor at equal losses: it does not follow from the loss alone, so that the map holds for these trials only.

    Ranks of what the map leaves on the logarithms of the factors, given the loss and its square.
    """
    from scipy import stats

    there, form = own.sample, own.form
    level, _ = form.curve(own.coordinates[None], there.points)
    ranks = stats.norm.ppf(stats.rankdata(there.outcome - level[0]) / (len(there) + 1))
    loss = there.points["n"] - there.points["n"].mean()
    given = np.column_stack([np.ones(len(there)), loss, loss**2])
    told = {}
    for role, values in factors.items():
        both = np.column_stack([given, values - values.mean()])
        freedom = len(there) - np.linalg.matrix_rank(both)
        if freedom < 5 or np.linalg.matrix_rank(both) == np.linalg.matrix_rank(given):
            continue
        left = [float(np.sum((ranks - matrix @ np.linalg.lstsq(matrix, ranks, rcond=None)[0]) ** 2)) for matrix in (given, both)]
        told[role] = float(stats.f.sf((left[0] - left[1]) / max(left[1] / freedom, 1e-300), 1, freedom))
    found = [names[role] for role, p_value in told.items() if p_value < diagnostics.MISFIT_LEVEL / len(factors)]
    if not found:
        return None
    score, by = there.outcome_name, there.columns["n"]
    return f"at equal {by} {score} goes with {' and '.join(found)}, too: {by} does not tell all of it, and a forecast takes it to do so"


def _composed(loss: Form, form: Form) -> Form:
    """The score at places: coordinates of the loss's law, then those of the map."""
    size, middle = len(loss.parameters), form.names.index("L0")

    def curve(coordinates: Array, points: Points) -> tuple[Array, Array]:
        log_loss, inner = loss.curve(coordinates[..., :size], points)
        outer, own = form.curve(coordinates[..., size:], {"n": log_loss})
        per_log_loss = -own[..., middle, :] * np.exp(log_loss - coordinates[..., size + middle, None])
        return outer, np.concatenate([inner * per_log_loss[..., None, :], own], axis=-2)

    def grid(points: Points, outcome: Array) -> Array:
        raise LawError("a two-step law is fitted in two steps", "scores alone", "see trialhouse.scaling_laws.two_step")

    return Form(
        name=f"{loss.name} and {form.name}",
        formula=f"{form.formula}, {loss.formula}",
        source=f"{form.source}; {loss.source}",
        applies=f"{form.applies}; {loss.applies}",
        roles=loss.roles,
        parameters=(*loss.parameters, *form.parameters),
        curve=curve,
        grid=grid,
        is_log=False,
        is_monotone=loss.is_monotone,
        fixed=(*loss.fixed, *form.fixed),
    )
