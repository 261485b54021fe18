"""Trials that train: weights to prune and serve, and trials that end when a network has learned."""
