"""Hardware classes: what a trial may use, how far this machine can hold it to that, and one trial at a time while measuring."""
