"""Blocks between operators, processes and sites, and through time as files."""
