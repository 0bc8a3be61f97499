"""ptyd files: chunks joined, live parts followed, units and missing values."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from camlink.carry.formats.ptyd import read_ptyd
from camlink.errors import FormatError


def ptyd(path: Path, counts: tuple[int, ...] = (3, 2), positions: int = 0, **meta: object) -> Path:
    known = {"energy": 0.8, "distance": 0.1, "psize": 3e-5, "num_frames": sum(counts), "version": "0.1"} | meta
    with h5py.File(path, "w") as file:
        for name, value in known.items():
            file[f"meta/{name}"] = value
        first = 0
        for chunk, count in enumerate(counts):
            rows = np.arange(first, first + count)
            file[f"chunks/{chunk}/data"] = np.tile(rows[:, None, None], (1, 4, 4)).astype(np.uint16)
            file[f"chunks/{chunk}/positions"] = np.stack([rows, 10.0 * rows], 1)[:count + positions] * 1e-6
            file[f"chunks/{chunk}/indices"] = rows + 7
            first += count
    return path


def test_chunks_are_one_scan(tmp_path: Path) -> None:
    with read_ptyd(ptyd(tmp_path / "a.ptyd", (3, 2, 12))) as found:
        assert found.frames is not None
        assert found.frames.shape == (17, 4, 4)
        np.testing.assert_array_equal(found.frames.read(2, 15)[:, 1, 1], np.arange(2, 15))
        assert found.frames.read(0, 17).dtype == np.float32
        np.testing.assert_array_equal(found.index, np.arange(7, 24))
        np.testing.assert_allclose(found.position_m, np.stack([np.arange(17), 10 * np.arange(17)], 1) * 1e-6)
        assert found.scan.energy_eV == pytest.approx(800)
        assert found.scan.pixel_m == (3e-5, 3e-5)


def test_indices_that_name_no_frame_are_left_out_with_a_note(tmp_path: Path) -> None:
    path = ptyd(tmp_path / "a.ptyd")
    with h5py.File(path, "r+") as file:
        file["chunks/1/indices"][...] = 8
    with read_ptyd(path) as found:
        assert found.index.tolist() == list(range(5))
        assert any(note.startswith("index: not one") for note in found.notes)


def test_missing_values_are_the_text_none(tmp_path: Path) -> None:
    with read_ptyd(ptyd(tmp_path / "a.ptyd", energy="None", psize=(1e-5, 2e-5), num_frames=9)) as found:
        assert np.isnan(found.scan.energy_eV)
        assert found.scan.pixel_m == (1e-5, 2e-5)
        assert any("announces 9" in note for note in found.notes)


def test_live_parts_are_followed(tmp_path: Path) -> None:
    ptyd(tmp_path / "a.ptyd.part000", (4,))
    with h5py.File(tmp_path / "a.ptyd", "w") as file:
        file["meta/energy"] = 0.7
        file["chunks/0"] = h5py.ExternalLink("a.ptyd.part000", "/chunks/0")
    with read_ptyd(tmp_path / "a.ptyd") as found:
        assert len(found.index) == 4
    (tmp_path / "a.ptyd.part000").unlink()
    with pytest.raises(FormatError):
        read_ptyd(tmp_path / "a.ptyd")


def test_frames_and_positions_must_match(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="3 frames"):
        read_ptyd(ptyd(tmp_path / "a.ptyd", positions=-1))
    with h5py.File(tmp_path / "b.ptyd", "w") as file:
        file.create_group("chunks")
    with pytest.raises(FormatError, match="no chunks"):
        read_ptyd(tmp_path / "b.ptyd")
