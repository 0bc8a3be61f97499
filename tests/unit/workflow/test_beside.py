from __future__ import annotations

import sys
from pathlib import Path

import pytest

from camlink.errors import InputError, UnknownName
from camlink.workflow.beside import MOST_BYTES, MOST_FILES, import_operator, look_beside, read_beside


def test_a_folder_is_looked_into_once_and_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["first"])
    look_beside(tmp_path)
    look_beside(tmp_path / ".")
    assert sys.path == ["first", str(tmp_path)]


def test_a_misspelt_operator_of_a_module_is_guessed() -> None:
    with pytest.raises(UnknownName, match=r"camlink\.capture\.replay 'repaly'; did you mean 'replay'"):
        import_operator("camlink.capture.replay:repaly")


OPERATOR = """from camlink import CountFrames, operator
import json, {lens}


@operator('same', ahead=('{scale}',))
def same(frames: CountFrames) -> CountFrames:
    from {late} import nothing
    return frames
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is looked into, with a module `NAME_same` of an operator that imports others from there."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    look_beside(tmp_path)
    names = {name: f"{tmp_path.name}_{name}" for name in ("lens", "scale", "late")}
    (tmp_path / f"{tmp_path.name}_same.py").write_text(OPERATOR.format(**names))
    for name in names.values():
        (tmp_path / f"{name}.py").write_text("nothing = None\n")
    (tmp_path / "not_used.py").write_text("")
    return tmp_path


def test_operators_are_read_with_what_they_import_from_beside_also_late(beside: Path) -> None:
    operator = import_operator(f"{beside.name}_same:same")
    files = read_beside([operator, import_operator("camlink.capture.replay:replay")])
    assert files == {file.name: file.read_bytes() for file in beside.glob(f"{beside.name}_*.py")}


def test_packages_stay_where_they_are(beside: Path) -> None:
    (beside / f"{beside.name}_lens.py").unlink()
    (beside / f"{beside.name}_lens").mkdir()
    (beside / f"{beside.name}_lens/__init__.py").write_text("")
    assert f"{beside.name}_lens.py" not in read_beside([import_operator(f"{beside.name}_same:same")])


def test_what_is_too_much_is_said_with_what_to_do(beside: Path) -> None:
    operator = import_operator(f"{beside.name}_same:same")
    late = beside / f"{beside.name}_late.py"
    late.write_bytes(b"#" * MOST_BYTES)
    with pytest.raises(InputError, match=r"more than the 1024 KiB that go along .* make a package of them"):
        read_beside([operator])
    many = [f"{beside.name}_{number}" for number in range(MOST_FILES)]
    late.write_text(f"import {', '.join(many)}, {beside.name}_l\u00e4ngs\n")
    for name in many:
        (beside / f"{name}.py").write_text("")
    with pytest.raises(InputError, match=f"more than {MOST_FILES} files"):
        read_beside([operator])
    late.write_text(f"import {beside.name}_l\u00e4ngs\n", encoding="utf8")
    (beside / f"{beside.name}_l\u00e4ngs.py").write_text("")
    with pytest.raises(InputError, match=r"called by up to 64 plain letters, digits and _; rename it"):
        read_beside([operator])
