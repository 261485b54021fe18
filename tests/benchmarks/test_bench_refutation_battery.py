"""At toy size: the benchmark runs DoWhy's loop and ours, and writes its result and its figure."""

from __future__ import annotations

import json

from tests.benchmarks import bench_refutation_battery
from trialhouse.causal.checks.battery import STOCK_REFUTERS
from trialhouse.settings import Settings


def test_refutation_battery_writes_its_result_and_figure(home: Settings) -> None:
    bench_refutation_battery.run(rows=60, simulations=1, sizes=(60,), scaled=1)
    result = json.loads((home.bench_dir / "refutation_battery.json").read_text())
    assert result["value"] > 0
    assert result["is_met"] == (result["value"] >= bench_refutation_battery.GOAL and result["detail"]["are_decisions_the_same"])
    assert set(result["detail"]["decisions_ours_dowhy"]["sound"]) == {*STOCK_REFUTERS, "verdict"}
    assert [point["rows"] for point in result["detail"]["against_rows"]] == [60]
    assert "DoWhy" in (home.bench_dir / result["detail"]["figure"]).read_text()
