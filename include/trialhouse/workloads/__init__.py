"""What a trial trains and measures: one file per workload, found through the entry point group `trialhouse.workloads`."""
