"""How laws forecast trials that they had not seen: the report's picture of it, its table and its words.

Rows are those of `fct_forecasts` whose purpose is interpolation or extrapolation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialhouse.reporting.formats import counted, joined, short, title
from trialhouse.reporting.laws import LawAnswer
from trialhouse.reporting.plots import ARMS, Axis, Dots, Label, Layer, Pictures, Plot
from trialhouse.scaling_laws.held_out import CAUSAL, KINDS


@dataclass(frozen=True)
class HeldOutRow:
    """Errors of one law, and of the passive observers beside it, on held-out trials of one kind."""

    where: str
    kind: str
    trials: int
    configurations: int
    rmse: str
    observers: str
    coverage: float
    sentence: str
    """Whether the law is better; empty where there is no observer, and where it stands above the table."""


def held_out_scatter(answer: LawAnswer, rows: Sequence[Mapping[str, Any]]) -> Pictures | None:
    """Forecast against what came out, a panel per kind: the law over its passive observers."""
    bases = _bases(rows)
    plots = []
    for kind in KINDS:
        own = [row for row in rows if row["purpose"] == kind]
        if not own:
            continue
        layers: list[Layer] = []
        for basis in reversed(bases):
            points = [(row["observed"], row["forecast"]) for row in own if _basis(row) == basis]
            style = f"arm{bases.index(basis) % ARMS}"
            layers.append(Dots([x for x, _ in points], [y for _, y in points], style, "mean" if len(points) < 12 else "trial"))
        is_log = all(value > 0 for row in own for value in (row["observed"], row["forecast"])) and answer.is_log
        plots.append(
            Plot(
                name=f"{answer.name}_held_out_{kind}",
                title=title(kind),
                alt=f"Forecast over observed {answer.noun} of trials held out for {kind}: {counted(len(own), 'forecast')}, "
                f"by {joined(list(map(_basis_name, bases)))}; on the dotted line both are the same",
                x=Axis(f"observed {answer.noun}", is_log=is_log),
                y=Axis(f"forecast {answer.noun}", is_log=is_log),
                layers=layers,
                labels=[Label(_basis_name(basis), f"arm{bases.index(basis) % ARMS}") for basis in bases] if len(bases) > 1 else (),
                reference="diagonal",
            )
        )
    note = (
        "The law was fitted without these trials: some configurations between the others (interpolation) and those with the largest"
        " product of all factors (extrapolation). One point per trial; on the dotted line the forecast is what came out."
    )
    if len(bases) == 1:
        note += " With one factor a passive observer of the same trials has the same law, so there is no other forecast beside it."
    return Pictures("Forecasts of trials that the law had not seen", note, tuple(plots)) if plots else None


def held_out_rows(answer: LawAnswer, rows: Sequence[Mapping[str, Any]]) -> Iterator[HeldOutRow]:
    """A row per law and kind; what the engine says of it where `held_out_said` does not."""
    is_one = len({row["data_id"] for row in rows}) == 1
    for law in answer.laws:
        for kind in KINDS:
            own = [row for row in rows if row["data_id"] == law.data_id and row["purpose"] == kind]
            causal = [row for row in own if row["basis"] == CAUSAL]
            if not causal:
                continue
            observers = {basis: _rmse(answer, [row for row in own if _basis(row) == basis]) for basis in _bases(own) if basis is not None}
            yield HeldOutRow(
                where=law.where,
                kind=kind,
                trials=len(causal),
                configurations=len({row["place"] for row in causal}),
                rmse=short(_rmse(answer, causal)),
                observers="; ".join(f"{_basis_name(basis)} {short(error)}" for basis, error in observers.items()),
                coverage=sum(bool(row["is_in_interval"]) for row in causal) / len(causal),
                sentence=str(causal[0]["sentence"]) if observers and not is_one else "",
            )


def held_out_said(answer: LawAnswer, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Of one law what the engine says of it; of several their errors together, and which have no such check."""
    checked = {row["data_id"] for row in rows}
    for kind in KINDS:
        own = [row for row in rows if row["purpose"] == kind]
        if own and len(checked) == 1:
            yield title(f"{own[0]['sentence']}.")
            continue
        causal = [row for row in own if row["basis"] == CAUSAL]
        if causal:
            inside = sum(bool(row["is_in_interval"]) for row in causal)
            many = len({(row["data_id"], row["place"]) for row in causal})
            text = f"{kind}: the laws miss {counted(len(causal), 'trial')} of {counted(many, 'configuration')}"
            text += f" by {short(_rmse(answer, causal))} (RMSE)"
            text += f", and 95% intervals of a new trial hold {inside} of them ({inside / len(causal):.0%})"
            for basis in _bases(own)[1:]:
                text += f"; who looks at {basis} only misses by {short(_rmse(answer, [row for row in own if _basis(row) == basis]))}"
            yield f"{title(text)}."
    if rows and (left := [law.where for law in answer.laws if law.data_id not in checked]):
        yield f"Not checked, because withheld or with too few configurations to hold any out: {'; '.join(left)}."


def _rmse(answer: LawAnswer, rows: Sequence[Mapping[str, Any]]) -> float:
    errors = [row["log_error" if answer.is_log else "error"] for row in rows]
    known = [error for error in errors if error is not None]
    return math.sqrt(sum(error**2 for error in known) / len(known)) if known else math.nan


def _basis(row: Mapping[str, Any]) -> str | None:
    return None if row["basis"] == CAUSAL else str(row["looks_at"])


def _bases(rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """The law, then what observers look at."""
    return [None, *sorted({basis for row in rows if (basis := _basis(row)) is not None})]


def _basis_name(basis: str | None) -> str:
    return "the law" if basis is None else f"{basis} only"
