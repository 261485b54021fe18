"""The machine's own description: what it tells, and reasons for what it does not."""

from __future__ import annotations

import psutil
import pytest

from trialhouse.attempts import Reading
from trialhouse.hardware.probe import attempt_reading, probe_machine


def test_every_field_is_a_value_or_a_reason() -> None:
    readings = probe_machine()
    assert {"machine_cpu_model", "machine_cpu_frequency_mhz", "machine_board", "machine_memory_product", "machine_gpu"} <= set(readings)
    assert {"machine_cpu_governor", "machine_cpu_frequency_max_mhz", "machine_caches", "machine_swap_bytes"} <= set(readings)
    for name, reading in readings.items():
        assert (reading.reason is None) == (reading.value is not None or reading.text is not None), name
    assert readings["machine_memory_bytes"].value == psutil.virtual_memory().total


def raising(error: Exception) -> Reading:
    def read() -> float:
        raise error

    return attempt_reading(read)


@pytest.mark.parametrize("error", [FileNotFoundError("no such"), AttributeError("no such"), NotImplementedError(), psutil.AccessDenied()])
def test_what_a_system_lacks_is_null_with_a_reason(error: Exception) -> None:
    reading = raising(error)
    assert reading.value is None
    assert reading.reason is not None
    assert reading.reason.startswith(type(error).__name__)


def test_nothing_is_null_with_a_reason_and_a_bug_is_a_bug() -> None:
    assert attempt_reading(lambda: None).reason is not None
    assert attempt_reading(lambda: 3) == Reading(3.0)
    assert attempt_reading(lambda: "x86") == Reading(text="x86")
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())
