"""The superblock: its checksum, its marks, and clearing them."""

from pathlib import Path

import h5py
import pytest

from camlink.carry.formats import superblock
from camlink.errors import FormatError


def test_checksum_is_that_of_the_published_examples() -> None:
    text = b"Four score and seven years ago"
    assert superblock.lookup3(b"", 0xDEADBEEF) == 0xBD5B7DDE
    assert superblock.lookup3(text) == 0x17770551
    assert superblock.lookup3(text, 1) == 0xCD628161


def test_checksum_is_that_of_the_library(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file["x"] = 1
    found = superblock.read_superblock(tmp_path / "a.h5")
    assert found is not None
    assert (found.version, found.flags, found.end) == (3, 0, (tmp_path / "a.h5").stat().st_size)


def test_marks_are_seen_and_cleared(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.h5", tmp_path / "b.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = 1
        file.swmr_mode = True
        file.flush()
        copy.write_bytes(path.read_bytes())
    assert superblock.in_swmr_write(copy)
    with pytest.raises(OSError, match="already open"):
        h5py.File(copy)
    assert superblock.clear(copy)
    with h5py.File(copy) as file:
        assert file["x"][()] == 1
    assert not superblock.clear(copy)


def test_an_old_or_damaged_superblock_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        file["x"] = 1
    before = path.read_bytes()
    assert not superblock.in_swmr_write(path)
    with pytest.raises(FormatError, match="nothing can be recovered"):
        superblock.clear(path)
    assert path.read_bytes() == before
    assert superblock.read_superblock(tmp_path / "none") is None
