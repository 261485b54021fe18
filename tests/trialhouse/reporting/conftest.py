"""A small published warehouse, made of the shipped study's real assignment and plausible measurements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trialhouse.configurations import configurations
from trialhouse.raw_tables import RAW_TABLES
from trialhouse.studies.catalogue import graph_file, load_study
from trialhouse.studies.designs import Trial, WorkloadIdentity, assign
from trialhouse.studies.spec import Study

MIB = 2**20
STUDY_ID = "study_1111111111111111"
START = datetime(2026, 11, 22, 9, 0, 0)
MEMORY = {"server": 4096 * MIB, "pc": 1024 * MIB, "laptop": 448 * MIB}
SPEED = {"server": 1.0, "pc": 1.7, "laptop": 3.4}
REASON = {"out_of_memory": "memory limit of 448 MiB reached", "crashed": "exit status 1: RuntimeError", "pending": None, "ok": None}

Row = dict[str, Any]
Change = Callable[[dict[str, list[Row]]], None]


@pytest.fixture
def make_warehouse(tmp_path: Path) -> Callable[..., tuple[str, Path]]:
    """Writes a warehouse and returns (study_id, path).

    `stage` is 'estimated', 'gates_failed', 'measured' or 'running'; `change` edits the rows first.
    """

    def make(stage: str = "estimated", change: Change | None = None, folder: Path = tmp_path) -> tuple[str, Path]:
        return write_warehouse(folder / "trialhouse.duckdb", stage, change)

    return make


def write_warehouse(path: Path, stage: str = "estimated", change: Change | None = None) -> tuple[str, Path]:
    tables = deepcopy(_tables(stage))
    if change is not None:
        change(tables)
    _write(path, tables)
    return tables["marts.dim_studies"][0]["study_id"], path


@cache
def _tables(stage: str) -> dict[str, list[Row]]:
    study = load_study("pruning_digits")
    identity = WorkloadIdentity(
        "small_cnn", "1", dict(study.workload.settings), "0" * 64, ("seed",), ("seed", "pruning_ratio", "pruning_method")
    )
    trials = assign(study, identity, {name: f"hardware_{index:016x}" for index, name in enumerate(study.hardware_classes)})
    sentinels = [trial for trial in trials if trial.is_sentinel]
    trials = [replace(trial, position=place) for place, trial in enumerate(trial for trial in trials if not trial.is_sentinel)]
    facts = _measure(trials, pending_from=len(trials) // 3 if stage == "running" else len(trials))
    graph = {study.graph: graph_file(study).read_text()}
    dim: Row = {
        "study_id": STUDY_ID,
        "study_name": study.name,
        "spec_id": study.spec_id,
        "title": study.title,
        "question": study.question,
        "estimands_id": "estimands_1111111111111111",
        "trials": len(trials),
        "spec": json.dumps(study.content),
        "graph": json.dumps(graph),
        "code_version": "0.1.0",
        "registered_at": START - timedelta(minutes=1),
        "is_current": True,
        "is_changed_after_first_trial": False,
    }
    estimates = _estimates(facts) if stage == "estimated" else []
    return {
        "marts.dim_studies": [dim],
        "marts.dim_hardware_classes": [
            {
                "study_id": STUDY_ID,
                "hardware_class": name,
                "hardware_id": f"hardware_{index:016x}",
                "represents": {"server": "72 cores, 376 GB", "pc": "8 cores, 46 GB", "laptop": "8 cores, 16 GB"}[name],
                "cpus": 2 if name == "server" else 1,
                "threads": 2 if name == "server" else 1,
                "memory_bytes": MEMORY[name],
                "is_emulated": name != "server",
                "not_emulated": None if name == "server" else "clock frequency, cache size, memory speed",
            }
            for index, name in enumerate(study.hardware_classes)
        ],
        "marts.fct_trials": [*facts, *_measure(sentinels, pending_from=1000)],
        "marts.fct_measurement_checks": _measurement_checks(study),
        "marts.fct_validations": [] if stage in ("running", "measured") else _validations(facts, has_failed=stage == "gates_failed"),
        "marts.fct_estimates": estimates,
        "marts.fct_refutations": list(_refutations(estimates)),
        "marts.fct_configurations": _configurations(study, facts) if stage == "estimated" else [],
        "marts.fct_learning_curves": [],
        "marts.fct_scaling_laws": [],
        "marts.fct_forecasts": [],
        "marts.fct_calibration": [],
    }


def _configurations(study: Study, facts: list[Row]) -> list[Row]:
    key = {"study_id": STUDY_ID, "study_name": study.name, "data_id": "data_0", "code_version": "0.1.0"}
    when = {"computed_at": START + timedelta(minutes=11), "is_current": True}
    return [{**key, **row, **when} for row in configurations(study, pd.DataFrame(facts), draws=200)]


def _measure(trials: Iterable[Trial], pending_from: int) -> list[Row]:
    rng = np.random.default_rng(1)
    rows = []
    for trial in trials:
        ratio, method, batch = (trial.factors[name] for name in ("pruning_ratio", "pruning_method", "batch_size"))
        assert isinstance(ratio, int | float)
        assert isinstance(batch, int)
        kept = 1.0 if method in ("l1_mask", "none") else 1 - ratio
        accuracy = 0.972 - 0.02 * ratio**2 - (0.3 if method == "random_structured" else 0.12) * ratio**6 + rng.normal(0, 0.004)
        memory = (210 + 0.09 * batch * (0.25 + 0.75 * kept)) * MIB * (1 + rng.normal(0, 0.01))
        latency = (0.4 + 0.012 * batch * (0.2 + 0.8 * kept)) * SPEED[trial.hardware_class] * np.exp(rng.normal(0, 0.05))
        is_pending = trial.position >= pending_from
        status = (
            "pending"
            if is_pending
            else "out_of_memory"
            if memory > MEMORY[trial.hardware_class]
            else "crashed"
            if trial.position == 7
            else "ok"
        )
        is_ok = status == "ok"
        rows.append(
            {
                "study_id": STUDY_ID,
                "study_name": "pruning_digits",
                "trial_id": trial.trial_id,
                "weights_id": trial.weights_id,
                "workload": "small_cnn",
                "hardware_class": trial.hardware_class,
                "hardware_id": "hardware_0",
                "arm": trial.arm,
                "block": trial.block,
                "replicate": trial.replicate,
                "position": trial.position,
                "status": status,
                "failure_reason": REASON[status],
                "is_measured": not is_pending,
                "is_sentinel": trial.is_sentinel,
                "is_oom": None if is_pending else status == "out_of_memory",
                "is_diverged": None if is_pending else False,
                "attempts": 0 if is_pending else 1,
                "accuracy": float(accuracy) if is_ok else None,
                "weights_accuracy": None if is_pending else float(accuracy),
                "accuracy_before_finetuning": None if is_pending else float(accuracy) - 0.2 * ratio,
                "loss": None if is_pending else 0.1,
                "latency_ms": float(latency) if is_ok else None,
                "latency_p95_ms": float(latency) * 1.1 if is_ok else None,
                "latency_p99_ms": float(latency) * 1.2 if is_ok else None,
                "latency_samples": 30 if is_ok else None,
                "peak_memory_bytes": float(min(memory, MEMORY[trial.hardware_class])) if not is_pending else None,
                "memory_utilisation": float(min(memory / MEMORY[trial.hardware_class], 1)) if not is_pending else None,
                "load_ms": 12.0 if is_ok else None,
                "throughput_images_per_s": None,
                "loading_ms": None,
                "parameters": 20_000 * kept,
                "nonzero_parameters": 20_000 * (1 - ratio),
                "flops": 2e6 * kept,
                "pruning_ratio": float(ratio),
                "pruning_method": str(method),
                "batch_size": batch,
                "seed": int(trial.factors["seed"]),
                "host": None if is_pending else "host-a",
                "slot_order": None if is_pending else trial.position,
                "started_at": None if is_pending else START + timedelta(seconds=trial.position),
                "ended_at": None if is_pending else START + timedelta(seconds=trial.position + 1),
            }
        )
    return rows


def _measurement_checks(study: Study) -> list[Row]:
    values = {
        ("repeatability", "latency_ms"): (0.03, None, 6),
        ("repeatability", "peak_memory_bytes"): (0.001, None, 6),
        ("drift", "latency_ms"): (0.02, 0.03, 5),
        ("order_share", "latency_ms"): (0.08, None, None),
        ("host_share", "latency_ms"): (None, None, None),
        ("accuracy_agreement", "accuracy"): (0.0, None, None),
        ("sampling_overhead", "latency_ms"): (0.004, 0.002, 20),
    }
    return [
        {
            "study_id": STUDY_ID,
            "study_name": "pruning_digits",
            "check_id": f"{check}|{metric}|{name}",
            "check_name": check,
            "metric": metric,
            "hardware_class": name,
            "trials": 7,
            "differing": 0 if check == "accuracy_agreement" else None,
            "value": value,
            "standard_error": error,
            "degrees_of_freedom": freedom,
            "reason": None if value is not None else "sentinel trials ran on one host, or on none",
        }
        for (check, metric), (value, error, freedom) in values.items()
        for name in study.hardware_classes
    ]


def _validations(facts: list[Row], *, has_failed: bool) -> list[Row]:
    checks = [
        ("expect_column_values_to_be_between", "accuracy", "critical", not has_failed, "accuracy must lie in [0, 1]"),
        ("expect_sample_ratio", "arm", "critical", True, "measured trials per arm must match the assignment (chi-squared p = 1.00)"),
        ("expect_missing_share", "status", "critical", True, "at most 5% of assigned trials may lack an attempt: 0%"),
        (
            "expect_balance",
            "batch_size",
            "warning",
            False,
            "batch_size differs by 0.31 SD between the arms of pruning_method on pc; at most 0.25",
        ),
    ]
    return [
        {
            "validation_id": "validation_0000000000000001",
            "study_id": STUDY_ID,
            "table_name": "fct_trials",
            "expectation": expectation,
            "column_name": column,
            "severity": severity,
            "is_success": is_success,
            "observed": "1.7" if not is_success else "ok",
            "failing_rows": json.dumps([facts[0]["trial_id"], facts[1]["trial_id"]]) if not is_success and severity == "critical" else None,
            "sentence": sentence,
            "is_current": True,
            "validated_at": START + timedelta(minutes=10),
        }
        for expectation, column, severity, is_success, sentence in checks
    ]


def _estimates(facts: list[Row]) -> list[Row]:
    study = load_study("pruning_digits")
    rows: list[Row] = []
    for estimand in study.estimands:
        for subgroup in study.hardware_classes if estimand.by else (None,):
            levels = (0.3, 0.6, 0.9) if estimand.dose_response else (estimand.contrast.to,)
            for level in levels:
                is_registered = level == estimand.contrast.to
                for method in ("naive", "adjusted_linear", "double_ml") if is_registered else ("adjusted_linear",):
                    rows.append(_estimate(facts, study, estimand, subgroup, level, method, len(rows), is_registered))
    return rows


def _estimate(
    facts: list[Row], study: Study, estimand: Any, subgroup: str | None, level: Any, method: str, index: int, is_registered: bool
) -> Row:
    indicators = {indicator.name: indicator for indicator in study.indicators}

    def value(row: Row, name: str) -> float | None:
        of = indicators.get(name)
        found = row[of.column if of else name]
        if found is None or of is None:
            return None if found is None else float(found)
        return float(found > of.above if of.above is not None else found < of.below)

    mine = [row for row in facts if subgroup is None or row["hardware_class"] == subgroup]
    arms = [
        np.array([v for row in mine if value(row, estimand.treatment) == float(arm) and (v := value(row, estimand.outcome)) is not None])
        for arm in (estimand.contrast.from_, level)
    ]
    effect = float(arms[1].mean() - arms[0].mean())
    error = float(np.sqrt(sum(arm.var(ddof=1) / len(arm) for arm in arms))) * (1.0 if method == "naive" else 0.3)
    is_withheld = estimand.name == "pruning_on_latency" and subgroup == "laptop"
    is_failed = estimand.name == "pruning_on_accuracy" and subgroup == "pc"
    verdict = "withheld" if is_withheld else "failed" if is_failed else "released"
    reason = {
        "withheld": ["the linear and the DML estimate differ by 2.6 standard errors; at most 2 are allowed"],
        "failed": ["the permuted placebo rejects after Holm (p = 0.004)"],
        "released": [],
    }[verdict]
    caveats = ["six blocks: intervals rest on few repeated units"]
    if estimand.outcome in ("accuracy", "latency_ms") and subgroup == "laptop":
        caveats.append("trials that ran out of memory are left out; the effect is that of the stratum where both arms ran")
    return {
        "estimate_id": f"estimate_{index:016x}",
        "study_id": STUDY_ID,
        "study_name": "pruning_digits",
        "is_current": True,
        "data_id": "data_0000000000000001",
        "code_version": "0.1.0",
        "estimand": estimand.name,
        "treatment": estimand.treatment,
        "outcome": estimand.outcome,
        "subgroup_column": "hardware_class" if subgroup else None,
        "subgroup": subgroup,
        "contrast_from": str(estimand.contrast.from_),
        "contrast_to": str(level),
        "method": method,
        "is_primary": estimand.is_primary and is_registered and method == "adjusted_linear",
        "adjustment": json.dumps([] if method == "naive" else ["batch_size", "pruning_method", "seed"]),
        "estimand_expression": "E[Y | do(T = 0.6)] − E[Y | do(T = 0)], identified by the design: nothing points at T",
        "method_estimand": "the average effect",
        "estimate": effect,
        "standard_error": error,
        "ci_low": effect - 2.57 * error,
        "ci_high": effect + 2.57 * error,
        "p_value": 0.01,
        **dict.fromkeys(("per", "p_value_adjusted", "confidence_set", "effective_trials", "nuisance_r2_treatment", "nuisance_r2_outcome")),
        **dict.fromkeys(("seed", "library_versions")),
        "trials": sum(len(arm) for arm in arms),
        "clusters": 6,
        "stratum": "batch_size: 64 | 512" if subgroup == "laptop" and estimand.outcome == "accuracy" else None,
        "verdict": verdict if method != "naive" else "released",
        "reasons": json.dumps(reason),
        "caveats": json.dumps(caveats),
        "estimated_at": START + timedelta(minutes=11),
    }


def _refutations(estimates: list[Row]) -> Iterable[Row]:
    rng = np.random.default_rng(2)
    for row in estimates:
        if not row["is_primary"]:
            continue
        for refuter in (
            "random_common_cause",
            "data_subset",
            "permuted_placebo",
            "left_out_columns",
            "sensitivity",
            "placebo_arms",
            "graph_rules",
            "overlap",
        ):
            p_value = (
                float(rng.uniform(0.1, 1))
                if refuter in ("random_common_cause", "data_subset", "permuted_placebo", "placebo_arms")
                else None
            )
            verdict = "not_applicable" if refuter == "left_out_columns" else "passed"
            if row["verdict"] == "failed" and refuter == "permuted_placebo":
                verdict, p_value = "failed", 0.004
            yield {
                **{
                    name: row[name]
                    for name in (
                        "estimate_id",
                        "study_id",
                        "study_name",
                        "estimand",
                        "outcome",
                        "treatment",
                        "method",
                        "subgroup",
                        "is_current",
                    )
                },
                "refuter": refuter,
                "verdict": verdict,
                "reason": {
                    "sensitivity": "an unobserved confounder would need to explain 43% of what is left of treatment and outcome",
                    "left_out_columns": "no measured column is left out by the graph",
                }.get(refuter, f"the estimate stays within its interval over 100 simulations (p = {p_value or 1:.3f})"),
                "statistic": 0.43 if refuter == "sensitivity" else None,
                "p_value": p_value,
                "simulations": 100 if p_value is not None else None,
                "details": None,
                "refuted_at": START + timedelta(minutes=12),
            }


def _write(path: Path, tables: dict[str, list[Row]]) -> None:
    import duckdb

    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema marts; create schema analysis; create schema analysis_versions")
        for table, rows in tables.items():
            types = _types(table.removeprefix("marts."))
            connection.execute(f"create table {table} ({', '.join(f'{name} {kind}' for name, kind in types.items())})")
            if rows:
                # one statement: DuckDB takes a hundred times longer row by row
                row_of = f"({', '.join('?' for _ in types)})"
                values = [row[name] for row in rows for name in types]
                connection.execute(f"insert into {table} ({', '.join(types)}) values {', '.join(row_of for _ in rows)}", values)
        connection.execute(
            f"create view analysis_versions.{STUDY_ID} as select * replace (is_oom::integer as is_oom), "
            f"if(position % 2 = 0, 'a', 'b') as placebo from marts.fct_trials where study_id = '{STUDY_ID}' and not is_sentinel"
        )
        connection.execute(f"create view analysis.pruning_digits as select * from analysis_versions.{STUDY_ID}")


def _types(mart: str) -> dict[str, str]:
    def raw(table: str) -> dict[str, str]:
        return {name: kind.removesuffix(" NOT NULL") for name, kind in RAW_TABLES[table].items()}

    if mart == "dim_studies":
        return {**raw("study_versions"), "is_current": "BOOLEAN", "is_changed_after_first_trial": "BOOLEAN"}
    if mart == "dim_hardware_classes":
        return raw("hardware_classes")
    if mart == "fct_measurement_checks":
        text, numbers = "study_id study_name check_id check_name metric hardware_class reason", "trials differing degrees_of_freedom"
        return {
            **dict.fromkeys(text.split(), "VARCHAR"),
            **dict.fromkeys(numbers.split(), "BIGINT"),
            "value": "DOUBLE",
            "standard_error": "DOUBLE",
        }
    if mart == "fct_validations":
        return {**raw("validations"), "is_current": "BOOLEAN"}
    if mart == "fct_estimates":
        return {**raw("estimates"), "study_name": "VARCHAR", "is_current": "BOOLEAN"}
    if mart == "fct_refutations":
        names = ("study_name", "estimand", "outcome", "treatment", "method", "subgroup")
        return {**raw("refutations"), **dict.fromkeys(names, "VARCHAR"), "is_current": "BOOLEAN"}
    if mart == "fct_scaling_laws":
        return {**raw("laws"), "study_name": "VARCHAR", "is_current": "BOOLEAN"}
    if mart == "fct_forecasts":
        return {**raw("forecasts"), "study_name": "VARCHAR", "is_current": "BOOLEAN"}
    if mart == "fct_calibration":
        numbers = dict.fromkeys(("forecast", "observed", "error", "log_error"), "DOUBLE")
        return {"forecast_id": "VARCHAR", "trial_id": "VARCHAR", **numbers, "is_in_interval": "BOOLEAN"}
    if mart == "fct_learning_curves":
        return {**raw("curves"), "weights_id": "VARCHAR", "trial_id": "VARCHAR"}
    if mart == "fct_configurations":
        return {**raw("configurations"), "study_name": "VARCHAR", "is_current": "BOOLEAN"}
    text = "study_id study_name trial_id weights_id workload hardware_class hardware_id arm block status failure_reason pruning_method host"
    whole = "replicate position attempts latency_samples batch_size seed slot_order"
    real = (
        "accuracy weights_accuracy accuracy_before_finetuning loss latency_ms latency_p95_ms latency_p99_ms peak_memory_bytes "
        "memory_utilisation load_ms throughput_images_per_s loading_ms parameters nonzero_parameters flops pruning_ratio"
    )
    return {
        **dict.fromkeys(text.split(), "VARCHAR"),
        **dict.fromkeys(whole.split(), "BIGINT"),
        **dict.fromkeys(real.split(), "DOUBLE"),
        **dict.fromkeys(("is_measured", "is_sentinel", "is_oom", "is_diverged"), "BOOLEAN"),
        **dict.fromkeys(("started_at", "ended_at"), "TIMESTAMP"),
    }
