"""Placers: how agents get onto a site."""
