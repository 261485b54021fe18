"""The study spec: what is wrong is said in one line before anything runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trialhouse.errors import SpecError
from trialhouse.settings import PROJECT_DIR, Settings, get_settings
from trialhouse.studies.catalogue import load_study, parse_study, study_files
from trialhouse.studies.spec import Estimand, Study

SHIPPED = PROJECT_DIR / "include" / "studies"
Content = dict[str, Any]


@pytest.fixture
def content() -> Content:
    return copy.deepcopy(yaml.safe_load((SHIPPED / "pruning_digits.yaml").read_text()))


def per(content: Content, amount: Any, **changes: Any) -> None:
    """An effect per so much in place of the first estimand's contrast."""
    content["estimands"][0].update({"contrast": None, "per": amount, "dose_response": False, **changes})


def not_comparable(content: Content) -> None:
    """Of the masked trials some would be unpruned ones, to which no other method has a counterpart."""
    content["design"].pop("sentinels")
    content["factors"][2]["otherwise"] = "l1_mask"
    content["estimands"][0].update(treatment="pruning_method", contrast={"from": "l1_mask", "to": "l1_structured"}, dose_response=False)


def test_a_study_that_asks_for_no_amount_keeps_its_hash(content: Content) -> None:
    study = parse_study(content, "x.yaml")
    assert not any("per" in estimand for estimand in study.content["estimands"])
    per(content, 0.3)
    asked = parse_study(content, "x.yaml")
    assert asked.content["estimands"][0]["per"] == 0.3
    assert asked.estimands[0].compared == (0, 1)
    assert parse_study(asked.content, "x.yaml") == asked


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies_are_valid(path: Path) -> None:
    assert load_study(path).name == path.stem


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(colour="red"), "x.yaml: colour must be a known field, got an unknown key; remove or rename it"),
        (
            lambda c: c["factors"][1].update(levels=[0, 1.3]),
            "x.yaml: pruning_ratio must be in [0, 1), got 1.3; fix factor 'pruning_ratio'",
        ),
        (lambda c: c["estimands"][0].update(treatment="depth"), "got 'depth'; fix estimand 'pruning_on_accuracy'"),
        (lambda c: c["estimands"][0]["contrast"].update(to=0.5), "contrast must name assigned levels [0, 0.3, 0.6, 0.9], got 0.5"),
        (lambda c: c["estimands"][0].update(by="batch"), "by must be one of"),
        (lambda c: c["estimands"][0].pop("contrast"), "exactly one of contrast and per must be given, got neither; fix estimand"),
        (lambda c: c["estimands"][0].update(per="doubling"), "exactly one of contrast and per must be given, got both; fix estimand"),
        (lambda c: per(c, "doubling", dose_response=True), "an effect per doubling takes neither dose_response nor over_training"),
        (lambda c: per(c, "doubling"), "must be positive for effects per doubling, got pruning_ratio 0; fix estimand"),
        (lambda c: per(c, 1, treatment="pruning_method"), "an effect per 1.0 needs a factor of numbers, got 'pruning_method'"),
        (lambda c: per(c, 0), "x.yaml: estimands.0.per"),
        (lambda c: c["workload"].update(name="quantum"), "workload must be one of ['"),
        (lambda c: c["design"].update(kind="latin_hypercube"), "a latin_hypercube design needs points, got None"),
        (lambda c: c["design"].update(points=9), "a randomised_blocks design does not take points, got 9"),
        (lambda c: c.pop("question"), "x.yaml: question must be given, got nothing; add it"),
        (lambda c: c["design"].update(seed="x"), "x.yaml: design.seed: "),
        (lambda c: c.update(name="../up"), "x.yaml: name: "),
        (lambda c: c.update(graph="../../etc/passwd"), "x.yaml: graph: "),
        (lambda c: c["factors"].append(dict(c["factors"][0])), "names must be unique, got 'seed' twice"),
        (lambda c: c["factors"][0].update(assignment="crossed"), "randomised_blocks needs a blocked factor"),
        (lambda c: c["indicators"][0].update(below=0.1), "exactly one of above and below"),
        (lambda c: c["factors"][2]["applies_when"].update(below=0.9), "exactly one of above and below must be set; fix applies_when"),
        (lambda c: c["factors"][2]["applies_when"].pop("above"), "exactly one of above and below must be set; fix applies_when"),
        (
            not_comparable,
            "must not name a level that also stands for 'does not apply', got 'l1_mask': its trials are not comparable; set no",
        ),
        (lambda c: c["factors"][2].pop("otherwise"), "applies_when and otherwise go together"),
        (lambda c: c["factors"][3].update(balanced_within=["seed"]), "must refer to a crossed factor, got 'seed'; fix factor 'batch_size'"),
        (lambda c: c["factors"][3].update(constant_over=["seed"]), "must refer to a crossed factor, got 'seed'; fix factor 'batch_size'"),
        (
            lambda c: c["factors"][1].update(constant_over=["batch_size"]),
            "constant_over is for randomised factors, got assignment 'crossed'",
        ),
        (
            lambda c: c["factors"][3].update(constant_over=["pruning_ratio"]),
            "a factor is constant_over another or balanced_within it, got 'pruning_ratio' in both; fix factor 'batch_size'",
        ),
        (lambda c: c["factors"][0].update(assignment="fixed"), "a fixed factor has one level, got 6"),
        (
            lambda c: c["factors"][4].update(levels=["a", "b", "c"]),
            "a placebo factor has two levels and always applies, got ['a', 'b', 'c']",
        ),
        (lambda c: c["factors"][2].update(assignment="placebo"), "a placebo factor has two levels and always applies"),
        (lambda c: c["factors"].append({**c["factors"][4], "name": "again"}), "at most one factor can be a placebo"),
        (lambda c: c["estimands"][0].update(treatment="placebo"), "treatment must be one of the factors and indicators"),
        (lambda c: c["design"]["sentinels"].update(every=0), "x.yaml: design.sentinels.every: "),
        (lambda c: c["design"]["sentinels"]["factors"].pop("seed"), "sentinels must set every factor, got no level of 'seed'"),
        (lambda c: c["design"]["sentinels"]["factors"].update(placebo="a"), "sentinels must set factors of the design, got 'placebo'"),
        (
            lambda c: c["design"]["sentinels"]["factors"].update(batch_size=65),
            "sentinels must have assigned levels [64, 512, 4096], got 65",
        ),
        (lambda c: c["factors"][0].update(name="status"), "must not be a key column of every trial, got 'status'"),
        (lambda c: c["factors"][0].update(name="hardware_class"), "hardware classes go into hardware_classes"),
    ],
)
def test_a_fault_is_one_line_with_its_remedy(content: Content, change: Callable[[Content], object], expected: str) -> None:
    change(content)
    with pytest.raises(SpecError) as error:
        parse_study(content, source="x.yaml")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_studies_are_frozen_and_their_hash_is_their_content(content: Content) -> None:
    study = parse_study(content, "x.yaml")
    with pytest.raises(ValueError, match="frozen"):
        study.title = "other"  # type: ignore[misc]
    assert parse_study(copy.deepcopy(content), "x.yaml").spec_id == study.spec_id
    content["design"]["seed"] += 1
    assert parse_study(content, "x.yaml").spec_id != study.spec_id


def test_a_broken_user_study_harms_no_other(home: Settings, content: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home.home / "mine"
    folder.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump({**content, "name": "mine"}))
    (folder / "broken.yaml").write_text("name: [")
    monkeypatch.setenv("TRIALHOUSE_STUDIES_DIR", str(folder))
    get_settings.cache_clear()
    assert {"mine", "broken", "pruning_digits"} <= set(study_files())
    assert load_study("mine").name == "mine"
    with pytest.raises(SpecError, match=r"broken\.yaml must be valid YAML") as error:
        load_study("broken")
    assert "\n" not in str(error.value)


def test_an_unknown_study_names_the_known_ones(home: Settings) -> None:
    with pytest.raises(SpecError, match=r"study must be one of \[.*'pruning_digits'.*\], got 'prunning'"):
        load_study("prunning")


def test_the_form_can_shrink_a_study_but_not_break_it(content: Content) -> None:
    study = parse_study(content, "x.yaml")
    smaller = study.with_overrides(blocks=2, hardware_classes=["laptop"])
    assert smaller.factor("seed").levels == (0, 1)
    assert smaller.hardware_classes == ("laptop",)
    assert study.with_overrides().spec_id == study.spec_id
    with pytest.raises(SpecError, match=r"blocks must be in \[1, 6\], got 7"):
        study.with_overrides(blocks=7)
    with pytest.raises(SpecError, match="hardware_classes must be among"):
        study.with_overrides(hardware_classes=["mainframe"])


def test_every_field_is_documented_in_the_schema() -> None:
    schema = Study.model_json_schema(by_alias=True)
    for name, part in {"Study": schema, **schema["$defs"]}.items():
        for field, definition in part.get("properties", {}).items():
            assert definition.get("description"), f"{name}.{field} has no description"
    assert "from" in schema["$defs"]["Contrast"]["properties"]
    assert Estimand.model_fields["adjustment"].default == "auto"
