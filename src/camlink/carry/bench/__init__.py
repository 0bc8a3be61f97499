"""Measure links on this machine, beside hand-written chains in the same run."""
