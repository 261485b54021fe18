"""The responses that a study registered, from its trials: one per combination of levels, refused where nobody assigned the factors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.causal.study import analysed, repeated_unit
from trialhouse.errors import LawError, SpecError
from trialhouse.identity import frame_id
from trialhouse.scaling_laws.intervals import finite
from trialhouse.scaling_laws.response import Effect, Response, fit_response
from trialhouse.scaling_laws.study import Levels, level_groups, with_ids
from trialhouse.studies.factors import TWINS
from trialhouse.studies.responses import ResponseQuestion
from trialhouse.studies.spec import Study

MOST_LOST = 0.05
"""Share of trials without the outcome above which who is left may differ by what was assigned."""


@dataclass(frozen=True)
class StudyResponse:
    """One response of a study.

    Parameters
    ----------
    question
        As registered.
    subgroup
        Factor -> level; empty for one of all trials.
    factors
        That the design assigned.
    found
        What was fitted, or None.
    refusal
        Why nothing was.
    data_id
        Hash of the rows that it rests on.
    """

    question: ResponseQuestion
    subgroup: Levels
    factors: Sequence[str]
    found: Response | None
    refusal: str | None
    data_id: str

    @property
    def reasons(self) -> list[str]:
        """What withholds it."""
        return [] if self.refusal is None else [self.refusal]

    def to_dict(self) -> dict[str, Any]:
        """As `trialhouse fit STUDY --json` prints it."""
        verdict = "released" if self.found is not None else "withheld"
        common = {"response": self.question.name, "subgroup": dict(self.subgroup), "verdict": verdict, "reasons": self.reasons}
        return {**common, "outcome": self.question.outcome, **(self.found.to_dict() if self.found is not None else {})}


def check_responses(study: Study, columns: Sequence[str]) -> None:
    """Refuse, before anything runs, responses of columns that there are not; parameters and errors as of `check_laws`."""
    for question in study.responses:
        for column in (question.outcome, *question.looks_at):
            if column not in columns:
                where = f"fix response {question.name!r} of study {study.name!r}"
                raise SpecError(f"columns of a response must be among {sorted(columns)}", repr(column), where)


def responses_of(study: Study, trials: pd.DataFrame) -> list[StudyResponse]:
    """Fit all responses that a study registered.

    Parameters
    ----------
    study
        The spec.
    trials
        Its analysis view: one row per trial with `trial_id` and `status`, one column per factor and outcome.

    Notes
    -----
    Blocks (seeds) have constants of their own and are the repeated units; without blocks, weights that several trials share are.
    Trials without the outcome are left out and counted, and so are those to which a factor does not apply. What cannot be fitted is
    withheld, with the reason.
    """
    return [one for question in study.responses for one in _responses(study, question, trials)]


def _responses(study: Study, question: ResponseQuestion, trials: pd.DataFrame) -> Iterator[StudyResponse]:
    block = study.block_factor.name if study.block_factor and study.block_factor.name not in question.by else None
    assigned = [factor for factor in study.factors if factor.assignment not in ("fixed", "blocked") and not factor.is_label]
    factors = [factor.name for factor in assigned if factor.name not in question.by]
    cluster = repeated_unit(trials, block)
    used = [question.outcome, *factors, *question.looks_at, *question.by, *([block] if block else []), *([cluster] if cluster else [])]
    frame = analysed(study, trials)
    if missing := [column for column in used if column not in frame]:
        raise LawError(f"response {question.name!r} needs the column {missing[0]!r}", "trials without it", "fix the study")
    for subgroup, rows in level_groups(frame, question.by):
        where = [rows[item.applies_when.factor].map(item.applies_when.holds) for item in assigned if item.applies_when is not None]
        asked = rows[np.logical_and.reduce(where)] if where else rows
        have = asked.loc[asked[question.outcome].notna(), list(dict.fromkeys(used))].reset_index(drop=True)
        data_id = frame_id(have)
        lost = len(asked) - len(have)
        try:
            _require_assigned(study, subgroup)
            _require_outcomes(question.outcome, lost, len(asked))
            found = fit_response(
                have,
                outcome=question.outcome,
                factors=factors,
                categorical={factor.name: factor.levels for factor in assigned if factor.kind == "categorical"},
                block=block,
                cluster=cluster,
                scale=question.scale,
                looks_at=question.looks_at,
            )
        except LawError as error:
            yield StudyResponse(question, subgroup, factors, None, str(error), data_id)
            continue
        yield StudyResponse(question, subgroup, factors, _warned(found, study, lost, len(rows) - len(asked)), None, data_id)


def _require_assigned(study: Study, subgroup: Levels) -> None:
    twin = study.twin_factor
    if study.is_observational and (twin is None or subgroup.get(twin.name) != TWINS[1]):
        remedy = "ask for an estimand, which is adjusted by the graph" if twin is None else f"ask by: [{twin.name}] for the randomised half"
        raise LawError("a response needs factors that a design assigned", "trials in which they go with what nobody set", remedy)


def _require_outcomes(outcome: str, lost: int, trials: int) -> None:
    if lost > MOST_LOST * trials:
        expected = f"{1 - MOST_LOST:.0%} of the trials of a response must have {outcome}, since factors may decide which have none"
        raise LawError(expected, f"{trials - lost} of {trials}", "ask for an estimand, which is compared where both arms have it")


def _warned(found: Response, study: Study, lost: int, inapplicable: int) -> Response:
    told = []
    if inapplicable:
        told.append(f"{inapplicable} trials to which not every factor applies are left out")
    if lost:
        told.append(
            f"{lost} of {lost + found.trials} trials have no {found.outcome} and are left out: effects are among those that have one"
        )
    if study.design.kind == "one_factor_at_a_time":
        told.append("one factor at a time: effects hold where all others are at their references")
    return replace(found, warnings=(*told, *found.warnings))


def response_rows(study_id: str, code_version: str, responses: Sequence[StudyResponse]) -> list[dict[str, Any]]:
    """Rows of the raw table `laws`, all but the time: one per effect; one without where nothing was fitted."""
    return with_ids(study_id, code_version, (row for one in responses for row in _rows(one)))


def _rows(one: StudyResponse) -> Iterator[dict[str, Any]]:
    found = one.found
    common = {
        "data_id": one.data_id,
        "law": one.question.name,
        "outcome": one.question.outcome,
        "columns": json.dumps({"factors": list(one.factors)}),
        "subgroup": json.dumps(one.subgroup) if one.subgroup else None,
        "compared_with": None,
        "form": found.chosen if found else "none",
        "formula": found.formula if found else None,
        "trials": found.trials if found else 0,
        "objective": None,
        "verdict": "released" if found else "withheld",
        "reasons": json.dumps(one.reasons),
        "warnings": json.dumps(list(found.warnings) if found else []),
        "choice": json.dumps(_choice(found)) if found else None,
    }
    if found is None:
        numbers = ("estimate", "standard_error", "ci_low", "ci_high", "p_value", "p_value_adjusted", "sentence")
        yield {**common, "quantity": "none", **dict.fromkeys(numbers), "is_identified": False}
        return
    for effect in found.effects:
        yield {**common, **_numbers(effect)}


def _choice(found: Response) -> dict[str, Any]:
    """With what a reader of the rows needs besides their numbers: the effects in order, and what passive observers say of them."""
    return {
        **found.choice,
        "scale": found.scale,
        "tested_in": found.tested_in,
        "configurations": found.configurations,
        "repeated_units": found.units,
        "effects": {
            one.term.name: {
                "kind": one.term.kind,
                "levels": list(one.term.levels) if one.term.kind == "main" else None,
                "passive": dict(one.passive),
            }
            for one in found.effects
        },
    }


def _numbers(effect: Effect) -> dict[str, Any]:
    known = {
        "estimate": effect.estimate,
        "standard_error": effect.standard_error,
        "ci_low": effect.low,
        "ci_high": effect.high,
        "p_value": effect.p_value,
        "p_value_adjusted": effect.p_adjusted,
    }
    is_one = effect.term.kind == "main" or bool(effect.term.parents)
    return {
        "quantity": effect.term.name,
        **{name: finite(value) for name, value in known.items()},
        "is_identified": is_one and bool(np.isfinite(effect.standard_error)),
        "sentence": effect.sentence,
    }
