"""How numbers and names are written: one set of rules for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

from trialhouse.studies.factors import level_number

MISSING = "–"
MIB = 2**20


@dataclass(frozen=True)
class Quantity:
    """How an outcome is named and in which unit it is written.

    Parameters
    ----------
    noun
        The outcome inside a sentence: ``"peak memory"``.
    scale
        Factor from the stored value to the written one.
    unit, short_unit
        Unit of a difference, in full and in tables; empty where there is none.
    level_unit
        Unit of a level: a share is written in percent, a difference of shares in percentage points.
    """

    noun: str
    scale: float = 1.0
    unit: str = ""
    short_unit: str = ""
    level_unit: str = ""


def _share(noun: str) -> Quantity:
    return Quantity(noun, 100.0, "percentage points", "pp", "%")


_KNOWN = {
    "accuracy": _share("accuracy"),
    "error": _share("error"),
    "train_accuracy": _share("training accuracy"),
    "validation_accuracy": _share("validation accuracy"),
    "loss": Quantity("loss", 1.0, "nats", "nats", "nats"),
    "train_loss": Quantity("training loss", 1.0, "nats", "nats", "nats"),
    "validation_loss": Quantity("validation loss", 1.0, "nats", "nats", "nats"),
    "training_s": Quantity("training time", 1.0, "s", "s", "s"),
    "weights_accuracy": _share("accuracy of the weights"),
    "memory_utilisation": _share("memory utilisation"),
    "is_oom": _share("the chance of running out of memory"),
    "is_diverged": _share("the chance of diverging"),
    "latency_ms": Quantity("latency", 1.0, "ms", "ms", "ms"),
    "throughput_images_per_s": Quantity("throughput", 1.0, "images per second", "images/s", "images/s"),
    "loading_ms": Quantity("the wait for a batch", 1.0, "ms", "ms", "ms"),
    "peak_memory_bytes": Quantity("peak memory", 1.0 / MIB, "MiB", "MiB", "MiB"),
}


def quantity(outcome: str, indicators: Mapping[str, Mapping[str, Any]] | None = None) -> Quantity:
    """How to write an outcome: a binary indicator of the spec is a chance, a suffix (`_ms`, `_bytes`) gives the unit."""
    if outcome in _KNOWN:
        return _KNOWN[outcome]
    if indicators and outcome in indicators:
        return _share(f"the chance of {words(outcome)} ({condition(indicators[outcome])})")
    if outcome.startswith("capability_"):
        return _share(words(outcome.removeprefix("capability_")))
    if outcome.startswith("log10_"):
        return Quantity(f"the base-10 logarithm of {quantity(outcome.removeprefix('log10_')).noun}")
    if outcome.endswith("_ms"):
        return Quantity(words(outcome.removesuffix("_ms")), 1.0, "ms", "ms", "ms")
    if outcome.endswith("_bytes"):
        return Quantity(words(outcome.removesuffix("_bytes")), 1.0 / MIB, "MiB", "MiB", "MiB")
    return Quantity(words(outcome))


def words(name: str) -> str:
    """A column's or level's name as words: ``l1_structured`` becomes ``L1 structured``."""
    text = _SAID.get(name, name).replace("_", " ").strip()
    return " ".join(_ACRONYMS.get(word.lower(), word) for word in text.split(" "))


def short_name(column: str) -> str:
    """A column's name without its unit, for boxes and axes: ``peak memory``, ``out of memory``."""
    if column == "is_oom":
        return "out of memory"
    for suffix in ("_ms", "_bytes"):
        column = column.removesuffix(suffix)
    return words(column.removeprefix("is_"))


_SAID = {"n_train": "training set"}
"""Columns whose name is no word."""

_ACRONYMS = {
    "gpt": "GPT",
    "lenet": "LeNet",
    "resnet": "ResNet",
    "mlp": "MLP",
    "cnn": "CNN",
    "vit": "ViT",
    "l1": "L1",
    "vgg16": "VGG-16",
    "googlenet": "GoogLeNet",
    "resnet18": "ResNet-18",
    "bn": "BN",
    "l2": "L2",
    "lamp": "LAMP",
    "taylor": "Taylor",
    "oom": "out-of-memory",
    "pc": "PC",
    "gpu": "GPU",
    "cpu": "CPU",
    "flops": "FLOPs",
    "macs": "MACs",
    "ml": "ML",
    "dml": "DML",
    "dr": "DR",
    "sgd": "SGD",
}


def condition(indicator: Mapping[str, Any]) -> str:
    """An indicator's threshold in words: ``pruning ratio above 0.5``."""
    side = "above" if indicator["above"] is not None else "below"
    return f"{words(indicator['column'])} {side} {indicator[side]:g}"


def title(text: str) -> str:
    """The text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """The text as one sentence: a capital first letter and one full stop."""
    return f"{title(text.strip()).rstrip('.')}."


def is_number(value: Any) -> TypeGuard[float]:
    """Whether the value is a finite number (and not a boolean)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def decimals_for(values: Collection[float], spread: float | None = None) -> int:
    """Decimals that keep two significant digits of the spread, at most three of the values, and at least one of the spread.

    Parameters
    ----------
    values
        The numbers that are written together, in their written unit.
    spread
        Half the width of their interval; without it, three significant digits of the largest value.
    """
    largest = max((abs(value) for value in values), default=0.0)
    by_value = _decimals(largest, 3)
    if not spread:
        return max(by_value, 0)
    return max(min(_decimals(spread, 2), by_value), _decimals(spread, 1), 0)


def _decimals(value: float, digits: int) -> int:
    return digits - 1 - math.floor(math.log10(value)) if value > 0 else 0


def number(value: float | None, decimals: int, *, is_signed: bool = False) -> str:
    """The number with a true minus sign and thousands separated; ``–`` where there is none."""
    if not is_number(value):
        return MISSING
    text = f"{round(value, decimals) + 0.0:+,.{decimals}f}"  # + 0.0 turns -0.0 into 0.0
    if float(text.replace(",", "")) == 0 or (text[0] == "+" and not is_signed):
        text = text[1:]
    return text.replace("-", "−")


def short(value: float | None, digits: int = 3) -> str:
    """The number with so many significant digits, as a power of ten where it is very small or large: ``0.0123``, ``2.1×10⁻⁷``."""
    if not is_number(value):
        return MISSING
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return number(value, max(_decimals(abs(value), digits), 0)) if value else "0"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa.replace('-', '−')}×10{str(int(power)).translate(_RAISED)}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class EffectText:
    """An effect in written form: ``−1.3``, ``−2.2 to −0.4``, unit beside."""

    value: str
    interval: str
    unit: str

    @property
    def with_unit(self) -> str:
        return f"{self.value} {self.unit}".strip() if self.value != MISSING else MISSING


def effect_text(estimate: float | None, low: float | None, high: float | None, of: Quantity, *, is_long: bool = False) -> EffectText:
    """Estimate and interval in one precision, that of the interval."""
    scaled = [None if not is_number(value) else float(value) * of.scale for value in (estimate, low, high)]
    known = [value for value in scaled if value is not None]
    spread = (scaled[2] - scaled[1]) / 2 if scaled[1] is not None and scaled[2] is not None else None
    decimals = decimals_for(known, spread)
    value, lower, upper = (number(value, decimals, is_signed=True) for value in scaled)
    interval = MISSING if MISSING in (lower, upper) else f"{lower} to {upper}"
    return EffectText(value, interval, of.unit if is_long else of.short_unit)


def level_text(value: float | None, of: Quantity) -> str:
    """A level with its unit: ``97.2%``, ``84.1 ms``."""
    if not is_number(value):
        return MISSING
    scaled = float(value) * of.scale
    text = number(scaled, decimals_for([scaled]))
    return f"{text}{'' if of.level_unit in ('', '%') else ' '}{of.level_unit}"


def p_text(p_value: float | None) -> str:
    """A p-value: two decimals, three below .1, ``< 0.001`` below that."""
    if not is_number(p_value):
        return MISSING
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"


def bytes_text(value: float | None) -> str:
    """Bytes in MiB or GiB with three significant digits."""
    if not is_number(value):
        return MISSING
    scaled, unit = (value / 2**30, "GiB") if value >= 2**30 else (value / MIB, "MiB")
    text = number(scaled, decimals_for([scaled]))
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"


def time_text(at: datetime | None) -> str:
    """A UTC time to the second, with its zone."""
    return MISSING if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def per_text(treatment: str, per: str, unit: str | None = None) -> str:
    """One step of a treatment in words: ``a doubling of width``, ``1,000 images more of training set``."""
    amount = as_number(per)
    if amount is None:
        return f"a {per} of {words(treatment)}"
    many = f"{amount:,.0f}" if amount >= 1000 else f"{amount:g}"
    return f"{many} {unit} more of {words(treatment)}" if unit else f"{words(treatment)} +{many}"


def level_name(level: Any) -> str:
    """A factor's level as text: numbers in their shortest form, names as words."""
    value = as_number(level)
    return words(str(level)) if value is None else level_number(value)


def as_number(level: Any) -> float | None:
    """The level as a number where it is one (also from text), else None."""
    try:
        value = float(level)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def same_level(one: Any, other: Any) -> bool:
    """Whether two levels are the same, in whatever form they are written: `0`, `0.0` and `"0"` are."""
    numbers = as_number(one), as_number(other)
    return str(one) == str(other) if None in numbers else numbers[0] == numbers[1]


def joined(items: Collection[str], last: str = "and") -> str:
    """``a, b and c``."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}" if items else ""


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
