"""Hardware classes as their YAML defines them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError

from trialhouse.errors import HardwareError
from trialhouse.identity import NAME_PATTERN, content_id
from trialhouse.settings import Settings, get_settings

SHIPPED = Path(__file__).with_name("classes.yaml")


class HardwareClass(BaseModel):
    """Where a trial is measured: a limit on CPUs, threads and memory, or a machine that has just that."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str = Field(pattern=NAME_PATTERN)
    """Value of the column `hardware_class`."""
    represents: str | None = None
    """The real machine that it stands for, in words."""
    cpus: int = Field(ge=1, le=4096)
    """CPUs that a trial may run on."""
    threads: int = Field(ge=1, le=4096)
    """Threads of PyTorch's operators."""
    memory_bytes: ByteSize | None = Field(None, ge=1 << 20)
    """Memory that a trial may take beyond a warmed-up PyTorch process; in YAML also with a unit (`96 MiB`). None: all there is."""
    is_emulated: bool = True
    """Whether limits on some machine stand for the class (true), or the machine itself is of that class."""
    not_emulated: tuple[str, ...] = ()
    """What the limits cannot give."""

    @property
    def hardware_id(self) -> str:
        """Id of what trials depend on: other limits make other trials, another wording does not."""
        keys = ("name", "cpus", "threads", "memory_bytes", "is_emulated")
        return content_id("hardware", {key: getattr(self, key) for key in keys})


HOST = HardwareClass(
    name="host",
    represents="one thread of the machine that trains",
    cpus=1,
    threads=1,
    not_emulated=("speed: this machine's", "memory: this machine's"),
)
"""Where trials are trained that no limit of a class would change: what they come to does not depend on the machine's size."""


def load_hardware_classes(settings: Settings | None = None) -> dict[str, HardwareClass]:
    """Name -> class, from `TRIALHOUSE_HARDWARE_FILE` or the shipped file.

    `host` is always among them.

    Raises
    ------
    HardwareError
        If the file or a class in it cannot be used.
    """
    path = (settings or get_settings()).hardware_file or SHIPPED
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HardwareError(f"hardware file {path} must be readable", error.strerror, "fix TRIALHOUSE_HARDWARE_FILE") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HardwareError(f"{path.name} must be valid YAML", error, "fix the syntax") from error
    if not isinstance(content, dict) or not content:
        raise HardwareError(f"{path.name} must map names to hardware classes", repr(content)[:80], f"see {SHIPPED}")
    return {HOST.name: HOST, **{str(name): _parse(str(name), fields, path) for name, fields in content.items()}}


def _parse(name: str, fields: Any, path: Path) -> HardwareClass:
    if not isinstance(fields, dict):
        raise HardwareError(f"{path.name}: hardware class {name!r} must be a mapping", repr(fields)[:80], f"see {SHIPPED}")
    try:
        return HardwareClass.model_validate({**fields, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        given = None if first["type"] == "missing" else repr(first["input"])
        raise HardwareError(f"{path.name}: {name}.{field}: {first['msg'][0].lower()}{first['msg'][1:]}", given, f"fix {field}") from error
