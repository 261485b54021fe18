"""What this machine really is: the source's Table I, "HW Configuration", as far as the system tells without root."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import psutil

from trialhouse.attempts import Reading
from trialhouse.hardware.dmi import memory_modules
from trialhouse.settings import usable_cpus

CPU = Path("/sys/devices/system/cpu/cpu0")
DMI = Path("/sys/class/dmi/id")


@lru_cache(maxsize=1)
def probe_machine() -> dict[str, Reading]:
    """Metric -> reading; null with the reason where this machine does not tell."""
    return {
        "machine_system": Reading(text=f"{platform.system()} {platform.release()} {platform.machine()}"),
        "machine_python": Reading(text=platform.python_version()),
        "machine_cpu_model": attempt_reading(_cpu_model),
        "machine_cpus": Reading(usable_cpus()),
        "machine_cpu_frequency_mhz": attempt_reading(current_frequency),
        "machine_cpu_frequency_min_mhz": attempt_reading(lambda: _frequency_limit("min")),
        "machine_cpu_frequency_max_mhz": attempt_reading(lambda: _frequency_limit("max")),
        "machine_cpu_governor": attempt_reading(lambda: _first_line(CPU / "cpufreq/scaling_governor")),
        "machine_caches": attempt_reading(_caches),
        "machine_memory_bytes": attempt_reading(lambda: psutil.virtual_memory().total),
        "machine_swap_bytes": attempt_reading(lambda: psutil.swap_memory().total),
        "machine_board": attempt_reading(lambda: _dmi("board_vendor", "board_name")),
        "machine_product": attempt_reading(lambda: _dmi("sys_vendor", "product_name")),
        "machine_firmware": attempt_reading(lambda: _dmi("bios_vendor", "bios_version")),
        "machine_memory_product": attempt_reading(memory_modules),
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


def current_frequency() -> float | None:
    """Mean frequency of the CPUs now, in MHz; None where this system does not tell."""
    frequency = psutil.cpu_freq()
    return frequency.current if frequency else None


def _frequency_limit(which: str) -> float:
    """In MHz; the file has kHz. psutil says 0 where there is none, which is no frequency."""
    return float(_first_line(CPU / f"cpufreq/cpuinfo_{which}_freq")) / 1e3


def _caches() -> str | None:
    """Of the first CPU: `L1 Data 32K, L1 Instruction 32K, L2 Unified 1024K`."""
    found = [
        f"L{_first_line(index / 'level')} {_first_line(index / 'type')} {_first_line(index / 'size')}"
        for index in sorted((CPU / "cache").glob("index*"))
    ]
    return ", ".join(found) or None


def _dmi(*names: str) -> str:
    return " ".join(_first_line(DMI / name) for name in names)


def _first_line(path: Path) -> str:
    return path.read_text().splitlines()[0].strip()


def _gpu() -> str | None:
    folder = Path("/proc/driver/nvidia/gpus")
    if not folder.is_dir():
        raise OSError("no NVIDIA driver")
    for information in sorted(folder.glob("*/information")):
        for line in information.read_text().splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return None
