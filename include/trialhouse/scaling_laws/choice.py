"""Which form: the one that forecasts best what it has not seen, or the answer that they cannot be told apart.

A form that fits best within the range is the best one beyond it only about two times in three, so the largest trials are
held out, each form is fitted to the rest, and the errors there are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialhouse.errors import LawError
from trialhouse.scaling_laws.forms import Array, Form
from trialhouse.scaling_laws.intervals import bootstrap
from trialhouse.scaling_laws.registry import FORMS
from trialhouse.scaling_laws.sample import LawSample
from trialhouse.scaling_laws.search import optimum

HELD_OUT = (0.2, 0.35, 0.5)
"""Shares of the places, the largest, that are held out in turn."""
AGREED = 0.9
"""Share of bootstrap draws in which one form must forecast better than another for the two to be told apart."""
ROUGH = 150
"""Steps for each law: what has not arrived by then has a parameter without an end, and its forecast no longer changes."""
MOST = 1e3
"""Errors above this (in logarithms) are all alike."""


@dataclass(frozen=True)
class Candidate:
    """A form with its held-out error.

    Parameters
    ----------
    form
        Which.
    error
        Mean absolute error of held-out points, over all splits, on the form's scale: .01 is 1% of a loss.
    errors
        The same in each bootstrap draw.
    beaten_in
        Share of draws in which the best form forecasts better.
    """

    form: Form
    error: float
    errors: Array
    beaten_in: float = float("nan")

    @property
    def is_told_apart(self) -> bool:
        """Whether the best form is better beyond what resampling explains."""
        return self.beaten_in >= AGREED


@dataclass(frozen=True)
class Choice:
    """The forms that were compared, best first.

    Parameters
    ----------
    chosen
        The one with the fewest parameters among the best and those that cannot be told from it.
    candidates
        Best first.
    not_tried
        Form -> why it was not.
    """

    chosen: Form
    candidates: Sequence[Candidate]
    not_tried: Mapping[str, str]

    @property
    def alike(self) -> list[str]:
        """Forms that cannot be told from the best, the best among them."""
        return [self.candidates[0].form.name, *(one.form.name for one in self.candidates[1:] if not one.is_told_apart)]

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        best = self.candidates[0]
        if len(self.alike) == 1:
            return f"{best.form.name} forecasts held-out trials best (mean error {best.error:.3g})"
        names = f"{', '.join(self.alike[:-1])} and {self.alike[-1]}"
        return (
            f"{names} cannot be told apart by held-out trials (mean errors {best.error:.3g} and more); "
            f"{self.chosen.name} has the fewest parameters"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "chosen": self.chosen.name,
            "cannot_be_told_apart": self.alike if len(self.alike) > 1 else [],
            "sentence": self.sentence,
            "held_out": list(HELD_OUT),
            "candidates": [
                {
                    "form": one.form.name,
                    "parameters": len(one.form.parameters),
                    "held_out_error": one.error,
                    "beaten_in": None if np.isnan(one.beaten_in) else one.beaten_in,
                }
                for one in self.candidates
            ],
            "not_tried": dict(self.not_tried),
        }


def candidates_for(frame: pd.DataFrame, outcome: str, columns: Mapping[str, str]) -> list[Form]:
    """Forms for these columns: of a score between 0 and 1 that rises with its one factor `bounded`, else those of a loss.

    Raises
    ------
    LawError
        If no form has these factors.
    """
    roles = {"n"} if len(columns) == 1 else set(columns)
    found = [form for form in FORMS.values() if set(form.roles) == roles]
    if not found:
        known = sorted({" and ".join(f"--{role}" for role in form.roles) for form in FORMS.values() if len(form.roles) > 1})
        given = " and ".join(f"--{role}" for role in columns) or "none"
        raise LawError(f"factors must be one alone, or {', or '.join(known)}", given, "name other columns")
    is_score = roles == {"n"} and _is_rising_score(frame, outcome, next(iter(columns.values())))
    return [form for form in found if form.is_log != is_score]


def _is_rising_score(frame: pd.DataFrame, outcome: str, factor: str) -> bool:
    if not {outcome, factor} <= set(frame.columns):
        return False
    pair = frame[[outcome, factor]].apply(pd.to_numeric, errors="coerce")
    if not pair[outcome].between(0, 1).all():
        return False
    return bool(pair[outcome].corr(pair[factor], method="spearman") > 0)


def choose(forms: Sequence[Form], sample: LawSample, *, delta: float, draws: int = 200, seed: int = 0) -> Choice:
    """Compare forms by their errors beyond the range that they were fitted to.

    Raises
    ------
    LawError
        If there are too few points to hold any out.
    """
    splits = [_largest(sample, share) for share in HELD_OUT]
    found: list[Candidate] = []
    not_tried: dict[str, str] = {}
    for form in forms:
        usable = [held for held in splits if _is_enough(sample, ~held, form)]
        if len(usable) < len(splits):
            not_tried[form.name] = f"{len(form.parameters)} parameters are too many for what is left when trials are held out"
            continue
        whole, drawn = np.zeros(len(usable)), np.zeros((len(usable), draws))
        for k, held in enumerate(usable):
            whole[k], drawn[k] = _errors(form, sample, held, delta, draws, seed)
        found.append(Candidate(form, float(whole.mean()), drawn.mean(axis=0)))
    if not found:
        raise LawError("enough trials must be given to hold some out", f"{len(sample)} rows", "name a form, or add trials")
    found.sort(key=lambda one: one.error)
    best = found[0]
    compared = [best, *(_against(best, other) for other in found[1:])]
    alike = [one.form for one in compared if one is best or not one.is_told_apart]
    return Choice(min(alike, key=lambda form: len(form.parameters)), compared, not_tried)


def _against(best: Candidate, other: Candidate) -> Candidate:
    """Ties count half: forms that agree on every draw are not told apart."""
    close = np.isclose(best.errors, other.errors, rtol=1e-6)
    beaten = float(np.mean(np.where(close, 0.5, best.errors < other.errors)))
    return Candidate(other.form, other.error, other.errors, beaten)


def _largest(sample: LawSample, share: float) -> NDArray[np.bool_]:
    """The points at the largest places: by n, or by the product of all factors (compute, where these are size and data)."""
    reach = np.sum(list(sample.points.values()), axis=0).round(9)
    places = np.unique(reach)
    first = min(max(int(np.ceil(len(places) * (1 - share))), 1), len(places) - 1)
    return np.asarray(reach >= places[first])


def _is_enough(sample: LawSample, kept: NDArray[np.bool_], form: Form) -> bool:
    places = np.unique(np.column_stack([values[kept] for values in sample.points.values()]).round(9), axis=0)
    return len(places) > len(form.parameters) and int(kept.sum()) >= len(form.parameters) + 2


def _errors(form: Form, sample: LawSample, held: NDArray[np.bool_], delta: float, draws: int, seed: int) -> tuple[float, Array]:
    rest = sample.only(~held)
    best = optimum(form, rest.points, rest.outcome, delta, weights=rest.weights, confirm=False, iterations=ROUGH)
    drawn = bootstrap(form, rest, best.coordinates, delta, draws=draws, seed=seed, iterations=ROUGH)
    there = sample.only(held)
    target = form.on_scale(there.outcome)
    miss = np.abs(form.curve(best.coordinates[None], there.points)[0][0] - target)
    misses = np.abs(form.curve(drawn.coordinates, there.points)[0] - target)
    weights = there.resampled(draws, np.random.default_rng(seed + 1))
    error = np.minimum(np.nan_to_num((weights * misses).sum(axis=1) / weights.sum(axis=1), nan=MOST), MOST)
    return float(np.average(np.minimum(np.nan_to_num(miss, nan=MOST), MOST), weights=there.weights)), np.asarray(error)
