from __future__ import annotations

import sys
from pathlib import Path

import pytest

from camlink.errors import UnknownName
from camlink.workflow.beside import import_operator, look_beside


def test_a_folder_is_looked_into_once_and_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["first"])
    look_beside(tmp_path)
    look_beside(tmp_path / ".")
    assert sys.path == ["first", str(tmp_path)]


def test_a_misspelt_operator_of_a_module_is_guessed() -> None:
    with pytest.raises(UnknownName, match=r"camlink\.capture\.replay 'repaly'; did you mean 'replay'"):
        import_operator("camlink.capture.replay:repaly")
