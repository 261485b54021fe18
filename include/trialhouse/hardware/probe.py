"""What this machine really is: the source's Table I, "HW Configuration", as far as the system tells without root."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import psutil

from trialhouse.attempts import Reading
from trialhouse.settings import usable_cpus


@lru_cache(maxsize=1)
def probe_machine() -> dict[str, Reading]:
    """Metric -> reading; null with the reason where this machine does not tell."""
    return {
        "machine_system": Reading(text=f"{platform.system()} {platform.release()} {platform.machine()}"),
        "machine_python": Reading(text=platform.python_version()),
        "machine_cpu_model": attempt_reading(_cpu_model),
        "machine_cpus": Reading(usable_cpus()),
        "machine_cpu_frequency_mhz": attempt_reading(_frequency),
        "machine_memory_bytes": attempt_reading(lambda: psutil.virtual_memory().total),
        "machine_board": attempt_reading(lambda: _first_line("/sys/class/dmi/id/board_name")),
        "machine_memory_product": Reading(reason="memory modules are only told to root (DMI tables)"),
        "machine_gpu": attempt_reading(_gpu),
    }


def attempt_reading(read: Callable[[], float | str | None]) -> Reading:
    """What `read` returns as a reading; null with the reason where it returns nothing or this system lacks it."""
    try:
        value = read()
    except (AttributeError, NotImplementedError, OSError, RuntimeError, psutil.Error) as error:
        return Reading(reason=f"{type(error).__name__}: {error}".rstrip(": "))
    if value is None:
        return Reading(reason=f"not told on this {platform.system()} machine")
    return Reading(text=value) if isinstance(value, str) else Reading(float(value))


def _cpu_model() -> str | None:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else None


def _frequency() -> float | None:
    frequency = psutil.cpu_freq()
    return frequency.current if frequency else None


def _first_line(path: str) -> str:
    return Path(path).read_text().splitlines()[0]


def _gpu() -> str | None:
    folder = Path("/proc/driver/nvidia/gpus")
    if not folder.is_dir():
        raise OSError("no NVIDIA driver")
    for information in sorted(folder.glob("*/information")):
        for line in information.read_text().splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return None
