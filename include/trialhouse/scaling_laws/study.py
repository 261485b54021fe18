"""The laws that a study registered, fitted to its trials: one per combination of levels, and how arms differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from trialhouse.causal.verdict import holm
from trialhouse.errors import LawError, SpecError
from trialhouse.identity import content_id, frame_id
from trialhouse.scaling_laws.compare import Comparison, compare
from trialhouse.scaling_laws.fit import Law, fit_table
from trialhouse.scaling_laws.intervals import LEVEL, finite
from trialhouse.scaling_laws.registry import form_named
from trialhouse.scaling_laws.two_step import MAP_NAME, TwoStepLaw, two_step
from trialhouse.studies.laws import LawQuestion, ScoreQuestion
from trialhouse.studies.spec import Study

Levels = Mapping[str, Any]


@dataclass(frozen=True)
class StudyLaw:
    """One law of a study: of a question's outcome, or of a score by way of that.

    Parameters
    ----------
    question
        As registered.
    subgroup
        Factor -> level; empty for a law of all trials.
    law
        What was fitted, or None; a `TwoStepLaw` for a score.
    refusal
        Why nothing was.
    data_id
        Hash of the rows that it rests on.
    score
        Which score it is of, if any.
    """

    question: LawQuestion
    subgroup: Levels
    law: Law | None
    refusal: str | None
    data_id: str
    score: ScoreQuestion | None = None

    @property
    def outcome(self) -> str:
        """What it is a law of."""
        return self.question.outcome if self.score is None else self.score.outcome

    @property
    def reasons(self) -> list[str]:
        """What withholds it."""
        return [self.refusal] if self.refusal is not None else list(self.law.reasons if self.law else ())

    @property
    def name(self) -> str:
        """Of the subgroup, in words."""
        return ", ".join(f"{factor} = {level}" for factor, level in self.subgroup.items()) or "all trials"

    def to_dict(self) -> dict[str, Any]:
        """As `trialhouse fit STUDY --json` prints it."""
        common: dict[str, Any] = {"law": self.question.name, "subgroup": dict(self.subgroup)}
        if self.score is not None:
            common |= {"score": self.score.outcome, "told_by": self.question.outcome}
        if self.law is None:
            form = self.question.form if self.score is None else MAP_NAME
            return {**common, "form": form, "parameters": {}, "verdict": "withheld", "reasons": self.reasons, "warnings": []}
        own = {"map": self.law.map.to_dict()} if isinstance(self.law, TwoStepLaw) else {}
        return {**common, **self.law.to_dict(), **own}


@dataclass(frozen=True)
class StudyComparison:
    """Two laws of a study held against each other.

    Parameters
    ----------
    first, second
        The laws.
    found
        How the second differs from the first.
    p_value_adjusted
        Holm's, over all tests of the law question; NaN where nothing is tested.
    tests
        How many these are.
    """

    first: StudyLaw
    second: StudyLaw
    found: Comparison
    p_value_adjusted: float = np.nan
    tests: int = 0

    @property
    def sentence(self) -> str:
        """What it says, weakened where it does not outlast the correction for many tests."""
        found = self.found
        if not found.p_value < 1 - LEVEL <= self.p_value_adjusted:
            return found.sentence
        return (
            f"{found.sentence}, taken alone; among the {self.tests} tests of this law it may be chance (Holm p {self.p_value_adjusted:.2g})"
        )

    @property
    def reasons(self) -> list[str]:
        """What withholds it: either law."""
        return [f"the law of {one.name} is withheld" for one in (self.first, self.second) if one.reasons]

    def to_dict(self) -> dict[str, Any]:
        """As `trialhouse fit STUDY --json` prints it."""
        found = self.found
        return {
            "law": self.first.question.name,
            "subgroup": dict(self.second.subgroup),
            "compared_with": dict(self.first.subgroup),
            "quantity": found.quantity,
            "estimate": finite(found.estimate),
            "interval": [finite(found.low), finite(found.high)],
            "p_value": finite(found.p_value),
            "p_value_adjusted": finite(self.p_value_adjusted),
            "sentence": self.sentence,
            "verdict": "withheld" if self.reasons else "released",
            "reasons": self.reasons,
        }


def check_laws(study: Study, columns: Sequence[str]) -> None:
    """Refuse, before anything runs, laws of forms or columns that there are not.

    Parameters
    ----------
    columns
        Factors and outcomes that trials will have.

    Raises
    ------
    SpecError
        One line that names the law.
    """
    for question in study.laws:
        where = f"fix law {question.name!r} of study {study.name!r}"
        for column in (question.outcome, *question.columns.values()):
            if column not in columns:
                raise SpecError(f"columns of a law must be among {sorted(columns)}", repr(column), where)
        outcomes = set(columns) - {factor.name for factor in study.factors}
        if unknown := [score.outcome for score in question.scores if score.outcome not in outcomes]:
            raise SpecError(f"scores of a law must be among {sorted(outcomes)}", repr(unknown[0]), where)
        if question.form == "auto":
            continue
        try:
            form = form_named(question.form).with_fixed(question.fix)
        except LawError as error:
            raise SpecError(error.expected, error.actual, where) from None
        if question.scores and not form.is_log:
            raise SpecError("scores go with a law of a loss", f"form {form.name}, which is of a score", where)
        fits = len(question.columns) == 1 if form.roles == ("n",) else set(question.columns) == set(form.roles)
        if not fits:
            needed = "one factor" if form.roles == ("n",) else " and ".join(form.roles)
            raise SpecError(f"form {form.name} needs {needed}", " and ".join(question.columns), where)


def fit_study(study: Study, trials: pd.DataFrame, *, draws: int = 1000) -> tuple[list[StudyLaw], list[StudyComparison]]:
    """Fit all laws that a study registered, each followed by those of its scores.

    Parameters
    ----------
    study
        The spec.
    trials
        Its analysis view: one row per trial, one column per factor and outcome.
    draws
        Of each bootstrap.

    Notes
    -----
    A law that cannot be fitted is one that is withheld, with the reason. Blocks (seeds) are the repeated units. Trials
    without the outcome (diverged, out of memory) are left out and counted.
    """
    laws = [law for question in study.laws for law in _laws(study, question, trials, draws)]
    return laws, [one for question in study.laws for one in _adjusted(list(_comparisons(question, laws)))]


@dataclass(frozen=True)
class LawRows:
    """The trials of one law.

    Parameters
    ----------
    question
        As registered.
    subgroup
        Factor -> level; empty for a law of all trials.
    rows
        Those that have the outcome, in the order in which the law is fitted to them, with the question's scores where they have them.
    lost
        How many have none.
    cluster
        Column of the repeated units.
    """

    question: LawQuestion
    subgroup: Levels
    rows: pd.DataFrame
    lost: int
    cluster: str | None

    def data_id(self, score: ScoreQuestion | None = None) -> str:
        """Hash of the rows that the law, or that of a score, rests on."""
        others = [one.outcome for one in self.question.scores if one != score]
        return frame_id(self.rows.drop(columns=others))


def rows_by_law(study: Study, question: LawQuestion, trials: pd.DataFrame) -> Iterator[LawRows]:
    """The trials of each law that a question asks for: one per combination of levels of `by`.

    Raises
    ------
    LawError
        If the trials lack a column.
    """
    block = study.block_factor.name if study.block_factor else None
    cluster = block if block is not None and block not in (*question.by, *question.columns.values()) else None
    columns = list(dict.fromkeys([*question.columns.values(), question.outcome, *question.by, *([cluster] if cluster else [])]))
    missing = [column for column in columns if column not in trials]
    if missing:
        raise LawError(f"law {question.name!r} needs the column {missing[0]!r}", "trials without it", "fix the study")
    frame = trials.sort_values("trial_id", kind="stable") if "trial_id" in trials else trials
    frame = frame.reindex(columns=[*columns, *(score.outcome for score in question.scores)])  # a score that no trial has is NaN
    for subgroup, rows in level_groups(frame, question.by):
        have = rows[rows[question.outcome].notna()].reset_index(drop=True)
        yield LawRows(question, subgroup, have, len(rows) - len(have), cluster)


def level_groups(frame: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[Levels, pd.DataFrame]]:
    """The rows of each combination of levels, sorted; all of them where there is nothing to tell them by."""
    if not by:
        yield {}, frame
        return
    for key, rows in frame.groupby(list(by), sort=True):
        yield dict(zip(by, map(_plain, key), strict=True)), rows


def _laws(study: Study, question: LawQuestion, trials: pd.DataFrame, draws: int) -> Iterator[StudyLaw]:
    for group in rows_by_law(study, question, trials):
        found = _law(group, draws)
        yield found
        yield from (_score_law(group, found, score) for score in question.scores)


def _law(group: LawRows, draws: int) -> StudyLaw:
    question = group.question
    try:
        law = fit_table(
            group.rows,
            form=question.form,
            outcome=question.outcome,
            columns=question.columns,
            cluster=group.cluster,
            fixed=question.fix,
            draws=draws,
        )
    except LawError as error:
        return StudyLaw(question, group.subgroup, None, str(error), group.data_id())
    if group.lost:
        lost = f"{group.lost} of {group.lost + len(group.rows)} trials have no {question.outcome} and are left out"
        law = replace(law, warnings=(lost, *law.warnings))
    return StudyLaw(question, group.subgroup, law, None, group.data_id())


def _score_law(group: LawRows, found: StudyLaw, score: ScoreQuestion) -> StudyLaw:
    """The law of a score by way of the loss, from the same rows and with the same resampling."""
    nothing = StudyLaw(group.question, group.subgroup, None, None, group.data_id(score), score)
    if found.law is None or found.law.drawn is None:
        return replace(nothing, refusal=f"its law of {found.outcome} has no curve: {'; '.join(found.reasons)}")
    try:
        return replace(nothing, law=two_step(found.law, group.rows, score.outcome, chance=score.chance, ceiling=score.ceiling))
    except LawError as error:
        return replace(nothing, refusal=str(error))


def _comparisons(question: LawQuestion, laws: Sequence[StudyLaw]) -> Iterator[StudyComparison]:
    own = [law for law in laws if law.question.name == question.name and law.score is None]
    for first, second in combinations(own, 2):
        differing = [factor for factor in question.by if first.subgroup[factor] != second.subgroup[factor]]
        if len(differing) != 1 or differing[0] not in question.compare or first.law is None or second.law is None:
            continue
        names = (str(first.subgroup[differing[0]]), str(second.subgroup[differing[0]]))
        try:
            found = compare(first.law, second.law, names=names)
        except LawError:
            continue
        yield from (StudyComparison(first, second, one) for one in found)


def _adjusted(comparisons: Sequence[StudyComparison]) -> list[StudyComparison]:
    """With p-values after Holm over all tests of one law question: many arms have many chances to differ by chance."""
    tested = [one for one in comparisons if np.isfinite(one.found.p_value)]
    adjusted = iter(holm([one.found.p_value for one in tested]))
    return [
        replace(one, p_value_adjusted=next(adjusted), tests=len(tested)) if np.isfinite(one.found.p_value) else one for one in comparisons
    ]


def rows_of(study_id: str, code_version: str, laws: Sequence[StudyLaw], comparisons: Sequence[StudyComparison]) -> list[dict[str, Any]]:
    """Rows of the raw table `laws`, all but the time: one per parameter and per compared quantity; one without where no law was fitted."""
    rows = [row for law in laws for row in _law_rows(law)] + [_comparison_row(one) for one in comparisons]
    return with_ids(study_id, code_version, rows)


def with_ids(study_id: str, code_version: str, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the raw table `laws` with whose they are, and the hash of all that determines each."""
    key = ("study_id", "code_version", "data_id", "law", "subgroup", "compared_with", "quantity")
    known = [{**row, "study_id": study_id, "code_version": code_version} for row in rows]
    return [{**row, "law_id": content_id("law", {name: row[name] for name in key})} for row in known]


def _law_rows(one: StudyLaw) -> list[dict[str, Any]]:
    """Those of its parameters; of a score those of its map, with the map's own verdict: the law of the loss has rows of its own."""
    is_map = one.score is not None
    law = one.law.map if isinstance(one.law, TwoStepLaw) else one.law
    reasons = one.reasons if law is None else list(law.reasons)
    common: dict[str, Any] = {
        "data_id": one.data_id,
        "law": one.question.name,
        "outcome": one.outcome,
        "columns": json.dumps({"loss": one.question.outcome} if is_map else one.question.columns),
        "subgroup": json.dumps(one.subgroup) if one.subgroup else None,
        "compared_with": None,
        "form": law.form.name if law else MAP_NAME if is_map else one.question.form,
        "formula": law.form.formula if law else None,
        "trials": len(law.sample) if law else 0,
        "objective": finite(law.objective) if law else None,
        "verdict": "withheld" if reasons else "released",
        "reasons": json.dumps(reasons),
        "warnings": json.dumps(list(law.warnings) if law else []),
        "sentence": None,
        "choice": json.dumps(law.choice.to_dict()) if law and law.choice else None,
    }
    numbers = ("estimate", "standard_error", "ci_low", "ci_high", "p_value", "p_value_adjusted")
    nothing = {"quantity": "none", **dict.fromkeys(numbers), "is_identified": False}
    if law is None or not law.parameters:
        return [{**common, **nothing}]
    return [
        {
            **common,
            "quantity": name,
            "estimate": value,
            "standard_error": finite(law.standard_errors[name]),
            "ci_low": finite(law.intervals[name][0]),
            "ci_high": finite(law.intervals[name][1]),
            "p_value": None,
            "p_value_adjusted": None,
            "is_identified": name not in law.not_identified,
            "sentence": next((one for one in law.regimes if one.startswith(f"{name} (")), None),
        }
        for name, value in law.parameters.items()
    ]


def _comparison_row(one: StudyComparison) -> dict[str, Any]:
    first, second, found = one.first, one.second, one.found
    assert first.law is not None
    assert second.law is not None
    base = _law_rows(second)[0]
    return {
        **base,
        "data_id": content_id("data", {"first": first.data_id, "second": second.data_id}),
        "compared_with": json.dumps(first.subgroup),
        "trials": len(first.law.sample) + len(second.law.sample),
        "objective": None,
        "choice": None,
        "quantity": found.quantity,
        "estimate": finite(found.estimate),
        "standard_error": None,
        "ci_low": finite(found.low),
        "ci_high": finite(found.high),
        "p_value": finite(found.p_value),
        "p_value_adjusted": finite(one.p_value_adjusted),
        "is_identified": bool(np.isfinite([found.low, found.high]).all()),
        "verdict": "withheld" if one.reasons else "released",
        "reasons": json.dumps(one.reasons),
        "warnings": json.dumps([]),
        "sentence": one.sentence,
    }


def _plain(level: Any) -> Any:
    """A level as the study names it: 2 for 2.0."""
    value = level.item() if isinstance(level, np.generic) else level
    return int(value) if isinstance(value, float) and value.is_integer() else value
