"""What a passive observer of the same trials would say: laws that look at one thing and hold nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trialhouse.scaling_laws.fit import Law, plain_law
from trialhouse.scaling_laws.forms import Points
from trialhouse.scaling_laws.registry import form_named
from trialhouse.scaling_laws.sample import LawSample

PRODUCT = "the product of all factors"


@dataclass(frozen=True)
class Observer:
    """A law of one quantity.

    Parameters
    ----------
    law
        Of the form `power_law`, or of a score `bounded`.
    looks_at
        A column, or `PRODUCT` (compute, where the factors are size and data).
    roles
        The causal law's roles whose logarithms add up to that quantity.
    """

    law: Law
    looks_at: str
    roles: tuple[str, ...]

    def points(self, points: Points) -> Points:
        """The causal law's points as this observer sees them."""
        return {"n": np.sum([points[role] for role in self.roles], axis=0)}


def observers(law: Law, columns: Sequence[str], *, draws: int = 400, seed: int = 0) -> list[Observer]:
    """One for each of some columns, and one for the product of all; none for a law that has one factor anyway."""
    sample = law.sample
    if len(sample.columns) < 2:
        return []
    looks: dict[str, tuple[str, ...]] = {column: (role,) for role, column in sample.columns.items() if column in columns}
    if set(sample.columns) in ({"size", "data"}, {"size", "steps"}):
        looks[PRODUCT] = tuple(sample.columns)
    found = []
    for name, roles in looks.items():
        points = {"n": np.sum([sample.points[role] for role in roles], axis=0)}
        seen = replace(sample, points=points, columns={"n": name})
        if (fitted := _fitted(seen, law, draws, seed)) is not None:
            found.append(Observer(fitted, name, roles))
    return found


def _fitted(sample: LawSample, law: Law, draws: int, seed: int) -> Law | None:
    """A power law with an irreducible loss, or without where there are too few places for one; of a score a bounded form.

    It knows the score of guessing where the causal law does.
    """
    places = len(np.unique(sample.points["n"].round(9)))
    for name in ("power_law", "pure_power_law") if law.form.is_log else ("bounded",):
        form = form_named(name).with_fixed({key: value for key, value in law.form.fixed if key == "chance"})
        if places >= len(form.parameters) + (name == "power_law") and len(sample) >= len(form.parameters) + 2:
            return plain_law(form, sample, law.delta, draws=draws, seed=seed)
    return None
