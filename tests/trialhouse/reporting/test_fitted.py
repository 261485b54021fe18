"""What `trialhouse fit` prints of a law."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trialhouse.reporting.fitted import law_rows
from trialhouse.scaling_laws import fit_table


@pytest.mark.filterwarnings("error")
def test_what_is_not_identified_has_no_standard_error() -> None:
    """It once had one of 1e49, with a warning of NumPy's above the answer."""
    rng = np.random.default_rng(0)
    data = np.repeat([1e3, 1.2e3, 1.4e3, 1.6e3], 5)
    frame = pd.DataFrame({"data": data, "loss": np.exp(rng.normal(0, 0.1, len(data)))})
    law = fit_table(frame, form="power_law", outcome="loss", columns={"data": "data"}, draws=200)
    assert "beta" in law.not_identified
    rows = {row["parameter"]: row for row in law_rows(law.to_dict())}
    assert (rows["beta"]["standard error"], rows["beta"][""]) == ("", "not identified")
