"""Forecast: what a scan is going to give and to cost, before the beam is on."""
