"""The house's rules: imports point one way, the domain knows no orchestrator, one file reads the environment."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from trialhouse.settings import PROJECT_DIR

DOMAIN = PROJECT_DIR / "include" / "trialhouse"
# A room may import itself and rooms of earlier floors.
FLOORS = [
    {"errors", "identity", "raw_tables", "sealing"},
    {"tables"},
    {"settings"},
    {"studies"},
    {"landing"},
    {"attempts"},
    {"records"},
    {"hardware"},
    {"learning"},
    {"capabilities"},
    {"workloads"},
    {"causal", "configurations", "interventions"},
    {"scaling_laws"},
    {"registration"},
    {"profiling"},
    {"pruning"},
    {"training"},
    {"warehouse"},
    {"laws"},
    {"forecasting"},
    {"estimation", "explanation", "power", "preview"},
    {"auditing"},
    {"reporting"},
    {"orchestration"},
    {"__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# The causal engine works on any data frame: it sees studies and no warehouse.
CAUSAL_MAY_SEE = {"errors", "identity", "studies", "causal"}
# So do scaling laws, which take errors of coefficients from there.
LAWS_MAY_SEE = {"errors", "identity", "studies", "causal", "scaling_laws"}
PYTHON = [*DOMAIN.rglob("*.py"), *(PROJECT_DIR / "operators").glob("*.py"), *(PROJECT_DIR / "dags").glob("*.py")]


def room(path: Path) -> str:
    return path.relative_to(DOMAIN).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", sorted(DOMAIN.rglob("*.py")), ids=lambda path: str(path.relative_to(DOMAIN)))
def test_imports_point_one_way(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    others = {name.split(".")[1] for name in imports(path) if name.startswith("trialhouse.")}
    for other in others:
        assert FLOOR[other] < FLOOR[here] or other == here, f"{here} imports {other}"
    if here == "causal":
        assert others <= CAUSAL_MAY_SEE
    if here == "scaling_laws":
        assert others <= LAWS_MAY_SEE


@pytest.mark.parametrize("path", sorted(DOMAIN.rglob("*.py")), ids=lambda path: str(path.relative_to(DOMAIN)))
def test_the_domain_knows_no_orchestrator(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & {"airflow", "dbt", "great_expectations", "operators", "dags"}


@pytest.mark.parametrize("path", sorted(PYTHON), ids=lambda path: str(path.relative_to(PROJECT_DIR)))
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path.name != "settings.py":
        text = path.read_text()
        assert "os.environ" not in text
        assert "getenv" not in text


@pytest.mark.parametrize("path", sorted((PROJECT_DIR / "operators").glob("*.py")), ids=lambda path: path.name)
def test_operators_import_the_domain_inside_execute(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    assert roots <= {"__future__", "abc", "airflow", "collections", "operators", "typing", "dataclasses", "json", "pathlib", "datetime"}


@pytest.mark.parametrize("path", sorted((PROJECT_DIR / "dags").glob("*.py")), ids=lambda path: path.name)
def test_dags_only_wire(path: Path) -> None:
    allowed = (
        "__future__",
        "datetime",
        "airflow",
        "operators",
        "trialhouse.errors",
        "trialhouse.settings",
        "trialhouse.studies",
        "trialhouse.workloads.registry",
    )
    assert all(name.startswith(allowed) for name in imports(path))
    assert "SELECT" not in path.read_text()


def test_every_room_has_a_floor() -> None:
    rooms = {room(path) for path in DOMAIN.rglob("*.py")} - {"__init__"}
    assert rooms == set(FLOOR) & rooms
