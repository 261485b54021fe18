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
from trialhouse.studies.laws import LawQuestion
from trialhouse.studies.spec import Study

Levels = Mapping[str, Any]


@dataclass(frozen=True)
class StudyLaw:
    """One law of a study.

    Parameters
    ----------
    question
        As registered.
    subgroup
        Factor -> level; empty for a law of all trials.
    law
        What was fitted, or None.
    refusal
        Why nothing was.
    data_id
        Hash of the rows that it rests on.
    """

    question: LawQuestion
    subgroup: Levels
    law: Law | None
    refusal: str | None
    data_id: str

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
        common = {"law": self.question.name, "subgroup": dict(self.subgroup)}
        if self.law is None:
            return {**common, "form": self.question.form, "parameters": {}, "verdict": "withheld", "reasons": self.reasons, "warnings": []}
        return {**common, **self.law.to_dict()}


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
        if question.form == "auto":
            continue
        try:
            form = form_named(question.form).with_fixed(question.fix)
        except LawError as error:
            raise SpecError(error.expected, error.actual, where) from None
        fits = len(question.columns) == 1 if form.roles == ("n",) else set(question.columns) == set(form.roles)
        if not fits:
            needed = "one factor" if form.roles == ("n",) else " and ".join(form.roles)
            raise SpecError(f"form {form.name} needs {needed}", " and ".join(question.columns), where)


def fit_study(study: Study, trials: pd.DataFrame, *, draws: int = 1000) -> tuple[list[StudyLaw], list[StudyComparison]]:
    """Fit all laws that a study registered.

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
        Those that have the outcome, in the order in which the law is fitted to them.
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
    frame = trials.sort_values("trial_id", kind="stable")[columns] if "trial_id" in trials else trials[columns]
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
        data_id = frame_id(group.rows)
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
            yield StudyLaw(question, group.subgroup, None, str(error), data_id)
            continue
        if group.lost:
            lost = f"{group.lost} of {group.lost + len(group.rows)} trials have no {question.outcome} and are left out"
            law = replace(law, warnings=(lost, *law.warnings))
        yield StudyLaw(question, group.subgroup, law, None, data_id)


def _comparisons(question: LawQuestion, laws: Sequence[StudyLaw]) -> Iterator[StudyComparison]:
    own = [law for law in laws if law.question.name == question.name]
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
    law = one.law
    common: dict[str, Any] = {
        "data_id": one.data_id,
        "law": one.question.name,
        "outcome": one.question.outcome,
        "columns": json.dumps(one.question.columns),
        "subgroup": json.dumps(one.subgroup) if one.subgroup else None,
        "compared_with": None,
        "form": law.form.name if law else one.question.form,
        "formula": law.form.formula if law else None,
        "trials": len(law.sample) if law else 0,
        "objective": finite(law.objective) if law else None,
        "verdict": "withheld" if one.reasons else "released",
        "reasons": json.dumps(one.reasons),
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
