"""From landed rows to marts: what comes out of a study whose trials we made up."""

from __future__ import annotations

from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pytest

from tests.trialhouse.warehouse.samples import build, land_study, land_trials
from trialhouse.causal.inference import least_squares
from trialhouse.identity import content_id
from trialhouse.landing import LandingZone
from trialhouse.profiling.latency import CALM_SHARE
from trialhouse.registration import Registration, register
from trialhouse.settings import PROJECT_DIR, Settings
from trialhouse.studies.designs import Trial
from trialhouse.warehouse.read import published, study_frame, study_table

STATUSES = ("out_of_memory", "timed_out", "crashed", "diverged", None, "ok")


class House(NamedTuple):
    settings: Settings
    older: Registration
    study: Registration
    special: dict[str | None, Trial]
    again: Trial

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with published(self.settings) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A published warehouse with two versions of a study; of the newer one's trials a few did not go well."""
    settings = Settings(home=tmp_path_factory.mktemp("house"))
    older = land_study(settings, overrides={"hardware_classes": ["pc"], "blocks": 1})
    study = land_study_version(settings, {"blocks": 2}, done=older)
    trials = [trial for trial in study.trials if trial.hardware_class == "server" and not trial.is_sentinel]
    special: dict[str | None, Trial] = dict(zip(STATUSES, trials, strict=False))
    known = {trial.trial_id for trial in older.trials}
    rest = [trial for trial in study.trials if trial.trial_id not in known]
    made = {trial.weights_id for trial in older.trials}
    land_trials(settings, rest, statuses={trial.trial_id: status for status, trial in special.items()}, made=made)
    # one trial is measured again, and a third attempt at it was killed before it was finished
    again = rest[-1]
    land_trials(settings, [again], attempt=2, change=lambda table, row: {**row, "value": 77.0} if table == "samples" else row)
    unfinished = {"unit_id": again.trial_id, "unit_kind": "trial", "attempt": 3, "metric": "latency_ms", "sequence": 0, "value": 1e9}
    LandingZone(settings.landing_dir).write("samples", [unfinished], unit_id=again.trial_id, attempt=3)
    build(settings)
    return House(settings, older, study, special, again)


def land_study_version(settings: Settings, overrides: dict[str, Any], done: Registration) -> Registration:
    study = register("pruning_digits", overrides, settings)
    assert study.study_id != done.study_id
    return study


def compared(study: Registration) -> list[Trial]:
    return [trial for trial in study.trials if not trial.is_sentinel]


def test_one_row_per_version_and_trial(house: House) -> None:
    counts = dict(house.sql("SELECT study_id, count(*) FROM marts.fct_trials GROUP BY ALL"))
    assert counts == {house.older.study_id: len(house.older.trials), house.study.study_id: len(house.study.trials)}
    shared = {trial.trial_id for trial in house.older.trials} & {trial.trial_id for trial in house.study.trials}
    assert shared  # versions share trials, and their measurements
    assert house.sql(
        "SELECT count(*) FROM (SELECT trial_id FROM marts.fct_trials WHERE attempts > 0 GROUP BY ALL HAVING count(*) > 1)"
    ) == [(len(shared),)]


def test_status_is_how_the_last_attempt_ended(house: House) -> None:
    rows = {row["trial_id"]: row for row in trials(house).to_dict("records")}
    for status, trial in house.special.items():
        row = rows[trial.trial_id]
        assert row["status"] == (status or "pending")
        assert row["is_measured"] == (status in ("ok", "out_of_memory"))
        assert row["is_oom"] == (status == "out_of_memory")
        assert row["is_diverged"] == (status == "diverged")
        assert pd.isna(row["accuracy"]) == (status != "ok")
        assert pd.isna(row["latency_ms"]) == (status != "ok")
        assert pd.isna(row["throughput_images_per_s"]) == (status != "ok")
        assert row["weights_accuracy"] > 0.5
        assert pd.isna(row["peak_memory_bytes"]) == (status is None)
        assert pd.isna(row["failure_reason"]) == (status in ("ok", None))
        assert row["attempts"] == (0 if status is None else 1)


def test_the_attempt_that_counts_is_the_last_that_finished(house: House) -> None:
    row = next(row for row in trials(house).to_dict("records") if row["trial_id"] == house.again.trial_id)
    assert (row["attempts"], row["latency_ms"], row["latency_p99_ms"]) == (2, 77.0, 77.0)


def test_percentiles_are_those_of_the_landed_samples(house: House) -> None:
    path = house.settings.landing_dir / "samples"
    landed = duckdb.sql(f"SELECT unit_id, attempt, value FROM read_parquet('{path}/*.parquet')").df()
    trial = house.special["ok"]
    values = landed[(landed["unit_id"] == trial.trial_id)]["value"]
    assert len(values) == 20
    row = next(row for row in trials(house).to_dict("records") if row["trial_id"] == trial.trial_id)
    assert row["latency_samples"] == 20
    percentiles = [row["latency_ms"], row["latency_p95_ms"], row["latency_p99_ms"]]
    assert percentiles == pytest.approx(np.percentile(values, [50, 95, 99]))


def test_studies_know_their_newest_version_and_their_registration(house: House) -> None:
    rows = {
        row[0]: row[1:] for row in house.sql("SELECT study_id, is_current, trials, is_registered_before_first_trial FROM marts.dim_studies")
    }
    assert rows == {
        house.older.study_id: (False, len(house.older.trials), True),
        house.study.study_id: (True, len(house.study.trials), True),
    }


def test_the_analysis_view_has_a_column_per_factor_outcome_and_indicator(house: House) -> None:
    frame = study_frame(house.study.study_id, house.settings)
    planned = compared(house.study)  # a sentinel belongs to no analysis
    assert frame["trial_id"].tolist() == [trial.trial_id for trial in planned]  # the random order
    for name in ("pruning_ratio", "batch_size", "seed"):
        assert frame[name].tolist() == [float(trial.factors[name]) for trial in planned]
    assert frame["pruning_method"].tolist() == [trial.factors["pruning_method"] for trial in planned]
    assert frame["placebo"].tolist() == [trial.labels["placebo"] for trial in planned]
    assert frame["is_oom"].sum() == 1
    ratios = [round(float(trial.factors["pruning_ratio"]), 2) for trial in planned]
    assert frame["realised_pruning_ratio"].tolist() == ratios
    assert frame["flops_share"].notna().all()
    assert frame["macs"].notna().all()  # an outcome without a column in fct_trials
    assert frame["high_pruning"].tolist() == [int(float(trial.factors["pruning_ratio"]) > 0.5) for trial in planned]
    missing = frame["accuracy"].isna()
    assert missing.sum() == 5
    assert frame["high_accuracy_loss"].isna().equals(missing)
    assert frame["high_accuracy_loss"].dropna().tolist() == (frame["accuracy"].dropna() < 0.9).astype(float).tolist()
    assert all(kind.kind in "fiub" or str(kind) == "str" for kind in frame.dtypes)

    with published(house.settings) as connection:
        by_name = connection.execute("SELECT trial_id FROM analysis.pruning_digits ORDER BY position").fetchall()
    assert [row[0] for row in by_name] == frame["trial_id"].tolist()
    assert len(study_frame(house.older.study_id, house.settings)) == len(compared(house.older))


def test_treatments_have_the_level_that_came_about(house: House) -> None:
    frame = study_table("fct_treatments", house.study.study_id, house.settings)
    ratios = frame[frame["factor"] == "pruning_ratio"]
    assert ratios["realised_value"].tolist() == ratios["assigned_value"].tolist()
    assert frame[frame["factor"] == "batch_size"]["realised"].isna().all()


def test_outcomes_are_long_and_medians_are_among_them(house: House) -> None:
    frame = study_table("fct_outcomes", house.study.study_id, house.settings)
    latency = frame[frame["outcome"] == "latency_ms"].set_index("trial_id")["value"]
    assert latency[house.again.trial_id] == 77.0
    assert set(frame["unit_kind"]) == {"trial", "weights"}
    assert not frame.duplicated(["trial_id", "unit_kind", "outcome"]).any()


def test_curves_and_profiles_follow_the_attempt_that_counts(house: House) -> None:
    weights = {trial.weights_id for trial in house.study.trials}
    assert house.sql("SELECT count(*), count(DISTINCT weights_id) FROM marts.fct_learning_curves") == [(3 * len(weights), len(weights))]
    profiled = len({trial.trial_id for trial in (*house.older.trials, *house.study.trials)}) - 1
    told = house.sql("SELECT count(*), any_value(reason) FROM marts.fct_profiles WHERE metric = 'cpu_frequency_mhz'")
    assert told == [(profiled, "this machine does not tell")]


def test_design_checks_count_what_was_lost(house: House) -> None:
    checks = study_table("fct_design_checks", house.study.study_id, house.settings).set_index("check_id")
    total = len(compared(house.study))
    assert checks.loc["missing_share", "value"] == pytest.approx(1 / total)
    assert checks.loc["unexplained_failure_share", "value"] == pytest.approx(3 / total)
    assert checks.loc["class_coverage|server", "value"] == total / 3 - 4  # out of memory counts as measured
    observed = trials(house)
    observed = observed[~observed["is_sentinel"]]
    table = pd.crosstab(observed["hardware_class"], observed["is_measured"])
    from scipy import stats

    chi_squared = stats.chi2_contingency(table, correction=False)
    assert checks.loc["sample_ratio|hardware_class=*", "value"] == pytest.approx(chi_squared.statistic)
    assert checks.loc["sample_ratio|hardware_class=*", "degrees_of_freedom"] == chi_squared.dof


def test_design_checks_and_the_sampling_of_latency_mean_the_same_by_calm() -> None:
    sql = (PROJECT_DIR / "dbt_project" / "models" / "marts" / "fct_design_checks.sql").read_text()
    assert f"shares.value < {CALM_SHARE})" in sql


def test_results_are_built_without_the_rest_and_the_newest_count(house: House) -> None:
    trial_columns = house.sql("SELECT min(ended_at), max(ended_at), count(*) FROM marts.fct_trials")
    for number, (value, day) in enumerate([(1.0, "2026-01-01"), (2.0, "2026-01-02")]):
        land_estimate(house, value, day, number)
    for value, day in [(0.9, "2026-01-01"), (0.8, "2026-01-02")]:
        land_configuration(house, value, day)
    build(house.settings, "tag:results")
    assert house.sql("SELECT study_name, accuracy, is_current FROM marts.fct_configurations ORDER BY accuracy") == [
        ("pruning_digits", 0.8, True),
        ("pruning_digits", 0.9, False),
    ]
    assert house.sql("SELECT study_name, estimate, is_current FROM marts.fct_estimates ORDER BY estimate") == [
        ("pruning_digits", 1.0, False),
        ("pruning_digits", 2.0, True),
    ]
    assert house.sql("SELECT study_name, estimand, refuter, verdict, is_current FROM marts.fct_refutations ORDER BY is_current") == [
        ("pruning_digits", "pruning_on_accuracy", "random_common_cause", "passed", False),
        ("pruning_digits", "pruning_on_accuracy", "random_common_cause", "passed", True),
    ]
    assert house.sql("SELECT min(ended_at), max(ended_at), count(*) FROM marts.fct_trials") == trial_columns


def land_estimate(house: House, value: float, day: str, number: int) -> None:
    landing = LandingZone(house.settings.landing_dir)
    estimate_id = content_id("estimate", {"number": number})
    common = {"estimate_id": estimate_id, "study_id": house.study.study_id}
    estimate = {
        **common,
        "data_id": f"data_{number}",
        "code_version": "1",
        "estimand": "pruning_on_accuracy",
        "treatment": "pruning_ratio",
        "outcome": "accuracy",
        "contrast_from": "0",
        "contrast_to": "0.6",
        "method": "ols",
        "is_primary": True,
        "estimate": value,
        "trials": 12,
        "verdict": "released",
        "estimated_at": day,
    }
    refutation = {**common, "refuter": "random_common_cause", "verdict": "passed", "reason": "It did not move.", "refuted_at": day}
    landing.write("refutations", [refutation], unit_id=estimate_id)
    landing.write("estimates", [estimate], unit_id=estimate_id)


def land_configuration(house: House, accuracy: float, day: str) -> None:
    row = {
        **{"study_id": house.study.study_id, "data_id": f"data_{accuracy}", "code_version": "1"},
        **{"hardware_class": "pc", "configuration": '{"batch_size": 64}', "trials": 2, "out_of_memory": 0, "weights": 2},
        **{"oom_share": 0.0, "oom_low": 0.0, "oom_high": 0.67, "accuracy": accuracy},
        **{"is_on_front": True, "is_within_limits": True, "is_best": True, "computed_at": day},
    }
    LandingZone(house.settings.landing_dir).write("configurations", [row], unit_id=content_id("configurations", {"accuracy": accuracy}))


def trials(house: House) -> pd.DataFrame:
    return study_table("fct_trials", house.study.study_id, house.settings)


class Drifting(NamedTuple):
    settings: Settings
    study: Registration


@pytest.fixture(scope="module")
def drifting(tmp_path_factory: pytest.TempPathFactory) -> Drifting:
    """A study on two classes: the laptop's latencies grow by 30% from the first trial to the last, and it serves two networks worse."""
    settings = Settings(home=tmp_path_factory.mktemp("drifting"))
    study = register("pruning_digits", {"hardware_classes": ["pc", "laptop"], "blocks": 3}, settings)
    by_id = {trial.trial_id: trial for trial in study.trials}
    worse = [trial.trial_id for trial in study.trials if trial.hardware_class == "laptop"][3:5]

    def change(table: str, row: dict[str, Any]) -> dict[str, Any]:
        trial = by_id.get(row["unit_id"])
        if trial is None or trial.hardware_class != "laptop":
            return row
        if table == "samples":
            return {**row, "value": row["value"] * 1.3 ** (trial.position / len(study.trials))}
        if row.get("outcome") == "accuracy_as_served" and trial.trial_id in worse:
            return {**row, "value": row["value"] - 0.02}
        if row.get("metric") == "sampled_latency_ms":
            return {**row, "value": row["value"] * 1.1}
        return row

    land_trials(settings, study.trials, change=change)
    build(settings)
    return Drifting(settings, study)


def test_measurement_checks_are_what_the_engine_computes(drifting: Drifting) -> None:
    checks = study_table("fct_measurement_checks", drifting.study.study_id, drifting.settings).set_index("check_id")
    trials = study_table("fct_trials", drifting.study.study_id, drifting.settings)
    for name in ("pc", "laptop"):
        mine = trials[trials["is_sentinel"] & (trials["hardware_class"] == name)]
        log, time = np.log(mine["latency_ms"].to_numpy()), mine["started_at"].astype("int64").to_numpy(dtype=float)
        time = (time - time.min()) / np.ptp(time)
        row = checks.loc[f"drift|latency_ms|{name}"]
        line = least_squares(time, log, np.empty((len(log), 0)))
        assert (row["trials"], row["degrees_of_freedom"]) == (len(log), len(log) - 2)
        assert row["value"] == pytest.approx(line.estimate, rel=1e-6)
        assert row["standard_error"] == pytest.approx(line.standard_error, rel=1e-6)
        assert checks.loc[f"repeatability|latency_ms|{name}", "value"] == pytest.approx(log.std(ddof=1))
        place = np.corrcoef(mine["slot_order"].to_numpy(dtype=float), log)[0, 1] ** 2
        assert checks.loc[f"order_share|latency_ms|{name}", "value"] == pytest.approx(place)


def test_what_was_planted_shows_where_it_was_planted(drifting: Drifting) -> None:
    from trialhouse.warehouse.validation import study_data

    checks = study_data(drifting.study.study_id, drifting.settings).frames["fct_measurement_checks"].set_index("check_id")
    assert checks.loc["drift|latency_ms|laptop", "drift_p_value"] < 0.01 < checks.loc["drift|latency_ms|pc", "drift_p_value"]
    # a median of 20 calls with 5% noise has a standard error of 1.4%: 4 sentinels' slope about 2.5%
    assert checks.loc["drift|latency_ms|laptop", "value"] == pytest.approx(np.log(1.3), abs=0.1)
    agreement = checks.loc["accuracy_agreement|accuracy|laptop"]
    assert (agreement["differing"], agreement["value"]) == (2, pytest.approx(0.02))
    assert checks.loc["accuracy_agreement|accuracy|pc", "value"] == 0
    overhead = checks.loc["sampling_overhead|latency_ms|laptop"]
    assert overhead["value"] == pytest.approx(np.log(1.1), abs=4 * overhead["standard_error"])
    assert overhead["sampling_overhead_low"] > 0.02 > checks.loc["sampling_overhead|latency_ms|pc", "sampling_overhead_low"]
    assert checks.loc["host_share|latency_ms|pc", "reason"] == "sentinel trials ran on one host, or on none"
    assert checks["value"].isna().equals(checks["reason"].notna())
