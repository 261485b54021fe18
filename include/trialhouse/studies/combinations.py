"""Which combinations of levels a design calls for: factorials, hypercubes, ladders, random and confounded draws."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trialhouse.errors import SpecError
from trialhouse.studies.factors import TWINS, Factor, Level
from trialhouse.studies.spec import Study

Cell = dict[str, Level]


@dataclass(frozen=True)
class Draw:
    """A combination of levels in one block.

    Parameters
    ----------
    cell
        Factor -> level.
    labels
        The level of the twin factor, where there is one.
    propensities
        Confounded factor -> probability of the level that it got, given the budget. The budget closes every back door, so these
        are propensity scores (Rosenbaum & Rubin 1983); a quantity that is drawn between two ends has none.
    """

    cell: Cell
    labels: Mapping[str, Level] = field(default_factory=dict)
    propensities: Mapping[str, float] = field(default_factory=dict)


def draws(study: Study, rng: np.random.Generator) -> list[Draw]:
    """What a design puts into one block: combinations of the crossed factors' levels, or draws of the confounded ones."""
    if not study.is_observational:
        return [Draw(cell) for cell in combinations(study, rng)]
    twin = study.twin_factor
    drawn = _confounded(study, rng, {})
    if twin is None:
        return drawn
    arms = zip(TWINS, (drawn, _confounded(study, rng, {"strength": 0.0})), strict=True)
    return [Draw(draw.cell, {twin.name: label}, draw.propensities) for label, arm in arms for draw in arm]


def _confounded(study: Study, rng: np.random.Generator, update: Mapping[str, float]) -> list[Draw]:
    """Draws whose factors go with a hidden budget: a Gaussian copula with one latent factor, over a Latin hypercube.

    Each factor's normal score is `strength * budget + sqrt(1 - strength**2) * noise`, so that two factors' scores correlate by
    the product of their strengths, while each factor's levels stay equally likely whatever its strength.
    """
    from scipy.special import ndtr, ndtri
    from scipy.stats import qmc

    confounded = [factor for factor in study.factors if factor.assignment == "confounded"]
    factors = [factor.model_copy(update={"levels": tuple(sorted(factor.levels, key=float)), **update}) for factor in confounded]
    points = study.design.points
    assert isinstance(points, int)
    normal = ndtri(qmc.LatinHypercube(d=1 + len(factors), rng=rng).random(points))
    drawn = []
    for budget, *noise in normal.tolist():
        cell: Cell = {}
        propensities: dict[str, float] = {}
        for factor, own in zip(factors, noise, strict=True):
            strength = factor.strength or 0.0
            rest = float(np.sqrt(1 - strength**2))
            share = min(float(ndtr(strength * budget + rest * own)), 1 - 1e-12)
            cell[factor.name] = _from_unit(factor, share)
            if factor.kind != "continuous":
                place, count = int(share * len(factor.levels)), len(factor.levels)
                low, high = ((float(ndtri(end / count)) - strength * budget) / rest for end in (place, place + 1))
                propensities[factor.name] = float(ndtr(high) - ndtr(low))
        drawn.append(Draw(cell, {}, propensities))
    return drawn


def combinations(study: Study, rng: np.random.Generator) -> list[Cell]:
    """Combinations of the crossed factors' levels that the design calls for."""
    crossed = [factor for factor in study.factors if factor.assignment == "crossed"]
    names = [factor.name for factor in crossed]
    everything: list[tuple[Level, ...]] = list(itertools.product(*(factor.levels for factor in crossed)))
    kind = study.design.kind
    points = study.design.points if isinstance(study.design.points, int) else None
    if kind == "latin_hypercube":
        from scipy.stats import qmc

        unit = qmc.LatinHypercube(d=len(crossed), rng=rng).random(points or 0)
        rows = [tuple(_from_unit(factor, share) for factor, share in zip(crossed, row, strict=True)) for row in unit]
    elif kind == "completely_randomised":
        repeats = -(-(points or 0) // len(everything))
        order = np.concatenate([rng.permutation(len(everything)) for _ in range(repeats)])[:points]
        rows = [everything[index] for index in order]
    elif kind == "fractional_factorial":
        import pyDOE3

        try:
            signs = pyDOE3.fracfact(study.design.generator)
        except (ValueError, IndexError) as error:
            raise SpecError(
                "design.generator must be words of letters such as 'a b ab'", repr(study.design.generator), f"fix study {study.name!r}"
            ) from error
        rows = [tuple(factor.levels[int(sign > 0)] for factor, sign in zip(crossed, row, strict=True)) for row in signs]
    elif kind == "one_factor_at_a_time":
        at_reference = {factor.name: factor.reference for factor in crossed}
        ladders = [{**at_reference, factor.name: level} for factor in crossed for level in factor.levels if level != factor.reference]
        rows = [tuple(cell[name] for name in names) for cell in (at_reference, *ladders)]  # type: ignore[misc]
    elif isinstance(study.design.points, tuple):
        rows = [tuple(as_written(factor, point[factor.name]) for factor in crossed) for point in study.design.points]
    else:
        rows = everything
    return [dict(zip(names, row, strict=True)) for row in rows]


def as_written(factor: Factor, level: Level) -> Level:
    """The factor's own level of that value: 0 and 0.0 would be different trials."""
    return next((own for own in factor.levels if own == level), level)


def _from_unit(factor: Factor, share: float) -> Level:
    """A share in [0, 1) of a factor's range: between its ends where it is continuous, else one of its levels."""
    if factor.kind == "continuous":
        low, high = float(min(factor.levels)), float(max(factor.levels))
        value = low * (high / low) ** share if factor.scale == "log" else low + share * (high - low)
        return round(value) if factor.is_whole else float(f"{value:.6g}") if factor.scale == "log" else round(value, 6)
    return factor.levels[int(share * len(factor.levels))]


class LatinSquare:
    """Draws a randomised factor so that its levels are balanced both ways: within each block, and over the blocks for each
    combination of the other factors. Levels go round the cells of a group in a random order; each block starts elsewhere.
    Of several such factors each goes round in another rhythm, so that no two go together (Graeco-Latin squares). A factor that is
    `constant_over` others has one level for each combination of the rest: the whole plots of a split-plot design.

    Parameters
    ----------
    rank
        How many randomised factors come before this one.
    """

    def __init__(self, factor: Factor, blocks: int, rng: np.random.Generator, rank: int = 0) -> None:
        self._factor, self._blocks, self._rng, self._rank = factor, blocks, rng, rank
        self._squares: dict[tuple[Level, ...], tuple[list[int], list[int]]] = {}

    def plots(self, cells: list[Cell]) -> list[list[Cell]]:
        """Cells that get one level: each its own, or those that differ in `constant_over` only. Asked before any factor is drawn."""
        if not self._factor.constant_over:
            return [[cell] for cell in cells]
        plots: dict[tuple[tuple[Level, ...], int], list[Cell]] = {}
        replicates: Counter[tuple[Level, ...]] = Counter()
        for cell in cells:
            own = tuple(cell.values())
            rest = tuple(level for name, level in cell.items() if name not in self._factor.constant_over)
            plots.setdefault((rest, replicates[own]), []).append(cell)
            replicates[own] += 1
        return list(plots.values())

    def draw(self, plots: Sequence[Sequence[Cell]], hardware_class: str, block: int) -> None:
        """Set the factor in the plots of one block and class; groups are plots alike in `balanced_within`."""
        groups: dict[tuple[Level, ...], list[Sequence[Cell]]] = {}
        for plot in plots:
            groups.setdefault((hardware_class, *(plot[0][name] for name in self._factor.balanced_within)), []).append(plot)
        for key, group in groups.items():
            if key not in self._squares:
                self._squares[key] = self._shuffled(len(self._factor.levels)), self._shuffled(self._blocks)
            order, starts = self._squares[key]
            for place, plot in enumerate(group):
                # the place's last digit, and for a later factor another digit besides: pairs of levels then meet equally often
                turn = place + (place // len(order) ** self._rank if self._rank else 0)
                for cell in plot:
                    cell[self._factor.name] = self._factor.levels[order[(turn + starts[block]) % len(order)]]

    def _shuffled(self, count: int) -> list[int]:
        """As many numbers as asked for, each level's number equally often (give or take one), in random order."""
        levels = len(self._factor.levels)
        rounds = [self._rng.permutation(levels) for _ in range(-(-count // levels))]
        return [int(number) for number in np.concatenate(rounds)[:count]]
