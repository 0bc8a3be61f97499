from __future__ import annotations

import pytest

from camlink.errors import UnknownName
from camlink.registry import Registry


def test_an_unknown_name_lists_the_known_and_the_nearest() -> None:
    registry: Registry[object] = Registry("camlink.operators", "operator")
    with pytest.raises(UnknownName, match=r"unknown operator 'fastcdd'; did you mean 'fastccd'\? \(known: cxi, "):
        registry.get("fastcdd")


def test_things_can_be_added_and_entry_points_load_lazily() -> None:
    registry: Registry[object] = Registry("camlink.operators", "operator")
    registry.add("mine", 42)
    assert registry.get("mine") == 42
    assert "mine" in registry.names()
    assert registry.get("stxm") is registry.get("stxm")


def test_every_installed_operator_loads_and_is_described() -> None:
    from camlink.workflow.operator import Operator
    from camlink.workflow.parameter import fields

    registry: Registry[Operator] = Registry("camlink.operators", "operator")
    for name in registry.names():
        op = registry.get(name)
        assert op.name == name
        assert op.help
        assert all(row["help"] for row in fields(op.parameters)), name
