"""Results are seen: page, terminal, command line."""
