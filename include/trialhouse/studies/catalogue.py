"""Finding and reading study files: shipped ones and those in `TRIALHOUSE_STUDIES_DIR`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trialhouse.errors import SpecError
from trialhouse.identity import NAME_PATTERN
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.spec import Study, one_line


def study_files(settings: Settings | None = None) -> dict[str, Path]:
    """Name -> YAML file of every study, shipped ones first; a user's file of the same name takes its place."""
    settings = settings or get_settings()
    folders = [settings.shipped_studies_dir, *([settings.studies_dir] if settings.studies_dir else [])]
    return {
        path.stem: path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.glob("*.yaml"))
        if not path.stem.startswith(("_", "."))
    }


def load_study(name_or_path: str | Path, settings: Settings | None = None) -> Study:
    """Read and check one study.

    Parameters
    ----------
    name_or_path
        A study's name, or the path of a YAML file.

    Raises
    ------
    SpecError
        One line that says what is wrong, where, and what to do.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        return read_study(Path(text))
    files = study_files(settings)
    if text not in files:
        raise SpecError(f"study must be one of {sorted(files)}", repr(text), "see `trialhouse studies`")
    return read_study(files[text])


def read_study(path: Path) -> Study:
    """The study in a YAML file; see `load_study`."""
    if not re.match(NAME_PATTERN, path.stem):
        raise SpecError("a study file's name must be lower-case letters, digits and underscores", repr(path.name), "rename it")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"study file {path} must be readable", error.strerror, "check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path.name} must be valid YAML", error, "fix the syntax") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path.name} must hold a mapping of study fields", type(content).__name__, "see `trialhouse studies --schema`")
    study = parse_study(content, source=path.name)
    if study.name != path.stem:
        raise SpecError(f"{path.name}: name must be the file's name {path.stem!r}", repr(study.name), "rename one of them")
    return study


def parse_study(content: dict[str, Any], source: str) -> Study:
    """The study in a mapping; the first of its faults becomes one line that names `source`."""
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise one_line(error, source) from error


def graph_file(study: Study, settings: Settings | None = None, graph: str | None = None) -> Path:
    """Path of the study's causal graph (or of an estimand's own), beside the study's YAML.

    Raises
    ------
    SpecError
        If the file is not there.
    """
    files = study_files(settings)
    folder = files[study.name].parent if study.name in files else (settings or get_settings()).shipped_studies_dir
    name = graph or study.graph
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise SpecError(f"graph of study {study.name!r} must be a file in {folder}", repr(name), "add the file or fix 'graph'")
    return path
