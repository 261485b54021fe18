"""Estimates and their verdicts in words, for a terminal: what `trialhouse estimate` prints."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

COLUMNS = (
    "estimand",
    "subgroup_column",
    "subgroup",
    "contrast_from",
    "contrast_to",
    "per",
    "method",
    "estimate",
    "ci_low",
    "ci_high",
    "p_value",
    "verdict",
)
OPTIONAL = ("subgroup_column", "subgroup", "per")
_LONG = re.compile(r"-?\d+\.\d{4,}(e[+-]?\d+)?")


def estimate_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per estimate, the answers marked, without columns that are empty throughout."""
    rows = result["estimates"]
    names = [name for name in COLUMNS if name not in OPTIONAL or any(row[name] is not None for row in rows)]
    return [{"": "*" if row["is_primary"] else "", **{name: _short(row[name]) for name in names}} for row in rows]


def estimate_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The verdict with its reasons; where one question was asked also its claim, what tried to refute it and what to keep in mind."""
    yield "* the answer; the other rows are there to be held against it"
    answers = [row for row in result["estimates"] if row["is_primary"]]
    yield f"verdict: {result['verdict']}"
    yield from (f"- {reason}" for reason in result["reasons"])
    if len(answers) != 1:
        return
    (answer,) = answers
    yield f"claim: {answer['estimand_expression']}"
    checks = [check for check in result["refutations"] if check["estimate_id"] == answer["estimate_id"]]
    words = Counter(check["verdict"].replace("_", " ") for check in checks)
    yield f"tried to refute: {len(checks)} checks ({', '.join(f'{count} {word}' for word, count in words.items())})"
    yield from (f"caveat: {caveat}" for caveat in json.loads(answer["caveats"]))


def _short(value: Any) -> Any:
    if isinstance(value, str) and _LONG.fullmatch(value):  # a level that is a quantile of a column
        value = float(value)
    return f"{value:.3g}" if isinstance(value, float) else value
