"""Changes for one run: typed, part of the hash, and never a question about levels that are gone."""

from __future__ import annotations

from typing import Any

import pytest

from trialhouse.errors import TrialhouseError
from trialhouse.registration import plan
from trialhouse.settings import Settings
from trialhouse.studies.catalogue import load_study, parse_study
from trialhouse.studies.estimands import Contrast
from trialhouse.studies.spec import Study


@pytest.fixture
def study(home: Settings) -> Study:
    return load_study("scaling_lenet", home)


def contrasts(study: Study) -> dict[str, Contrast]:
    return {estimand.name: estimand.contrast for estimand in study.estimands}


def test_a_factor_takes_levels_and_its_contrasts_keep_naming_its_ends(study: Study) -> None:
    other = study.with_overrides(changes=["n_train=2000,5000,8000", "learning_rate=1e-2,.001"])
    assert other.factor("n_train").levels == (2000, 5000, 8000)
    assert other.factor("learning_rate").levels == (0.01, 0.001)
    assert contrasts(other)["data_on_error"] == Contrast(**{"from": 2000, "to": 8000})
    assert contrasts(other)["learning_rate_on_error"] == Contrast(**{"from": 0.001, "to": 0.01})
    assert contrasts(other)["width_on_error"] == contrasts(study)["width_on_error"]
    assert other.spec_id != study.spec_id
    assert study.with_overrides(changes=[]).spec_id == study.spec_id


def test_a_level_that_is_still_there_stays_in_its_contrast(study: Study) -> None:
    assert contrasts(study.with_overrides(changes=["width=8,32,64"]))["width_on_error"] == Contrast(**{"from": 8, "to": 32})
    assert contrasts(study.with_overrides(changes=["width=8,64"]))["width_on_error"] == Contrast(**{"from": 8, "to": 64})
    assert contrasts(study.with_overrides(changes=["width=4,8"]))["width_on_error"] == Contrast(**{"from": 4, "to": 8})


def test_a_question_about_a_factor_with_one_level_left_is_not_asked(study: Study) -> None:
    other = study.with_overrides(changes=["epochs=3"])
    assert set(contrasts(study)) - set(contrasts(other)) == {"epochs_on_error"}
    assert contrasts(other).items() <= contrasts(study).items()


def test_settings_and_fields_are_typed_as_in_yaml(study: Study) -> None:
    changes = ["dataset=fashion_mnist", "clip=1e0", "design.seed=3", "trial_timeout_s=7", "estimands.width_on_error.contrast.to=16"]
    other = study.with_overrides(changes=changes)
    assert other.workload.settings == {**study.workload.settings, "dataset": "fashion_mnist", "clip": 1.0}
    assert (other.design.seed, other.trial_timeout_s) == (3, 7.0)
    assert contrasts(other)["width_on_error"].to == 16


def test_fields_that_a_form_left_alone_do_not_undo_a_change(study: Study) -> None:
    form: dict[str, Any] = {"hardware_classes": ["host"], "blocks": 6, "replicates": 1}
    changes = ["seed=0,1,2,3,4,5,6,7", "design.replicates=2"]
    assert study.with_overrides(**form, changes=changes).content == study.with_overrides(changes=changes).content
    assert len((study.with_overrides(**{**form, "blocks": 2}, changes=changes).block_factor or study.factors[0]).levels) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("n_train", "a change must be NAME=VALUE or NAME=VALUE,VALUE, got 'n_train'"),
        ("=3", "a change must be NAME=VALUE"),
        ("n_train=[1", "a change must be NAME=VALUE"),
        ("name=mine", "name cannot be changed for one run"),
        ("workload.name=small_cnn", "workload.name cannot be changed for one run"),
        ("colour=red", "colour"),
        ("n_train=many", "levels of a ordinal factor must be numbers, got 'many'"),
        ("n_train=200,200", "levels must be distinct"),
        ("n_train=200,5000", "n_train must be at most the 1,123 training examples that there are"),
        ("design.speed=3", "design.speed must be a known field"),
        ("factors.height.levels=3", "must have a part 'height': one of ['epochs', "),
        ("gates.x.y=3", "gates must have a part 'x': one of ['drift_alpha', "),
    ],
)
def test_what_cannot_be_changed_is_one_line(study: Study, home: Settings, change: str, message: str) -> None:
    with pytest.raises(TrialhouseError) as error:
        plan(study.with_overrides(changes=[change]), home)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_effect_per_doubling_stays_one_while_there_are_two_levels(study: Study) -> None:
    content = study.content
    asked = next(item for item in content["estimands"] if item["name"] == "width_on_error")
    asked |= {"contrast": None, "per": "doubling", "dose_response": False}
    doubling = parse_study(content, "test")
    names = [item.name for item in doubling.with_overrides(changes=["width=4,8"]).estimands]
    assert "width_on_error" in names
    assert "width_on_error" not in [item.name for item in doubling.with_overrides(changes=["width=4"]).estimands]


def test_a_contrast_between_levels_in_the_middle_is_refused_with_its_remedy(study: Study) -> None:
    middle = study.with_overrides(changes=["estimands.width_on_error.contrast.to=16"])
    with pytest.raises(TrialhouseError, match=r"got 16; add --set estimands\.width_on_error\.contrast\.to=LEVEL before it"):
        middle.with_overrides(changes=["width=4,8,32"])
    moved = middle.with_overrides(changes=["estimands.width_on_error.contrast.to=32", "width=4,8,32"])
    assert contrasts(moved)["width_on_error"] == Contrast(**{"from": 8, "to": 32})
