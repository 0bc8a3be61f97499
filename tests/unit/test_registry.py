from __future__ import annotations

from pathlib import Path

import pytest

from camlink.errors import InputError, UnknownName
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


@pytest.mark.parametrize(("text", "why"), [
    ("import nowhere_at_all", "nowhere_at_all"), ("raise SystemExit(1)", "SystemExit")])
def test_a_package_that_cannot_be_loaded_is_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str) -> None:
    name = f"broken_{len(text)}"
    (tmp_path / f"{name}.py").write_text(text)
    folder = tmp_path / f"{name}-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(f"[camlink.operators]\n{name} = {name}:it\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=f"operator '{name}' cannot be loaded.*{why}.*the package {name}"):
        Registry("camlink.operators", "operator").get(name)
