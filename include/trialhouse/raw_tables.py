"""The raw tables: what may be landed and loaded. One definition for the writer of files and for the database.

Rows are only ever appended. Every file carries `SCHEMA_VERSION`; a newer loader upcasts older files. `unit_kind` says
whether a row is about weights (made once, whatever measures them) or about a trial; `unit_id` is the matching key.
"""

from __future__ import annotations

SCHEMA_VERSION = 4

_UNIT = {"unit_id": "VARCHAR NOT NULL", "unit_kind": "VARCHAR NOT NULL", "attempt": "INTEGER NOT NULL"}

RAW_TABLES: dict[str, dict[str, str]] = {
    # One row per version of a study: its pre-registration.
    "study_versions": {
        "study_id": "VARCHAR NOT NULL",
        "study_name": "VARCHAR NOT NULL",
        "spec_id": "VARCHAR NOT NULL",
        "estimands_id": "VARCHAR NOT NULL",  # hash of questions, gates, refuters and graph
        "title": "VARCHAR NOT NULL",
        "question": "VARCHAR NOT NULL",
        "spec": "VARCHAR NOT NULL",  # the whole spec as JSON
        "graph": "VARCHAR NOT NULL",  # name -> text of each graph file, as JSON
        "trials": "INTEGER NOT NULL",
        "code_version": "VARCHAR NOT NULL",
        "registered_at": "TIMESTAMP NOT NULL",
    },
    # One row per study version and trial.
    "assignments": {
        "study_id": "VARCHAR NOT NULL",
        "trial_id": "VARCHAR NOT NULL",
        "weights_id": "VARCHAR NOT NULL",
        "workload": "VARCHAR NOT NULL",
        "hardware_class": "VARCHAR NOT NULL",
        "arm": "VARCHAR NOT NULL",  # its levels as text, or `sentinel`
        "block": "VARCHAR NOT NULL",
        "replicate": "INTEGER NOT NULL",
        "position": "INTEGER NOT NULL",  # place in the study's random order
    },
    # One row per study version, trial and factor (a placebo label too): what the design said.
    "treatments": {
        "study_id": "VARCHAR NOT NULL",
        "trial_id": "VARCHAR NOT NULL",
        "factor": "VARCHAR NOT NULL",
        "assigned": "VARCHAR NOT NULL",
        "assigned_value": "DOUBLE",  # the same as a number, where it is one
    },
    # One row per hardware class definition that a study was registered with.
    "hardware_classes": {
        "study_id": "VARCHAR NOT NULL",
        "hardware_class": "VARCHAR NOT NULL",
        "hardware_id": "VARCHAR NOT NULL",
        "represents": "VARCHAR",
        "cpus": "INTEGER NOT NULL",
        "threads": "INTEGER NOT NULL",
        "memory_bytes": "BIGINT",  # null: no limit
        "is_emulated": "BOOLEAN NOT NULL",
        "not_emulated": "VARCHAR",
    },
    # One row per attempt at making weights or measuring a trial. It lands last: without it the attempt did not finish.
    "attempts": {
        **_UNIT,
        "weights_id": "VARCHAR NOT NULL",
        "hardware_class": "VARCHAR",
        "status": "VARCHAR NOT NULL",  # ok, out_of_memory, timed_out, crashed, diverged
        "failure_reason": "VARCHAR",
        "host": "VARCHAR NOT NULL",
        "slot_order": "INTEGER",  # place in the exclusive slot's order of this process
        "started_at": "TIMESTAMP NOT NULL",
        "ended_at": "TIMESTAMP NOT NULL",
    },
    # One row per attempt and outcome; null with a reason where it could not be had.
    "outcomes": {**_UNIT, "outcome": "VARCHAR NOT NULL", "value": "DOUBLE", "text": "VARCHAR", "reason": "VARCHAR"},
    # One row per factor whose realised level is known.
    "realised": {**_UNIT, "factor": "VARCHAR NOT NULL", "realised": "VARCHAR NOT NULL", "realised_value": "DOUBLE"},
    # One row per single measurement (latency of one call, ...).
    "samples": {**_UNIT, "metric": "VARCHAR NOT NULL", "sequence": "INTEGER NOT NULL", "value": "DOUBLE NOT NULL"},
    # One row per weights, phase, split, step and metric.
    "curves": {
        **_UNIT,
        "phase": "VARCHAR NOT NULL",
        "split": "VARCHAR NOT NULL",
        "step": "INTEGER NOT NULL",
        "metric": "VARCHAR NOT NULL",
        "value": "DOUBLE",
    },
    # One row per attempt and system metric, null with the reason where this machine does not tell.
    "profiles": {**_UNIT, "metric": "VARCHAR NOT NULL", "value": "DOUBLE", "text": "VARCHAR", "reason": "VARCHAR"},
    # One row per expectation checked for a study version.
    "validations": {
        "validation_id": "VARCHAR NOT NULL",
        "study_id": "VARCHAR NOT NULL",
        "table_name": "VARCHAR NOT NULL",
        "expectation": "VARCHAR NOT NULL",
        "column_name": "VARCHAR",
        "severity": "VARCHAR NOT NULL",  # critical, warning, info
        "is_success": "BOOLEAN NOT NULL",
        "observed": "VARCHAR",
        "failing_rows": "VARCHAR",  # keys of the rows that failed (first ones), as JSON
        "sentence": "VARCHAR NOT NULL",
        "validated_at": "TIMESTAMP NOT NULL",
    },
    # One row per hardware class and configuration (combination of the factors that are not blocks).
    "configurations": {
        "study_id": "VARCHAR NOT NULL",
        "data_id": "VARCHAR NOT NULL",  # hash of the rows that it was computed from
        "code_version": "VARCHAR NOT NULL",
        "hardware_class": "VARCHAR NOT NULL",
        "configuration": "VARCHAR NOT NULL",  # factor -> level, as JSON
        "trials": "INTEGER NOT NULL",
        "out_of_memory": "INTEGER NOT NULL",
        "oom_share": "DOUBLE NOT NULL",
        "oom_low": "DOUBLE NOT NULL",
        "oom_high": "DOUBLE NOT NULL",
        "weights": "INTEGER NOT NULL",
        "accuracy": "DOUBLE",
        "accuracy_low": "DOUBLE",
        "accuracy_high": "DOUBLE",
        "latency_ms": "DOUBLE",
        "latency_low_ms": "DOUBLE",
        "latency_high_ms": "DOUBLE",
        "images_per_s": "DOUBLE",
        "peak_memory_bytes": "DOUBLE",
        "peak_memory_low_bytes": "DOUBLE",
        "peak_memory_high_bytes": "DOUBLE",
        "memory_utilisation": "DOUBLE",
        "is_on_front": "BOOLEAN NOT NULL",
        "front_share": "DOUBLE",
        "is_within_limits": "BOOLEAN NOT NULL",
        "within_limits_share": "DOUBLE",
        "is_best": "BOOLEAN NOT NULL",
        "best_share": "DOUBLE",
        "held_out_accuracy": "DOUBLE",
        "computed_at": "TIMESTAMP NOT NULL",
    },
    # One row per estimand, subgroup, contrast and method.
    "estimates": {
        "estimate_id": "VARCHAR NOT NULL",
        "study_id": "VARCHAR NOT NULL",
        "data_id": "VARCHAR NOT NULL",  # hash of the rows that it was estimated from
        "code_version": "VARCHAR NOT NULL",
        "estimand": "VARCHAR NOT NULL",
        "treatment": "VARCHAR NOT NULL",
        "outcome": "VARCHAR NOT NULL",
        "subgroup_column": "VARCHAR",
        "subgroup": "VARCHAR",
        "contrast_from": "VARCHAR NOT NULL",
        "contrast_to": "VARCHAR NOT NULL",
        "method": "VARCHAR NOT NULL",
        "is_primary": "BOOLEAN NOT NULL",
        "adjustment": "VARCHAR",  # the columns, as JSON
        "estimand_expression": "VARCHAR",  # identification in words and symbols
        "method_estimand": "VARCHAR",  # what the recipe estimates where effects differ between trials
        "estimate": "DOUBLE",
        "standard_error": "DOUBLE",
        "ci_low": "DOUBLE",
        "ci_high": "DOUBLE",
        "p_value": "DOUBLE",
        "p_value_adjusted": "DOUBLE",  # Holm over the primary estimates of one estimation
        "confidence_set": "VARCHAR",  # JSON list of [low, high], null for an end that there is not; where it is no interval
        "trials": "INTEGER NOT NULL",
        "clusters": "INTEGER",
        "effective_trials": "DOUBLE",  # trials (or repeated units) that carry it
        "nuisance_r2_treatment": "DOUBLE",  # out of fold
        "nuisance_r2_outcome": "DOUBLE",
        "stratum": "VARCHAR",  # which trials it speaks of, where not all
        "verdict": "VARCHAR NOT NULL",  # released, withheld, failed
        "reasons": "VARCHAR",  # JSON list
        "caveats": "VARCHAR",  # JSON list
        "seed": "BIGINT",  # of what the recipe and the refuters draw
        "library_versions": "VARCHAR",  # JSON: distribution -> version
        "per": "VARCHAR",  # what one step of the contrast is: `doubling` or a number of units; null where it names levels
        "estimated_at": "TIMESTAMP NOT NULL",
    },
    # One row per estimate and check.
    "refutations": {
        "estimate_id": "VARCHAR NOT NULL",
        "study_id": "VARCHAR NOT NULL",
        "refuter": "VARCHAR NOT NULL",
        "verdict": "VARCHAR NOT NULL",  # passed, failed, inconclusive, not_applicable
        "reason": "VARCHAR NOT NULL",
        "statistic": "DOUBLE",
        "p_value": "DOUBLE",
        "simulations": "INTEGER",
        "details": "VARCHAR",  # JSON list of objects: the rows that the reason sums up
        "refuted_at": "TIMESTAMP NOT NULL",
    },
    # One row per law, subgroup and parameter; per pair of subgroups and compared quantity; one without where no law was fitted. Likewise
    # per score of a law, subgroup and parameter of the map from its loss, and per response, subgroup and effect.
    "laws": {
        "law_id": "VARCHAR NOT NULL",
        "study_id": "VARCHAR NOT NULL",
        "data_id": "VARCHAR NOT NULL",  # hash of the rows that it rests on
        "code_version": "VARCHAR NOT NULL",
        "law": "VARCHAR NOT NULL",  # as the study names it; of a response its name
        "outcome": "VARCHAR NOT NULL",
        "columns": "VARCHAR NOT NULL",  # role -> column, as JSON; of a map to a score `loss` -> column, of a response `factors` -> a list
        "subgroup": "VARCHAR",  # factor -> level, as JSON
        "compared_with": "VARCHAR",  # the subgroup that it is held against, as JSON
        "form": "VARCHAR NOT NULL",
        "formula": "VARCHAR",
        "quantity": "VARCHAR NOT NULL",  # a parameter, what is compared, or the term of a response
        "estimate": "DOUBLE",
        "standard_error": "DOUBLE",
        "ci_low": "DOUBLE",  # null: no end
        "ci_high": "DOUBLE",
        "p_value": "DOUBLE",  # of no difference; null for a parameter, and where nothing is tested
        "p_value_adjusted": "DOUBLE",  # Holm over all tests of the law
        "is_identified": "BOOLEAN NOT NULL",
        "trials": "INTEGER NOT NULL",
        "objective": "DOUBLE",  # summed Huber loss
        "verdict": "VARCHAR NOT NULL",  # released, withheld
        "reasons": "VARCHAR",  # JSON list
        "warnings": "VARCHAR",  # JSON list
        "sentence": "VARCHAR",  # what a comparison says, or which regime an exponent is of
        "choice": "VARCHAR",  # how the form was chosen, as JSON
        "fitted_at": "TIMESTAMP NOT NULL",
    },
    # One row per forecast: a place, by the causal law or by one passive observer, asked for or held out.
    "forecasts": {
        "forecast_id": "VARCHAR NOT NULL",
        "study_id": "VARCHAR NOT NULL",
        "data_id": "VARCHAR NOT NULL",  # hash of the rows that the law rests on
        "code_version": "VARCHAR NOT NULL",
        "law": "VARCHAR NOT NULL",  # as the study names it
        "subgroup": "VARCHAR",  # factor -> level, as JSON
        "form": "VARCHAR NOT NULL",
        "outcome": "VARCHAR NOT NULL",
        "purpose": "VARCHAR NOT NULL",  # asked, interpolation, extrapolation
        "basis": "VARCHAR NOT NULL",  # causal, correlational
        "looks_at": "VARCHAR",  # what the passive observer sees
        "place": "VARCHAR NOT NULL",  # column -> value of the configuration, its subgroup included, as JSON
        "start": "VARCHAR",  # where the intervention starts, as JSON
        "estimate": "DOUBLE NOT NULL",
        "ci_low": "DOUBLE NOT NULL",  # of the average trial
        "ci_high": "DOUBLE NOT NULL",
        "prediction_low": "DOUBLE NOT NULL",  # of one new trial
        "prediction_high": "DOUBLE NOT NULL",
        "difference": "DOUBLE",  # from the start
        "difference_low": "DOUBLE",
        "difference_high": "DOUBLE",
        "reach": "DOUBLE NOT NULL",  # factors of ten beyond the trials
        "trials": "INTEGER NOT NULL",  # that the law saw
        "sentence": "VARCHAR",
        "caveats": "VARCHAR",  # JSON list
        "made_at": "TIMESTAMP NOT NULL",
    },
}
