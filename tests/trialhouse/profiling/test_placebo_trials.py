"""A/A arms over trials that are really measured: equal treatments differ no more often than chance lets them."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from tests.trialhouse.engine import LAPTOP, rows, tiny_study, trials_of
from trialhouse.causal.checks.always import placebo_arms
from trialhouse.causal.sample import make_sample
from trialhouse.profiling.trials import profile_trials_for
from trialhouse.settings import get_settings
from trialhouse.studies.catalogue import parse_study
from trialhouse.studies.designs import labelled_trials
from trialhouse.training.weights import make_weights_for

REPEATS, TRIALS = 20, 8


def test_equal_treatments_differ_in_one_of_twenty_real_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty disjoint sets of trials of one network, each with labels of its own: rejections at .05 are binomial."""
    monkeypatch.setenv("TRIALHOUSE_HOME", str(tmp_path))
    get_settings.cache_clear()
    settings = get_settings()
    content = tiny_study({"width": 16, "pretraining_epochs": 1}, methods=("l1_structured",)).content
    content = {**content, "design": {"kind": "randomised_blocks", "seed": 0, "replicates": REPEATS * TRIALS}}
    placebo = {"name": "placebo", "kind": "categorical", "assignment": "placebo", "levels": ["a", "b"]}
    study = parse_study({**content, "factors": [*content["factors"], placebo]}, "tiny")
    trials = [trial for trial in trials_of(study) if trial.factors["pruning_ratio"] == 0.6]
    assert len(trials) == REPEATS * TRIALS
    make_weights_for(study, trials)
    assert profile_trials_for(study, trials, LAPTOP) == {"skipped": 0, "ok": len(trials)}
    get_settings.cache_clear()

    samples = pd.DataFrame(rows(settings, "samples")).query("metric == 'latency_ms'")
    latency = {str(unit): statistics.median(values) for unit, values in samples.groupby("unit_id")["value"]}
    p_values = []
    for repeat in range(REPEATS):
        some = labelled_trials(study, trials[repeat::REPEATS], np.random.default_rng(repeat))
        frame = pd.DataFrame({"placebo": [t.labels["placebo"] for t in some], "latency_ms": [latency[t.trial_id] for t in some]})
        assert sorted(frame["placebo"]) == ["a"] * 4 + ["b"] * 4
        sample = make_sample(frame.assign(t=0.0), treatment="t", outcome="latency_ms", arms=pd.Series(0.0, frame.index), covariates=[])
        p_values.append(placebo_arms(sample, "placebo").p_value)
    assert len(set(p_values)) == REPEATS
    # the 99% interval of 20 draws at 5% ends at 4: a sound machine fails this once in four hundred runs
    assert sum(p_value < 0.05 for p_value in p_values if p_value is not None) <= binom.ppf(0.995, REPEATS, 0.05)
