"""Ptychography: photon counts and positions become object and probe, while the scan runs."""
