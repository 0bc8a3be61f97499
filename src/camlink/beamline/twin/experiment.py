"""Experiment, the whole simulated beamline: knows its truth and makes any frame of its plan, in any order.

A frame follows from the seed and its index alone, so a frame that is made twice is the same twice.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from camlink.beamline.twin.detector import Detector, Image, Response
from camlink.beamline.twin.optics import FarField, optics_of, probe
from camlink.beamline.twin.parameters import TwinParameters
from camlink.beamline.twin.phantom import phantom
from camlink.beamline.twin.scan import columns, corners, positions, scan_id
from camlink.beamline.twin.truth import Truth
from camlink.block import Fact, FrameKind, Header, Plan, Scan
from camlink.capture.fastccd.geometry import PRESETS
from camlink.carry.formats.recorded import span_m
from camlink.errors import ParameterError

LARGEST_OBJECT_PX: Final = 2**26


class Experiment:
    """A beamline that follows from its parameters; raises ParameterError when these do not fit together.

    Model: exit wave z = P(r) O(r + corner), zero-padded to the detector area used; intensity |F z|^2 with the unitary
    FFT, zero frequency at the middle of the sensor plus the centre offset; sum |P|^2 = photons in dwell_s.
    """

    def __init__(self, parameters: TwinParameters, started_s: float = 0.0) -> None:
        self.parameters = p = parameters
        self.started_s = started_s
        self.optics = optics_of(p)
        self.far = FarField.of(p)
        self.detector = Detector(PRESETS[p.detector], _response(p), p.seed)
        self.data_corner = self._data_corner()
        self.probe = probe(self.far, self.optics, p.photons)
        self.corners = corners(positions(p), self.far.object_pixel_m, self.far.window, subpixel=p.subpixel)
        self._check_size()
        self.object = phantom(p.phantom, self.corners.object_shape, p.seed)
        self.columns = columns(p, self.corners.position_m, started_s)
        self.scan_id = scan_id(started_s, p.seed)

    def plan(self, address: str, first_number: int = 0) -> Plan:
        """The plan of all frames, with the `address` of the detector and what is known of its calibration.

        On the wire frame k carries the number `first_number` + k.
        """
        p = self.parameters
        position_m = self.corners.position_m
        pixel_m = (p.detector_pixel_m, p.detector_pixel_m)
        scan = Scan(id=self.scan_id, expected=p.frame_count, shape=self.detector.shape, pixel_m=pixel_m,
                    distance_m=p.distance_m, energy_eV=p.energy_eV, span_m=span_m(position_m), points=p.points,
                    started_s=self.started_s, title=f"twin: {p.phantom}, {p.pattern}", optics=self.optics)
        facts: dict[str, Fact] = {
            "address": address, "first_number": first_number, "detector": p.detector, "rate_hz": p.rate_hz,
            "adu_per_photon": p.adu_per_photon, "read_noise_adu": p.read_noise_adu,
            "middle_gain_code": p.middle_gain_code, "crop": self.far.crop, "reduced_shape": self.far.window,
            "payload_bytes": p.payload_bytes}
        return Plan(Header(scan=scan, made_s=self.started_s, facts=facts), self.columns)

    def truth(self) -> Truth:
        """What a reconstruction of this scan has to find."""
        return Truth(scan_id=self.scan_id, object=self.object, probe=self.probe, positions_m=self.corners.position_m,
                     object_pixel_m=self.far.object_pixel_m, origin_m=self.corners.origin_m,
                     bad_pixels=self.detector.bad)

    def intensity(self, point: int) -> NDArray[np.float32]:
        """Mean photons (crop, crop) float32 of a long exposure at `point`, zero frequency in the centre [photon]."""
        size, window = self.far.crop, self.far.window
        corner_px = self.corners.corner_px[point]
        row, column = (int(c) for c in np.floor(corner_px))
        beam = self._shifted(corner_px - (row, column))
        wave = beam * self.object[row:row + window, column:column + window]
        # the wave fills the middle rows alone, so the first pass skips the empty ones; where the window lies in its
        # padding turns the phase of the far field, not its intensity
        wave = scipy.fft.fft(wave, n=size, axis=1)
        wave = scipy.fft.fft(wave, n=size, axis=0, overwrite_x=True)
        power = wave.real**2 + wave.imag**2
        return np.asarray(scipy.fft.fftshift(power) / np.float32(size**2), np.float32)

    def photons(self, index: int) -> NDArray[np.int64] | None:
        """Photons counted (crop, crop) in frame `index`; None without beam."""
        return self._detect(index, self._generator(index))

    def frame(self, index: int) -> Image:
        """Image of frame `index` (2 rows, 96 chips) uint16 [ADU], overscan columns included."""
        rng = self._generator(index)
        photons = self._detect(index, rng)
        return self.detector.digitise(photons, self.data_corner, index, float(self.columns["dwell_s"][index]), rng)

    def _generator(self, index: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64([self.parameters.seed, 3, index]))

    def _detect(self, index: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
        if self.columns["kind"][index] == FrameKind.DARK:
            return None
        p = self.parameters
        mean = self.intensity(int(self.columns["point"][index])).astype(np.float64)
        mean *= max(0.0, 1 + p.flicker * rng.standard_normal())
        mean += p.background_photons
        mean *= self.columns["dwell_s"][index] / p.dwell_s
        return rng.poisson(mean)

    def _shifted(self, fraction: NDArray[np.float64]) -> NDArray[np.complex64]:
        """The beam moved by a part of a pixel (y, x)."""
        if not fraction.any():
            return self.probe
        frequency = np.fft.fftfreq(self.far.window)
        ramp = np.exp(-2j * np.pi * (frequency[:, None] * fraction[0] + frequency[None, :] * fraction[1]))
        return np.asarray(np.fft.ifft2(np.fft.fft2(self.probe) * ramp), np.complex64)

    def _data_corner(self) -> tuple[int, int]:
        p = self.parameters
        offset = (p.centre_offset_y, p.centre_offset_x)
        first = [size // 2 + shift - self.far.crop // 2
                 for size, shift in zip(self.detector.data_shape, offset, strict=True)]
        if min(first) < 0 or any(f + self.far.crop > s for f, s in zip(first, self.detector.data_shape, strict=True)):
            raise ParameterError(
                f"twin: {self.far.crop} pixels (reduced_shape {p.reduced_shape} x binning {p.binning}) about a centre "
                f"offset of {offset} do not fit detector '{p.detector}' of {self.detector.data_shape} pixels; "
                "choose a larger detector or a smaller reduced_shape")
        return first[0], first[1]

    def _check_size(self) -> None:
        height, width = self.corners.object_shape
        if height * width > LARGEST_OBJECT_PX:
            raise ParameterError(f"twin: the object would have {height} x {width} pixels, more than "
                                 f"{LARGEST_OBJECT_PX}; take fewer points or a smaller step_m")


def _response(p: TwinParameters) -> Response:
    return Response(adu_per_photon=p.adu_per_photon, read_noise_adu=p.read_noise_adu, bad_pixels=p.bad_pixels,
                    gain_codes=(0x0000, p.middle_gain_code, 0xC000))
