"""Scaling laws of any table: from a file to the answer of `trialhouse fit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trialhouse.errors import LawError
from trialhouse.scaling_laws import fit_table
from trialhouse.tables import read_table


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
    law = fit_table(
        read_table(table),
        form=form,
        outcome=outcome,
        columns={role: column for role, column in columns.items() if column is not None},
        cluster=cluster,
        fixed=dict(_known(text) for text in fix),
        delta=delta,
        drop_highest=drop_highest,
        keep_transient=keep_transient,
        draws=draws,
    )
    return law.to_dict()


def _known(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise LawError("a fixed parameter must be NAME=VALUE", repr(text), "for example --fix E=0") from None
