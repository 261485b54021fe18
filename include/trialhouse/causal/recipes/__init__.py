"""Step 3, estimate: the recipes, one file per family."""
