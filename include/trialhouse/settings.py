"""Where things are on this machine. The only reader of the environment; every variable starts with `TRIALHOUSE_`."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from trialhouse.errors import SettingsError

PROJECT_DIR = Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    """Paths and local resources. Every field can be set as `TRIALHOUSE_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="TRIALHOUSE_", frozen=True, extra="ignore")

    home: Path = Field(PROJECT_DIR / "var", description="Everything that Trialhouse writes.")
    studies_dir: Path | None = Field(None, description="A folder of study YAMLs beside the shipped ones.")
    data_dir: Path | None = Field(
        None, description="A torchvision-style data root (for example <root>/MNIST/raw). Default: data inside the installed packages."
    )
    hardware_file: Path | None = Field(None, description="A YAML of hardware classes in place of the shipped one.")
    airflow_port: int = Field(8080, ge=1, le=65535, description="Port of the Airflow UI, on loopback.")
    workers: int = Field(0, ge=0, description="Trial processes at once; 0 means one per usable CPU.")
    train_together: Literal["auto", "always", "never"] = Field(
        "auto", description="Whether small networks of one shape train at once; auto: where there is a GPU, which is where that is faster."
    )

    @property
    def trial_workers(self) -> int:
        """Trial processes at once on this machine."""
        return self.workers or usable_cpus()

    @property
    def landing_dir(self) -> Path:
        return self.home / "landing"

    @property
    def weights_dir(self) -> Path:
        """Trained weights, cached by content: `<weights_id>.safetensors`."""
        return self.home / "weights"

    @property
    def warehouse_dir(self) -> Path:
        return self.home / "warehouse"

    @property
    def writer_database(self) -> Path:
        """The database that the loader and dbt write. One process at a time; readers use `warehouse` instead."""
        return self.warehouse_dir / "writer.duckdb"

    @property
    def warehouse(self) -> Path:
        """The published copy, replaced as a whole: what people query."""
        return self.warehouse_dir / "trialhouse.duckdb"

    @property
    def reports_dir(self) -> Path:
        return self.home / "reports"

    @property
    def docs_dir(self) -> Path:
        return self.home / "docs"

    @property
    def bench_dir(self) -> Path:
        return self.home / "bench"

    @property
    def airflow_home(self) -> Path:
        return self.home / "airflow"

    @property
    def shipped_studies_dir(self) -> Path:
        return PROJECT_DIR / "include" / "studies"

    @property
    def dbt_project_dir(self) -> Path:
        return PROJECT_DIR / "dbt_project"

    @property
    def expectations_dir(self) -> Path:
        return PROJECT_DIR / "expectations"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises
    ------
    SettingsError
        If a variable has a value that cannot be used.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"TRIALHOUSE_{'_'.join(str(part) for part in first['loc']).upper()}"
        raise SettingsError(f"{name}: {first['msg']}", repr(first["input"]), "correct or unset the variable") from error
    settings = settings.model_copy(update={name: value.expanduser().absolute() for name, value in settings if isinstance(value, Path)})
    if settings.studies_dir is not None and not settings.studies_dir.is_dir():
        raise SettingsError("TRIALHOUSE_STUDIES_DIR must be a folder", settings.studies_dir, "correct or unset the variable")
    return settings


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def inherited_environment() -> dict[str, str]:
    """A copy of this process's environment, for the processes that it starts."""
    return dict(os.environ)
