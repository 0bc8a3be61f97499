"""Where the writers of CXI files put things: each fact is looked for in every known place, and the place is noted.

Known: Nanosurveyor (140), cosmiccam (130), cosmicp (140), SHARP results, cdtools (160), NXcxi_ptycho, camlink (160).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camlink.block import ELECTRONVOLT_J, PLANCK_TIMES_C_J_M
from camlink.carry.formats.recorded import MOST_EAGER_BYTES, check_size
from camlink.errors import FormatError

MACHINE_ENERGY_J: Final = 1e-12
"""No photon of a light source carries this much (6 MeV): the electrons of the ring do."""

PROBE_PLACES: Final = (
    "{e}/instrument_1/source_1/illumination", "{e}/instrument_1/source_1/probe",
    "{e}/instrument_1/detector_1/probe", "{e}/instrument_1/detector_1/Probe",
    "{e}/instrument_1/source_1/data_illumination", "{e}/instrument_1/detector_1/data_illumination",
    "{i}/process_1/final_illumination",
)
FRAME_PLACES: Final = ("{e}/instrument_1/detector_1/data", "{e}/data_1/data")
TRANSLATION_PLACES: Final = (
    "{e}/sample_1/geometry_1/translation", "{e}/data_1/translation", "{e}/instrument_1/detector_1/translation",
)
_UNITS: Final = {
    "m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "micron": 1e-6, "nm": 1e-9, "pm": 1e-12,
    "j": 1.0, "ev": ELECTRONVOLT_J, "kev": 1e3 * ELECTRONVOLT_J, "gev": 1e9 * ELECTRONVOLT_J,
    "s": 1.0, "ms": 1e-3, "us": 1e-6,
}


class Geometry(NamedTuple):
    """Energy [eV], distance [m] and pixel (y, x) [m]; NaN where the file does not say."""

    energy_eV: float
    distance_m: float
    pixel_m: tuple[float, float]


class Rooms:
    """One entry of a CXI file and the notes that are made while it is read."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.where = str(file.filename)
        self.notes: list[str] = []
        entries = _numbered(file, "entry")
        if not entries:
            raise FormatError(f"{self.where}: has no entry_1, so it is no CXI file "
                              f"(its root holds: {', '.join(list(file)[:8]) or 'nothing'})")
        self.entry = entries[0]
        if len(entries) > 1:
            self.notes.append(f"entries: {self.entry} of {len(entries)} was read")
        images = [name for name in _numbered(file[self.entry], "image") if f"{self.entry}/{name}/data" in file]
        self.image = f"{self.entry}/{images[-1] if images else 'image_1'}"
        if len(images) > 1:
            self.notes.append(f"object: the last of {len(images)} images was read ({images[-1]})")

    def paths(self, places: Iterable[str]) -> list[str]:
        """The places that exist as datasets, in order."""
        filled = (place.format(e=self.entry, i=self.image) for place in places)
        return [path for path in filled if self._is_dataset(path)]

    def number(self, *places: str) -> NDArray[np.float64] | None:
        """The first of the places that is there, as numbers in SI units; None when there is none."""
        for path in self.paths(places):
            value = self.array(path)
            if value.dtype.kind in "iuf" and value.size:
                return value.astype(np.float64) * self.scale(path)
        return None

    def scale(self, path: str) -> float:
        """Factor to SI of the `units` attribute of a dataset; 1 when there is none, which is the rule of CXI."""
        unit = self.file[path].attrs.get("units", "")
        unit = unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)
        if unit and unit.lower() not in _UNITS:
            self.notes.append(f"units: '{unit}' of {path} is not known, taken as SI")
        return _UNITS.get(unit.lower(), 1.0)

    def array(self, path: str) -> NDArray[Any]:
        """A whole dataset, of bounded size."""
        dataset = self.file[path]
        check_size(dataset.shape, dataset.dtype.itemsize, MOST_EAGER_BYTES, path, self.where)
        return np.asarray(dataset[()])

    def _is_dataset(self, path: str) -> bool:
        # a link that leads nowhere counts as absent
        return path in self.file and hasattr(self.file[path], "dtype")


def find_geometry(rooms: Rooms) -> Geometry:
    """Energy, distance and pixel by the rules of the reference; each rule that was needed leaves a note."""
    detector = "{e}/instrument_1/detector_1"
    dx, dy = (_scalar(rooms.number(f"{detector}/{axis}_pixel_size")) for axis in "xy")
    basis = rooms.number(f"{detector}/basis_vectors")
    if basis is not None and (math.isnan(dx) or math.isnan(dy)):
        dy, dx = _pixel_of(basis, rooms)
    if math.isnan(dx) != math.isnan(dy):
        rooms.notes.append("pixel: only one side is given, taken as square")
        dx = dy = dx if math.isnan(dy) else dy
    return Geometry(_energy(rooms) / ELECTRONVOLT_J, _distance(rooms, basis), (dy, dx))


def _energy(rooms: Rooms) -> float:
    instrument = "{e}/instrument_1"
    beam = _scalar(rooms.number(f"{instrument}/beam_1/energy", f"{instrument}/beam_1/incident_energy"))
    if beam > 0:
        if beam > 1.0:
            rooms.notes.append("energy: beam_1 without units holds eV, not J")
            beam *= ELECTRONVOLT_J
        return beam
    found = _scalar(rooms.number(f"{instrument}/source_1/energy"))
    if 0 < found <= MACHINE_ENERGY_J:
        return found
    if found > MACHINE_ENERGY_J:
        rooms.notes.append(f"energy: source_1/energy = {found:g} is that of the machine and was not used")
    wavelength = _scalar(rooms.number(f"{instrument}/source_1/wavelength", f"{instrument}/beam_1/wavelength"))
    if wavelength > 0:
        rooms.notes.append("energy: from the wavelength")
        return PLANCK_TIMES_C_J_M / wavelength
    rooms.notes.append("energy: not given")
    return float("nan")


def _distance(rooms: Rooms, basis: NDArray[np.float64] | None) -> float:
    detector = "{e}/instrument_1/detector_1"
    given = rooms.number(f"{detector}/distance")
    if given is not None and given.size > 1:
        rooms.notes.append("distance: one for each frame is given, their median was taken")
    if given is not None and np.median(given) > 0:
        return float(np.median(given))
    corner = rooms.number(f"{detector}/corner_position")
    if corner is None or corner.size != 3:
        rooms.notes.append("distance: not given, and no corner_position either")
        return float("nan")
    rows = _rows(basis) if basis is not None else None
    normal = np.cross(rows[1], rows[0]) if rows is not None else np.array((0.0, 0.0, 1.0))
    length = float(np.linalg.norm(normal))
    normal = normal / length if length > 0 else np.array((0.0, 0.0, 1.0))
    rooms.notes.append("distance: from corner_position along the normal of the detector")
    return float(abs(corner.ravel() @ normal))


def _pixel_of(basis: NDArray[np.float64], rooms: Rooms) -> tuple[float, float]:
    rows = _rows(basis)
    if rows is None:
        rooms.notes.append(f"pixel: basis_vectors of shape {basis.shape} cannot be used")
        return float("nan"), float("nan")
    rooms.notes.append("pixel: length of the basis_vectors")
    return float(np.linalg.norm(rows[0])), float(np.linalg.norm(rows[1]))


def _rows(basis: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Basis as (2, 3), one row for each array dimension: the axis of length 3 tells (2, 3) from (3, 2)."""
    if basis.shape == (2, 3):
        return basis
    return basis.T if basis.shape == (3, 2) else None


def find_probe(rooms: Rooms) -> NDArray[np.complex64] | None:
    """Probe (mode, y, x) from the first known place that holds one."""
    for path in rooms.paths(PROBE_PLACES):
        if rooms.file[path].size == 0 or len(rooms.file[path].shape) < 2 or rooms.file[path].dtype.kind not in "fc":
            continue
        probe = rooms.array(path)
        rooms.notes.append(f"probe: from {path}")
        return probe.reshape(-1, *probe.shape[-2:]).astype(np.complex64)
    return None


def find_mask(rooms: Rooms, shape: tuple[int, int]) -> NDArray[np.uint32] | None:
    """Mask (y, x) in CXI bits, 0 = good; floats and booleans of the old writers are turned into bits."""
    detector = "{e}/instrument_1/detector_1"
    for path in rooms.paths((f"{detector}/mask", f"{detector}/detector_mask")):
        mask = rooms.array(path)
        mask = mask[0] if mask.ndim == 3 and len(mask) else mask
        if mask.shape != shape or mask.dtype.kind not in "biuf":
            rooms.notes.append(f"mask: {path} of shape {mask.shape} does not fit frames of {shape}, not used")
            continue
        if path.endswith("detector_mask"):
            rooms.notes.append(f"mask: the polarity of {path} is not specified, taken as 0 = good")
        return (mask != 0).astype(np.uint32) if mask.dtype.kind in "bf" else mask.astype(np.uint32)
    return None


def find_object(rooms: Rooms) -> NDArray[np.complex64] | None:
    """Object (y, x) complex64 of the last image, or None; of a stack of modes the first."""
    for path in rooms.paths(("{i}/data", "{e}/image_latest/data", "{e}/image_1/data")):
        dataset = rooms.file[path]
        if dataset.size and len(dataset.shape) >= 2 and dataset.dtype.kind in "iufc":
            image = rooms.array(path)
            if image.ndim > 2:
                rooms.notes.append(f"object: the first of {path} of shape {image.shape}")
            first: NDArray[np.complex64] = image.reshape(-1, *image.shape[-2:])[0].astype(np.complex64)
            return first
    return None


def find_positions(rooms: Rooms) -> NDArray[np.float64] | None:
    """Positions of the probe (n, 2) as (y, x) [m], from translations of the sample (x, y, z): the sign is turned here.

    Raises FormatError for translations of another shape.
    """
    for path in rooms.paths(TRANSLATION_PLACES):
        moved = rooms.array(path).astype(np.float64) * rooms.scale(path)
        if moved.ndim < 2 or moved.shape[-1] not in (2, 3):
            raise FormatError(f"{rooms.where}: {path} has shape {moved.shape}, expected (frames, 3) as x, y, z")
        if moved.size == 0:
            continue
        rooms.notes.append(f"positions: minus {path}, since CXI moves the sample")
        return np.ascontiguousarray(-moved.reshape(-1, moved.shape[-1])[:, 1::-1])
    motors = [rooms.number(f"{{e}}/sample_1/transformations/{axis}") for axis in "yx"]
    if motors[0] is not None and motors[1] is not None and motors[0].size == motors[1].size:
        rooms.notes.append("positions: minus the motors of sample_1/transformations")
        return -np.stack([motors[0].ravel(), motors[1].ravel()], axis=1)
    return None


def _scalar(value: NDArray[np.float64] | None) -> float:
    return float("nan") if value is None else float(value.flat[0])


def _numbered(group: Any, word: str) -> list[str]:
    numbers = [name.partition("_")[2] for name in group if name.startswith(f"{word}_")]
    return [f"{word}_{number}" for number in sorted((n for n in numbers if n.isdigit()), key=int)]
