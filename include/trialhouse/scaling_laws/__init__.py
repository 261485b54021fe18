"""Scaling laws: forms of curves, how they are fitted to trials, and how sure one can be of them.

Sees no warehouse: any data frame will do. `fit_table` fits a form that is named, `choose_form` lets held-out error choose.
"""

from __future__ import annotations

from trialhouse.scaling_laws.fit import Law, fit_sample, fit_table
from trialhouse.scaling_laws.registry import FORMS, form_named

__all__ = ["FORMS", "Law", "fit_sample", "fit_table", "form_named"]
