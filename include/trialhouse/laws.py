"""Scaling laws between the warehouse's two doors, and of any table: what `trialhouse fit` answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    from trialhouse.scaling_laws.study import StudyLaw

CODE = Path(__file__).with_name("scaling_laws")
"""What a law's or a forecast's version is the hash of."""


def law_of_table(
    table: Path,
    *,
    form: str,
    outcome: str,
    columns: Mapping[str, str | None],
    cluster: str | None = None,
    fix: Sequence[str] = (),
    delta: float,
    drop_highest: int = 0,
    keep_transient: bool = False,
    draws: int = 1000,
) -> dict[str, Any]:
    """Fit a law to a CSV or Parquet file.

    Parameters
    ----------
    columns
        Role -> column, or None where it was not named.
    fix
        `NAME=VALUE`.

    Returns
    -------
    dict
        See `trialhouse.scaling_laws.fit.Law.to_dict`.
    """
    from trialhouse.scaling_laws import fit_table

    law = fit_table(
        read_table(table),
        form=form,
        outcome=outcome,
        columns={role: column for role, column in columns.items() if column is not None},
        cluster=cluster,
        fixed=dict(known(text) for text in fix),
        delta=delta,
        drop_highest=drop_highest,
        keep_transient=keep_transient,
        draws=draws,
    )
    return law.to_dict()


def laws_of_study(study_name: str, settings: Settings | None = None, *, draws: int = 1000) -> dict[str, Any]:
    """Laws of a study's current version, from the published warehouse; lands nothing.

    Returns
    -------
    dict
        `laws` (each as `law_of_table` gives it, with its name and subgroup) and `comparisons`.

    Raises
    ------
    LawError
        If the study registered none.
    """
    from trialhouse.scaling_laws.study import fit_study

    settings = settings or get_settings()
    study_id = current_study_id(study_name, settings)
    study = registered(study_id, settings).study
    if not study.laws:
        raise LawError(f"study {study_name!r} must ask for laws", "none", "add 'laws' to its YAML, or give --table FILE")
    laws, comparisons = fit_study(study, study_frame(study_id, settings), draws=draws)
    return {"laws": [law.to_dict() for law in laws], "comparisons": [one.to_dict() for one in comparisons]}


def land_laws(registration: Registration, frame: pd.DataFrame, landing: LandingZone) -> list[StudyLaw]:
    """Fit what a study registered and land it; the same data and code land once. Returns the laws."""
    if not registration.study.laws:
        return []
    from trialhouse.scaling_laws.study import fit_study, rows_of

    laws, comparisons = fit_study(registration.study, frame)
    rows = rows_of(registration.study_id, code_version(CODE), laws, comparisons)
    unit_id = content_id("laws", {"laws": sorted(row["law_id"] for row in rows)})
    if rows and not landing.has("laws", unit_id):
        now = datetime.now(UTC)  # one for all: rows that landed together are one fit
        landing.write("laws", [{**row, "fitted_at": now} for row in rows], unit_id=unit_id)
    return laws


def known(text: str) -> tuple[str, float]:
    """A parameter that is known and its value, from `NAME=VALUE`."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise LawError("a fixed parameter must be NAME=VALUE", repr(text), "for example --fix E=0") from None
