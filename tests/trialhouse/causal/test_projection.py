"""The part of a graph that rows can tell of, and what is said of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trialhouse.causal.worlds import accuracies, graph
from trialhouse.causal.gcm.mechanisms import fit_mechanisms


def test_causes_of_a_node_that_is_missing_stand_for_it() -> None:
    frame = accuracies()
    frame.loc[frame.index % 3 == 0, "memory"] = np.nan
    mechanisms = fit_mechanisms(frame, graph(), "accuracy", categorical=["treated", "batch"], cluster="unit")
    assert set(mechanisms.digraph.predecessors("accuracy")) == {"treated", "batch"}
    assert len(mechanisms.rows) == len(frame)
    told = {item.node: item.reason for item in mechanisms.left_out}
    assert told["memory"] == "it is missing in 64 of the 192 trials; its causes (batch, treated) stand for it"


def test_what_does_not_vary_passes_nothing_on() -> None:
    text = "edges: [a -> finished, b -> y, finished -> y]"
    frame = accuracies().rename(columns={"treated": "a", "batch": "b", "accuracy": "y"}).assign(finished=1)
    mechanisms = fit_mechanisms(frame, graph(text), "y", categorical=["a", "b"])
    assert set(mechanisms.digraph.edges) == {("b", "y")}
    assert mechanisms.left_out[0].reason == "it is 1 in every trial that has y: the answer speaks of such trials only"


@pytest.mark.parametrize(
    ("text", "caveat"),
    [
        ("edges: [hidden -> treated, hidden -> batch, treated -> accuracy, batch -> accuracy]", "batch, treated went together"),
        ("edges: [hidden -> treated, hidden -> accuracy, treated -> accuracy]", "hidden is not seen and moves accuracy, treated"),
    ],
)
def test_a_hidden_common_cause_is_a_caveat(text: str, caveat: str) -> None:
    mechanisms = fit_mechanisms(accuracies(), graph(text), "accuracy", categorical=["treated", "batch"])
    assert len(mechanisms.caveats) == 1
    assert mechanisms.caveats[0].startswith(caveat)
