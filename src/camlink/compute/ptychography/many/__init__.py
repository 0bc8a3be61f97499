"""A scan that is too much for one process or one GPU: shared by several, or worked through in chunks."""
