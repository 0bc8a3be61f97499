"""NumPy archives of a scan: read as tike publishes them, and refused when they are something else."""

import bz2
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from camlink.carry.formats import star
from camlink.carry.formats.star import read_star
from camlink.errors import FormatError


def packed(path: Path, cut: float = 1.0, **changed: object) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"data": rng.poisson(4, (1, 5, 8, 8)).astype(np.float32), "scan": rng.random((1, 5, 2)),
              "probe": np.ones((1, 1, 1, 1, 8, 8), np.complex64)} | changed
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in arrays.items() if value is not None})
    content = bz2.compress(buffer.getvalue()) if path.suffix == ".bz2" else buffer.getvalue()
    path.write_bytes(content[:int(cut * len(content))])
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.npz.bz2"])
def test_geometry_probe_and_centre(tmp_path: Path, name: str) -> None:
    data = np.zeros((1, 5, 8, 8), np.float32)
    data[0, :, 0, 0] = 3
    data[0, 2, 0, 1] = 6
    found = read_star(packed(tmp_path / name, data=data, scan=np.full((1, 5, 2), (2.0, -1.0))))
    assert found.frames is not None
    assert found.frames.shape == (5, 8, 8)
    assert found.frames.read(2, 3)[0, 4, 4:6].tolist() == [3, 6]
    assert found.scan.object_pixel_m == pytest.approx((1e-8, 1e-8))
    np.testing.assert_allclose(found.position_m, np.full((5, 2), (2e-8, -1e-8)))
    assert found.probe is not None
    assert found.probe.shape == (1, 8, 8)
    assert np.sum(np.abs(found.probe) ** 2) == pytest.approx(9)
    assert any(note.startswith("geometry: made up") for note in found.notes)


@pytest.mark.parametrize(("changed", "said"), [
    ({"scan": np.zeros((1, 4, 2))}, "5 frames, but 4 positions"), ({"scan": None}, "lacks scan"),
    ({"probe": np.ones((1, 7, 7))}, "does not fit"), ({"data": np.zeros((2, 5, 8, 8))}, "rank 3"),
    ({"scan": np.array([{}], dtype=object)}, "damaged"), ({"data": np.full((1, 5, 8, 8), "x")}, "not real frames"),
])
def test_other_content_is_refused(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        read_star(packed(tmp_path / "a.npz", **changed))


@pytest.mark.parametrize("cut", [0.01, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("name", ["a.npz", "a.npz.bz2"])
def test_a_cut_archive_is_refused(tmp_path: Path, name: str, cut: float) -> None:
    with pytest.raises(FormatError, match="damaged"):
        read_star(packed(tmp_path / name, cut))


def test_an_archive_that_announces_a_giant_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1, 10**13, 8, 8)})
    packed(tmp_path / "a.npz", data=None)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("data.npy", header.getvalue())
    with pytest.raises(FormatError, match="damaged"):
        read_star(tmp_path / "a.npz")


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(star, "MOST_BYTES", 1000)
    with pytest.raises(FormatError, match="more than the 1000"):
        read_star(packed(tmp_path / "a.npz.bz2"))
