"""sample(): a file of real data for a test, or a skip that says which one is not there."""

from __future__ import annotations

from pathlib import Path

from camlink.settings import read_settings


def sample(name: str) -> Path:
    """Path of the sample `name` in the folder that CAMLINK_SAMPLES names; skips the test when it is not there."""
    import pytest

    path = read_settings().samples.resolve() / name
    if not path.exists():
        pytest.skip(f"{name} is not among the samples (CAMLINK_SAMPLES)")
    return path
