"""Units of a treatment."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trialhouse.causal.inference import coefficient
from trialhouse.causal.scale import Scale, read_scale
from trialhouse.errors import EstimationError

PARAMETERS = pd.Series([1e6, 2e6, 4e6, 16e6], name="parameters")


def test_one_unit_on_the_scale_is_what_is_asked_for() -> None:
    loss = 5 - 0.3 * np.log2(PARAMETERS.to_numpy())
    none = np.empty((4, 0))
    assert coefficient(Scale("doubling").column(PARAMETERS).to_numpy(), loss, none) == pytest.approx(-0.3)
    linear = 2 - 1e-7 * PARAMETERS.to_numpy()
    assert coefficient(Scale(1_000_000).column(PARAMETERS).to_numpy(), linear, none) == pytest.approx(-0.1)
    assert coefficient(Scale().column(PARAMETERS).to_numpy(), linear, none) == pytest.approx(-1e-7)


def test_levels_of_a_contrast_go_onto_the_scale_too() -> None:
    scale = Scale("doubling")
    assert scale.of(16e6) - scale.of(1e6) == pytest.approx(4)
    assert Scale(1e6).of(16e6) == pytest.approx(16)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("doubling", "per doubling of parameters"),
        ("1000000", "per +1M parameters"),
        ("2.5e9", "per +2.5B parameters"),
        ("10", "per +10 parameters"),
        ("1", "per unit of parameters"),
    ],
)
def test_words(text: str, words: str) -> None:
    assert read_scale(text).words("parameters") == words


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "halving", ""])
def test_no_other_scales(text: str) -> None:
    with pytest.raises(EstimationError, match="per must be 'doubling' or a positive number"):
        read_scale(text)


def test_what_cannot_be_doubled_is_refused() -> None:
    with pytest.raises(EstimationError, match=r"'parameters' must be positive.*got 0"):
        Scale("doubling").column(pd.Series([0.0, 1.0], name="parameters"))
    with pytest.raises(EstimationError, match="must be positive"):
        Scale("doubling").of(0)
    with pytest.raises(EstimationError, match="need a treatment of numbers"):
        Scale(2).column(pd.Series(["a", "b"], name="method"))
