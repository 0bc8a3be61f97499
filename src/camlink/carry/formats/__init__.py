"""File formats: CXI (written and read), ptyd and NumPy archives (read)."""
