"""Blocks on disk: journals of operators, and what spills from links."""
