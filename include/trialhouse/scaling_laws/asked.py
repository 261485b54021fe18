"""Forecasts of the laws that a study registered: which law answers a question, and the rows that keep the answer on record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from trialhouse.errors import ForecastError, LawError
from trialhouse.identity import content_id
from trialhouse.scaling_laws.forecast import Assignment, Effect, Forecast, forecast
from trialhouse.scaling_laws.held_out import CAUSAL, HeldOut, checked
from trialhouse.scaling_laws.study import StudyLaw, fit_study
from trialhouse.scaling_laws.support import FARTHEST, moves_along, read_changes, read_places
from trialhouse.studies.spec import Study

ASSIGNED = ("crossed", "randomised")


@dataclass(frozen=True)
class StudyForecast:
    """What one law of a study says, or why it says nothing.

    Parameters
    ----------
    law
        Of the study.
    found
        Its forecast, or None.
    refusal
        Why there is none.
    """

    law: StudyLaw
    found: Forecast | None
    refusal: str | None

    def to_dict(self) -> dict[str, Any]:
        """As `trialhouse forecast STUDY --json` prints it."""
        common = {"law": self.law.question.name, "subgroup": dict(self.law.subgroup), "refusal": self.refusal}
        return common if self.found is None else {**common, **self.found.to_dict()}


def laws_about(
    study: Study,
    trials: pd.DataFrame,
    *,
    factors: Sequence[str] = (),
    law: str | None = None,
    where: Sequence[str] = (),
    score: str | None = None,
    draws: int = 1000,
) -> list[StudyLaw]:
    """Fit those laws of a study that a question is about.

    Parameters
    ----------
    factors
        Names (columns or roles such as `data`) that the law must have.
    law
        Name of the law; by default every one that has the factors.
    where
        Texts such as `architecture=mlp`: only these subgroups.
    score
        Laws of this score, by way of those of the loss; without it, laws of what the study named as their outcome.

    Raises
    ------
    ForecastError
        If the study registered none, or none has these factors, this name, this score or these levels.
    """
    if not study.laws:
        raise ForecastError(f"study {study.name!r} must ask for laws", "none", "add 'laws' to its YAML, or give --table FILE")
    wanted = set(factors)
    chosen = [
        question
        for question in study.laws
        if (law is None or question.name == law) and wanted <= {*question.columns, *question.columns.values()}
    ]
    if not chosen:
        known = "; ".join(f"{question.name}: {', '.join(question.columns.values())}" for question in study.laws)
        asked = law if law is not None else ", ".join(sorted(wanted))
        raise ForecastError(f"a question must be about a law of study {study.name!r} ({known})", repr(asked), "name its factors")
    alone = [
        question.model_copy(update={"compare": (), "scores": tuple(one for one in question.scores if one.outcome == score)})
        for question in chosen
    ]
    if score is not None and not (alone := [question for question in alone if question.scores]):
        asks = f"law {law!r}" if law is not None else f"a law of study {study.name!r}"
        known = "; ".join(f"{question.name}: {', '.join(one.outcome for one in question.scores) or 'none'}" for question in chosen)
        raise ForecastError(f"a score must be one that {asks} asks for ({known})", repr(score), "add it to the law's 'scores' in the YAML")
    levels = dict(_level(text) for text in where)
    every, _ = fit_study(study.model_copy(update={"laws": tuple(alone)}), trials, draws=draws)
    fitted = [one for one in every if (one.score is None) == (score is None)]
    kept = [one for one in fitted if all(str(one.subgroup.get(name)) == level for name, level in levels.items())]
    if not kept:
        known = "; ".join(dict.fromkeys(one.name for one in fitted))
        raise ForecastError(f"--where must name a subgroup of the law ({known})", ", ".join(where), "name one of them")
    return kept


def forecast_study(
    study: Study,
    trials: pd.DataFrame,
    laws: Sequence[StudyLaw],
    *,
    do: Sequence[str],
    at: Sequence[str] = (),
    farthest: float = FARTHEST,
    check: bool = False,
) -> list[StudyForecast]:
    """Ask laws of a study what an intervention does; a law that cannot answer says why, unless it is the only one.

    Raises
    ------
    ForecastError
        If no law can answer.
    """
    found = []
    for law in laws:
        if law.law is None:
            found.append(StudyForecast(law, None, law.refusal))
            continue
        columns = law.question.columns
        try:
            one = forecast(
                law.law,
                read_changes(do, columns),
                at=read_places(at, columns),
                assignment=assignment_of(study, columns.values()),
                farthest=farthest,
            )
        except (ForecastError, LawError) as error:
            found.append(StudyForecast(law, None, str(error)))
            continue
        done, why_not = checked(law.law) if check else (None, ())
        caveats = (*one.caveats, *_of_consequences(study, columns.values()), *_along(study, trials, law), *why_not)
        found.append(StudyForecast(law, replace(one, caveats=caveats, check=done), None))
    if all(one.found is None for one in found):
        reasons = dict.fromkeys(str(one.refusal) for one in found)
        raise ForecastError("a law of the study must be able to answer", f"{len(found)} that cannot: {'; '.join(reasons)}")
    return found


def assignment_of(study: Study, columns: Iterable[str]) -> Assignment:
    """How what a law is in came about: by the design, as a consequence of what it assigned, or otherwise."""
    if study.is_observational:
        return "observational"
    assignment = {factor.name: factor.assignment in ASSIGNED for factor in study.factors}
    ways = {assignment.get(column) for column in columns}
    if False in ways:
        return "observational"
    return "consequence" if None in ways else "randomised"


def checks_of(laws: Sequence[StudyLaw]) -> list[tuple[StudyLaw, HeldOut]]:
    """Held-out checks of all laws that allow one: where there are too few trials for it, the law itself says how many there are."""
    found = [(one, checked(one.law)[0]) for one in laws if one.law is not None and not one.reasons]
    return [(one, check) for one, check in found if check is not None]


def rows_of_forecast(study_id: str, code_version: str, one: StudyForecast) -> list[dict[str, Any]]:
    """Rows of the raw table `forecasts`, all but the time: the causal forecast and one per passive observer."""
    if one.found is None:
        return []
    found, law = one.found, one.law
    effects: list[tuple[str | None, Effect]] = [(None, found.effect), *found.passive.items()]
    rows = []
    for looks_at, effect in effects:
        after, difference = effect.after, effect.difference
        row = {
            **_common(study_id, code_version, law),
            "form": effect.form,
            "purpose": "asked",
            "basis": "causal" if looks_at is None else "correlational",
            "looks_at": looks_at,
            "place": _json({**law.subgroup, **found.end}),
            "start": _json({**law.subgroup, **found.start}),
            **_numbers(after.mean, after.low, after.high, after.new_low, after.new_high),
            "difference": difference[0],
            "difference_low": difference[1],
            "difference_high": difference[2],
            "reach": found.reach.together,
            "trials": len(found.law.sample),
            "sentence": found.sentence if looks_at is None else None,
            "caveats": json.dumps(list(found.caveats) if looks_at is None else [found.rests_on["correlational"]]),
        }
        rows.append(_with_id(row))
    return rows


def rows_of_checks(study_id: str, code_version: str, checks: Sequence[tuple[StudyLaw, HeldOut]]) -> list[dict[str, Any]]:
    """Rows of the raw table `forecasts`, all but the time: every held-out configuration, by the frozen law and by each observer."""
    rows = []
    for law, check in checks:
        for one in check.forecasts:
            told = one.prediction
            row = {
                **_common(study_id, code_version, law),
                "form": one.law.form.name,
                "purpose": one.kind,
                "basis": "causal" if one.basis == CAUSAL else "correlational",
                "looks_at": None if one.basis == CAUSAL else one.basis,
                "place": _json({**law.subgroup, **one.place}),
                "start": None,
                **_numbers(told.mean, told.low, told.high, told.new_low, told.new_high),
                "reach": one.reach,
                "trials": check.fitted,
                "sentence": check.sentences[one.kind],
                "caveats": json.dumps([]),
            }
            rows.append(_with_id(row))
    return rows


def _common(study_id: str, code_version: str, law: StudyLaw) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "data_id": law.data_id,
        "code_version": code_version,
        "law": law.question.name,
        "subgroup": _json(law.subgroup) if law.subgroup else None,
        "outcome": law.outcome,
    }


def _with_id(row: dict[str, Any]) -> dict[str, Any]:
    key = ("study_id", "data_id", "code_version", "law", "subgroup", "purpose", "basis", "looks_at", "place", "start")
    return {"forecast_id": content_id("forecast", {name: row[name] for name in key}), **row}


def _numbers(mean: float, low: float, high: float, new_low: float, new_high: float) -> dict[str, float]:
    return {"estimate": mean, "ci_low": low, "ci_high": high, "prediction_low": new_low, "prediction_high": new_high}


def _json(levels: Mapping[str, Any]) -> str:
    return json.dumps(dict(levels), sort_keys=True)


def _level(text: str) -> tuple[str, str]:
    name, equals, level = (part.strip() for part in text.partition("="))
    if not equals:
        raise ForecastError("--where must be NAME=LEVEL", repr(text), "for example --where architecture=mlp")
    return name, level


def _of_consequences(study: Study, columns: Iterable[str]) -> list[str]:
    """A law in a measured column: nobody sets that one itself."""
    factors = {factor.name for factor in study.factors}
    return [
        f"{column} is no factor of the study: it follows from those that were assigned, and whoever sets it otherwise does something else"
        for column in columns
        if column not in factors
    ]


def rows_of_law(trials: pd.DataFrame, outcome: str, subgroup: Mapping[str, Any]) -> pd.DataFrame:
    """The trials of a law, with all their columns, in the order in which it was fitted to them."""
    own = trials[trials[outcome].notna()]
    for name, level in subgroup.items():
        own = own[own[name] == level]
    return (own.sort_values("trial_id", kind="stable") if "trial_id" in own else own).reset_index(drop=True)


def _along(study: Study, trials: pd.DataFrame, one: StudyLaw) -> list[str]:
    """Factors that nobody assigned apart; what else trials came to is a consequence, which need not be held."""
    if one.law is None or not study.is_observational:
        return []
    own = rows_of_law(trials, one.question.outcome, one.subgroup)
    names = [factor.name for factor in study.factors if factor.kind != "categorical" and factor.name in own]
    return moves_along(own[list(dict.fromkeys([*names, *one.question.columns.values(), one.question.outcome]))], one.law)
