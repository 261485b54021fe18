"""A law in words, for a terminal: what `trialhouse fit` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trialhouse.reporting.law_numbers import interval, subgroup
from trialhouse.scaling_laws.response import change


def law_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per parameter; of a study's score those of its map, since those of the loss stand before it."""
    result = result.get("map", result)
    return [
        {
            "parameter": name,
            "value": "" if value is None else f"{value:.5g}",
            "95% interval": interval(result["intervals"][name]),
            "standard error": "" if not is_known or (error := result["standard_errors"][name]) is None else f"{error:.3g}",
            "": "" if is_known else "not identified",
        }
        for name, value in result["parameters"].items()
        for is_known in (name not in result["not_identified"],)
    ]


def law_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Whether to believe it, why not, what was left out and what to keep in mind."""
    if "law" in result:
        score = f": from {result['told_by']} to {result['score']}" if "score" in result else ""
        yield f"law {result['law']} of {subgroup(result['subgroup'])}{score}"
    if "formula" not in result:
        yield "verdict: withheld"
        yield from (f"- {reason}" for reason in result["reasons"])
        return
    if "map" in result:
        yield from law_lines(result["map"])
        if result["verdict"] == "withheld" and result["map"]["verdict"] == "released":
            yield f"no forecast of {result['score']}: the law of {result['told_by']} is withheld"
        return
    yield f"{result['form']}: {result['formula']}"
    yield f"source: {result['source']}"
    ranges = ", ".join(f"{column} from {low:.3g} to {high:.3g}" for column, (low, high) in result["ranges"].items())
    if result["fixed"]:
        yield f"known: {', '.join(f'{name} {value:g}' for name, value in result['fixed'].items())}"
    units = "" if result["repeated_units"] is None else f" of {result['repeated_units']} repeated units"
    weighted = "" if result["weight"] is None else f", weighted by {result['weight']}"
    yield f"fitted to {result['rows']} rows{units}{weighted}: {ranges}"
    if result["parameters"]:
        search = result["search"]
        found = f"{search['reached']} of {search['starts']} starts ended there"
        yield f"summed Huber loss {result['objective']:.6g} (delta {result['delta']:g}); {found}"
    if (choice := result["choice"]) is not None:
        yield f"choice: {choice['sentence']}"
        for one in choice["candidates"]:
            beaten = "" if one["beaten_in"] is None else f"; the best forecasts better in {one['beaten_in']:.0%} of draws"
            yield f"- {one['form']}: error on held-out trials {one['held_out_error']:.3g}{beaten}"
        yield from (f"- {form}: not tried, {reason}" for form, reason in choice["not_tried"].items())
    yield from (f"regime: {sentence}" for sentence in result["regimes"])
    yield f"verdict: {result['verdict']}"
    yield from (f"- {reason}" for reason in result["reasons"])
    said = {*result["reasons"], *([choice["sentence"]] if choice else [])}
    yield from (f"warning: {warning}" for warning in result["warnings"] if warning not in said)


def comparison_lines(comparisons: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How arms differ: constant, exponent, crossing."""
    yield "comparisons (95% intervals; p-values of no difference, Holm over the tests of a law):"
    for one in comparisons:
        found = "" if one["estimate"] is None else f" {one['estimate']:.3g} ({interval(one['interval'])})"
        if one["p_value"] is not None:
            found += f", p {one['p_value']:.2g}, after Holm {one['p_value_adjusted']:.2g}"
        doubt = f"; withheld: {', '.join(one['reasons'])}" if one["reasons"] else ""
        arms = f"{subgroup(one['subgroup'])} against {subgroup(one['compared_with'])}"
        yield f"- {one['law']}, {arms}: {one['quantity']}{found}: {one['sentence']}{doubt}"


def response_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per effect, with what passive observers say of it."""
    looked = [one["looks_at"] for one in result["choice"]["observers"]] if "choice" in result else []
    return [
        {
            "effect": one["quantity"],
            "levels": "" if one["contrast"] is None else " -> ".join(one["contrast"]),
            "change": change(one["estimate"], result["scale"]),
            "95% interval": "" if None in one["interval"] else " to ".join(change(end, result["scale"]) for end in one["interval"]),
            "Holm p": "" if one["p_value_adjusted"] is None else f"{one['p_value_adjusted']:.2g}",
            "passive": ", ".join(f"{name}: {change(one['passive'][name], result['scale'])}" for name in looked if name in one["passive"]),
        }
        for one in result.get("effects", ())
    ]


def response_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """What the effects are, which depend on each other, which model forecasts best and what to keep in mind."""
    yield f"response {result['response']} of {subgroup(result['subgroup'])}: {result['outcome']} by all assigned factors"
    if "effects" not in result:
        yield "verdict: withheld"
        yield from (f"- {reason}" for reason in result["reasons"])
        return
    units = "" if result["repeated_units"] is None else f" of {result['repeated_units']} repeated units"
    yield f"fitted to {result['rows']} trials{units} at {result['configurations']} configurations"
    kinds = {one["kind"] for one in result["effects"]}
    yield from (f"{kind}: {what}" for kind, what in result["estimands"].items() if kind in kinds)
    yield from (f"- {one['sentence']}" for one in result["effects"] if one["kind"] == "interaction")
    choice = result["choice"]
    yield f"choice: {choice['sentence']}"
    for one in choice["candidates"]:
        yield f"- {one['form']} ({one['terms']} terms): error on held-out configurations {one['held_out_error']:.3g}"
    yield from (f"- {name}: not tried, {why}" for name, why in choice["not_tried"].items())
    yield from (f"- who looks at {one['looks_at']} only: {one['held_out_error']:.3g}" for one in choice["observers"])
    yield f"verdict: {result['verdict']}"
    yield from (f"warning: {warning}" for warning in result["warnings"])
