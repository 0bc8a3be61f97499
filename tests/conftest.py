from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a loaded machine is no fault of the code
settings.register_profile("fast", settings.get_profile("untimed"), max_examples=30)


def pytest_configure(config: pytest.Config) -> None:
    """The same examples for the same tests, so that no change fails by what it did not do; others with a seed."""
    chosen = settings.get_profile("fast" if "not slow" in config.getoption("markexpr") else "untimed")
    same = config.getoption("--hypothesis-seed") is None
    settings.register_profile("chosen", chosen, derandomize=same, database=None if same else chosen.database)
    settings.load_profile("chosen")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also the cases marked `full`: the whole fault matrix")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--full"):
        items[:] = [item for item in items if item.get_closest_marker("full") is None]
