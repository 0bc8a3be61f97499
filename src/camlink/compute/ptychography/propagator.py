"""Propagator: how a wave behind the sample becomes the wave on the detector: far field, or near field (Fresnel).

A cone beam is a parallel one over the effective distance z = z1 z2/(z1 + z2), with the detector pixel made smaller by
the magnification (z1 + z2)/z1; z1 from focus to sample, z2 from sample to detector. Paganin, Coherent X-Ray Optics
(2006), section 1.5 and appendix B.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from camlink.block import Scan
from camlink.compute.arrays import fourier, namespace
from camlink.errors import FormatError

Array = NDArray[Any]


class Propagator(Protocol):
    """A unitary map of waves (..., y, x); its inverse is its adjoint."""

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    def forward(self, waves: Array) -> Array:
        """From behind the sample to the detector."""
        ...

    def adjoint(self, field: Array) -> Array:
        """Back from the detector."""
        ...


class FarField:
    """The unitary Fourier transform; zero frequency at [0, 0]."""

    name = "far field"

    def forward(self, waves: Array) -> Array:
        """F z."""
        return fourier(waves).fft2(waves, norm="ortho")  # type: ignore[no-any-return]

    def adjoint(self, field: Array) -> Array:
        """F^-1 z."""
        return fourier(field).ifft2(field, norm="ortho")  # type: ignore[no-any-return]


FAR_FIELD: Final = FarField()


class NearField:
    """Fresnel propagation over `distance_m` between planes of the same pixel: F^-1 exp(-i pi lambda z k^2) F.

    Waves are exp(+ikz). Frames have the pixel [0, 0] of the window at [0, 0], as the detector shows them.
    """

    name = "near field"

    def __init__(self, distance_m: float, wavelength_m: float, pixel_m: tuple[float, float]) -> None:
        self.distance_m = distance_m
        self.wavelength_m = wavelength_m
        self.pixel_m = pixel_m

    def forward(self, waves: Array) -> Array:
        """To the detector."""
        return self._filtered(waves, self._filter(waves))

    def adjoint(self, field: Array) -> Array:
        """Back to the sample."""
        return self._filtered(field, self._filter(field).conj())

    def _filter(self, waves: Array) -> Array:
        number = np.result_type(waves.dtype, np.complex64).name
        return _chirp(self.distance_m, self.wavelength_m, self.pixel_m, waves.shape[-2:], number, namespace(waves))

    @staticmethod
    def _filtered(waves: Array, by: Array) -> Array:
        fft = fourier(waves)
        return fft.ifft2(fft.fft2(waves) * by)  # type: ignore[no-any-return]


def cone(focus_m: float, detector_m: float) -> tuple[float, float]:
    """Effective distance [m] and magnification of a cone beam: focus to sample, sample to detector [m]; 0: parallel."""
    if focus_m <= 0:
        return detector_m, 1.0
    return focus_m * detector_m / (focus_m + detector_m), (focus_m + detector_m) / focus_m


def near_field(scan: Scan, focus_m: float) -> NearField:
    """The near field of a scan whose sample is `focus_m` behind the focus, or in a parallel beam (0).

    Raises FormatError when light of the smallest details would leave the window on its way.
    """
    distance_m, larger = cone(focus_m, scan.distance_m)
    pixel_m = (scan.pixel_m[0] / larger, scan.pixel_m[1] / larger)
    reach = max(scan.wavelength_m * distance_m / (pixel * pixel * size)
                for pixel, size in zip(pixel_m, scan.shape, strict=True))
    if not reach <= 1:
        raise FormatError(f"scan '{scan.id}': over an effective distance of {distance_m:.3g} m the light of details of "
                          f"one pixel, {min(pixel_m):.3g} m, spreads over {reach:.3g} windows, and at most 1 can be "
                          "near field; correct focus_m, distance_m or pixel_m, or choose regime 'far'")
    return NearField(distance_m, scan.wavelength_m, pixel_m)


@lru_cache(maxsize=8)
def _chirp(distance_m: float, wavelength_m: float, pixel_m: tuple[float, float], frame: tuple[int, int], dtype: str,
           space: Any) -> Array:
    """The filter (y, x) on the frequencies of a window, in the memory of `space`."""
    k2 = sum(np.meshgrid(*(np.fft.fftfreq(size, pixel) ** 2 for size, pixel in zip(frame, pixel_m, strict=True)),
                         indexing="ij"))
    return space.asarray(np.exp(-1j * np.pi * wavelength_m * distance_m * k2).astype(dtype))  # type: ignore[no-any-return]
