"""Step 4, refute: the checks, one file per kind. Each hands back a `Check` (`trialhouse.causal.verdict`) with a word and a sentence."""
