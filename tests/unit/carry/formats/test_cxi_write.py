"""What CxiWriter writes: equal when read, laid out as CXI says, whole at any moment, never over an old file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest

from camlink.block import CountFrames, FrameKind, Header, Optics, Result, Scan
from camlink.carry.formats import cxi_write
from camlink.carry.formats.cxi_read import read_cxi
from camlink.carry.formats.cxi_write import CxiWriter
from camlink.errors import FormatError, StorageError

SCAN = Scan(id="star", expected=6, shape=(12, 10), pixel_m=(3e-5, 4e-5), distance_m=0.08, energy_eV=800.0,
            span_m=(-1e-6, -2e-6, 1e-6, 2e-6), points=6, started_s=1.7e9, title="a star",
            optics=Optics(diameter_m=2.4e-4, outer_zone_m=6e-8))


def block(*indices: int, scan: Scan = SCAN, value: float | None = None) -> CountFrames:
    rng = np.random.default_rng(indices[0])
    n = len(indices)
    frames = rng.poisson(3, (n, *scan.shape)).astype(np.float32)
    if value is not None:
        frames[...] = value
    frames[:, 2, 3] = np.nan
    frames[0, 5, 5] = np.nan
    columns = {"index": np.array(indices, np.int64), "point": np.array(indices, np.int64) // 2,
               "kind": np.full(n, FrameKind.EXPOSURE, np.uint8), "dwell_s": np.full(n, 0.01),
               "position_m": rng.normal(0, 1e-6, (n, 2)), "time_s": 1.7e9 + np.arange(n)}
    return CountFrames.checked(Header(scan=scan, made_s=0.0), {"frames": frames, **columns})


def result(version: int, shape: tuple[int, int] = (30, 28), modes: int = 1, **facts: float) -> Result:
    arrays = {"object": np.full(shape, version + 1j, np.complex64),
              "probe": np.full((modes, *SCAN.shape), version * 1j, np.complex64)}
    return Result(Header(scan=SCAN, made_s=5.0, sequence=version, facts=dict(facts)), arrays)


def test_a_block_is_read_back_equal(tmp_path: Path) -> None:
    sent = block(0, 1, 2, 3)
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}) as writer:
        writer.write_frames(sent)
    with read_cxi(tmp_path / "a.cxi") as found:
        assert found.scan == SCAN
        assert found.frames is not None
        np.testing.assert_array_equal(found.frames.read(0, 4), sent.frames)
        assert found.position_m is not None
        np.testing.assert_array_equal(found.position_m, sent.position_m)
        for name in ("index", "point", "kind", "dwell_s", "time_s"):
            np.testing.assert_array_equal(getattr(found, name), sent.arrays[name])
            assert getattr(found, name).dtype == sent.arrays[name].dtype
        assert found.notes == ()


def test_the_sample_moves_against_the_probe(tmp_path: Path) -> None:
    sent = block(0)
    sent.position_m[0] = (3e-6, -5e-6)
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}) as writer:
        writer.write_frames(sent)
    with h5py.File(tmp_path / "a.cxi") as file:
        np.testing.assert_array_equal(file["entry_1/data_1/translation"][0], (5e-6, -3e-6, 0.0))


def test_the_layout_is_that_of_cxi(tmp_path: Path) -> None:
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={"workflow": "w: 1", "version": "9"}) as writer:
        writer.write_frames(block(0, 1))
        writer.write_result(result(3))
    with h5py.File(tmp_path / "a.cxi") as file:
        entry = file["entry_1"]
        detector, source = entry["instrument_1/detector_1"], entry["instrument_1/source_1"]
        assert file["cxi_version"][()] == 160
        assert entry["data_1/data"] == detector["data"]
        assert entry["data_1/translation"] == entry["sample_1/geometry_1/translation"] == detector["translation"]
        assert detector["data"].chunks == (1, 12, 10)
        assert detector["data"].attrs["axes"] == "translation:y:x"
        assert source["energy"][()] == pytest.approx(800 * 1.602176634e-19)
        assert source["wavelength"][()] == pytest.approx(1.5498e-9, rel=1e-4)
        np.testing.assert_array_equal(detector["basis_vectors"], [(0, -3e-5, 0), (-4e-5, 0, 0)])
        np.testing.assert_allclose(detector["corner_position"], (5.5 * 4e-5, 6.5 * 3e-5, 0.08))
        assert detector["mask"].dtype == np.uint32
        assert source["illumination"].shape == (1, 12, 10)
        assert entry["image_1/data"].dtype == np.complex64
        assert entry["image_1/data"][0, 0] == 3 + 1j
        process = entry["image_1/process_1"]
        assert [process[n][()] for n in ("program", "version", "workflow")] == [b"camlink", b"9", b"w: 1"]


def test_the_corner_puts_the_beam_into_the_middle_pixel(tmp_path: Path) -> None:
    CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}).close()
    with h5py.File(tmp_path / "a.cxi") as file:
        detector = file["entry_1/instrument_1/detector_1"]
        down, along = detector["basis_vectors"][...]
        middle = detector["corner_position"][...] + (12 // 2 + 0.5) * down + (10 // 2 + 0.5) * along
        np.testing.assert_allclose(middle, (0, 0, 0.08), atol=1e-18)


def test_a_pixel_without_value_in_every_frame_is_masked(tmp_path: Path) -> None:
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}) as writer:
        writer.write_frames(block(0, 1))
        writer.write_frames(block(2))
    with read_cxi(tmp_path / "a.cxi") as found:
        assert found.mask is not None
        assert found.mask[2, 3] == 1
        assert found.mask.sum() == 1


def test_a_frame_that_is_sent_again_takes_its_old_row(tmp_path: Path) -> None:
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}) as writer:
        writer.write_frames(block(0, 1))
        writer.write_frames(block(2, 1, 3, value=7))
        assert writer.frames_written == 4
    with read_cxi(tmp_path / "a.cxi") as found:
        np.testing.assert_array_equal(found.index, [0, 1, 2, 3])
        assert found.frames is not None
        assert [float(np.nanmean(found.frames.read(k, k + 1))) == 7.0 for k in range(4)] == [False, True, True, True]


def test_an_index_twice_in_one_block_counts_once(tmp_path: Path) -> None:
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}) as writer:
        writer.write_frames(block(4, 4))
        assert writer.frames_written == 1


def test_the_newest_result_is_read_with_its_numbers(tmp_path: Path) -> None:
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}) as writer:
        for version, shape in ((0, (30, 28)), (1, (40, 50)), (4, (20, 21))):
            writer.write_result(result(version, shape, modes=2, fourier_error=0.5, iteration=version * 10,
                                       origin_y_m=1e-6, object_pixel_y_m=2e-8, final=version == 4))
    with read_cxi(tmp_path / "a.cxi") as found:
        assert found.frames is None
        assert found.object is not None
        assert found.probe is not None
        assert found.object.shape == (20, 21)
        assert np.all(found.object == 4 + 1j)
        assert found.probe.shape == (2, 12, 10)
        assert found.facts["version"] == 4
        assert found.facts["iteration"] == 40
        assert found.facts["final"] is True
        assert found.facts["origin_y_m"] == 1e-6
        assert found.facts["object_pixel_y_m"] == 2e-8
    with h5py.File(tmp_path / "a.cxi") as file:
        np.testing.assert_array_equal(file["entry_1/image_1/data"][...], np.full((20, 21), 4 + 1j, np.complex64))


def test_another_process_reads_while_it_is_written(tmp_path: Path) -> None:
    read = ("import sys; from camlink.carry.formats.cxi_read import read_cxi\n"
            "r = read_cxi(sys.argv[1]); print(len(r.frames), r.facts['version'], float(r.frames.read(3, 4)[0, 0, 0]))")
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}) as writer:
        writer.write_frames(block(0, 1, 2, 3, value=11))
        writer.write_result(result(7))
        done = subprocess.run([sys.executable, "-c", read, str(tmp_path / "a.cxi")], capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.stdout.split() == ["4", "7", "11.0"], done.stderr


def test_an_old_file_is_never_written_over(tmp_path: Path) -> None:
    old = tmp_path / "a.cxi"
    old.write_bytes(b"precious")
    with pytest.raises(StorageError, match="exists already"):
        CxiWriter(old, SCAN, provenance={})
    assert old.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be made"):
        CxiWriter(tmp_path / "no" / "a.cxi", SCAN, provenance={})


def test_a_full_disk_is_seen_before_the_file_is_harmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CxiWriter(tmp_path / "a.cxi", SCAN, provenance={})
    writer.write_frames(block(0, 1))
    monkeypatch.setattr(cxi_write.shutil, "disk_usage", lambda path: type("U", (), {"free": 1000})())
    with pytest.raises(StorageError, match="left on the disk"):
        writer.write_frames(block(2, 3))
    writer.close()
    with read_cxi(tmp_path / "a.cxi") as found:
        assert len(found.index) == 2


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_cxi_write import SCAN, block
import numpy as np
from camlink.carry.formats.cxi_write import CxiWriter
from camlink.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = CxiWriter(Path(sys.argv[1]), SCAN, provenance={})
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
try:
    for k in range(4000):
        writer.write_frames(block(2 * k, 2 * k + 1))
        print(2 * k + 2, flush=True)
except StorageError as error:
    print("StorageError", flush=True)
try:
    writer.close()
except StorageError:
    pass
"""


def test_a_disk_that_refuses_in_the_middle_keeps_what_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "a.cxi"
    done = subprocess.run([sys.executable, "-c", FULL, str(path), str(Path(__file__).parent)], capture_output=True,
                          text=True, timeout=60, check=False)
    *flushed, last = done.stdout.split()
    assert last == "StorageError", done.stderr
    with read_cxi(path) as found:
        assert found.frames is not None
        count = int(flushed[-1])
        assert len(found.frames) >= count > 0
        np.testing.assert_array_equal(found.frames.read(count - 2, count), block(count - 2, count - 1).frames)


def test_frames_of_another_shape_are_refused(tmp_path: Path) -> None:
    other = Scan(id="star", expected=1, shape=(8, 8), pixel_m=(1e-5, 1e-5), distance_m=1, energy_eV=1, span_m=(0,) * 4)
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}) as writer, pytest.raises(FormatError, match=r"\(8, 8\)"):
        writer.write_frames(block(0, scan=other))


def test_a_result_of_a_strange_rank_is_refused(tmp_path: Path) -> None:
    strange = Result(Header(scan=SCAN, made_s=0), {"object": np.ones((2, 3, 3), np.complex64)})
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}) as writer, pytest.raises(FormatError, match="expected"):
        writer.write_result(strange)


def test_a_scan_of_unknown_geometry_is_kept(tmp_path: Path) -> None:
    nan = float("nan")
    blank = Scan(id="b", expected=0, shape=(4, 4), pixel_m=(nan, nan), distance_m=nan, energy_eV=nan, span_m=(nan,) * 4)
    with CxiWriter(tmp_path / "a.cxi", blank, provenance={}) as writer:
        writer.write_result(Result(Header(scan=blank, made_s=0), {"object": np.ones((5, 6), np.complex64)}))
    with read_cxi(tmp_path / "a.cxi") as found:
        assert np.isnan(found.scan.energy_eV)
        assert found.probe is None
        assert found.object is not None


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}).close()
    with pytest.raises(FormatError, match="neither frames nor a result"):
        read_cxi(tmp_path / "a.cxi")


@pytest.mark.parametrize("more", [{"title": "nul\0", "id": "s\0"}, {"started_s": float("nan")}, {"started_s": 1e300}])
def test_a_scan_that_says_strange_things_of_itself_is_kept(tmp_path: Path, more: dict[str, Any]) -> None:
    scan = msgspec.structs.replace(SCAN, **more)
    with CxiWriter(tmp_path / "a.cxi", scan, provenance={}) as writer:
        writer.write_frames(block(0, 1, scan=scan))
    with read_cxi(tmp_path / "a.cxi") as found:
        assert found.index.tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(0, 8), (-1, 8)])
def test_frames_of_no_size_are_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(FormatError, match="which nobody can keep"):
        CxiWriter(tmp_path / "a.cxi", msgspec.structs.replace(SCAN, shape=shape), provenance={})
    assert not list(tmp_path.iterdir())


def test_facts_in_other_words_than_numbers_are_as_if_nobody_told_them(tmp_path: Path) -> None:
    told = result(3, iteration="third", fourier_error="small", origin_y_m="left")  # type: ignore[arg-type]
    with CxiWriter(tmp_path / "a.cxi", SCAN, provenance={}) as writer:
        writer.write_result(told)
        writer.write_result(result(4, iteration=float("inf")))
    with read_cxi(tmp_path / "a.cxi") as found:
        assert (found.facts["version"], found.facts["iteration"]) == (4, -1)
        assert np.isnan(found.facts["fourier_error"])  # type: ignore[arg-type]
