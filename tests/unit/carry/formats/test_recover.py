"""recover: what a killed writer left is put in order, everything else is left alone."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from camlink.block import CountFrames, Header, Result, Scan
from camlink.carry.formats import cxi_write
from camlink.carry.formats.cxi_write import CxiWriter
from camlink.carry.formats.recover import recover
from camlink.errors import FormatError, StorageError

SCAN = Scan(id="s", expected=3, shape=(4, 4), pixel_m=(1e-5, 1e-5), distance_m=0.1, energy_eV=500.0, span_m=(0.0,) * 4)


def left(path: Path, monkeypatch: pytest.MonkeyPatch, writer_text: str) -> Path:
    """What lies on the disk while a writer works: what it would leave when it was killed."""
    monkeypatch.setattr(cxi_write, "writer_text", lambda: writer_text)
    index = np.arange(3)
    with CxiWriter(path.with_suffix(".whole"), SCAN, provenance={}) as writer:
        writer.write_frames(CountFrames(Header(scan=SCAN, made_s=0), {
            "frames": np.ones((3, 4, 4), np.float32), "index": index, "point": index, "kind": np.ones(3, np.uint8),
            "dwell_s": np.ones(3), "position_m": np.zeros((3, 2)), "time_s": np.zeros(3)}))
        writer.write_result(Result(Header(scan=SCAN, made_s=0, sequence=5), {"object": np.full((6, 6), 5 + 0j)}))
        path.write_bytes(path.with_suffix(".whole").read_bytes())
    return path


def test_a_killed_writers_file_opens_everywhere_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(tmp_path / "a.cxi", monkeypatch, "another-host 1 0.00")
    with pytest.raises(OSError, match="already open"):
        h5py.File(path)
    assert recover(path) == (True, 3, 5)
    with h5py.File(path) as file:
        assert file["entry_1/data_1/data"].shape == (3, 4, 4)
        assert np.all(file["entry_1/image_1/data"][...] == 5)
    assert recover(path) == (False, 3, 5)


def test_a_living_writer_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(tmp_path / "a.cxi", monkeypatch, cxi_write.writer_text())
    before = path.read_bytes()
    with pytest.raises(StorageError, match="still writes it"):
        recover(path)
    assert path.read_bytes() == before


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.cxi", "w", libver="latest") as file:
        file["entry_1/x"] = 1
    with pytest.raises(FormatError, match="not written by camlink"):
        recover(tmp_path / "a.cxi")
    with pytest.raises(FormatError, match="no such file"):
        recover(tmp_path / "b.cxi")


def test_a_damaged_file_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(tmp_path / "a.cxi", monkeypatch, "another-host 1 0.00")
    with h5py.File(path.with_suffix(".whole")) as file:
        places = [h5py.h5o.get_info(file[name].id).addr for name in ("entry_1/image_1/data", "entry_1/data_1/data")]
    whole = path.read_bytes()
    for place in places:
        path.write_bytes(whole[:place + 20] + b"\xff" + whole[place + 21:])
        with pytest.raises(FormatError, match="damaged"):
            recover(path)
