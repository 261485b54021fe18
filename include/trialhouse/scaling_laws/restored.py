"""A law again from the numbers that landed: its curve is theirs, and only its bootstrap is drawn anew, from the same seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trialhouse.errors import LawError
from trialhouse.scaling_laws.choice import candidates_for
from trialhouse.scaling_laws.diagnostics import transient
from trialhouse.scaling_laws.fit import DELTA, Law, without_warm_up
from trialhouse.scaling_laws.forms import Form
from trialhouse.scaling_laws.intervals import bootstrap
from trialhouse.scaling_laws.registry import form_named
from trialhouse.scaling_laws.sample import LawSample, make_sample
from trialhouse.scaling_laws.solver import objective
from trialhouse.scaling_laws.study import LawRows
from trialhouse.scaling_laws.two_step import fit_map
from trialhouse.studies.laws import ScoreQuestion

SAME = 1e-6
"""By how much, relatively, the loss of the landed numbers may differ from the landed loss."""


def restored(
    group: LawRows, *, form: str, parameters: Mapping[str, float], loss: float, warnings: Sequence[str] = (), draws: int = 1000
) -> Law:
    """The law that landed, over the trials that it was fitted to; without intervals of its parameters, which landed too.

    Parameters
    ----------
    group
        Its trials, as they are now.
    form, parameters, loss
        As landed: the form, which may have been chosen, its free parameters, and the summed Huber loss of the fit.
    draws
        Of the bootstrap; as many as in the fit give the same.

    Raises
    ------
    LawError
        If these numbers do not have that loss on these trials: the trials or the code are others than then.
    """
    family = form_named(form).with_fixed(group.question.fix)
    sample = _sample(group, family)
    coordinates = family.coordinates(parameters)
    own = float(objective(family, coordinates[None], sample.points, family.on_scale(sample.outcome), DELTA)[0])
    _require_same(own, loss)
    drawn = bootstrap(family, sample, coordinates, DELTA, draws=draws, seed=0)
    return Law(family, sample, coordinates, own, DELTA, np.full((len(coordinates), 2), np.nan), drawn, {}, tuple(warnings), ())


def restored_map(group: LawRows, score: ScoreQuestion, *, form: str, loss: float, draws: int = 1000) -> Law:
    """The map to a score that landed; its optimum is found again, in a moment, and its bootstrap resamples as that of the law does.

    Parameters
    ----------
    group, draws
        As for `restored`.
    score
        Which of the question's.
    form
        Of the law of the loss, which decides what trials it leaves out.
    loss
        As landed: the summed Huber loss of the map.

    Raises
    ------
    LawError
        If the map of these trials has another loss, or there is none.
    """
    losses = _sample(group, form_named(form).with_fixed(group.question.fix))
    weights = losses.resampled(draws, np.random.default_rng(0))
    own = fit_map(losses, weights, group.rows, score.outcome, chance=score.chance, ceiling=score.ceiling, delta=DELTA)
    _require_same(own.objective, loss)
    return own


def _sample(group: LawRows, family: Form) -> LawSample:
    """What the law was fitted to: without what it leaves out."""
    question = group.question
    sample = make_sample(group.rows, family, outcome=question.outcome, columns=question.columns, cluster=group.cluster)
    if question.form == "auto":
        sample = without_warm_up(candidates_for(group.rows, question.outcome, question.columns), sample, DELTA)
    return transient(family, sample, DELTA, 0)


def _require_same(own: float, loss: float) -> None:
    if not abs(own - loss) <= SAME * abs(loss) + 1e-15:
        raise LawError(
            "the numbers that landed must have their loss on the trials", f"{own:.6g} where it was {loss:.6g}", "fit the law again"
        )
