"""The audit of an allocation: the recommended split and its rivals are forecast, then really run, and what came out is held against it."""

from trialhouse.auditing.run import audit
from trialhouse.auditing.score import Audit

__all__ = ["Audit", "audit"]
