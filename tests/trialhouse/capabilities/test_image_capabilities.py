"""Exams of images: noise makes a trained network worse, and the same noise for everyone."""

from __future__ import annotations

from trialhouse.training.threads import one_thread
from trialhouse.workloads.lenet import LeNet


def test_a_network_is_worse_on_corrupted_images_and_better_than_chance() -> None:
    learner = LeNet({"epochs": 4, "capabilities": ["clean_accuracy", "corrupted_accuracy"]})
    assert learner.outcomes >= {"capability_clean_accuracy", "capability_corrupted_accuracy"}
    with one_thread():
        found, again = (learner.learn({}, lambda step, values: None, 60).outcomes for _ in range(2))
    assert found["capability_clean_accuracy"] == found["accuracy"] > 0.8
    assert 0.2 < found["capability_corrupted_accuracy"] < found["capability_clean_accuracy"]
    assert found["capability_corrupted_accuracy"] == again["capability_corrupted_accuracy"]
