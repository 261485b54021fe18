"""Measuring finished weights on a hardware class: latency, memory, and what the machine did meanwhile."""

from trialhouse.profiling.trials import profile_trials

__all__ = ["profile_trials"]
