"""Kernels: one fused step of the engine for each backend, with a NumPy reference that the others are compared to."""
