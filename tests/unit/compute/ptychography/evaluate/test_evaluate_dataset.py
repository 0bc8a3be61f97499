from __future__ import annotations

import h5py
import msgspec
import numpy as np
import pytest

from camlink.beamline.twin.dataset import simulated_dataset, small_parameters
from camlink.compute.ptychography.evaluate.judge import truth_of
from camlink.compute.ptychography.evaluate.set_file import open_dataset, read_set
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.model import MASKED, windows
from camlink.errors import FormatError, ParameterError


def set_arrays(frames=5, size=16):
    rng = np.random.default_rng(3)
    pos = rng.integers(4, 30, (frames, 2)).astype(np.float32)
    side = int(pos.max()) + size + 5
    obj = np.exp(1j * rng.random((side, side + 2))).astype(np.complex64)
    probe = (rng.standard_normal((size, size)) + 1j).astype(np.complex64)
    waves = probe * windows(obj, pos.astype(int), (size, size))
    data = np.fft.fftshift(np.abs(np.fft.fft2(waves, norm="ortho")) ** 2, axes=(1, 2))
    return {"data": data.astype(np.float32), "pos": pos, "obj": obj, "probe": probe, "probe0": probe * 2}


def write(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def test_a_set_is_read_with_its_places(tmp_path):
    arrays = set_arrays()
    found = open_dataset(write(tmp_path / "some.h5", arrays))
    assert len(found) == 5
    assert found.frame == (16, 16)
    assert not found.in_metres
    np.testing.assert_array_equal(found.probe[0], arrays["probe0"])
    grid = Geometry.of(found.scan, 8)
    np.testing.assert_array_equal(np.rint(grid.corners(found.position_m)), np.rint(found.corners(8)))
    assert grid.inside(found.corners(8)).all()
    # the model of the truth at these places is the data, zero frequency at [0, 0]
    corners = np.rint(found.corners(0)).astype(int) + np.asarray(found.truth_corner)
    model = np.abs(np.fft.fft2(arrays["probe"] * windows(found.truth, corners, (16, 16)), norm="ortho"))
    np.testing.assert_allclose(found.amplitude(slice(None)), model, atol=1e-4)


def test_a_set_without_truth_and_probe_is_one_too(tmp_path):
    arrays = set_arrays()
    found = read_set(write(tmp_path / "bare.h5", {name: arrays[name] for name in ("data", "pos")}))
    assert found.truth is None
    assert found.probe is None
    assert truth_of(found) is None


@pytest.mark.parametrize(("name", "value", "words"), [
    ("pos", np.zeros((4, 2), np.float32), "corners"),
    ("pos", np.full((5, 2), np.nan, np.float32), "finite"),
    ("pos", np.full((5, 2), 1e4, np.float32), "obj has"),
    ("data", np.zeros((5, 16), np.float32), "frames"),
    ("data", np.zeros((1, 16, 16), np.float32), "corners"),
    ("obj", np.zeros((9, 9), np.float32), "obj"),
    ("probe0", np.zeros((3, 3), np.complex64), "probe"),
])
def test_a_broken_set_is_refused(tmp_path, name, value, words):
    path = write(tmp_path / "broken.h5", {**set_arrays(), name: value})
    with pytest.raises(FormatError, match=words):
        open_dataset(path)


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        open_dataset(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(FormatError):
        open_dataset(tmp_path / "text.h5")


def test_halves_share_the_grid_and_no_frame(tmp_path):
    found = open_dataset(write(tmp_path / "some.h5", set_arrays(9)))
    found.counts[:] = np.arange(9)[:, None, None]
    one, other = found.halves()
    assert len(one) + len(other) == 9
    assert one.scan.span_m == other.scan.span_m == found.scan.span_m
    assert one.scan.expected == len(one)
    assert sorted([*one.counts[:, 0, 0], *other.counts[:, 0, 0]]) == list(range(9))
    with pytest.raises(FormatError, match="too few"):
        found.first(3).halves()


def test_pixels_without_value_are_masked():
    found = simulated_dataset(small_parameters(points=3, frame=64, photons=1e4, seed=1))
    found.counts[:, 32, 32] = np.nan
    assert (found.amplitude(slice(0, 2))[:, 0, 0] == MASKED).all()


def test_the_twin_gives_counts_of_its_truth():
    parameters = small_parameters(points=4, frame=64, photons=1e7, seed=2)
    found = simulated_dataset(parameters)
    assert found.counts.shape == (16, 64, 64)
    assert found.counts.sum(axis=(1, 2)).max() < 1.01e7
    assert found.in_metres
    other = simulated_dataset(parameters)
    np.testing.assert_array_equal(found.counts, other.counts)
    with pytest.raises(ParameterError, match="binning"):
        simulated_dataset(msgspec.structs.replace(parameters, binning=2))
