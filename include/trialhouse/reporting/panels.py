"""The figures of a study: which series and rows go into which panel, in which unit, with which note."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from trialhouse.reporting import figures, formats
from trialhouse.reporting.answer import Answer
from trialhouse.reporting.dose_response import DoseResponse, dose_responses
from trialhouse.reporting.findings import Effect, Finding, effects, method_name
from trialhouse.reporting.formats import as_number, is_number, joined, level_name, quantity, short_name, words
from trialhouse.reporting.marts import Row, StudyData, details_of
from trialhouse.studies.spec import HARDWARE_CLASS

ADJUSTED, INSTRUMENTAL = "adjusted_linear", "instrumental_variables"
MODIFYING = frozenset(("linear_dr", "group_effects", "linear_dml", "causal_forest", *(f"{kind}_learner" for kind in ("s", "t", "x", "dr"))))
"""Recipes whose rows for a subgroup are effects by modifiers."""


@dataclass(frozen=True)
class Figure:
    """Panels that stand together, with one heading and one note."""

    title: str
    note: str
    panels: Sequence[str]


@dataclass(frozen=True)
class ForestRow:
    """One estimate in a forest plot."""

    where: str
    what: str
    effect: Effect
    text: formats.EffectText
    strip: str
    style: str


@dataclass(frozen=True)
class Forest:
    """Estimates of one outcome on one scale, by where they hold."""

    title: str
    unit: str
    groups: Sequence[tuple[str, Sequence[ForestRow]]]


def _dose_estimands(data: StudyData) -> list[Mapping[str, Any]]:
    """Primary estimands whose treatment is a factor: what the dose-response panels are about."""
    return [
        estimand
        for estimand in data.estimands.values()
        if estimand["dose_response"] and estimand["is_primary"] and estimand["treatment"] in data.factors
    ]


def estimated_figure(data: StudyData, found: Answer) -> Figure | None:
    """Adjusted effect of every level against the control, a panel per outcome and a line per subgroup."""
    methods = {finding.headline.estimand: finding.headline.method for finding in found.findings}
    drawings = []
    for estimand in _dose_estimands(data):
        mine = [
            effect
            for effect in effects(data)
            if effect.estimand == estimand["name"]
            and effect.method == methods.get(estimand["name"])
            and effect.subgroup_column == estimand["by"]
            and formats.is_number(effect.estimate)
        ]
        if not mine:
            continue
        of = quantity(estimand["outcome"], data.indicators)
        start = figures.Point(_key(estimand["contrast"]["from"]), 0.0)
        series = []
        for subgroup in sorted({effect.subgroup for effect in mine}, key=data.order):
            points = [start, *(_point(effect, of.scale) for effect in mine if effect.subgroup == subgroup)]
            points.sort(key=lambda point: by_level(point.level))
            series.append(figures.Series("all" if subgroup is None else level_name(subgroup), points))
        noun = formats.title(of.noun.removeprefix("the "))
        lines = "" if estimand["by"] in (None, HARDWARE_CLASS) else f", by {words(estimand['by'])}"
        if not lines and sum(other["outcome"] == estimand["outcome"] for other in _dose_estimands(data)) > 1:
            lines = f": {words(estimand['treatment'])}"
        drawings.append(
            figures.lines(
                f"{noun}, {of.short_unit}{lines}" if of.short_unit else f"{noun}{lines}",
                figures.Axis(words(estimand["treatment"]), data.factors[estimand["treatment"]]["unit"] or ""),
                figures.Axis(f"effect on {of.noun}", is_signed=True),
                series,
                reference=(0.0, ""),
            )
        )
    note = (
        "Each point is the adjusted effect of that level compared with the control level; bars are 95% intervals. "
        "A hollow point is withheld or failed: it is drawn for completeness and is no finding."
    )
    is_by_class = len(data.spec["hardware_classes"]) > 1
    return Figure(f"Estimated effect of each level{', by class' if is_by_class else ''}", note, drawings) if drawings else None


def _point(effect: Effect, scale: float) -> figures.Point:
    value, low, high = (None if bound is None else bound * scale for bound in (effect.estimate, effect.ci_low, effect.ci_high))
    assert value is not None
    return figures.Point(_key(effect.contrast_to), value, low, high, is_flagged=effect.verdict != "released")


def observed_figures(data: StudyData) -> list[Figure]:
    """Averages of the trials as they are, a figure per outcome, a panel per class and a line per method."""
    found = []
    for estimand in _dose_estimands(data):
        treatment, control = estimand["treatment"], estimand["contrast"]["from"]
        per_class = [one for one in dose_responses(data, treatment, estimand["outcome"], control) if one.series]
        if not per_class:
            continue
        title, note = _said_of(data, per_class[0], f"{words(treatment)} {level_name(control)}")
        is_chance = per_class[0].scale == "chance"
        drawn = [point for one in per_class for series in one.series for point in series.points]
        axis = figures.Axis(
            title,
            "" if per_class[0].scale == "level" else "%",
            minimum=None if per_class[0].scale in ("share", "level") else 0.0,
            maximum=100.0 if is_chance else _readable(drawn) if per_class[0].scale == "ratio" else None,
            covers=[value for point in drawn for value in (point.value, point.low, point.high) if value is not None],
        )
        x_axis = figures.Axis(words(treatment), data.factors[treatment]["unit"] or "")
        reference = (100.0, "") if per_class[0].scale == "ratio" else None
        names = {one.hardware_class: words(one.hardware_class) for one in per_class}
        if data.is_trained:  # there are no classes to tell apart
            names = dict.fromkeys(names, f"{title}, by {words(treatment)}")
        drawings = [figures.lines(names[one.hardware_class], x_axis, axis, one.series, reference=reference) for one in per_class]
        found.append(Figure(title, note, drawings))
    if not data.is_trained or not found:
        return found
    notes = " ".join(dict.fromkeys(figure.note for figure in found))
    return [Figure("Averages of the trials", notes, [panel for figure in found for panel in figure.panels])]


def _readable(points: Sequence[figures.Point]) -> float:
    """Upper end of an axis on which points can be told apart: an interval from two blocks would flatten all others."""
    return 2.0 * max(point.value for point in points)


def _said_of(data: StudyData, one: DoseResponse, control: str) -> tuple[str, str]:
    """Heading and note of the averages of an outcome."""
    noun = formats.title(short_name(one.outcome))
    if one.scale == "level":
        unit = quantity(one.outcome).level_unit
        return f"{noun}, {unit}" if unit else noun, "Mean over blocks; bars are 95% intervals from the spread between blocks."
    if one.scale == "share" and data.is_trained:
        return noun, "Mean over blocks; bars are 95% intervals from the spread between blocks."
    if one.scale == "share":
        return f"{noun} of the trials that finished", (
            "Mean over blocks; bars are 95% intervals from the spread between blocks. Trials that ran out of memory have no value."
        )
    if one.scale == "chance":
        return formats.title(quantity(one.outcome).noun.removeprefix("the ")), (
            "Share of trials; bars are Wilson’s 95% intervals. What was drawn at random, such as the batch size, differs between methods"
            " within a block, so small differences between methods can be chance."
        )
    return f"{noun} relative to {control}", (
        f"Each trial is compared with the {control} trial of the same block, class and other factors; geometric mean over blocks,"
        " bars are 95% intervals from the spread between blocks, cut at the panel's edge. Pairs in which either did not finish are missing."
    )


def removed_figure(data: StudyData) -> Figure | None:
    """FLOPs, peak memory and latency by pruning ratio relative to the unpruned network: structured methods against masks."""
    if "pruning_ratio" not in data.factors:
        return None
    lost = {trial["hardware_class"] for trial in data.trials if trial["is_oom"]}
    hardware_class = next((name for name in data.spec["hardware_classes"] if name not in lost), data.spec["hardware_classes"][0])
    panels = []
    for outcome, title in (("flops", "FLOPs"), ("peak_memory_bytes", "Peak memory"), ("latency_ms", "Latency")):
        one = next(found for found in dose_responses(data, "pruning_ratio", outcome, 0) if found.hardware_class == hardware_class)
        if one.series:
            most = _readable([point for series in one.series for point in series.points])
            axes = figures.Axis("pruning ratio"), figures.Axis(title, "%", minimum=0.0, maximum=most, covers=(0.0,))
            panels.append(figures.lines(f"{title}, % of unpruned", *axes, one.series, reference=(100.0, "")))
    note = (
        f"On the {words(hardware_class)}; each trial relative to the unpruned trial of the same block and factors, geometric mean over"
        " blocks with 95% intervals. Structured pruning takes channels out of the network; a mask sets weights to zero and leaves"
        " every multiplication in place, so that FLOPs, memory and latency stay."
    )
    return Figure("What pruning removes, and what it leaves", note, panels) if panels else None


def _by_batch(data: StudyData, hardware_class: str) -> list[tuple[str, list[Row]]]:
    """Measured trials of a class by batch size, where the study has one."""
    trials = [trial for trial in data.trials if trial["hardware_class"] == hardware_class and trial["is_measured"]]
    if "batch_size" not in data.factors:
        return [("all trials", trials)]
    levels = sorted({trial["batch_size"] for trial in trials})
    return [(level_name(level), [trial for trial in trials if trial["batch_size"] == level]) for level in levels]


def _batch_axis(data: StudyData) -> figures.Axis:
    return figures.Axis("batch size", data.factors["batch_size"]["unit"] or "") if "batch_size" in data.factors else figures.Axis("")


def memory_figure(data: StudyData) -> Figure | None:
    """Memory utilisation by class (the source's figure 3)."""
    if data.is_trained:
        return None
    panels = []
    for hardware_class in data.spec["hardware_classes"]:
        groups = []
        for name, trials in _by_batch(data, hardware_class):
            values = [
                100 * trial["memory_utilisation"] for trial in trials if trial["memory_utilisation"] is not None and not trial["is_oom"]
            ]
            groups.append((name, values, sum(bool(trial["is_oom"]) for trial in trials)))
        if any(values or over for _, values, over in groups):
            axis = figures.Axis("memory utilisation", "%", minimum=0.0)
            panels.append(figures.strips(words(hardware_class), _batch_axis(data), axis, groups, (100.0, "the class's memory")))
    note = (
        "One dot per trial that finished, as a share of the memory of its class; the tick and its number are the median. "
        "Trials that ran out of memory needed more than the class has: they are counted at the limit."
    )
    return Figure("Memory utilisation by class", note, panels) if panels else None


def out_of_memory_figure(data: StudyData) -> Figure | None:
    """Out-of-memory incidents by class and batch size (the source's figure 2)."""
    if data.is_trained:
        return None
    panels, totals = [], []
    for hardware_class in data.spec["hardware_classes"]:
        counts = [(name, sum(bool(trial["is_oom"]) for trial in trials), len(trials)) for name, trials in _by_batch(data, hardware_class)]
        if counts:
            totals.append(f"{sum(count for _, count, _ in counts)} of {sum(of for _, _, of in counts)} on the {words(hardware_class)}")
            axis = figures.Axis("trials out of memory", "%", minimum=0.0, maximum=112.0)
            panels.append(figures.bars(words(hardware_class), _batch_axis(data), axis, counts))
    return (
        Figure("Out-of-memory incidents by class and batch size", f"Trials that ran out of memory: {joined(totals)}.", panels)
        if panels
        else None
    )


def forests(found: Answer) -> list[Forest]:
    """Naive, adjusted and double-ML estimates of each registered contrast side by side."""
    forests = []
    for group in by_estimand(found.findings).values():
        suffix = "" if group[0].is_primary else " (exploratory)"
        rows = [
            (finding.where, method_name(effect.method), effect, "headline" if effect is finding.headline else "other")
            for finding in group
            for effect in sorted(
                (finding.headline, *finding.others),
                key=lambda effect: (not effect.is_naive, effect.method != finding.headline.method, effect.method),
            )
        ]
        forests.append(_forest(f"{noun_of(group[0])}: {group[0].change}{suffix}", group[0].quantity, rows))
    return forests


def _parts(data: StudyData, found: Answer, *, is_modified: bool) -> Iterator[tuple[list[Finding], str | None, list[Effect]]]:
    """Each registered contrast, the column that its findings are by, and its estimates in other parts of the trials.

    By recipes that tell effects by what modifies them, or by all the others.
    """
    known = effects(data)
    for estimand, group in by_estimand(found.primary).items():
        by, contrast_to = data.estimands[estimand]["by"], group[0].headline.contrast_to
        yield (
            group,
            by,
            [
                effect
                for effect in known
                if effect.estimand == estimand
                and effect.contrast_to == contrast_to
                and effect.subgroup_column not in (None, by)
                and effect.subgroup is not None
                and (effect.method in MODIFYING) == is_modified
            ],
        )


def forests_by_method(data: StudyData, found: Answer) -> list[Forest]:
    """The registered contrasts again with the treated arm restricted to one level of a factor that only the treated have."""
    forests = []
    for group, _, parts in _parts(data, found, is_modified=False):
        rows = []
        for effect in sorted(parts, key=_part_order(data)):
            *where, level = str(effect.subgroup).split(", ")
            rows.append((", ".join(map(words, where)) or data.everywhere, words(level), effect, "part"))
        if rows:
            forests.append(_forest(f"{noun_of(group[0])}: {group[0].change}", group[0].quantity, rows))
    return forests


def forests_by_modifier(data: StudyData, found: Answer) -> list[tuple[Forest, str]]:
    """Effects by what modifies them, a forest per recipe that tells such, and what that recipe estimates."""
    forests = []
    for group, by, parts in _parts(data, found, is_modified=True):
        for method in dict.fromkeys(effect.method for effect in parts):
            mine = [effect for effect in parts if effect.method == method]
            mine.sort(key=lambda effect: [data.order(level) for level in str(effect.subgroup).split(", ")])
            rows = [(*_modified(effect, by, data.everywhere), effect, "part") for effect in mine]
            title = f"{noun_of(group[0])}: {group[0].change}, by {words(method)}"
            forests.append((_forest(title, group[0].quantity, rows), mine[0].method_estimand or ""))
    return forests


def _modified(effect: Effect, by: str | None, everywhere: str) -> tuple[str, str]:
    """Where an effect by modifier holds, and the levels of what modifies it: ``("laptop", "width 8")``."""
    names, levels = str(effect.subgroup_column).split(", "), str(effect.subgroup).split(", ")
    where = level_name(levels.pop(0)) if by is not None and names.pop(0) == by else everywhere
    return where, ", ".join(f"{words(name)} {level_name(level)}" for name, level in zip(names, levels, strict=False))


def instruments(data: StudyData, found: Answer) -> list[tuple[Forest, list[str]]]:
    """Adjusted beside instrument estimates of each effect that has both, and in words how far the instruments are to be trusted."""
    forests = []
    for group in by_estimand(found.primary).values():
        rows, said = [], []
        for finding in group:
            pair = sorted(
                (effect for effect in (finding.headline, *finding.others) if effect.method in (ADJUSTED, INSTRUMENTAL)),
                key=lambda effect: effect.method,
            )
            checks = {row["refuter"]: row for row in data.checks_of(pair[-1].estimate_id)} if pair else {}
            if "first_stage" not in checks or not is_number(checks["first_stage"]["statistic"]):
                continue
            rows += [
                (finding.where, method_name(effect.method), effect, "headline" if effect is finding.headline else "other")
                for effect in pair
            ]
            said.append(f"{formats.title(finding.where)}: {_trusted(finding, checks['first_stage'])}")
            disagreement = next((row for row in data.checks_of(pair[0].estimate_id) if row["refuter"] == "durbin_wu_hausman"), None)
            for claim, check, test in (
                ("the two are the same", disagreement, "Durbin-Wu-Hausman"),
                ("the instruments agree", checks.get("overidentification"), "Hansen’s J"),
            ):
                if check is not None and is_number(check["p_value"]):
                    p_value = formats.p_text(check["p_value"])
                    said[-1] += f" That {claim} has p {p_value if '<' in p_value else f'= {p_value}'} ({test})."
        if rows:
            forests.append((_forest(f"{noun_of(group[0])}: {group[0].change}", group[0].quantity, rows), said))
    return forests


def _trusted(finding: Finding, first_stage: Row) -> str:
    """How strong the first stage is, and the set of effects that holds however weak it is."""
    pieces = [(piece["low"], piece["high"]) for piece in details_of(first_stage)]
    strength = f"the first stage has an effective F of {formats.number(first_stage['statistic'], 1)}"
    return f"{strength}{'' if first_stage['verdict'] == 'passed' else ' (10 are needed)'}. {_set_text(pieces, finding.quantity)}"


def _set_text(pieces: Sequence[tuple[float | None, float | None]], of: formats.Quantity) -> str:
    """An Anderson-Rubin set as a sentence."""
    if not pieces:
        return "No effect is compatible with all instruments: they contradict each other."
    if any(low is None and high is None for low, high in pieces):
        return "However strong it is, the instruments exclude no effect at all: their Anderson-Rubin set is unbounded on both sides."
    ends = [end * of.scale for piece in pieces for end in piece if end is not None]
    decimals = formats.decimals_for(ends, max(ends) - min(ends) or None)

    def text(end: float) -> str:
        return formats.number(end * of.scale, decimals, is_signed=True)

    said = []
    for low, high in pieces:
        if low is None and high is not None:
            said.append(f"below {text(high)}")
        elif high is None and low is not None:
            said.append(f"above {text(low)}")
        elif low is not None and high is not None:
            said.append(f"{text(low)} to {text(high)}")
    unit = f" {of.unit}" if of.unit else ""
    unbounded = "" if all(low is not None and high is not None for low, high in pieces) else ", so the set is unbounded"
    return f"Effects that it does not exclude, however weak it is (Anderson-Rubin, 95%): {' or '.join(said)}{unit}{unbounded}."


def _forest(title: str, of: formats.Quantity, rows: Sequence[tuple[str, str, Effect, str]]) -> Forest:
    """Rows of (where, what, effect, style) on one scale."""
    domain = figures.domain_of(value for _, _, effect, _ in rows for value in (effect.estimate, effect.ci_low, effect.ci_high))
    drawn = []
    for where, what, effect, role in rows:
        style = f"{role}{'' if effect.verdict == 'released' else ' flagged'}"
        text = formats.effect_text(effect.estimate, effect.ci_low, effect.ci_high, of)
        drawn.append(
            ForestRow(where, what, effect, text, figures.strip((effect.ci_low, effect.estimate, effect.ci_high), domain, style), style)
        )
    return Forest(title, of.short_unit, [(where, list(group)) for where, group in groupby(drawn, key=lambda row: row.where)])


def by_estimand(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Findings of each estimand, in their order."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.headline.estimand, []).append(finding)
    return groups


def noun_of(finding: Finding) -> str:
    """The outcome as a heading."""
    return formats.title(finding.quantity.noun.removeprefix("the "))


def _part_order(data: StudyData) -> Any:
    """Classes and levels in the order of the spec."""
    levels = [str(level) for factor in data.factors.values() for level in factor["levels"]]
    order = {name: place for place, name in enumerate([*data.spec["hardware_classes"], *levels])}
    return lambda effect: [(order.get(part, len(order)), part) for part in str(effect.subgroup).split(", ")]


def by_level(level: Any) -> tuple[bool, Any]:
    """Sorts levels: numbers by size, then names."""
    return (isinstance(level, str), level)


def _key(level: Any) -> float | str:
    number = as_number(level)
    return str(level) if number is None else number
