from __future__ import annotations

import math

import pytest

from trialhouse.reporting.formats import bytes_text, effect_text, level_name, level_text, number, p_text, quantity, short_name, words

ACCURACY, LATENCY, MEMORY = quantity("accuracy"), quantity("latency_ms"), quantity("peak_memory_bytes")


@pytest.mark.parametrize(
    ("of", "estimate", "low", "high", "value", "interval", "unit"),
    [
        (ACCURACY, -0.0131, -0.0222, -0.0041, "−1.31", "−2.22 to −0.41", "pp"),
        (ACCURACY, 0.1, -0.2, 0.4, "+10", "−20 to +40", "pp"),
        (ACCURACY, 0.0, 0.0, 0.0, "0", "0 to 0", "pp"),
        (LATENCY, 1234.567, 1200.0, 1270.0, "+1,235", "+1,200 to +1,270", "ms"),
        (LATENCY, 0.012, 0.011, 0.013, "+0.0120", "+0.0110 to +0.0130", "ms"),
        (MEMORY, -153.234 * 2**20, -153.9 * 2**20, -152.6 * 2**20, "−153.2", "−153.9 to −152.6", "MiB"),
        (quantity("depth"), -2.0, -3.0, -1.0, "−2.0", "−3.0 to −1.0", ""),
        (ACCURACY, None, None, None, "–", "–", "pp"),
        (ACCURACY, 0.5, None, math.nan, "+50.0", "–", "pp"),
    ],
)
def test_an_effect_and_its_interval_share_unit_sign_and_precision(of, estimate, low, high, value, interval, unit):
    text = effect_text(estimate, low, high, of)
    assert (text.value, text.interval, text.unit) == (value, interval, unit)


def test_a_value_that_rounds_to_zero_has_no_sign():
    assert number(-0.0004, 2, is_signed=True) == "0.00"
    assert number(0.0004, 2, is_signed=True) == "0.00"


@pytest.mark.parametrize(("value", "text"), [(0.0000001, "< 0.001"), (0.04321, "0.043"), (0.6412, "0.64"), (1.0, "1.00"), (None, "–")])
def test_p_values(value, text):
    assert p_text(value) == text


def test_levels_and_names():
    assert level_text(0.9721, ACCURACY) == "97.2%"
    assert level_text(84.12, LATENCY) == "84.1 ms"
    assert [level_name(level) for level in (0.6, "0.60", 4096, "l1_mask", "none")] == ["0.6", "0.6", "4096", "L1 mask", "none"]
    assert [short_name(name) for name in ("peak_memory_bytes", "latency_ms", "is_oom")] == ["peak memory", "latency", "out of memory"]
    assert words("pc") == "PC"
    assert [bytes_text(value) for value in (96 * 2**20, 4 * 2**30, None)] == ["96 MiB", "4 GiB", "–"]


def test_an_indicator_is_a_chance_and_says_its_threshold():
    of = quantity("slow", {"slow": {"column": "latency_ms", "above": 10, "below": None}})
    assert of.noun == "the chance of slow (latency ms above 10)"
    assert of.short_unit == "pp"


def test_a_logarithm_says_so() -> None:
    assert quantity("log10_error").noun == "the base-10 logarithm of error"
