"""CxiWriter: a CXI file that grows while frames arrive, which others read meanwhile and which outlives its writer.

HDF5 single writer, many readers (SWMR): all datasets, links and attributes are there from the start, and the file
takes its name only then. Within SWMR the library keeps the order of what it writes; and nothing that carries a
checksum crosses a page of the kernel, so that a kill parts none of it (decision 0037). Thus a killed process leaves a
file that is whole up to the last flush.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.block import ELECTRONVOLT_J, CountFrames, Fact, Result, Scan
from camlink.carry.formats import cxi_layout as at
from camlink.carry.formats.hdf5 import writing
from camlink.carry.formats.recorded import MOST_EAGER_BYTES, MOST_FRAME_BYTES, check_size
from camlink.errors import FormatError, StorageError

LIBRARY: Final = ("v110", "v110")
"""The format that HDF5 1.10 reads; the latest one is closed to every program that was built before HDF5 2.0."""
PAGE_BYTES: Final = 4096
"""What a kill cannot part: the kernel looks for one only between the pages of a write.

HDF5 lays nothing smaller than a page across two of them. Its index of chunks along one open end has blocks that grow
larger than a page; along two it is a tree of nodes of 2 KiB.
"""
SPARE_BYTES: Final = 32 << 20
_ROWS_PER_CHUNK: Final = 1024
_TILE: Final = 256
_MOST_ITERATIONS: Final = 1 << 62
_STAMP: Final = "S40"
_NAME: Final = "S200"


class CxiWriter:
    """Writes one scan; a new file each, never over an old one, or on in the opened `file` of an earlier writer.

    Close it, or use it in `with`.

    Frames are kept as float32 [photon] with NaN, losslessly compressed (bitshuffle-LZ4), one frame a chunk, in order
    of arrival. A frame whose index was written before takes its old row. Translations are those of the sample (x, y,
    z) [m], which moves against the probe: the sign is turned here.

    Raises StorageError when the place cannot be written or holds such a file, FormatError for frames or results that
    do not fit the scan.
    """

    def __init__(self, path: Path | str, scan: Scan, *, provenance: Mapping[str, str] | None = None,
                 file: Any = None) -> None:
        self.path = Path(path)
        self.scan = scan
        check_size(scan.shape, 4, MOST_FRAME_BYTES, "a frame", str(self.path))
        if min(scan.shape) < 1:
            raise FormatError(f"{self.path}: scan '{scan.id}' has frames of {scan.shape}, which nobody can keep")
        self._file = _create(self.path, scan, provenance or {}) if file is None else file
        self._rows = {int(index): row for row, index in enumerate(self._file[f"{at.DETECTOR}/index"][()])}
        self._before = set(self._rows)
        self.frames_written = len(self._rows)
        self._never = self._file[f"{at.DETECTOR}/mask"][()] == at.MASK_INVALID if self._rows else _all_of(scan.shape)
        versions = self._file[at.VERSIONS]
        self._results = int(versions.shape[0])
        self.result_version = int(versions[-1]["version"]) if self._results else -1

    def write_frames(self, block: CountFrames) -> None:
        """Write a block and flush it; after the return its frames outlive this process."""
        if block.frames.shape[1:] != self.scan.shape:
            raise FormatError(f"{self.path}: frames of shape {block.frames.shape[1:]} do not fit scan "
                              f"'{self.scan.id}' with frames of {self.scan.shape}")
        block.check_rows()
        self._need(block.nbytes)
        # the last one wins when a block holds an index twice
        newest = {int(index): row for row, index in enumerate(block.index) if index not in self._before}
        self._before.difference_update(block.index.tolist())  # an earlier writer had them from the same block
        if not newest:
            return
        old = [(self._rows[index], row) for index, row in newest.items() if index in self._rows]
        new = [(index, row) for index, row in newest.items() if index not in self._rows]
        with self._writing(f"frames {self.frames_written} and on"):
            for place, row in old:
                self._put(block, slice(place, place + 1), [row])
            if new:
                self._append(block, [index for index, _ in new], [row for _, row in new])
            self._mark_missing(block.frames)
            self._file.flush()

    def write_result(self, result: Result) -> None:
        """Write a version of the result (`object` (y, x), `probe` (mode, y, x)) and flush it.

        The version goes into the slot that does not hold the version before it; a row of the table then makes it
        valid. Last comes the copy at image_1/data for other programs, whole again after every version.
        """
        image, probe = _result_arrays(result, self.path)
        self._need(3 * (image.nbytes + probe.nbytes))
        slot = self._results % 2
        with self._writing(f"version {result.version} of the result"):
            for name, array in (("object", image), ("probe", probe)):
                room = self._file[f"{at.SLOTS[slot]}/{name}"]
                if array.size > room.shape[0]:
                    room.resize(array.size, 0)
                room[:array.size] = array.ravel()
            self._file.flush()
            _append_row(self._file[at.VERSIONS], _version_row(result, slot, image.shape, probe.shape))
            show(self._file, image, probe, self._file[at.VERSIONS][-1])
            self._file.flush()
        self._results += 1
        self.result_version = result.version

    def close(self) -> None:
        """Close the file in its final form; closing twice does nothing."""
        if not self._file:
            return
        with self._writing("the end of the file"):
            self._file[f"{at.ENTRY}/end_time"][()] = _now().encode()
            self._file.flush()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        if not self._file:
            raise StorageError(f"{self.path}: is closed, {what} cannot be written")
        try:
            with writing(self.path, what):
                yield
        except StorageError:
            _freeze(self._file)
            raise

    def _need(self, nbytes: int) -> None:
        # refusing before the write keeps the file in order; a write that fails half way inside HDF5 does not
        free = shutil.disk_usage(self.path.parent).free
        if free < nbytes + SPARE_BYTES:
            raise StorageError(f"{self.path}: {free >> 20} MiB left on the disk, {(nbytes + SPARE_BYTES) >> 20} MiB "
                               "needed to go on; free space or choose another folder. What was written is kept")

    def _put(self, block: CountFrames, place: slice, rows: list[int]) -> None:
        self._file[f"{at.DETECTOR}/data"][place] = block.frames[rows]
        self._file[f"{at.GEOMETRY}/translation"][place] = to_translation(block.position_m[rows])
        for name, (_, path) in at.COLUMNS.items():
            self._file[path][place] = block.arrays[name][rows]

    def _append(self, block: CountFrames, indices: list[int], rows: list[int]) -> None:
        first, end = self.frames_written, self.frames_written + len(rows)
        for path in (f"{at.DETECTOR}/data", f"{at.GEOMETRY}/translation", *(path for _, path in at.COLUMNS.values())):
            self._file[path].resize(end, 0)
        self._put(block, slice(first, end), rows)
        self._file.flush()
        index = self._file[f"{at.DETECTOR}/index"]
        index.resize(end, 0)
        index[first:end] = indices
        self._rows.update(zip(indices, range(first, end), strict=True))
        self.frames_written = end

    def _mark_missing(self, frames: NDArray[np.float32]) -> None:
        still = self._never & np.isnan(frames).all(axis=0)
        if self.frames_written and not np.array_equal(still, self._never):
            self._file[f"{at.DETECTOR}/mask"][...] = np.where(still, at.MASK_INVALID, 0).astype(np.uint32)
        self._never = still


def _all_of(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.ones(shape, dtype=bool)


def to_translation(position_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Translation of the sample (n, 3) as (x, y, z) [m] from positions of the probe (n, 2) as (y, x) [m]."""
    moved = np.zeros((len(position_m), 3))
    moved[:, :2] = -position_m[:, ::-1]
    return moved


def show(file: Any, image: NDArray[np.complex64], probe: NDArray[np.complex64], row: Any) -> None:
    """Put a result where every program looks for it: image_1/data (y, x) and source_1/illumination (mode, y, x)."""
    for path, array in ((f"{at.IMAGE}/data", image), (f"{at.SOURCE}/illumination", probe)):
        if array.size:
            room = file[path]
            if room.shape != array.shape:
                room.resize(array.shape)
            room[...] = array
    pixel_y, pixel_x = row["object_pixel_m"]
    file[f"{at.IMAGE}/image_size"][...] = (pixel_x * image.shape[1], pixel_y * image.shape[0], 0.0)
    file[f"{at.PROCESS}/date"][()] = _now().encode()


def open_to_go_on(path: Path) -> Any:
    """The file of a writer that is gone, open to be written as a writer does; its marks must have been cleared."""
    import h5py

    file = h5py.File(path, "r+", libver=LIBRARY)
    file.swmr_mode = True  # before the first change: from here on every write keeps the file whole
    return file


def _freeze(file: Any) -> None:
    """Close after a failed write and leave the file as it is on the disk, as if the writer had been killed.

    HDF5 would go on to write what it still holds, out of order, and mark the file as whole. So its descriptor is
    turned to memory first; what it writes from here on is forgotten.
    """
    try:
        nowhere = os.memfd_create("camlink-nowhere")
        os.dup2(nowhere, file.id.get_vfd_handle())
        os.close(nowhere)
    finally:
        with suppress(OSError, RuntimeError):  # the cause was raised already
            file.close()


def _create(path: Path, scan: Scan, provenance: Mapping[str, str]) -> Any:
    import h5py
    import hdf5plugin

    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    if path.exists():
        raise StorageError(f"{path}: exists already and is not written over; choose another name")
    file = None
    try:
        file = h5py.File(draft, "w-", libver=LIBRARY, track_order=True, fs_strategy="page",
                         fs_page_size=PAGE_BYTES)
        _lay_out(file, scan, provenance, dict(hdf5plugin.Bitshuffle(cname="lz4")))
        file.swmr_mode = True
        file.flush()
        os.link(draft, path)  # unlike a rename this never takes the place of a file that appeared meanwhile
    except (OSError, RuntimeError) as error:
        if file is not None:
            file.close()
        reason = "exists already" if isinstance(error, FileExistsError) else " ".join(str(error).split())
        raise StorageError(f"{path}: cannot be made ({reason}); check that the folder is there and may be written, "
                           "or choose another name") from error
    finally:
        draft.unlink(missing_ok=True)
    return file


def _lay_out(file: Any, scan: Scan, provenance: Mapping[str, str], packed: dict[str, Any]) -> None:
    file["cxi_version"] = at.CXI_VERSION
    file["number_of_entries"] = 1
    entry = file.create_group(at.ENTRY)
    entry["title"] = (scan.title or scan.id).replace("\0", "")
    entry["experiment_identifier"] = scan.id.replace("\0", "")
    entry["start_time"] = _now(scan.started_s or None)
    entry.create_dataset("end_time", data=np.bytes_(""), dtype=_STAMP)
    own = file.create_group(at.OWN)
    own["scan"] = scan_text(scan)
    own.create_dataset("writer", data=writer_text(), dtype=_NAME)
    _lay_out_source(file, scan)
    _lay_out_detector(file, scan, packed)
    _lay_out_links(file)
    _lay_out_image(file, scan, provenance)


def _lay_out_source(file: Any, scan: Scan) -> None:
    source = file.create_group(at.SOURCE)
    _number(source, "energy", scan.energy_eV * ELECTRONVOLT_J, "J")
    _number(source, "wavelength", scan.wavelength_m if scan.energy_eV > 0 else float("nan"), "m")
    source.create_dataset("illumination", (0, *scan.shape), "c8", maxshape=(None, None, None), chunks=(1, *scan.shape))


def _lay_out_detector(file: Any, scan: Scan, packed: dict[str, Any]) -> None:
    detector = file.create_group(at.DETECTOR)
    (ny, nx), (dy, dx) = scan.shape, scan.pixel_m
    _number(detector, "distance", scan.distance_m, "m")
    _number(detector, "x_pixel_size", dx, "m")
    _number(detector, "y_pixel_size", dy, "m")
    _number(detector, "basis_vectors", [(0, -dy, 0), (-dx, 0, 0)], "m")
    # the beam meets the middle of pixel (ny//2, nx//2), where our frames have their zero frequency
    _number(detector, "corner_position", (dx * (nx // 2 + 0.5), dy * (ny // 2 + 0.5), scan.distance_m), "m")
    detector.create_dataset("mask", data=np.zeros(scan.shape, np.uint32))
    frames = detector.create_dataset("data", (0, ny, nx), "f4", maxshape=(None, None, nx), chunks=(1, ny, nx),
                                     fillvalue=np.float32(np.nan), **packed)  # two ends open: see PAGE_BYTES
    frames.attrs["axes"] = "translation:y:x"
    frames.attrs["units"] = "photon"
    for name, (kind, path) in at.COLUMNS.items():
        column = _column(file, path, kind, 0)
        if name.endswith("_s"):
            column.attrs["units"] = "s"
    _column(file, f"{at.DETECTOR}/index", "i8", -1)


def _lay_out_links(file: Any) -> None:
    import h5py

    moved = file.create_dataset(f"{at.GEOMETRY}/translation", (0, 3), "f8", maxshape=(None, 3),
                                chunks=(_ROWS_PER_CHUNK, 3), fillvalue=np.nan)
    moved.attrs["units"] = "m"
    for link, target in ((f"{at.DETECTOR}/translation", f"{at.GEOMETRY}/translation"),
                         (f"{at.DATA}/translation", f"{at.GEOMETRY}/translation"),
                         (f"{at.DATA}/data", f"{at.DETECTOR}/data"),
                         (f"{at.IMAGE}/source_1", at.SOURCE)):
        file[link] = h5py.SoftLink(f"/{target}")


def _lay_out_image(file: Any, scan: Scan, provenance: Mapping[str, str]) -> None:
    image = file[at.IMAGE]
    image.create_dataset("data", (0, 0), "c8", maxshape=(None, None), chunks=(_TILE, _TILE))
    image["data_space"], image["data_type"], image["is_fft_shifted"] = "real", "complex object transmission", 0
    _number(image, "image_size", (float("nan"),) * 3, "m")
    for slot in at.SLOTS:
        for name in ("object", "probe"):
            file.create_dataset(f"{slot}/{name}", (0,), "c8", maxshape=(None,), chunks=(_TILE * _TILE,))
    file.create_dataset(at.VERSIONS, (0,), at.VERSION_ROW, maxshape=(None,), chunks=(64,))
    process = file.create_group(at.PROCESS)
    process.create_dataset("date", data=np.bytes_(_now()), dtype=_STAMP)
    facts = {"program": "camlink", "version": "unknown", "command": "", **provenance}
    for name, text in facts.items():
        if name not in ("date", "", "."):
            process[name.replace("/", "_")] = text.replace("\0", "")


def _number(group: Any, name: str, value: Any, unit: str) -> None:
    group.create_dataset(name, data=np.asarray(value, np.float64)).attrs["units"] = unit


def _column(file: Any, path: str, kind: str, fill: int) -> Any:
    return file.create_dataset(path, (0,), kind, maxshape=(None,), chunks=(_ROWS_PER_CHUNK,), fillvalue=fill)


def _append_row(table: Any, row: NDArray[Any]) -> None:
    count = table.shape[0]
    table.resize(count + 1, 0)
    table[count] = row


def _result_arrays(result: Result, path: Path) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    image = np.asarray(result.arrays.get("object", np.empty(0)))
    probe = np.asarray(result.arrays.get("probe", np.empty((0, 0, 0))))
    if image.ndim == 3 and image.shape[0] == 1:
        image = image[0]
    if probe.ndim == 2:
        probe = probe[None]
    if image.ndim != 2 or probe.ndim != 3:
        raise FormatError(f"{path}: version {result.version} of the result has an object of shape {image.shape} and a "
                          f"probe of {probe.shape}; expected (y, x) and (mode, y, x)")
    check_size(image.shape, 8, MOST_EAGER_BYTES, "an object", str(path))
    check_size(probe.shape, 8, MOST_EAGER_BYTES, "a probe", str(path))
    return (np.ascontiguousarray(image, dtype=np.complex64), np.ascontiguousarray(probe, dtype=np.complex64))


def _version_row(result: Result, slot: int, image: tuple[int, ...], probe: tuple[int, ...]) -> NDArray[Any]:
    facts, nan = result.facts, float("nan")
    scan = result.scan
    known = min(scan.energy_eV, scan.distance_m, *scan.pixel_m, *scan.shape) > 0
    default = scan.object_pixel_m if known else (nan, nan)
    pixel = tuple(_told(facts, f"object_pixel_{axis}_m", default[k]) for k, axis in enumerate("yx"))
    origin = tuple(_told(facts, f"origin_{axis}_m", nan) for axis in "yx")
    iteration = _told(facts, "iteration", -1.0)
    return np.array((result.version, slot, bool(facts.get("final", False)), image, probe,
                     int(iteration) if abs(iteration) < _MOST_ITERATIONS else -1, _told(facts, "fourier_error", nan),
                     pixel, origin, result.header.made_s), dtype=at.VERSION_ROW)


def _told(facts: Mapping[str, Fact], name: str, default: float) -> float:
    """A fact that is a number; what an operator says in other words is as if it said nothing."""
    value = facts.get(name, default)
    return default if isinstance(value, str) else float(value)


def scan_text(scan: Scan) -> str:
    """A scan as it stands in the file."""
    return json.dumps(msgspec.to_builtins(scan))


def writer_text() -> str:
    """The writer as it stands in the file: its host, its process and when that began."""
    import psutil

    return f"{platform.node()} {os.getpid()} {psutil.Process().create_time():.2f}"


def _now(at_s: float | None = None) -> str:
    try:
        return datetime.fromtimestamp(time.time() if at_s is None else at_s, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return ""  # no moment
