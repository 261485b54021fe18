"""At toy size: the benchmark runs scipy's loop and ours to the same optima, and writes its result and its figure."""

from __future__ import annotations

import json

from tests.benchmarks import bench_law_bootstrap
from trialhouse.settings import Settings


def test_law_bootstrap_writes_its_result_and_figure(home: Settings, monkeypatch) -> None:
    monkeypatch.setattr(bench_law_bootstrap, "STARTS", 2)
    bench_law_bootstrap.run(draws=50, loop=2, sizes=(60,), curve_draws=10)
    result = json.loads((home.bench_dir / "law_bootstrap.json").read_text())
    detail = result["detail"]
    assert result["value"] > 1
    assert detail["is_scaled"]
    assert detail["agreement_with_tight_loop"]["highest_of_ours_over_theirs"] <= 1 + 1e-6
    assert [point["points"] for point in detail["against_points"]] == [60]
    assert "Trialhouse" in (home.bench_dir / detail["figure"]).read_text()
