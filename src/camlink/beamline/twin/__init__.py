"""The digital twin: a soft X-ray ptychography beamline with a known truth, in real time."""
