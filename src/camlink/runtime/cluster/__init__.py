"""Dask inside a site, brought up by its agents."""
