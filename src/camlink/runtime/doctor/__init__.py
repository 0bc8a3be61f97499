"""The doctor: what could spoil a scan on this machine, measured before the beam is on."""
