"""The data gates: a good study passes, each gate fails on a planted violation, and what was found lands in both cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pytest
import yaml

from operators.gates import Validation, validate_study, validate_table
from tests.trialhouse.warehouse.samples import build, land_study
from trialhouse.registration import Registration
from trialhouse.settings import PROJECT_DIR, Settings
from trialhouse.warehouse import validation as module
from trialhouse.warehouse.validation import KEYS, StudyData, study_data

SUITES = {table: json.loads((PROJECT_DIR / "expectations" / f"{table}.json").read_text()) for table in KEYS}
Plant = Callable[[pd.DataFrame], pd.DataFrame]


class House(NamedTuple):
    settings: Settings
    good: Registration
    bad: Registration
    lost: list[str]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A published warehouse with a good study and one whose strongly pruned trials crash and whose latencies went wrong."""
    folder = tmp_path_factory.mktemp("gates")
    spec = yaml.safe_load((PROJECT_DIR / "include" / "studies" / "pruning_digits.yaml").read_text())
    spec |= {"name": "pruning_narrow", "workload": {"name": "small_cnn", "settings": {"dataset": "digits", "width": 40}}}
    (folder / "studies").mkdir()
    (folder / "studies" / "pruning_narrow.yaml").write_text(yaml.safe_dump(spec))
    (folder / "studies" / spec["graph"]).write_text((PROJECT_DIR / "include" / "studies" / spec["graph"]).read_text())
    settings = Settings(home=folder, studies_dir=folder / "studies")
    good = land_study(settings, overrides={"blocks": 2})
    lost = [trial.trial_id for trial in planned(settings).trials if trial.factors["pruning_ratio"] == 0.9][:12]
    statuses = {trial_id: "crashed" if place else None for place, trial_id in enumerate(lost)}
    bad = land_study(settings, "pruning_narrow", overrides={"blocks": 2}, statuses=statuses, change=negative_latency)
    build(settings)
    return House(settings, good, bad, lost)


def planned(settings: Settings) -> Registration:
    from trialhouse.registration import plan
    from trialhouse.studies.catalogue import load_study

    return plan(load_study("pruning_narrow", settings).with_overrides(blocks=2), settings)


def negative_latency(table: str, row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "value": -1.0} if table == "samples" and row["unit_id"].endswith("0") else row


@pytest.fixture(scope="module")
def data(house: House) -> StudyData:
    return study_data(house.good.study_id, house.settings)


def test_a_good_study_passes_every_expectation(house: House, data: StudyData) -> None:
    for table, suite in SUITES.items():
        rows = validate_table(table, suite, data)
        assert [row["is_success"] for row in rows] == [True] * len(suite["expectations"])
        assert not any("{" in row["sentence"] for row in rows)


def test_nobody_promised_that_the_arms_of_an_observational_study_are_alike(data: StudyData) -> None:
    suite = SUITES["fct_design_checks"]
    of_assignment = {item["meta"]["sentence"] for item in suite["expectations"] if item["meta"].get("is_of_assignment")}
    assert len(of_assignment) == 1
    checks = data.frames["fct_design_checks"].assign(unexplained_imbalance=9.0, balance=9.0)
    unlike = replace(data, frames={**data.frames, "fct_design_checks": checks})
    assigned = validate_table("fct_design_checks", suite, unlike)
    observed = validate_table("fct_design_checks", suite, replace(unlike, is_assigned=False))
    assert sum(not row["is_success"] and row["severity"] == "critical" for row in assigned) == 1
    assert len(observed) == len(assigned) - 1
    assert {row["severity"] for row in observed if not row["is_success"]} == {"warning"}, "the imbalance is told all the same"


def test_results_land_once_whether_good_or_bad(house: House) -> None:
    good, bad = (validate_study(study.study_id, house.settings) for study in (house.good, house.bad))
    assert good.is_success
    assert not bad.is_success
    assert validate_study(house.good.study_id, house.settings).validation_id == good.validation_id
    build(house.settings, "tag:results")
    with duckdb.connect(str(house.settings.warehouse), read_only=True) as connection:
        rows = connection.execute(
            "SELECT study_name, count(*), bool_and(is_success), bool_and(is_current) FROM marts.fct_validations GROUP BY 1"
        )
        assert sorted(rows.fetchall()) == [
            ("pruning_digits", good.expectations, True, True),
            ("pruning_narrow", bad.expectations, False, True),
        ]
        failed = connection.execute(
            "SELECT expectation, failing_rows FROM marts.fct_validations WHERE study_name = 'pruning_narrow' AND column_name = 'latency_ms'"
        ).fetchall()
    negative = {trial.trial_id for trial in house.bad.trials if trial.trial_id.endswith("0")} - set(house.lost)
    assert negative
    assert set(json.loads(failed[0][1])) == negative


def test_a_bad_study_is_told_in_sentences_that_name_the_rows(house: House) -> None:
    bad = validate_study(house.bad.study_id, house.settings)
    text = "\n".join(bad.failed["critical"])
    assert "Trials were lost at random" in text
    assert "crashed, timed out or diverged" in text
    assert "sample_ratio|pruning_ratio=*" in text
    assert all(len(line) < 400 for line in bad.failed["critical"])
    warnings = "\n".join(bad.failed["warning"])
    assert house.lost[0] in warnings  # the one that was not attempted


def test_the_same_results_on_other_data_are_news(data: StudyData, house: House) -> None:
    rows = [row for table, suite in SUITES.items() for row in validate_table(table, suite, data)]
    first = module.land_validation(data, rows, house.settings)
    trials = data.frames["fct_trials"].assign(latency_ms=lambda frame: frame["latency_ms"] * 1.01)
    second = module.land_validation(replace(data, frames={**data.frames, "fct_trials": trials}), rows, house.settings)
    assert first != second


def change(column: str, value: Any, rows: int = 1) -> Plant:
    def plant(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        frame[column] = frame[column].astype(object)
        frame.iloc[:rows, frame.columns.get_loc(column)] = value
        return frame.infer_objects()

    return plant


def check(name: str, value: float, column: str | None = None) -> Plant:
    """Set the first row of a check."""

    def plant(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        frame.loc[frame[frame["check_name"] == name].index[0], column or name] = value
        return frame

    return plant


def without(names: list[str]) -> Plant:
    return lambda frame: frame[~frame["check_name"].isin(names)]


# table, what is planted, the severity of the expectation that must fail, words of its sentence
VIOLATIONS: dict[str, tuple[str, Plant, str, str]] = {
    "a trial is missing": ("fct_trials", lambda frame: frame.iloc[1:], "critical", "that the design assigned has one row"),
    "no trial at all": ("fct_trials", lambda frame: frame.iloc[:0], "critical", "that the design assigned has one row"),
    "a trial twice": ("fct_trials", lambda frame: pd.concat([frame, frame.iloc[:1]]), "critical", "counted twice"),
    "a new status": ("fct_trials", change("status", "bored"), "critical", "a status that we know"),
    "a pending trial": ("fct_trials", change("status", "pending"), "warning", "was attempted"),
    "a crash": ("fct_trials", change("status", "crashed"), "warning", "No trial crashed"),
    "an outcome is missing": ("fct_trials", change("missing_outcomes", "accuracy"), "critical", "all outcomes that the estimands ask for"),
    "accuracy above 1": ("fct_trials", change("accuracy", 1.2), "critical", "Accuracy is a share"),
    "accuracy below 0": ("fct_trials", change("accuracy", -0.2), "critical", "Accuracy is a share"),
    "weights' accuracy in percent": ("fct_trials", change("weights_accuracy", 97.0), "critical", "Accuracy of the weights"),
    "latency 0": ("fct_trials", change("latency_ms", 0.0), "critical", "Latency is positive"),
    "infinitely negative latency": ("fct_trials", change("latency_ms", -np.inf), "critical", "Latency is positive"),
    "memory 0": ("fct_trials", change("peak_memory_bytes", 0), "critical", "Peak memory is positive"),
    "negative utilisation": ("fct_trials", change("memory_utilisation", -0.1), "critical", "not negative"),
    "more memory than there is": ("fct_trials", change("memory_utilisation", 1.1), "warning", "more memory than its class has"),
    "negative FLOPs": ("fct_trials", change("flops", -1), "critical", "FLOPs"),
    "more non-zero parameters than parameters": ("fct_trials", change("nonzero_parameters", 10**9), "critical", "non-zero parameters"),
    "a missing column": ("fct_trials", lambda frame: frame.drop(columns="latency_ms"), "critical", "Latency is positive"),
    "no outcome": ("fct_outcomes", lambda frame: frame.iloc[:0], "critical", "There are outcomes"),
    "an outcome twice": ("fct_outcomes", lambda frame: pd.concat([frame, frame.iloc[:1]]), "critical", "counted twice"),
    "an unexplained gap": ("fct_outcomes", change("is_explained", False), "critical", "the reason why there is none"),
    "an infinite outcome": ("fct_outcomes", change("is_finite", False), "warning", "finite"),
    "no checks": ("fct_design_checks", lambda frame: frame.iloc[:0], "critical", "All checks"),
    "no overlap check": ("fct_design_checks", without(["overlap"]), "critical", "All checks"),
    "an empty class": ("fct_design_checks", check("class_coverage", 0), "critical", "Every hardware class has measured trials"),
    "too much missing": ("fct_design_checks", check("missing_share", 0.06), "critical", "At most 5% of the assigned trials were never"),
    "too much missing in a class": (
        "fct_design_checks",
        check("class_missing_share", 0.06),
        "warning",
        "of each hardware class's trials were never",
    ),
    "too many failures": (
        "fct_design_checks",
        check("unexplained_failure_share", 0.06),
        "critical",
        "At most 5% of the assigned trials crashed",
    ),
    "too many failures in a class": (
        "fct_design_checks",
        check("class_unexplained_failure_share", 0.06),
        "warning",
        "of each hardware class's trials crashed",
    ),
    "disturbed latencies": ("fct_design_checks", check("disturbed_latency_share", 0.11), "warning", "kept their threads off the CPUs"),
    "sample-ratio mismatch": ("fct_design_checks", check("sample_ratio", 1e-4, "sample_ratio_p_value"), "critical", "lost at random"),
    "no overlap": ("fct_design_checks", check("overlap", 3), "critical", "at least 4 measured trials in every hardware class"),
    "imbalance beyond chance": ("fct_design_checks", check("balance", 0.3, "unexplained_imbalance"), "critical", "beyond what chance"),
    "imbalance": ("fct_design_checks", check("balance", 0.3), "warning", "standard deviations (balance)"),
    "a check of the measurements is missing": (
        "fct_measurement_checks",
        without(["drift"]),
        "warning",
        "All checks of the measurements",
    ),
    "drift": ("fct_measurement_checks", check("drift", 0.002, "drift_p_value"), "warning", "does not drift"),
    "another accuracy in service": (
        "fct_measurement_checks",
        check("accuracy_agreement", 0.02),
        "warning",
        "the same accuracy whatever class",
    ),
    "a sampler that disturbs": (
        "fct_measurement_checks",
        check("sampling_overhead", 0.03, "sampling_overhead_low"),
        "warning",
        "does not slow trials down",
    ),
    "an infinite imbalance": ("fct_design_checks", check("balance", np.inf, "unexplained_imbalance"), "critical", "beyond what chance"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_gate_fails_on_a_planted_violation(data: StudyData, name: str) -> None:
    table, plant, severity, words = VIOLATIONS[name]
    planted = replace(data, frames={**data.frames, table: plant(data.frames[table])})
    rows = validate_table(table, SUITES[table], planted)
    failed = [row for row in rows if not row["is_success"]]
    hits = [row for row in failed if words in row["sentence"] and row["severity"] == severity]
    assert hits, [row["sentence"] for row in failed]
    assert hits[0]["observed"]
    key = KEYS[table][0]
    if name not in (
        "a trial is missing",
        "no trial at all",
        "a missing column",
        "no outcome",
        "no checks",
        "no overlap check",
        "a check of the measurements is missing",
    ):
        keys = {item[0] if isinstance(item, list) else item for item in json.loads(hits[0]["failing_rows"])}
        assert keys <= set(planted.frames[table][key])
        assert len(keys) == 1


def test_every_expectation_has_its_violation(data: StudyData) -> None:
    """Without a planted violation nobody knows that an expectation can fail."""
    words = [(table, words) for table, _, _, words in VIOLATIONS.values()]
    for table, suite in SUITES.items():
        for row in validate_table(table, suite, data):
            assert any(table == where and some in row["sentence"] for where, some in words), row["sentence"]


def test_the_frame_of_checks_has_what_chance_says() -> None:
    frame = pd.DataFrame(
        {
            "check_name": ["sample_ratio", "balance", "balance", "balance", "overlap"],
            "value": [11.345, 0.3, 0.9, np.inf, 4.0],
            "degrees_of_freedom": [3, None, None, None, None],
            "standard_error": [np.nan, 0.2, 0.2, 0.2, np.nan],
        }
    )
    result = module._one_column_per_check(frame, alpha=0.001)
    assert result["sample_ratio_p_value"].iloc[0] == pytest.approx(0.01, rel=1e-3)  # from a table of chi-squared
    assert result["sample_ratio_p_value"].iloc[1:].isna().all()
    # 1.5 standard errors are chance, 4.5 are not
    assert result["unexplained_imbalance"].tolist()[1:4] == [0.0, 0.9, np.inf]
    assert np.isnan(result["unexplained_imbalance"].iloc[4])
    assert result["overlap"].tolist()[4] == 4.0


def test_the_frame_of_measurement_checks_has_what_chance_says() -> None:
    frame = pd.DataFrame(
        {
            "check_name": ["drift", "drift", "sampling_overhead", "accuracy_agreement", "repeatability"],
            "value": [0.2571, np.nan, 0.05, 0.01, 0.03],
            "standard_error": [0.1, np.nan, 0.01, np.nan, np.nan],
            "degrees_of_freedom": [5, None, 10, None, 4],
        }
    )
    result = module._measurement_columns(frame)
    assert result["drift_p_value"].iloc[0] == pytest.approx(0.05, rel=1e-3)  # from a table of t
    assert result["drift_p_value"].iloc[1:].isna().all()
    assert result["sampling_overhead_low"].iloc[2] == pytest.approx(0.05 - 2.228 * 0.01, rel=1e-3)
    assert result["accuracy_agreement"].tolist()[3] == 0.01
    assert result[["accuracy_agreement", "drift_p_value", "sampling_overhead_low"]].iloc[4].isna().all()


def test_outcomes_that_an_estimand_asks_for_must_be_there() -> None:
    spec = {
        "indicators": [{"name": "high_loss", "column": "accuracy"}],
        "estimands": [{"outcome": "latency_ms"}, {"outcome": "high_loss"}, {"outcome": "words_per_s"}],
    }
    frame = pd.DataFrame(
        {
            "trial_id": ["a", "b", "c"],
            "status": ["ok", "ok", "out_of_memory"],
            "accuracy": [0.9, np.nan, np.nan],
            "latency_ms": [1.0, 1.0, np.nan],
            "words_per_s": [5.0, 5.0, np.nan],
        }
    )
    assert module._missing_outcomes(frame, spec).tolist() == [None, "accuracy", None]
    assert module._missing_outcomes(frame.drop(columns="words_per_s"), spec).tolist()[0] == "words_per_s"


def test_the_operator_pushes_the_result_and_then_fails_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from operators import expectations

    failed = {"critical": ["fct_trials: Latency is positive. Got 1 of 9 rows fail", "another"], "warning": ["careful"], "info": []}
    found = Validation("validation_0123456789abcdef", "study_0123456789abcdef", "pruning_digits", 28, failed)
    monkeypatch.setattr("operators.gates.validate_study", lambda study_id: found)
    pushed: dict[str, Any] = {}

    class TaskInstance:
        def xcom_push(self, key: str, value: Any) -> None:
            pushed[key] = value

    operator = expectations.ValidateStudyOperator(task_id="validate", study_id=found.study_id)
    with pytest.raises(
        expectations.GXValidationFailed, match=r"study 'pruning_digits': .*Latency is positive.*and 1 more.*fct_validations"
    ) as error:
        operator.call({"ti": TaskInstance()})
    assert "\n" not in str(error.value)
    assert pushed["return_value"] == {
        "validation_id": found.validation_id,
        "study_id": found.study_id,
        "is_success": False,
        "expectations": 28,
        "failed_critical": 2,
        "failed_warning": 1,
    }
    monkeypatch.setattr("operators.gates.validate_study", lambda study_id: replace(found, failed={**failed, "critical": []}))
    assert operator.call({"ti": TaskInstance()})["is_success"] is True
