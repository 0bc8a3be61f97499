"""Evaluate: algorithms, parameters and kernels compared on one data set, peers included where they are installed."""
