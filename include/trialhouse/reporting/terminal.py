"""The answer, and any table, as text for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from io import StringIO
from itertools import groupby
from typing import Any

from trialhouse.reporting.answer import Answer, Gate
from trialhouse.reporting.findings import Finding
from trialhouse.reporting.formats import MISSING, level_name, title, words


def render_text(found: Answer, width: int = 100, *, has_colour: bool = False) -> str:
    """The answer for a terminal of `width` columns: a table of effects, what tried to refute them, caveats in short."""
    from rich.console import Console

    output = StringIO()
    console = Console(
        file=output, width=width, force_terminal=has_colour, no_color=not has_colour, highlight=False, emoji=False, markup=False
    )
    console.print(found.title, style="bold")
    console.print(found.summary)
    for gate in found.failed_gates:
        console.print(f"\nGate failed on {gate.table_name}: {gate.sentence}{_rows(gate)}", style="red")
    if found.findings:
        for arrow, findings in groupby(found.primary, key=_arrow):
            console.print(f"\n{arrow}")
            console.print(_table(list(findings), found.twins))
        console.print(f"\n{_refuted(found)}")
    if found.laws:
        console.print()
    for law in found.laws:
        console.print(f"{law.kind}: {law.sentence}", style="" if law.verdict == "released" else "yellow")
    for gate in found.warnings:
        if gate.table_name != "fct_measurement_checks":  # told with their numbers as doubts
            console.print(f"Warning, not met in {gate.table_name}: {gate.sentence}{_rows(gate)}", style="yellow")
    for doubt in found.doubts:
        console.print(f"Doubtful measurement: {doubt}", style="yellow")
    for stratum, belongs_to in found.strata:
        console.print(f"Only where both arms finished ({belongs_to}): {stratum}", style="dim")
    for caveat, belongs_to in found.caveats:
        console.print(f"Caveat ({belongs_to}): {caveat}", style="dim")
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n"


def table_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Any rows as aligned columns, never cut: a terminal wraps them, a pipe gets them whole."""
    names = list(rows[0]) if rows else ["no rows"]
    lines = [names, *(["" if (cell := row[name]) is None else _cell(cell) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rows(gate: Gate) -> str:
    more = " …" if len(gate.failing_rows) > 5 else ""
    return f" Rows: {', '.join(gate.failing_rows[:5])}{more}." if gate.failing_rows else ""


def _table(findings: Sequence[Finding], twins: Collection[str]) -> Any:
    """The effects of one contrast: a row per outcome and place."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    styles = {"released": "green", "withheld": "yellow", "failed": "red"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("effect on", "where", "naive", "effect", "95% interval", "verdict"):
        is_number_column, is_text_column = name in ("naive", "effect", "95% interval"), name in ("effect on", "where")
        texts = [finding.short_noun if name == "effect on" else finding.where for finding in findings] if is_text_column else []
        longest = max((len(word) for text in texts for word in text.split()), default=None)  # a narrow terminal breaks between words
        table.add_column(name, justify="right" if is_number_column else "left", no_wrap=name in ("effect", "verdict"), min_width=longest)
    previous = None
    for finding in findings:
        effect = finding.headline
        naive = finding.text(finding.naive).with_unit if finding.naive else MISSING
        text = finding.text()
        said = (text.with_unit, text.interval) if finding.is_released else (MISSING, MISSING)
        twin = f" ({words(effect.estimand)})" if effect.estimand in twins else ""
        noun = "" if previous == effect.estimand else f"{finding.short_noun}{twin}"
        previous = effect.estimand
        table.add_row(*map(Text, (noun, finding.where, naive, *said)), Text(effect.verdict, style=styles.get(effect.verdict, "")))
    return table


def _arrow(finding: Finding) -> str:
    effect = finding.headline
    if effect.per is not None:
        return title(finding.change)
    return f"{words(effect.treatment)} {level_name(effect.contrast_from)} → {level_name(effect.contrast_to)}"


def _refuted(found: Answer) -> str:
    if not found.refuters:
        return "Nothing has tried to refute these effects."
    return "Tried to refute: " + "; ".join(f"{words(summary.refuter)} ({summary.sentence})" for summary in found.refuters) + "."
