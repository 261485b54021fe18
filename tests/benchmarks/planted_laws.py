"""Tables with a law planted in them: one per form, on a grid and with noise as studies have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trialhouse.scaling_laws import FORMS
from trialhouse.scaling_laws.forms import Form


@dataclass(frozen=True)
class Planted:
    """A law, where it is observed, the noise of one trial (on the form's scale), and a wrong form to hold against it."""

    form: str
    truth: Mapping[str, float]
    places: Callable[[], pd.DataFrame]
    noise: float
    rival: Form

    @property
    def family(self) -> Form:
        return FORMS[self.form]

    @property
    def columns(self) -> dict[str, str]:
        return {role: role for role in self.places().columns}

    def table(self, seed: int, noise: float | None = None, blocks: int = 0) -> pd.DataFrame:
        """One study: rows with their outcome `y`; in blocks each has every place once, and a shift of its own as large as the noise."""
        noise = self.noise if noise is None else noise
        frame = self.places()
        rng = np.random.default_rng(seed)
        if blocks:
            frame = frame.drop_duplicates().merge(pd.DataFrame({"block": range(blocks)}), how="cross")
        points = {role: np.log(frame[role].to_numpy()) for role in self.columns}
        if self.family.roles == ("n",):
            points = {"n": points["data"]}
        level, _ = self.family.curve(self.family.coordinates(self.truth)[None], points)
        shift = rng.normal(0, noise, blocks)[frame["block"]] if blocks else 0
        observed = level[0] + shift + rng.normal(0, noise, len(frame))
        return frame.assign(y=np.exp(observed) if self.family.is_log else np.clip(observed, 0, 1))


def ladder(levels: int = 12, seeds: int = 3, low: float = 1e2, high: float = 1e6) -> Callable[[], pd.DataFrame]:
    """One factor, a few seeds at each level."""
    return lambda: pd.DataFrame({"data": np.repeat(np.geomspace(low, high, levels), seeds)})


def crossed(**levels: np.ndarray) -> Callable[[], pd.DataFrame]:
    """All combinations."""
    return lambda: pd.DataFrame({name: axis.ravel() for name, axis in zip(levels, np.meshgrid(*levels.values()), strict=True)})


def repeated() -> pd.DataFrame:
    """Sizes, amounts of distinct data and epochs over them."""
    frame = crossed(size=np.geomspace(1e7, 1e9, 4), unique=np.geomspace(1e8, 1e10, 4), epochs=np.array([1.0, 2, 4, 12, 40]))()
    return frame.assign(data=frame["unique"] * frame["epochs"]).drop(columns="epochs")


def widened() -> pd.DataFrame:
    """Widths, depths and amounts of data; experts make the number of parameters a factor of its own."""
    frame = crossed(
        width=np.geomspace(64, 1024, 4), depth=np.array([2.0, 4, 8, 16]), experts=np.array([1.0, 4, 16]), data=np.geomspace(1e8, 1e10, 4)
    )()
    return frame.assign(size=12 * frame["depth"] * frame["width"] ** 2 * frame["experts"]).drop(columns="experts")


SIZES, TOKENS = np.geomspace(1e7, 1e10, 7), np.geomspace(1e9, 1e12, 7)

PLANTED = {
    law.form: law
    for law in (
        Planted("pure_power_law", {"A": 8, "beta": 0.25}, ladder(), 0.02, FORMS["exponential"]),
        Planted("power_law", {"E": 0.5, "A": 20, "beta": 0.4}, ladder(), 0.02, FORMS["pure_power_law"]),
        Planted("shifted_power_law", {"E": 0.3, "A": 100, "beta": 0.5, "n0": 1000}, ladder(16), 0.02, FORMS["exponential"]),
        Planted("saturating_power_law", {"E": 0.05, "A": 30, "beta": 0.5, "gamma": 1e-4}, ladder(16), 0.02, FORMS["pure_power_law"]),
        Planted(
            "transition_power_law",
            {"E": 0.1, "R": 2.2, "A": 800, "beta": 0.7, "alpha": 1.5},
            ladder(20, 3, 1e2, 1e7),
            0.01,
            FORMS["power_law"],
        ),
        Planted(
            "broken_power_law",
            {"E": 0.1, "A": 4, "c0": 0.05, "c1": 0.4, "d1": 3e3, "f1": 0.3},
            ladder(20, 3, 1e2, 1e7),
            0.01,
            FORMS["exponential"],
        ),
        Planted(
            "broken_power_law_2",
            {"E": 0.05, "A": 3, "c0": 0.05, "c1": 0.45, "d1": 2e3, "f1": 0.3, "c2": -0.3, "d2": 2e5, "f2": 0.3},
            ladder(36, 3, 1e2, 1e9),
            0.01,
            FORMS["broken_power_law"],
        ),
        Planted("exponential", {"E": 0.4, "A": 2, "n0": 2e4}, ladder(), 0.02, FORMS["power_law"]),
        Planted("bounded", {"chance": 0.1, "n0": 3e4, "beta": 0.7}, ladder(), 0.01, FORMS["bounded"].with_fixed({"chance": 0})),
        Planted(
            "chinchilla",
            {"E": 1.8, "A": 480, "alpha": 0.35, "B": 2100, "beta": 0.37},
            crossed(size=SIZES, data=TOKENS),
            0.01,
            FORMS["pure_coupled"],
        ),
        Planted(
            "coupled",
            {"E": 0.8, "A": 3e4, "alpha": 0.6, "B": 3e5, "beta": 0.6, "c": 0.4},
            crossed(size=SIZES, data=TOKENS),
            0.005,
            FORMS["chinchilla"],
        ),
        Planted(
            "pure_coupled",
            {"A": 3e4, "alpha": 0.6, "B": 3e5, "beta": 0.6, "c": 0.25},
            crossed(size=SIZES, data=TOKENS),
            0.01,
            FORMS["chinchilla"],
        ),
        Planted(
            "multiplicative",
            {"E": 0.1, "A": 4e3, "alpha": 0.25, "beta": 0.2},
            crossed(size=np.geomspace(1e3, 1e6, 7), data=np.geomspace(1e2, 1e5, 7)),
            0.02,
            FORMS["chinchilla"],
        ),
        Planted(
            "width_depth",
            {"E": 1.0, "A": 30, "alpha": 0.7, "B": 1.0, "beta": 0.8, "C": 2000, "gamma": 0.4},
            crossed(width=np.geomspace(32, 1024, 5), depth=np.array([2.0, 4, 8, 16]), data=np.geomspace(1e8, 1e10, 5)),
            0.01,
            FORMS["width_depth"].with_fixed({"B": 0, "beta": 1}),
        ),
        Planted(
            "width_depth_size",
            {"E": 1.0, "A": 30, "alpha": 0.7, "B": 1.0, "beta": 0.8, "C": 30, "gamma": 0.3, "G": 2000, "delta": 0.4},
            widened,
            0.01,
            FORMS["width_depth_size"].with_fixed({"C": 0, "gamma": 1}),
        ),
        Planted(
            "size_steps",
            {"E": 1.2, "A": 150, "alpha": 0.3, "C": 900, "gamma": 0.7},
            crossed(size=SIZES, steps=np.geomspace(1e3, 1e6, 7)),
            0.01,
            FORMS["size_steps"].with_fixed({"E": 0}),
        ),
        Planted(
            "size_steps_data",
            {"E": 1.0, "A": 150, "alpha": 0.3, "C": 900, "gamma": 0.7, "B": 2100, "beta": 0.37},
            crossed(size=np.geomspace(1e7, 1e10, 5), steps=np.geomspace(1e3, 1e6, 5), data=np.geomspace(1e8, 1e11, 5)),
            0.01,
            FORMS["size_steps_data"].with_fixed({"B": 0, "beta": 1}),
        ),
        Planted(
            "data_constrained", {"E": 1.8, "A": 480, "alpha": 0.35, "B": 2100, "beta": 0.37, "R*": 8}, repeated, 0.01, FORMS["chinchilla"]
        ),
    )
}
