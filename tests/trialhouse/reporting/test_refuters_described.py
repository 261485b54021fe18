"""Every check of the causal engine is described in the report."""

from __future__ import annotations

import re
from pathlib import Path

import trialhouse.causal
from trialhouse.causal.checks.battery import STOCK_REFUTERS
from trialhouse.reporting import report


def test_every_check_is_described() -> None:
    folder = Path(trialhouse.causal.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py")))
    named = set(re.findall(r'Check\(\s*"([a-z_]+)"', text)) | set(re.findall(r'\n    name(?:, named)? = "([a-z_]+)"', text))
    named |= set(re.findall(r'_check\(\s*"([a-z_]+)"', text)) | set(STOCK_REFUTERS)
    assert len(named) > 20
    assert named - set(report.REFUTERS) == {"mediator_interaction"}  # of direct effects, which only Python asks for
    assert report.STOCK_REFUTERS == STOCK_REFUTERS
