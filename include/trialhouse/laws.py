"""Scaling laws between the warehouse's two doors, and of any table: what `trialhouse fit` answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialhouse.errors import LawError
from trialhouse.identity import code_version, content_id
from trialhouse.landing import LandingZone
from trialhouse.registration import Registration, registered
from trialhouse.settings import Settings, get_settings
from trialhouse.tables import read_table
from trialhouse.warehouse.read import current_study_id, study_frame

if TYPE_CHECKING:
    import pandas as pd

    from trialhouse.scaling_laws import Law
    from trialhouse.scaling_laws.study import StudyLaw

_HERE = Path(__file__).parent
CODE = (_HERE / "scaling_laws", _HERE / "causal" / "inference.py", _HERE / "causal" / "verdict.py")
"""What a law's, a response's or a forecast's version is the hash of."""


@dataclass(frozen=True)
class TableLaw:
    """Which law to fit to a table; fields as in `trialhouse.scaling_laws.fit_table`, `fix` as texts `NAME=VALUE`.

    With a `score` (`chance` and `ceiling` as in `trialhouse.scaling_laws.two_step`) it is a law of that, by way of the outcome.
    """

    outcome: str
    columns: Mapping[str, str]
    form: str = "auto"
    cluster: str | None = None
    fix: Sequence[str] = ()
    drop_highest: int = 0
    keep_transient: bool = False
    draws: int = 1000
    delta: float = 1e-3
    score: str | None = None
    chance: float | None = None
    ceiling: float = 1.0
    weight: str | None = None

    def fitted(self, frame: pd.DataFrame) -> Law:
        """The law of a frame."""
        from trialhouse.scaling_laws import fit_table
        from trialhouse.scaling_laws.two_step import two_step

        if self.score is None and (self.chance is not None or self.ceiling != 1):
            raise LawError("--chance and --ceiling go with a --score", "none", "name the column of the score")
        law = fit_table(
            frame,
            form=self.form,
            outcome=self.outcome,
            columns=self.columns,
            cluster=self.cluster,
            weight=self.weight,
            fixed=_fixed(self.fix),
            delta=self.delta,
            drop_highest=self.drop_highest,
            keep_transient=self.keep_transient,
            draws=self.draws,
        )
        return law if self.score is None else two_step(law, frame, self.score, chance=self.chance, ceiling=self.ceiling)


def law_of_table(table: Path, question: TableLaw) -> dict[str, Any]:
    """Fit a law to a CSV or Parquet file: `trialhouse.scaling_laws.fit.Law.to_dict`."""
    return question.fitted(read_table(table)).to_dict()


def laws_of_study(study_name: str, settings: Settings | None = None, *, draws: int = 1000) -> dict[str, Any]:
    """Laws of a study's current version, from the published warehouse; lands nothing.

    Returns
    -------
    dict
        `laws` (each as `law_of_table` gives it, with its name and subgroup), `comparisons` and `responses`.

    Raises
    ------
    LawError
        If the study registered none.
    """
    from trialhouse.scaling_laws.response_study import responses_of
    from trialhouse.scaling_laws.study import fit_study

    settings = settings or get_settings()
    study_id = current_study_id(study_name, settings)
    study = registered(study_id, settings).study
    if not (study.laws or study.responses):
        raise LawError(f"study {study_name!r} must ask for laws", "none", "add 'laws' or 'responses' to its YAML, or give --table FILE")
    frame = study_frame(study_id, settings)
    laws, comparisons = fit_study(study, frame, draws=draws)
    return {
        "laws": [law.to_dict() for law in laws],
        "comparisons": [one.to_dict() for one in comparisons],
        "responses": [one.to_dict() for one in responses_of(study, frame)],
    }


def land_laws(registration: Registration, frame: pd.DataFrame, landing: LandingZone) -> list[StudyLaw]:
    """Fit the laws and responses that a study registered and land them; the same data and code land once. Returns the laws."""
    study = registration.study
    if not (study.laws or study.responses):
        return []
    from trialhouse.scaling_laws.response_study import response_rows, responses_of
    from trialhouse.scaling_laws.study import fit_study, rows_of

    laws, comparisons = fit_study(study, frame)
    rows = rows_of(registration.study_id, code_version(*CODE), laws, comparisons)
    rows += response_rows(registration.study_id, code_version(*CODE), responses_of(study, frame))
    unit_id = content_id("laws", {"laws": sorted(row["law_id"] for row in rows)})
    now = datetime.now(UTC)  # one for all: rows that landed together are one fit
    if rows:
        landing.write_once("laws", [{**row, "fitted_at": now} for row in rows], unit_id=unit_id)
    return laws


def _fixed(texts: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name in found:
            raise LawError(f"{name} must be fixed once", "twice", "leave one of them out")
        try:
            found[name] = float(value)
        except ValueError:
            raise LawError("a fixed parameter must be NAME=VALUE", repr(text), "for example --fix E=0") from None
    return found
