"""At toy size: the benchmark simulates, writes its result, and would miss its goals if intervals did not cover."""

from __future__ import annotations

import json

import numpy as np

from tests.benchmarks import bench_planted_laws
from tests.benchmarks.planted_laws import PLANTED
from trialhouse.settings import Settings


def test_planted_laws_writes_its_result(home: Settings) -> None:
    bench_planted_laws.run(3, 2, ["pure_power_law"], workers=1)
    result = json.loads((home.bench_dir / "planted_laws.json").read_text())
    found = result["detail"]["forms"]["pure_power_law"]
    assert found["studies_that_identify"] == {"A": 3, "beta": 3}
    assert found["studies_compared"] == 2
    assert result["is_met"] == (not result["detail"]["missed"])


def test_blocks_are_the_repeated_units_of_a_study() -> None:
    law = PLANTED["chinchilla"]
    frame = law.table(0, blocks=6)
    assert frame.groupby("block").size().tolist() == [len(law.places())] * 6
    assert bench_planted_laws._sample(law, 0, 6).units == 6
    residuals = np.log(frame["y"]) - np.log(law.table(0, noise=0, blocks=6)["y"])
    between = residuals.groupby(frame["block"]).mean().std()
    assert between > 3 * law.noise / np.sqrt(len(law.places()))  # a shift of its own


def test_intervals_that_do_not_cover_miss_the_goal() -> None:
    poor = {"covered": {"beta": 0.9}, "studies_that_identify": {"beta": 2000}, "right_form_wins": 0.7, "said_to_be_alike": 0.3}
    missed = bench_planted_laws._missed({"power_law": {**poor, "studies_compared": 2000}}, 0.9, 2000)
    assert len(missed) == 4
