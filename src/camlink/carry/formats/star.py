"""read_star: NumPy archives with `data`, `scan` in pixels and `probe`, as tike publishes its sample scans."""

from __future__ import annotations

import bz2
import io
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.block import ELECTRONVOLT_J, PLANCK_TIMES_C_J_M, Scan
from camlink.carry.formats.format import Format
from camlink.carry.formats.hdf5 import check_readable
from camlink.carry.formats.recorded import Recorded, Stack, plain_columns, span_m
from camlink.errors import FormatError

MOST_BYTES: Final = 1 << 30
ENERGY_EV: Final = 8800.0
DETECTOR_PIXEL_M: Final = 172e-6
OBJECT_PIXEL_M: Final = 1e-8
"""The archive has no units: energy and pixels are chosen, the distance follows from them."""


def read_star(path: Path | str) -> Recorded:
    """Open an archive (`.npz` or `.npz.bz2`) of one scan.

    It holds data (1, n, y, x) counts with zero frequency at [0, 0], scan (1, n, 2) in pixels as (y, x) and probe
    (..., y, x) complex. Frames are shifted to have the zero frequency in the middle, the probe is scaled so that
    sum |p|^2 is the largest frame sum. Raises FormatError for a file that is missing, damaged, larger than allowed or
    of another layout.
    """
    path = Path(path)
    check_readable(path)
    arrays = _load(path)
    data, scan_px = _squeezed(arrays["data"], 3, "data", path), _squeezed(arrays["scan"], 2, "scan", path)
    if len(data) != len(scan_px):
        raise FormatError(f"{path}: {len(data)} frames, but {len(scan_px)} positions")
    if data.dtype.kind not in "iuf" or scan_px.dtype.kind not in "iuf" or scan_px.shape[1] != 2 or not data.size:
        raise FormatError(f"{path}: data {data.dtype} {data.shape} and scan {scan_px.dtype} {scan_px.shape} are not "
                          "real frames (n, y, x) with positions (n, 2)")
    count, ny, nx = data.shape
    position_m = np.asarray(scan_px, np.float64) * OBJECT_PIXEL_M
    wavelength_m = PLANCK_TIMES_C_J_M / (ENERGY_EV * ELECTRONVOLT_J)
    # one distance makes the object pixel square only when the pixel's sides go as the frame's
    pixel_m = DETECTOR_PIXEL_M, DETECTOR_PIXEL_M * ny / nx
    scan = Scan(id=path.name.partition(".")[0], expected=count, points=count, shape=(ny, nx), pixel_m=pixel_m,
                distance_m=OBJECT_PIXEL_M * ny * DETECTOR_PIXEL_M / wavelength_m, energy_eV=ENERGY_EV,
                span_m=span_m(position_m))
    return Recorded(path=path, scan=scan, frames=Stack(data, count, str(path), corner=True), position_m=position_m,
                    **plain_columns(count), probe=_probe(arrays["probe"], data, path), notes=(
                        f"geometry: made up, positions are pixels of {OBJECT_PIXEL_M:g} m at {ENERGY_EV:g} eV",
                        "centre: the zero frequency lies at [0, 0], frames are shifted to have it in the middle",
                        "probe: scaled so that sum |p|^2 is the largest frame sum"))


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        content = _unpacked(path)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > MOST_BYTES:
            raise FormatError(f"{path}: unpacks to {size} bytes, more than the {MOST_BYTES} that are allowed")
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            missing = [name for name in ("data", "scan", "probe") if name not in found.files]
            if missing:
                raise FormatError(f"{path}: lacks {', '.join(missing)}; it holds {', '.join(found.files[:8])}")
            return {name: np.asarray(found[name]) for name in ("data", "scan", "probe")}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError,
            RuntimeError, MemoryError) as error:
        raise FormatError(f"{path}: damaged, or no archive of data, scan and probe ({error})") from error


def _unpacked(path: Path) -> bytes:
    with path.open("rb") as file:
        packed = file.read(3) == b"BZh"
    with (bz2.open(path, "rb") if packed else path.open("rb")) as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise FormatError(f"{path}: unpacks to more than the {MOST_BYTES} bytes that are allowed")
    return content


def _squeezed(array: NDArray[Any], rank: int, name: str, path: Path) -> NDArray[Any]:
    if array.ndim < rank or any(n != 1 for n in array.shape[:array.ndim - rank]):
        raise FormatError(f"{path}: {name} has shape {array.shape}, expected one scan of rank {rank}")
    return array.reshape(array.shape[array.ndim - rank:])


def _probe(probe: NDArray[Any], data: NDArray[Any], path: Path) -> NDArray[np.complex64]:
    if probe.ndim < 2 or probe.shape[-2:] != data.shape[-2:] or probe.dtype.kind not in "iufc":
        raise FormatError(f"{path}: the probe of shape {probe.shape} does not fit frames of {data.shape[-2:]}")
    modes = probe.reshape(-1, *probe.shape[-2:]).astype(np.complex64)
    power = float(np.sum(np.abs(modes) ** 2, dtype=np.float64))
    largest = float(data.sum(axis=(1, 2), dtype=np.float64).max())
    return (modes * np.float32(np.sqrt(largest / power))).astype(np.complex64) if power > 0 and largest > 0 else modes


STAR: Final = Format("NumPy archives with data, scan and probe (.npz, .npz.bz2)",
                     lambda path, head: head.startswith((b"BZh", b"PK\x03\x04")), read_star)
