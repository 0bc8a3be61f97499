"""Reading CXI files of others and damaged ones: always a Recorded or a FormatError that helps."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from camlink.block import CountFrames, Header, Result, Scan
from camlink.carry.formats import cxi_read, recorded
from camlink.carry.formats.cxi_read import read_cxi
from camlink.carry.formats.cxi_write import CxiWriter
from camlink.errors import FormatError
from camlink.testing.samples import sample

DETECTOR = "entry_1/instrument_1/detector_1"


def foreign(path: Path, count: int = 4, moved: int | None = None, **more: object) -> Path:
    """A file in the old layout of the beamline, with whatever else a test wants (None leaves a dataset out)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-8:8, -8:8]
    mean = 100 * np.exp(-(y**2 + x**2) / 8.0)
    rooms: dict[str, object] = {
        "cxi_version": 130, f"{DETECTOR}/data": rng.poisson(mean, (count, 16, 16)).astype(np.float32),
        f"{DETECTOR}/distance": 0.1, f"{DETECTOR}/x_pixel_size": 3e-5, f"{DETECTOR}/y_pixel_size": 3e-5,
        "entry_1/instrument_1/source_1/energy": 800 * 1.602176634e-19,
        "entry_1/sample_1/geometry_1/translation": rng.normal(0, 1e-6, (count if moved is None else moved, 3)),
    }
    with h5py.File(path, "w") as file:
        for name, value in (rooms | {key.replace("__", "/"): value for key, value in more.items()}).items():
            if value is not None:
                file[name] = value
    return path


def test_the_old_layout_is_read(tmp_path: Path) -> None:
    path = foreign(tmp_path / "old.cxi")
    with read_cxi(path) as found, h5py.File(path) as file:
        assert found.frames is not None
        np.testing.assert_array_equal(found.frames.read(1, 3), file[f"{DETECTOR}/data"][1:3])
        moved = file["entry_1/sample_1/geometry_1/translation"][...]
        np.testing.assert_array_equal(found.position_m, -moved[:, [1, 0]])
        assert found.scan.energy_eV == pytest.approx(800)
        assert found.scan.id == "old"
        assert any("CXI moves the sample" in note for note in found.notes)
        assert any(note.startswith("axes") for note in found.notes)


@pytest.mark.parametrize(("frames", "moved"), [(4, 3), (4, 5)])
def test_frames_and_positions_must_match(tmp_path: Path, frames: int, moved: int) -> None:
    with pytest.raises(FormatError, match=f"{frames} frames, but {moved} positions"):
        read_cxi(foreign(tmp_path / "a.cxi", frames, moved))


def test_zero_frequency_at_the_corner_is_moved(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.cxi")
    with h5py.File(path, "r+") as file:
        frames = file[f"{DETECTOR}/data"][...]
        file[f"{DETECTOR}/data"][...] = np.fft.ifftshift(frames, axes=(1, 2))
    with read_cxi(path) as found:
        assert found.frames is not None
        np.testing.assert_array_equal(found.frames.read(0, 4), frames)
        assert any(note.startswith("centre") for note in found.notes)
    with read_cxi(path, zero="centre") as found:
        assert found.frames is not None
        np.testing.assert_array_equal(found.frames.read(0, 4), np.fft.ifftshift(frames, axes=(1, 2)))


def test_a_result_without_frames(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.cxi", moved=7, **{f"{DETECTOR}/data": None},
                   entry_1__image_1__data=np.ones((5, 6), np.complex64))
    found = read_cxi(path)
    assert found.frames is None
    assert found.position_m is None
    assert found.object is not None
    assert found.object.shape == (5, 6)


def test_the_last_of_several_images_is_read(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.cxi", entry_1__image_2__data=np.full((5, 6), 2, np.complex64),
                   entry_1__image_10__data=np.full((5, 6), 10, np.complex64),
                   entry_1__image_10__process_1__final_illumination=np.full((16, 16), 1j, np.complex64))
    found = read_cxi(path)
    assert found.object is not None
    assert found.object[0, 0] == 10
    assert found.probe is not None
    assert found.probe[0, 0, 0] == 1j


def test_a_raster_of_frames_is_flattened(tmp_path: Path) -> None:
    frames = np.arange(2 * 3 * 4 * 4, dtype=np.uint16).reshape(2, 3, 4, 4)
    path = foreign(tmp_path / "a.cxi", **{f"{DETECTOR}/data": frames},
                   entry_1__sample_1__geometry_1__translation=np.zeros((2, 3, 3)))
    found = read_cxi(path, zero="centre")
    assert found.frames is not None
    assert found.frames.shape == (6, 4, 4)
    np.testing.assert_array_equal(found.frames.read(2, 5), frames.reshape(6, 4, 4)[2:5])
    assert found.frames.read(6, 9).shape == (0, 4, 4)


def test_neither_frames_nor_image(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="neither frames"):
        read_cxi(foreign(tmp_path / "a.cxi", **{f"{DETECTOR}/data": None}))


def test_a_group_where_frames_should_be(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="neither frames"):
        read_cxi(foreign(tmp_path / "a.cxi", **{f"{DETECTOR}/data": None, f"{DETECTOR}/data/inner": 3}))


def test_frames_of_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected real frames"):
        read_cxi(foreign(tmp_path / "a.cxi", **{f"{DETECTOR}/data": np.full((4, 2, 2), b"x")}))


def test_a_link_that_leads_nowhere_is_absent(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.cxi", **{f"{DETECTOR}/data": None})
    with h5py.File(path, "r+") as file:
        file["entry_1/data_1/data"] = h5py.ExternalLink("gone.h5", "/data")
    with pytest.raises(FormatError):
        read_cxi(path)


def test_missing_file_and_no_hdf5(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        read_cxi(tmp_path / "none.cxi")
    (tmp_path / "text.cxi").write_text("not at all")
    with pytest.raises(FormatError, match="not an HDF5 file"):
        read_cxi(tmp_path / "text.cxi")
    (tmp_path / "empty.cxi").touch()
    with pytest.raises(FormatError):
        read_cxi(tmp_path / "empty.cxi")


def test_a_header_that_claims_a_giant_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.cxi"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry_1/image_1/data", (200_000, 200_000), "c8", chunks=(100, 100))
    with pytest.raises(FormatError, match="320000000000 bytes"):
        read_cxi(path)
    giant = foreign(tmp_path / "b.cxi", **{f"{DETECTOR}/data": None})
    with h5py.File(giant, "r+") as file:
        file.create_dataset(f"{DETECTOR}/data", (4, 100_000, 100_000), "f4", chunks=(1, 100, 100))
    with pytest.raises(FormatError, match="one frame of shape"):
        read_cxi(giant)
    assert cxi_read.MOST_FRAME_BYTES == recorded.MOST_FRAME_BYTES


def test_real_result_of_the_beamline() -> None:
    found = read_cxi(sample("cosmic-result-856eV.cxi"))
    assert found.frames is None
    assert found.object is not None
    assert found.object.shape == (285, 285)
    assert found.object.dtype == np.complex64
    assert found.scan.energy_eV == pytest.approx(856, abs=0.5)
    assert found.scan.distance_m == pytest.approx(0.121)
    assert any(note.startswith("distance: from corner") for note in found.notes)


def test_real_smallest_file() -> None:
    with read_cxi(sample("cxidb_minimal.cxi")) as found:
        assert found.frames is not None
        assert found.frames.read(0, 1).shape == (1, 50, 100)
        assert np.isnan(found.scan.energy_eV)
        assert found.position_m is None


def own(path: Path, *, closed: bool) -> bytes:
    scan = Scan(id="s", expected=9, shape=(8, 8), pixel_m=(1e-5, 1e-5), distance_m=1.0, energy_eV=500.0,
                span_m=(0.0, 0.0, 0.0, 0.0))
    index = np.arange(9)
    columns = {"index": index, "point": index, "kind": np.ones(9, np.uint8), "dwell_s": np.ones(9),
               "position_m": np.zeros((9, 2)), "time_s": np.zeros(9)}
    with CxiWriter(path, scan, provenance={}) as writer:
        frames = np.random.default_rng(1).poisson(9, (9, 8, 8)).astype(np.float32)
        writer.write_frames(CountFrames(Header(scan=scan, made_s=0), {"frames": frames, **columns}))
        writer.write_result(Result(Header(scan=scan, made_s=0), {"object": np.ones((9, 9), np.complex64)}))
        living = path.read_bytes()
    return path.read_bytes() if closed else living


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("images")
    return {"closed": own(folder / "a.cxi", closed=True), "killed": own(folder / "b.cxi", closed=False),
            "foreign": foreign(folder / "c.cxi").read_bytes()}


@pytest.mark.parametrize(("place", "shape", "says"), [
    (f"{DETECTOR}/index", (10**12,), "would take"), (f"{DETECTOR}/mask", (10**6, 10**7), "would take"),
    (f"{DETECTOR}/kind", (4, 10**13), "would take"), (f"{DETECTOR}/kind", (1,), "'kind': \\(1,\\)"),
    ("entry_1/sample_1/geometry_1/translation", (2, 3), "position_m"), (f"{DETECTOR}/data", (1, 8, 8), "holds 1"),
    (f"{DETECTOR}/data", (4, 5, 5), "frames")])
def test_a_file_of_ours_that_does_not_fit_itself_is_refused(
        tmp_path: Path, images: dict[str, bytes], place: str, shape: tuple[int, ...], says: str) -> None:
    path = tmp_path / "a.cxi"
    path.write_bytes(images["closed"])
    with h5py.File(path, "r+") as file:
        kind = file[place].dtype
        del file[place]
        file.create_dataset(place, shape, kind, chunks=True)
    with pytest.raises(FormatError, match=says):
        read_cxi(path)


def test_a_scan_that_announces_giant_frames_is_refused(tmp_path: Path, images: dict[str, bytes]) -> None:
    path = tmp_path / "a.cxi"
    path.write_bytes(images["closed"])
    with h5py.File(path, "r+") as file:
        scan = json.loads(file["entry_1/camlink_1/scan"][()]) | {"shape": [10**9, 10**9]}
        del file["entry_1/camlink_1/scan"]
        file["entry_1/camlink_1/scan"] = json.dumps(scan)
    with pytest.raises(FormatError, match="one frame of shape"):
        read_cxi(path)


def test_an_index_that_names_no_frame_is_left_out_with_a_note(tmp_path: Path) -> None:
    with read_cxi(foreign(tmp_path / "a.cxi", **{f"{DETECTOR}/index": np.array([0.0, 1.0, np.nan, 1.0])})) as found:
        assert found.index.tolist() == [0, 1, 2, 3]
        assert any(note.startswith("index: not one") for note in found.notes)


def test_positions_that_are_no_numbers_are_not_played(tmp_path: Path) -> None:
    moved = np.zeros((4, 3))
    moved[2, 0] = np.nan
    with (read_cxi(foreign(tmp_path / "a.cxi", **{"entry_1/sample_1/geometry_1/translation": moved})) as found,
          pytest.raises(FormatError, match="1 of 4 positions are no numbers")):
        recorded.playable(found)


def fate(path: Path) -> str:
    """What the FormatError said that reading everything gave; empty when it was read."""
    try:
        with read_cxi(path) as found:
            if found.frames is not None:
                found.frames.read(0, len(found.frames))
    except FormatError as error:
        return str(error)
    return ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.sampled_from(["closed", "killed", "foreign"]), part=st.floats(0, 1, exclude_max=True))
@example(which="closed", part=0.0)
@example(which="killed", part=0.999)
def test_a_file_cut_anywhere_is_a_format_error_or_reads(images: dict[str, bytes], tmp_path: Path, which: str,
                                                        part: float) -> None:
    path = tmp_path / "cut.cxi"
    path.write_bytes(images[which][:int(part * len(images[which]))])
    said = fate(path)
    # the end of a killed one lies behind its last flush, and may go without loss; the others know their own size
    assert str(path) in said or (which == "killed" and not said)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.sampled_from(["closed", "killed", "foreign"]), at=st.floats(0, 1, exclude_max=True),
       bits=st.integers(1, 255), length=st.integers(1, 16))
def test_a_damaged_file_is_a_format_error_or_reads(images: dict[str, bytes], tmp_path: Path, which: str, at: float,
                                                   bits: int, length: int) -> None:
    content = bytearray(images[which])
    first = int(at * len(content))
    content[first:first + length] = bytes(byte ^ bits for byte in content[first:first + length])
    path = tmp_path / "bad.cxi"
    path.write_bytes(content)
    said = fate(path)
    assert not said or str(path) in said
