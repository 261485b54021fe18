"""Benchmarks: each writes `$TRIALHOUSE_HOME/bench/<name>.json` and is run by `make bench`."""
