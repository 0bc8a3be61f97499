"""Frames become results: pure computing, no network."""
