"""What the documents promise is there: targets, commands, variables, files, and the error that the README quotes."""

from __future__ import annotations

import copy
import math
import re
import textwrap
from importlib.metadata import entry_points
from typing import Any

import pytest
import yaml

from trialhouse.__main__ import app
from trialhouse.errors import SpecError
from trialhouse.scaling_laws import FORMS
from trialhouse.settings import PROJECT_DIR, Settings
from trialhouse.studies.catalogue import parse_study
from trialhouse.workloads.factors import PRUNING_FACTORS, RECOVERIES, pruning_methods
from trialhouse.workloads.registry import is_learner

PAGES = {
    name: (PROJECT_DIR / name).read_text()
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "include/studies/README.md",
        "include/trialhouse/causal/README.md",
        "include/trialhouse/scaling_laws/README.md",
    )
}
README, CONTRIBUTING, STUDIES, EFFECTS, LAWS = PAGES.values()
ALL = "".join(PAGES.values())


def test_every_make_target_that_is_named_exists_and_is_explained() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (PROJECT_DIR / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", ALL)) <= targets | {"expensive"}
    assert {"study", "test", "up", "docs", "bench", "help"} <= targets


def test_ci_runs_what_contributors_are_told_to_run() -> None:
    script = (PROJECT_DIR / ".ci" / "run").read_text()
    assert all(f"make {name} " in CONTRIBUTING for name in ("test", "lint", "types"))
    assert re.search(r"^make lint types test$", script, flags=re.MULTILINE)


def test_every_command_that_is_named_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    named = set(re.findall(r"(?:^|`|bin/)trialhouse ([a-z]+)\b", ALL, flags=re.MULTILINE))
    assert named
    assert named <= known


def test_every_setting_is_documented() -> None:
    documented = set(re.findall(r"`TRIALHOUSE_([A-Z_]+)`", README))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_linked_files_are_there() -> None:
    links = [(page, link) for page, text in PAGES.items() for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert {page for page, _ in links} >= {"README.md", "include/trialhouse/causal/README.md"}
    assert [(page, link) for page, link in links if not _leads_somewhere(page, link)] == []


def _leads_somewhere(page: str, link: str) -> bool:
    """Whether the file is there, and the heading in it if one is named (GitHub's anchors: lower case, no punctuation, hyphens)."""
    file, _, anchor = link.partition("#")
    target = (PROJECT_DIR / page).parent / file
    if not anchor or not target.is_file():
        return target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE)
    return anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_quoted_mistake_reads_as_quoted() -> None:
    content = copy.deepcopy(yaml.safe_load((PROJECT_DIR / "include/studies/pruning_digits.yaml").read_text()))
    content["factors"][1]["levels"] = [0, 1.3]
    with pytest.raises(SpecError) as error:
        parse_study(content, "pruning_digits.yaml")
    assert f"trialhouse: {error.value}" in README


def test_every_pruning_factor_and_its_levels_are_documented() -> None:
    rows = {row.split("`")[1]: set(re.findall(r"`([a-z0-9_]+)`", row)) for row in re.findall(r"^\| `.*$", STUDIES, flags=re.MULTILINE)}
    assert set(PRUNING_FACTORS) <= set(rows)
    assert rows["pruning_method"] == {"pruning_method", *pruning_methods()} - {"none"}
    assert rows["recovery"] == {"recovery", *RECOVERIES}


def test_the_learner_that_contributors_are_shown_learns() -> None:
    code = re.search(r"^  ```python\n(.*?)^  ```", CONTRIBUTING, flags=re.MULTILINE | re.DOTALL)
    assert code is not None
    namespace: dict[str, Any] = {"__name__": "softmax"}
    exec(textwrap.dedent(code[1]), namespace)
    lesson = namespace["Softmax"]({"steps": 100}).learn({"seed": 0}, lambda *_: None, math.inf)
    assert lesson.outcomes["error"] < 0.3  # guessing: 0.9
    assert lesson.outcomes["parameters"] == 64 * 32 + 32 + 32 * 10 + 10


def test_every_shipped_learner_and_study_is_documented() -> None:
    learners = {entry.name for entry in entry_points(group="trialhouse.workloads") if is_learner(entry.name)}
    assert [name for name in sorted(learners) if f"| `{name}` |" not in STUDIES] == []
    studies = {path.stem for path in (PROJECT_DIR / "include" / "studies").glob("*.yaml")}
    assert [name for name in sorted(studies) if name not in README] == []


def test_every_form_of_a_law_is_documented() -> None:
    assert [name for name in FORMS if f"`{name}`" not in LAWS] == []
