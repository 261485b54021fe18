"""Great Expectations over one study's marts, without Airflow. The only place that imports it, inside functions: it takes seconds.

`expectations/<table>.json` holds the suite of each validated table: expectations with a severity (`critical` stops the
study's estimation, `warning` is told) and a sentence. Parameters such as `max_missing_share` come from the study's gates.
Those that are `is_of_assignment` are left out of an observational study: nobody promised that its arms are alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trialhouse.settings import Settings
    from trialhouse.warehouse.validation import StudyData

FAILING_ROWS = 20
"""How many failing rows are named in a landed result."""

NAMED_IN_A_LINE = 3
"""And in a line of text."""


@dataclass(frozen=True)
class Validation:
    """What one call found; its rows are landed.

    Parameters
    ----------
    expectations
        How many were checked.
    failed
        Severity -> one line for each expectation that was not met.
    """

    validation_id: str
    study_id: str
    study_name: str
    expectations: int
    failed: Mapping[str, list[str]]

    @property
    def is_success(self) -> bool:
        """Whether every critical expectation was met."""
        return not self.failed["critical"]


def validate_study(study_id: str, settings: Settings | None = None) -> Validation:
    """Check one study version's marts against its gates and land every result, good or bad.

    Raises
    ------
    WarehouseError
        If the published warehouse does not have the study.
    """
    from trialhouse.settings import get_settings
    from trialhouse.warehouse.validation import KEYS, land_validation, study_data

    settings = settings or get_settings()
    data = study_data(study_id, settings)
    suites = {table: json.loads((settings.expectations_dir / f"{table}.json").read_text(encoding="utf-8")) for table in KEYS}
    rows = [row for table, suite in suites.items() for row in validate_table(table, suite, data)]
    return Validation(
        validation_id=land_validation(data, rows, settings),
        study_id=study_id,
        study_name=data.study_name,
        expectations=len(rows),
        failed={
            severity: [_line(row) for row in rows if row["severity"] == severity and not row["is_success"]]
            for severity in ("critical", "warning", "info")
        },
    )


def validate_table(table: str, suite: Mapping[str, Any], data: StudyData) -> list[dict[str, Any]]:
    """Check one table's rows against a suite.

    Returns
    -------
    list of dict
        One row per expectation, in the suite's order: columns of `raw.validations` without its ids and time.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    from trialhouse.warehouse.validation import KEYS

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("published").add_dataframe_asset(table)
    batch = asset.add_batch_definition_whole_dataframe("study").get_batch({"dataframe": data.frames[table].reset_index(drop=True)})
    applicable = [item for item in suite["expectations"] if data.is_assigned or not item["meta"].get("is_of_assignment")]
    numbered = [{**item, "meta": {**item["meta"], "place": place}} for place, item in enumerate(applicable)]
    result = batch.validate(
        gx.ExpectationSuite(name=suite["name"], expectations=numbered),
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": KEYS[table], "partial_unexpected_count": 3},
        expectation_parameters=dict(data.parameters),
    )
    # GX puts expectations that raised an error first
    items: list[Any] = sorted(result.results, key=_place)
    return [_row(table, KEYS[table], item, data.parameters) for item in items]


def _place(item: Any) -> int:
    return int(item.expectation_config.meta["place"])


def _row(table: str, key_columns: list[str], item: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    config = item.expectation_config
    keys = [[row[name] for name in key_columns] for row in item.result.get("unexpected_index_list") or []]
    failing = sorted(key[0] if len(key) == 1 else key for key in keys)[:FAILING_ROWS]
    return {
        "table_name": table,
        "expectation": config.type,
        "column_name": config.kwargs.get("column"),
        "severity": config.severity.value,
        "is_success": bool(item.success),
        "observed": _observed(item),
        "failing_rows": json.dumps(failing) if failing else None,
        "sentence": config.meta["sentence"].format(**parameters),
    }


def _observed(item: Any) -> str | None:
    """What was there, in words: the number of failing rows with examples, a table's own number, or why it could not be checked."""
    if not item.result:
        errors = [info["exception_message"] for info in item.exception_info.values() if isinstance(info, dict)]
        return str(errors[0] if errors else item.exception_info.get("exception_message")).splitlines()[0]
    if "unexpected_count" in item.result:
        examples = ", ".join(_plain(value) for value in item.result.get("partial_unexpected_list") or [])
        count = f"{item.result['unexpected_count']} of {item.result['element_count']} rows fail"
        return f"{count}: {examples}" if examples else count
    if item.result.get("partial_missing_list"):
        return f"missing: {', '.join(map(str, item.result['partial_missing_list']))}"
    value = item.result.get("observed_value")
    return None if value is None else _plain(value)


def _plain(value: Any) -> str:
    return f"{float(value):.6g}" if isinstance(value, float) else str(value)


def _line(row: Mapping[str, Any]) -> str:
    """One expectation that was not met, for a log or a message; all keys that are kept are in the landed row."""
    failing = json.loads(row["failing_rows"] or "[]")
    names = [" ".join(key) if isinstance(key, list) else str(key) for key in failing]
    more = ", ..." if len(names) > NAMED_IN_A_LINE else ""
    where = f" ({', '.join(names[:NAMED_IN_A_LINE])}{more})" if names else ""
    return f"{row['table_name']}: {row['sentence']} Got {row['observed']}{where}"
