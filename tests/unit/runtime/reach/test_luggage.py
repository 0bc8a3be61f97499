from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from camlink.errors import StorageError, WireError
from camlink.runtime.messages import Luggage, decode, encode
from camlink.runtime.reach.luggage import pack, unpack
from camlink.testing import toys
from camlink.workflow.beside import MOST_BYTES, MOST_FILES, look_beside
from camlink.workflow.check import check
from camlink.workflow.graph import Site, Workflow

OPERATOR = """from camlink import RawFrames, operator


@operator('same')
def same(frames: RawFrames) -> RawFrames:
    return frames
"""


@pytest.mark.parametrize("files", [
    *({name: b""} for name in ("../up.py", "a/b.py", "/etc/a.py", "..", "", ".py", "a.so", "a.py\n", "a\0.py",
                               "l\u00e4ngs.py", f"{'a' * 65}.py", "a.b.py")),
    {"a.py": bytes(MOST_BYTES), "b.py": b"#"},
    {f"a{number}.py": b"" for number in range(MOST_FILES + 1)},
    {"a.py": "text"}, ["a.py"],
], ids=lambda files: str(next(iter(files)))[:20])
def test_luggage_of_another_form_is_no_message(files: Any) -> None:
    with pytest.raises(WireError, match="not a message"):
        decode(msgspec.msgpack.encode({"type": "Luggage", "files": files}))


def test_luggage_arrives_as_it_was_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "luggage"
    folder.mkdir()
    sent = Luggage(files={"a.py": b"a = 1\n", "_b2.py": b"\xff"})
    unpack(decode(encode(sent)), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == sent.files
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    with pytest.raises(StorageError, match="luggage"):  # what is there is not replaced
        unpack(sent, folder)


def test_sites_on_other_machines_get_what_they_need_and_no_other_gets_any(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    look_beside(tmp_path)
    for name in ("goes_along", "stays_here"):
        (tmp_path / f"{name}.py").write_text(OPERATOR)
    flow = Workflow("f", sites={"here": Site("here"), "job": Site("job", "slurm", agents=2),
                                "beam": Site("beam", "ssh", {"host": "beam7"})})
    flow.add("camera", toys.camera, at="beam")
    flow.add("near", "stays_here:same", "camera")
    flow.add("far", "goes_along:same", "near", at="job")
    flow.add("look", toys.look, "far", policy="latest")
    assert {site: list(luggage.files) for site, luggage in pack(check(flow)).items()} == {"job": ["goes_along.py"]}
