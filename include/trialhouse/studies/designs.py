"""From a study to its trials: which combination of levels is measured where, in which order.

Assignment is a pure function of the spec: the same study gives the same trials, in the same order, on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trialhouse.errors import SpecError
from trialhouse.identity import content_id
from trialhouse.studies.combinations import Cell, Draw, LatinSquare, as_written, draws
from trialhouse.studies.spec import Level, Study

SENTINEL = "sentinel"
"""The arm of sentinel trials; those of others have the form `factor=level, ...`."""


@dataclass(frozen=True)
class WorkloadIdentity:
    """What of a workload determines a trial, besides the trial's factors.

    Parameters
    ----------
    name, version
        The workload; a new version means new trials.
    settings
        Its settings with all defaults filled in.
    data_checksum
        SHA-256 of the data that it trains and evaluates on.
    network_factors
        The factors that determine the network before pruning.
    weights_factors
        These and the others that determine the weights. All others (batch size, say) only matter when the weights are measured.
    """

    name: str
    version: str
    settings: Mapping[str, Any]
    data_checksum: str
    network_factors: tuple[str, ...]
    weights_factors: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """One unit: given weights, measured in one hardware class.

    `trial_id` is a hash of all that determines the trial and of nothing else, so studies share trials. `weights_id` is
    the same for the weights. `position` is the place in the study's random order, from 0. `labels` has the levels of the
    placebo and twin factors: they belong to the assignment of one study, not to the trial, and no workload gets to see them.
    `propensities` are those of `trialhouse.studies.combinations.Draw`; a trial that is read back has none.
    """

    trial_id: str
    weights_id: str
    hardware_class: str
    factors: Mapping[str, Level]
    arm: str
    block: str
    replicate: int
    position: int = field(compare=False, default=0)
    labels: Mapping[str, Level] = field(compare=False, default_factory=dict)
    propensities: Mapping[str, float] = field(compare=False, default_factory=dict)

    @property
    def is_sentinel(self) -> bool:
        """Whether it belongs to no comparison."""
        return self.arm == SENTINEL


def assign(study: Study, workload: WorkloadIdentity, hardware_ids: Mapping[str, str]) -> list[Trial]:
    """The study's trials in the order in which they are to be measured.

    Parameters
    ----------
    study
        The study.
    workload
        What of its workload determines trials.
    hardware_ids
        Name -> content id of each hardware class: other limits make other trials.

    Returns
    -------
    list of Trial
        Without duplicates: cells that mean the same (two methods at ratio 0) are one trial. The order is random over
        the whole study, by `design.seed`; sentinels stand in it at even distances within their class. Placebo labels and
        sentinels change neither the other trials nor their order.

    Raises
    ------
    SpecError
        If a hardware class is unknown or the design yields no trial.
    """
    unknown = [name for name in study.hardware_classes if name not in hardware_ids]
    if unknown:
        raise SpecError(f"hardware_classes must be among {sorted(hardware_ids)}", repr(unknown[0]), f"fix study {study.name!r}")
    rng = np.random.default_rng(study.design.seed)
    trials: dict[str, Trial] = {}
    for unit in _units(study, rng):
        trial = _trial(study, workload, hardware_ids, unit.hardware_class, unit.draw.cell, unit.block, unit.replicate)
        trial = replace(trial, labels=unit.draw.labels, propensities=unit.draw.propensities)
        trials.setdefault(trial.trial_id, trial)
    if not trials:
        raise SpecError("a design must yield at least one trial", "none", f"fix the design of study {study.name!r}")
    ordered = list(trials.values())
    in_order = [ordered[index] for index in rng.permutation(len(ordered)).tolist()]
    labelled = labelled_trials(study, in_order, np.random.default_rng([study.design.seed, 1]))
    return [replace(trial, position=position) for position, trial in enumerate(_with_sentinels(study, labelled, workload, hardware_ids))]


def labelled_trials(study: Study, trials: Sequence[Trial], rng: np.random.Generator) -> list[Trial]:
    """The trials with a level of the placebo factor, if the study has one: half and half within each block and class.

    The draws of different blocks are independent (no Latin square), so that errors clustered by block are those of the draw.
    """
    factor = study.placebo_factor
    if factor is None:
        return list(trials)
    groups: dict[tuple[str, str], list[int]] = {}
    for place, trial in enumerate(trials):
        groups.setdefault((trial.hardware_class, trial.block), []).append(place)
    labelled = list(trials)
    for _, places in sorted(groups.items()):
        first = int(rng.integers(2))  # which level is in the majority where the number is odd
        for count, place in enumerate(rng.permutation(places).tolist()):
            labelled[place] = replace(trials[place], labels={**trials[place].labels, factor.name: factor.levels[(first + count) % 2]})
    return labelled


def cells_per_class(study: Study) -> int:
    """How many trials a design measures in each hardware class; a few combinations may be the same trial."""
    cells = sum(1 for _ in _units(study, np.random.default_rng(study.design.seed))) // len(study.hardware_classes)
    return cells + (1 + -(-cells // study.design.sentinels.every) if study.design.sentinels else 0)


def _with_sentinels(study: Study, trials: Sequence[Trial], workload: WorkloadIdentity, hardware_ids: Mapping[str, str]) -> Iterator[Trial]:
    """Before every so many trials of a class one of its sentinels, and one more at its end."""
    sentinels = study.design.sentinels
    if sentinels is None:
        yield from trials
        return
    fixed = {factor.name: factor.levels[0] for factor in study.factors if factor.assignment == "fixed"}
    levels = {name: as_written(study.factor(name), level) for name, level in sentinels.factors.items()}
    cell = _meaningful(study, {**fixed, **levels})
    block = str(cell[study.block_factor.name]) if study.block_factor else "all"

    def sentinel(hardware_class: str, number: int) -> Trial:
        # replicates from where the design's own end: each is a trial of its own
        trial = _trial(study, workload, hardware_ids, hardware_class, cell, block, study.design.replicates + number)
        return replace(trial, arm=SENTINEL)

    seen = dict.fromkeys(study.hardware_classes, 0)
    for trial in trials:
        count = seen[trial.hardware_class]
        if count % sentinels.every == 0:
            yield sentinel(trial.hardware_class, count // sentinels.every)
        seen[trial.hardware_class] += 1
        yield trial
    for name, count in seen.items():
        yield sentinel(name, -(-count // sentinels.every))


def _trial(
    study: Study,
    workload: WorkloadIdentity,
    hardware_ids: Mapping[str, str],
    hardware_class: str,
    cell: Cell,
    block: str,
    replicate: int,
) -> Trial:
    weights_id = _weights_id(workload, cell)
    determinants = {
        "weights_id": weights_id,
        "factors": cell,
        "hardware_class": hardware_class,
        "hardware_id": hardware_ids[hardware_class],
        "replicate": replicate,
    }
    return Trial(content_id("trial", determinants), weights_id, hardware_class, cell, arm_of(study, cell), block, replicate)


@dataclass(frozen=True)
class _Unit:
    """A trial to be: one draw in one block and class."""

    hardware_class: str
    draw: Draw
    block: str
    replicate: int


def _units(study: Study, rng: np.random.Generator) -> Iterator[_Unit]:
    fixed = {factor.name: factor.levels[0] for factor in study.factors if factor.assignment == "fixed"}
    block_factor = study.block_factor
    blocks: list[tuple[str, Cell]] = (
        [(str(level), {block_factor.name: level}) for level in block_factor.levels] if block_factor else [("all", {})]
    )
    randomised = [factor for factor in study.factors if factor.assignment == "randomised"]
    squares = [LatinSquare(factor, len(blocks), rng, rank) for rank, factor in enumerate(randomised)]
    is_drawn_anew = study.design.kind in ("completely_randomised", "observational")
    shared = [] if is_drawn_anew else draws(study, rng)
    for number, (block, block_cell) in enumerate(blocks):
        drawn = draws(study, rng) if is_drawn_anew else shared
        for hardware_class in study.hardware_classes:
            repeated = [(draw, replicate) for draw in drawn for replicate in range(study.design.replicates)]
            cells = [{**fixed, **block_cell, **draw.cell} for draw, _ in repeated]
            plots = [square.plots(cells) for square in squares]
            for square, of_square in zip(squares, plots, strict=True):
                square.draw(of_square, hardware_class, number)
            seen: Counter[tuple[Level, ...]] = Counter()
            for cell, (draw, replicate) in zip(cells, repeated, strict=True):
                if study.is_observational:  # what is drawn twice counts twice
                    key = tuple(cell.values())
                    replicate = seen[key]
                    seen[key] += 1
                yield _Unit(hardware_class, replace(draw, cell=_meaningful(study, cell)), block, replicate)


def _meaningful(study: Study, cell: Cell) -> Cell:
    """The cell with factors that do not apply set to their `otherwise`."""
    result = dict(cell)
    for factor in study.factors:
        condition = factor.applies_when
        if condition is not None and not condition.holds(cell[condition.factor]):
            assert factor.otherwise is not None
            result[factor.name] = factor.otherwise
    return result


def _weights_id(workload: WorkloadIdentity, cell: Cell) -> str:
    determinants = {
        "workload": workload.name,
        "version": workload.version,
        "settings": workload.settings,
        "data_checksum": workload.data_checksum,
        "factors": {name: cell[name] for name in workload.weights_factors if name in cell},
    }
    return content_id("weights", determinants)


def arm_of(study: Study, cell: Mapping[str, Level]) -> str:
    """All levels of a combination but the block's, in words."""
    block_name = study.block_factor.name if study.block_factor else None
    return ", ".join(f"{name}={level}" for name, level in cell.items() if name != block_name)
