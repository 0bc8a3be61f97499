"""read_cxi: any dialect of CXI as a Recorded; what had to be decided on the way stands in its notes."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from camlink.block import Fact, Scan
from camlink.carry.formats import cxi_layout as at
from camlink.carry.formats import dialects, superblock
from camlink.carry.formats.format import Format, hdf5_root
from camlink.carry.formats.hdf5 import open_hdf5, reading
from camlink.carry.formats.recorded import (
    MOST_FRAME_BYTES,
    Recorded,
    Stack,
    check_size,
    numbered,
    plain_columns,
    span_m,
)
from camlink.carry.formats.result import Version, committed_rows, count_versions, read_version, rows
from camlink.errors import FormatError

Zero = Literal["auto", "centre", "corner"]
_LOOKED_AT: Final = 16
_TRIES: Final = 40
_PAUSE_S: Final = 0.01


def read_cxi(path: Path | str, *, zero: Zero = "auto") -> Recorded:
    """Open a CXI file of any known dialect, also one that is being written or whose writer was killed.

    `zero` says where the zero frequency of the frames lies; "auto" finds out from their mean. Raises FormatError for
    a file that is missing, no HDF5, truncated or has neither frames nor an image, and when the numbers of frames and
    positions differ.
    """
    path = Path(path)
    failed: FormatError | None = None
    for turn in range(_TRIES):
        before = _state(path)
        try:
            recorded = _read_once(path, zero)
            if recorded is not None:
                return recorded
        except FormatError as error:
            # beside a living writer we may have met the middle of a write; a file at rest stays as it is
            if (turn > 0 and _state(path) == before) or not superblock.in_swmr_write(path):
                raise
            failed = error
        time.sleep(_PAUSE_S)
    raise failed or FormatError(f"{path}: the result changed {_TRIES} times while it was read; read it again later")


def _read_once(path: Path, zero: Zero) -> Recorded | None:
    """What the file holds now; None when its writer may have changed the result meanwhile."""
    with ExitStack() as undo:
        file = undo.enter_context(open_hdf5(path))
        with reading(path, "its CXI layout"):
            if at.OWN not in file:
                recorded = _read_foreign(path, file, zero)
            else:
                version = read_version(file)
                if version is not None and superblock.in_swmr_write(path):
                    with open_hdf5(path) as again:
                        if count_versions(again) != count_versions(file):
                            return None
                recorded = _read_own(path, file, zero, version)
        undo.pop_all()
    return recorded


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _read_own(path: Path, file: Any, zero: Zero, version: Version | None) -> Recorded:
    scan = msgspec.convert(json.loads(file[f"{at.OWN}/scan"][()]), Scan)
    check_size(scan.shape, 4, MOST_FRAME_BYTES, "one frame", str(path))
    count = committed_rows(file)
    data = file[f"{at.DETECTOR}/data"]
    if count == 0 and version is None:
        raise FormatError(f"{path}: has neither frames nor a result yet")
    if count > data.shape[0]:
        raise FormatError(f"{path}: names {count} frames and holds {data.shape[0]}; the file is damaged")
    moved = rows(file, f"{at.GEOMETRY}/translation", count)
    columns: dict[str, Any] = {name: rows(file, place, count) for name, (_, place) in at.COLUMNS.items()}
    image = probe = None
    facts: dict[str, Fact] = {}
    if version is not None:
        image, probe = version.image, version.probe if version.probe.size else None
        row = version.row
        facts = {"version": int(row["version"]), "iteration": int(row["iteration"]),
                 "fourier_error": float(row["fourier_error"]), "final": bool(row["final"])}
        for name in ("object_pixel", "origin"):
            facts |= {f"{name}_{axis}_m": float(row[f"{name}_m"][k]) for k, axis in enumerate("yx")}
    return Recorded(
        path=path, scan=scan, frames=_stack(data, count, path, zero == "corner") if count else None,
        position_m=np.ascontiguousarray(-moved[:, 1::-1]) if count else None,
        index=rows(file, f"{at.DETECTOR}/index", count), **columns, probe=probe, object=image,
        mask=rows(file, f"{at.DETECTOR}/mask"), facts=facts,
        notes=() if file[f"{at.ENTRY}/end_time"][()] else ("the file was not closed by its writer",),
        closing=file.close)


def _read_foreign(path: Path, file: Any, zero: Zero) -> Recorded:
    rooms = dialects.Rooms(file)
    geometry = dialects.find_geometry(rooms)
    image = dialects.find_object(rooms)
    position_m = dialects.find_positions(rooms)
    stack = _find_frames(rooms, path, zero)
    if stack is None and image is None:
        raise FormatError(f"{path}: has neither frames (entry_1/instrument_1/detector_1/data, entry_1/data_1/data) "
                          "nor an image (entry_1/image_1/data)")
    count = len(stack) if stack else 0
    if stack is None:
        position_m = None
    elif position_m is not None and len(position_m) != count:
        raise FormatError(f"{path}: {count} frames, but {len(position_m)} positions; the file is incomplete, or rows "
                          "were left out when it was made")
    elif position_m is None:
        rooms.notes.append("positions: none in the file")
    shape = stack.shape[1:] if stack else image.shape if image is not None else (0, 0)
    scan = Scan(id=path.stem, title=_title(rooms), expected=count, points=count, shape=(shape[0], shape[1]),
                energy_eV=geometry.energy_eV, distance_m=geometry.distance_m, pixel_m=geometry.pixel_m,
                span_m=span_m(position_m))
    return Recorded(path=path, scan=scan, frames=stack, position_m=position_m, **_columns(rooms, count),
                    probe=dialects.find_probe(rooms), object=image, mask=dialects.find_mask(rooms, scan.shape),
                    notes=tuple(rooms.notes), closing=file.close)


def _find_frames(rooms: dialects.Rooms, path: Path, zero: Zero) -> Stack | None:
    for place in rooms.paths(dialects.FRAME_PLACES):
        data = rooms.file[place]
        if data.size == 0:
            continue
        rank = len(data.shape)
        if rank not in (2, 3, 4) or data.dtype.kind not in "iuf":
            raise FormatError(f"{path}: {place} has shape {data.shape} of {data.dtype}; expected real frames (n, y, x)")
        if "axes" not in data.attrs and rank > 2:
            rooms.notes.append(f"axes: not given for {place}, the first is taken as that of the frames")
        count = 1 if rank == 2 else int(np.prod(data.shape[:-2], dtype=np.int64))
        corner = zero == "corner"
        stack = _stack(data, count, path, corner)
        if zero == "auto" and _zero_at_corner(stack):
            rooms.notes.append("centre: the zero frequency lies at [0, 0], frames are shifted to have it in the middle")
            stack = _stack(data, count, path, True)
        return stack
    return None


def _stack(data: Any, count: int, path: Path, corner: bool) -> Stack:
    check_size(data.shape[-2:], data.dtype.itemsize, MOST_FRAME_BYTES, "one frame", str(path))
    return Stack(data, count, str(path), corner)


def _zero_at_corner(stack: Stack) -> bool:
    """Whether the mean of some frames has its weight around [0, 0] rather than around the middle."""
    step = max(1, len(stack) // _LOOKED_AT)
    mean = np.zeros(stack.shape[1:])
    for row in range(0, len(stack), step):
        frame = stack.read(row, row + 1)[0]
        mean += np.where(np.isfinite(frame) & (frame > 0), frame, 0)
    ny, nx = mean.shape
    middle = slice(ny // 2 - ny // 8, ny // 2 + ny // 8), slice(nx // 2 - nx // 8, nx // 2 + nx // 8)
    return bool(np.fft.fftshift(mean)[middle].sum() > 2 * mean[middle].sum())


def _columns(rooms: dialects.Rooms, count: int) -> dict[str, Any]:
    columns = plain_columns(count)
    detector = "{e}/instrument_1/detector_1"
    for name, places in (("index", ("index",)), ("dwell_s", ("exposure_time", "count_time")), ("time_s", ("time",))):
        found = rooms.number(*(f"{detector}/{place}" for place in places))
        if found is not None and found.size in (1, count) and count:
            values = np.array(np.broadcast_to(found.ravel(), (count,)))
            columns[name] = numbered(values, rooms.notes) if name == "index" else values
    return columns


def _title(rooms: dialects.Rooms) -> str:
    for path in rooms.paths(("{e}/title",)):
        value = rooms.file[path][()]
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return ""


def _knows(path: Path, head: bytes) -> bool:
    root = hdf5_root(path, head)
    return "chunks" not in root and any(name.startswith("entry_") for name in root)


CXI: Final = Format("CXI (.cxi)", _knows, read_cxi)
