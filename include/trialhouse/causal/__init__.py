"""Effects: model, identify, estimate, refute (DoWhy's four steps, in that order).

`estimate_study` answers what a study registered; `estimate_table` one question about any table; `explain_trial` says why one
trial came out as it did, and what it would have come to otherwise. Importing this package is
light: DoWhy and EconML, which take seconds, are imported on the first call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trialhouse.causal.gcm.explain import Explanation, explain_trial
    from trialhouse.causal.results import Results
    from trialhouse.causal.study import estimate_study
    from trialhouse.causal.table import estimate_table

__all__ = ["Explanation", "Results", "estimate_study", "estimate_table", "explain_trial"]

_HOMES = {
    "Explanation": "gcm.explain",
    "Results": "results",
    "estimate_study": "study",
    "estimate_table": "table",
    "explain_trial": "gcm.explain",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"trialhouse.causal.{_HOMES[name]}"), name)
