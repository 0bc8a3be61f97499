"""Optics of the twin: from a zone plate and the far-field geometry to the beam on the sample."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.beamline.twin.parameters import TwinParameters
from camlink.block import ELECTRONVOLT_J, PLANCK_TIMES_C_J_M, Optics
from camlink.errors import ParameterError

SOFT_EDGE: Final = 0.06
LARGEST_SPILL: Final = 1e-3


class FarField(msgspec.Struct, frozen=True, kw_only=True):
    """Fraunhofer geometry: `crop` detector pixels of `pixel_m` a side are used, `binning` of them make one reduced."""

    energy_eV: float
    distance_m: float
    pixel_m: float
    crop: int
    binning: int

    @property
    def wavelength_m(self) -> float:
        """Photon wavelength [m]."""
        return PLANCK_TIMES_C_J_M / (self.energy_eV * ELECTRONVOLT_J)

    @property
    def object_pixel_m(self) -> float:
        """Pixel of the object [m]: wavelength x distance / width of the detector area used; binning leaves it alone."""
        return self.wavelength_m * self.distance_m / (self.crop * self.pixel_m)

    @property
    def window(self) -> int:
        """Frame size after the reduction, which is the window on the object [pixel]."""
        return self.crop // self.binning

    @classmethod
    def of(cls, p: TwinParameters) -> FarField:
        """The geometry that the parameters of a scan ask for."""
        return cls(energy_eV=p.energy_eV, distance_m=p.distance_m, pixel_m=p.detector_pixel_m,
                   crop=p.reduced_shape * p.binning, binning=p.binning)


def optics_of(p: TwinParameters) -> Optics:
    """The zone plate that the parameters of a scan ask for."""
    return Optics(diameter_m=p.zone_plate_m, outer_zone_m=p.outer_zone_m, stop_m=p.stop_m, defocus_m=p.defocus_m)


def pupil(far: FarField, optics: Optics, size: int) -> NDArray[np.complex128]:
    """The pupil as the detector sees it (size, size), zero frequency in the centre: an annulus with soft edges.

    The outer radius is distance x wavelength / (2 outer_zone), the inner one is in the ratio of the stop. A sample
    `defocus_m` downstream of the focus sees the angular spectrum times exp(-i pi defocus theta^2 / wavelength),
    for waves exp(+ikz) and the forward FFT towards the detector.
    """
    frequency = (np.arange(size) - size // 2) * far.crop * far.pixel_m / size
    r = np.hypot(frequency[:, None], frequency[None, :]) / far.distance_m  # angle [rad]
    outer = far.wavelength_m / (2 * optics.outer_zone_m)
    edge = SOFT_EDGE * outer
    amplitude = 0.5 * (1 - np.tanh((r - outer) / edge))
    if optics.stop_m > 0:
        amplitude = amplitude * 0.5 * (1 + np.tanh((r - outer * optics.stop_m / optics.diameter_m) / edge))
    phase = -np.pi * optics.defocus_m * r**2 / far.wavelength_m
    return np.asarray(amplitude * np.exp(1j * phase), np.complex128)


def spread_probe(far: FarField, optics: Optics) -> NDArray[np.complex128]:
    """The beam on the sample (2 window, 2 window) of unit power, its axis at index [window, window]."""
    size = 2 * far.window
    field = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil(far, optics, size))))
    return np.asarray(field / np.sqrt(np.sum(np.abs(field) ** 2)), np.complex128)


def probe(far: FarField, optics: Optics, photons: float) -> NDArray[np.complex64]:
    """The beam on the sample (window, window) complex64 [sqrt(photon)], power `photons`, confined to the window.

    Raises ParameterError when it does not fit: more than 1e-3 of its power outside, or a pupil beyond the frame.
    """
    reach_m = far.distance_m * far.wavelength_m / (2 * optics.outer_zone_m)
    half_m = far.crop * far.pixel_m / 2
    if reach_m > 0.9 * half_m:
        raise ParameterError(f"twin: the bright cone reaches {reach_m * 1e3:.2f} mm from the axis, but the frame ends "
                             f"at {half_m * 1e3:.2f} mm; shorten distance_m or widen outer_zone_m")
    field = _middle(spread_probe(far, optics), far.window)
    outside = 1 - np.sum(np.abs(field) ** 2)
    if outside > LARGEST_SPILL:
        raise ParameterError(f"twin: {outside:.1%} of the beam falls outside of its window of {far.window} pixels "
                             f"({far.window * far.object_pixel_m * 1e6:.2f} um); lower defocus_m or raise "
                             "reduced_shape")
    field *= np.sqrt(photons / np.sum(np.abs(field) ** 2))
    return field.astype(np.complex64)


def rms_diameter(field: NDArray[np.complexfloating]) -> float:
    """Twice the rms radius of the intensity about its centre of mass [pixel]."""
    power = np.abs(field) ** 2
    total = power.sum()
    variance = 0.0
    for axis in (0, 1):
        profile = power.sum(axis=1 - axis) / total
        at = np.arange(len(profile))
        variance += float(profile @ (at - profile @ at) ** 2)
    return float(2 * variance**0.5)


def _middle(field: NDArray[np.complex128], window: int) -> NDArray[np.complex128]:
    start = field.shape[0] // 2 - window // 2
    return field[start:start + window, start:start + window].copy()
