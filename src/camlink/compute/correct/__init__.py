"""Raw detector frames become photon counts, in small steps; `Correction` is the fused fast path."""
