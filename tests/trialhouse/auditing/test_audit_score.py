"""What an audit says of trials that came out: paired differences, verdicts and the sentence, without running any."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from trialhouse.auditing import score
from trialhouse.auditing.candidates import RECOMMENDED, Candidate
from trialhouse.auditing.score import Audit, _paired
from trialhouse.scaling_laws.prediction import Prediction

OWN = {"0": 2.0, "1": 2.1, "2": 1.9, "3": 2.05}


def came(name: str, outcomes: dict[str, float], **lost: int) -> score.Tested:
    after = Prediction(2.0, 1.9, 2.1, 1.8, 2.2)
    forecast: Any = SimpleNamespace(found=SimpleNamespace(effect=SimpleNamespace(after=after, difference=(0.1, 0.0, 0.2))))
    difference = None if name == RECOMMENDED else _paired(outcomes, OWN)
    return score.Tested(Candidate((name,), {"width": 8}, {"width": 8.0}, 1e9), forecast, outcomes, len(outcomes), 1, lost, difference)


def shifted(by: float, noise: float = 0.02) -> dict[str, float]:
    rng = np.random.default_rng(0)
    return {pair: value + by + noise * rng.normal() for pair, value in OWN.items()}


def audit(*rivals: score.Tested, recommended: score.Tested | None = None) -> Audit:
    own = recommended or came(RECOMMENDED, OWN)
    return Audit("study_1", "loss", 4, {"width": 8.0}, (own, *rivals), {}, {}, (0, 0))


def test_differences_are_paired_by_block_with_a_t_interval() -> None:
    """Of the blocks that both have, whatever their order; scipy's interval is another's computation."""
    other = {**dict(reversed(shifted(0.3).items())), "9": 100.0}
    differences = [other[pair] - OWN[pair] for pair in OWN]
    expected = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert _paired(other, OWN) == pytest.approx((np.mean(differences), expected.low, expected.high))
    value, low, high = _paired({"0": 2.5}, OWN)
    assert value == pytest.approx(0.5)
    assert np.isnan([low, high]).all()
    assert np.isnan(_paired({"9": 2.5}, OWN)).all()


@pytest.mark.parametrize(("by", "verdict"), [(0.3, "worse"), (-0.3, "better"), (0.0, "not told apart")])
def test_a_loss_that_is_higher_is_worse(by: float, verdict: str) -> None:
    assert came("half", shifted(by)).verdict == verdict


def test_the_sentence_says_who_came_out_best_and_how_sure_that_is() -> None:
    worse, better, alike, lost = (came(name, shifted(by)) for name, by in (("a", 0.3), ("b", -0.3), ("c", 0.0), ("d", 0.3)))
    said = audit(worse, came("a", {"0": 2.6})).sentence
    assert said.startswith("The recommended split came out best of 3, with a mean loss of 2.01")
    assert "; of its rivals 1 came out worse, 1 with too few pairs to tell (4 pairs of trials each, which is few)" in said
    said = audit(worse, better, alike).sentence
    assert "came out behind 1 of 3 rivals" in said or "came out behind 2 of 3 rivals" in said
    assert "1 came out worse, 1 came out better, 1 cannot be told from it" in said
    nothing = replace(came(RECOMMENDED, {}, crashed=3), difference=None)
    assert audit(lost, recommended=nothing).sentence == "The recommended split came to no loss: 3 crashed"
    assert "No rival came to an outcome" in audit(came("a", {}, out_of_memory=4)).sentence


def test_json_has_no_nan_where_nothing_can_be_told() -> None:
    told = came("half", {"0": 2.5}).to_dict()
    assert told["difference"] == {"value": pytest.approx(0.5), "interval": None}
    assert told["verdict"] == "unknown"
    assert "verdict" not in came(RECOMMENDED, OWN).to_dict()
