"""Laws that were published with their data: ours are at least as low, and as sure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialhouse.scaling_laws import FORMS, fit_table
from trialhouse.scaling_laws.search import mean_stop, optimum, ranked_starts
from trialhouse.scaling_laws.solver import objective

DATA = Path(__file__).parents[4] / "shared" / "data"
CHINCHILLA = DATA / "chinchilla_epoch" / "svg_extracted_data.csv"
GEMSTONES = DATA / "gemstones"
chinchilla = pytest.mark.skipif(not CHINCHILLA.exists(), reason="the points of Chinchilla's figure are not on this machine")
gemstones = pytest.mark.skipif(not GEMSTONES.exists(), reason="the Gemstones' runs are not on this machine")


def points_of_chinchilla() -> pd.DataFrame:
    frame = pd.read_csv(CHINCHILLA).rename(columns={"Model Size": "size"})
    return frame.assign(data=frame["Training FLOP"] / 6 / frame["size"])


@chinchilla
def test_chinchilla_as_epoch_refitted_it() -> None:
    """Besiroglu et al. (2024): the five highest losses left out, standard errors .0154 (alpha), .0206 (beta), .0257 (E)."""
    columns = {"size": "size", "data": "data"}
    law = fit_table(points_of_chinchilla(), form="chinchilla", outcome="loss", columns=columns, drop_highest=5)
    assert len(law.sample) == 240
    assert law.objective <= 1.01828e-3
    assert law.parameters == pytest.approx({"A": 477.8, "B": 2143, "E": 1.8172, "alpha": 0.3473, "beta": 0.3672}, rel=5e-4)
    errors = {"alpha": 0.0154, "beta": 0.0206, "E": 0.0257}
    assert {name: law.standard_errors[name] for name in errors} == pytest.approx(errors, rel=0.15)
    assert law.verdict == "released"
    assert any("averaged instead of the summed loss" in warning for warning in law.warnings)


@chinchilla
def test_an_averaged_loss_misses_chinchillas_optimum() -> None:
    frame = points_of_chinchilla().sort_values("loss").iloc[:240]
    points, outcome = {name: np.log(frame[name].to_numpy()) for name in ("size", "data")}, frame["loss"].to_numpy()
    form = FORMS["chinchilla"]
    stop = mean_stop(form, points, outcome, 1e-3, ranked_starts(form, points, outcome, 1e-3, 5))
    assert stop.objective > 1.02 * optimum(form, points, outcome, 1e-3).objective


def fits_of_gemstones() -> list[tuple[str, str, str, float]]:
    """Key of the published fit, its form, its file, delta."""
    if not GEMSTONES.exists():
        return []
    forms = {"width_depth_parameters": "width_depth_size", "width_depth": "width_depth", "parameters": "chinchilla"}
    found = []
    for key in json.loads((GEMSTONES / "published_parameters.json").read_text()):
        kind, _, name = key.partition("approach_3_")[2].removesuffix(".json").partition("_grid_search_0_")
        file = f"wandb_df_for_fitting_{name}.jsonl"
        if kind in forms and (GEMSTONES / file).exists():
            found.append((key, forms[kind], file, 10 ** float(key.partition("delta")[2].partition("/")[0])))
    return found


@gemstones
def test_there_are_published_fits() -> None:
    assert len(fits_of_gemstones()) == 22


@gemstones
@pytest.mark.parametrize(("key", "name", "file", "delta"), fits_of_gemstones())
def test_gemstones_are_never_above_their_published_fit(key: str, name: str, file: str, delta: float) -> None:
    """McLeish et al. (2025); their parameters are evaluated here, since they print their losses with few digits."""
    published = json.loads((GEMSTONES / "published_parameters.json").read_text())[key]
    frame, form = pd.read_json(GEMSTONES / file, lines=True), FORMS[name]
    columns = {"size": "params_active_precise", "data": "tokens", "width": "width", "depth": "depth"}
    points = {role: np.log(frame[columns[role]].to_numpy(dtype=float)) for role in form.roles}
    outcome = frame["final_loss"].to_numpy()
    pairs = zip(published["coefficients"]["0"], published["exponents"]["0"], strict=True)
    theirs = np.array([published["irreducible_error"]["0"], *(value for pair in pairs for value in pair)])
    lowest = objective(form, theirs[None], points, np.log(outcome), delta)[0]
    assert lowest == pytest.approx(published["loss"]["0"], rel=1e-3)
    assert optimum(form, points, outcome, delta).objective <= lowest
