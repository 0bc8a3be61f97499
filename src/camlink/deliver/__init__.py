"""Results are kept: files and where they come from."""
