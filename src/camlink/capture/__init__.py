"""Detector bytes become frames."""
