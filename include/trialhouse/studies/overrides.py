"""Changes to a study from the command line or the UI's form: `n_train=2000,5000,8000`, `dataset=mnist`, `design.seed=3`.

What stands before the `=` is, in this order: a dotted field of the spec (items of a list go by their name:
`estimands.width_on_error.contrast.to`), a factor, whose levels it sets, a field of the study, or a setting of the workload.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from trialhouse.errors import SpecError
from trialhouse.studies.factors import Level

FIXED = ("name", "workload.name", "schedule", "recorded", "hardware_classes", "factors", "estimands", "indicators")
"""Fields that the DAG or other fields rest on: they are changed in a YAML of one's own."""


ENDS = ("from", "to")


def changed(content: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A spec with changes made to it; the result is yet to be checked.

    Parameters
    ----------
    content
        The spec as plain types; not modified.
    changes
        Texts `NAME=VALUE` or `NAME=VALUE,VALUE`; values are YAML scalars, and numbers may have an exponent.

    Notes
    -----
    A contrast keeps its levels where both are still there. Where not, an end that named the lowest or highest level (of
    categories: the first or last) goes to the new one; an estimand whose treatment has a single level left is left out.

    Raises
    ------
    SpecError
        If a text is no change, or a contrast names a level in the middle that is gone.
    """
    import copy

    result: dict[str, Any] = copy.deepcopy(dict(content))
    for text in changes:
        name, values = _parsed(text)
        factor = next((item for item in result["factors"] if item["name"] == name), None)
        if factor is not None:
            before, factor["levels"] = factor["levels"], values
            _ask_again(result, factor, before)
        elif name in result:
            _put(result, [name], values, text)
        elif "." in name:
            _put(result, name.split("."), values, text)
        else:
            settings = result["workload"]["settings"]
            settings[name] = values if isinstance(settings.get(name), list) or len(values) > 1 else values[0]
    return result


def _parsed(text: str) -> tuple[str, list[Any]]:
    name, sign, value = str(text).partition("=")
    name = name.strip()
    try:
        values = yaml.safe_load(f"[{value}]") if sign and name and value.strip() else None
    except yaml.YAMLError:
        values = None
    if not isinstance(values, list) or not values:
        raise SpecError("a change must be NAME=VALUE or NAME=VALUE,VALUE", repr(text), "write it like n_train=2000,5000 or dataset=mnist")
    if name in FIXED or name.startswith("recorded."):
        raise SpecError(
            f"{name} cannot be changed for one run", repr(text), "copy the study's YAML to a folder of your own and edit it there"
        )
    return name, [_number(item) for item in values]


def _number(item: Any) -> Any:
    """YAML 1.1 takes 1e-3 for a text."""
    if isinstance(item, str):
        try:
            return float(item)
        except ValueError:
            return item
    return item


def _put(content: dict[str, Any], path: Sequence[str], values: list[Any], text: str) -> None:
    place: Any = content
    for depth, key in enumerate(path[:-1]):
        step = next((item for item in place if item.get("name") == key), None) if isinstance(place, list) else place.get(key)
        if not isinstance(step, dict | list):
            known = sorted(item.get("name") for item in place) if isinstance(place, list) else sorted(place)
            raise SpecError(f"{'.'.join(path[:depth]) or 'the study'} must have a part {key!r}: one of {known}", repr(text), "fix the name")
        place = step
    if not isinstance(place, dict):
        raise SpecError(f"{'.'.join(path[:-1])} must be followed by the name of one of its items", repr(text), "fix the name")
    if path[-1] == "levels" and path[0] == "factors":
        before, place["levels"] = place["levels"], values
        _ask_again(content, place, before)
        return
    place[path[-1]] = values if isinstance(place.get(path[-1]), list) or len(values) > 1 else values[0]


def _ask_again(content: dict[str, Any], factor: Mapping[str, Any], before: Sequence[Level]) -> None:
    """Let contrasts of a factor name its new levels."""
    levels: list[Level] = factor["levels"]
    asked = []
    for estimand in content["estimands"]:
        is_slope = estimand.get("contrast") is None and len(levels) > 1
        if estimand["treatment"] != factor["name"] or is_slope:
            asked.append(estimand)
        elif estimand.get("contrast") is None:
            continue
        elif all(_is_level(estimand["contrast"][end], factor, before) for end in ENDS):
            asked.append(estimand)
        elif len(levels) > 1:
            asked.append({**estimand, "contrast": {end: _moved(estimand, end, factor, before) for end in ENDS}})
    if not asked:
        expected = "a study must ask something: two levels at least of some treatment"
        raise SpecError(expected, f"{factor['name']} at {levels[0]!r} only", "give it two levels")
    content["estimands"] = asked


def _is_level(level: Level, factor: Mapping[str, Any], before: Sequence[Level]) -> bool:
    """Whether a contrast can still name it: also between the ends of a range."""
    levels = factor["levels"]
    is_of_range = factor["kind"] == "continuous" and level not in before and not isinstance(level, str)
    return level in levels or level == factor.get("otherwise") or (is_of_range and min(levels) <= level <= max(levels))


def _moved(estimand: Mapping[str, Any], end: str, factor: Mapping[str, Any], before: Sequence[Level]) -> Level:
    """Where a contrast that named a level among those of before starts or ends now."""
    level, levels = estimand["contrast"][end], factor["levels"]
    is_category = factor["kind"] == "categorical"
    first, last = (before[0], before[-1]) if is_category else (min(before), max(before))
    if level == first:
        return levels[0] if is_category else min(levels)  # type: ignore[no-any-return]
    if level == last:
        return levels[-1] if is_category else max(levels)  # type: ignore[no-any-return]
    if _is_level(level, factor, before):
        return level  # type: ignore[no-any-return]
    name = estimand["name"]
    expected = f"contrast of estimand {name!r} must name a level of {factor['name']} among {levels}"
    raise SpecError(expected, repr(level), f"add --set estimands.{name}.contrast.{end}=LEVEL before it, or keep that level")
