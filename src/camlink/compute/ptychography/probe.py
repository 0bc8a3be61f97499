"""Probe: its first guess from the mean pattern and the zone plate, and the constraints after every update."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.block import Scan
from camlink.compute.arrays import fourier, intensity, on_device, to_host
from camlink.errors import OperatorFailed

Array = NDArray[Any]
PUPIL_LEVEL = 0.1


def angles(scan: Scan, frame: tuple[int, int]) -> Array:
    """Squared scattering angle of every detector pixel (y, x) [rad^2], zero frequency at [0, 0]."""
    axes = [np.fft.fftfreq(size, 1.0 / size) * pixel / scan.distance_m
            for size, pixel in zip(frame, scan.pixel_m, strict=True)]
    return np.asarray(axes[0][:, None] ** 2 + axes[1][None, :] ** 2)


def first_probe(mean: Array, scan: Scan, defocus_m: float, power: float) -> Array:
    """A probe (1, y, x) complex64 from the mean pattern (y, x) [photon], zero frequency at [0, 0].

    The bright cone (above a tenth of the maximum) is the pupil; a sample `defocus_m` downstream of the focus sees it
    times exp(-i pi defocus theta^2/wavelength), for waves exp(+ikz). `power` is sum|P|^2 [photon].
    """
    peak = float(mean.max(initial=0.0))
    pupil = np.where(mean > PUPIL_LEVEL * peak, np.sqrt(np.maximum(mean, 0)), 0.0)
    if peak <= 0:
        pupil = np.zeros(mean.shape)
        pupil[0, 0] = 1.0
    phase = -np.pi * defocus_m * angles(scan, (mean.shape[0], mean.shape[1])) / scan.wavelength_m
    field = np.fft.fftshift(np.fft.ifft2(pupil * np.exp(1j * phase)))
    return scaled(field[None].astype(np.complex64), power)


def scaled(probe: Array, power: float) -> Array:
    """The probe (mode, y, x) with sum|P|^2 = `power` [photon]; a zero probe stays zero."""
    if on_device(probe):  # nothing of the GPU is looked at here, so that nobody waits for it
        return _scaling()(probe, intensity(probe).sum(dtype=np.float64), power)  # type: ignore[no-any-return]
    now = float((np.abs(probe.astype(np.complex128)) ** 2).sum())
    factor = np.sqrt(power / now) if now > 0 else 1.0
    return np.asarray((probe * factor).astype(probe.dtype))


@lru_cache(maxsize=1)
def _scaling() -> Any:
    return importlib.import_module("cupy").ElementwiseKernel(
        "T probe, float64 total, float64 power", "T scaled",
        "scaled = probe * typename T::value_type(total > 0 ? sqrt(power / total) : 1.0)", "probe_scaling")


def support(mean: Array, level: float, grow: int = 2) -> Array:
    """Where the pupil may be: the mean pattern above `level` x maximum, grown by `grow` pixels; (y, x) bool."""
    from scipy import ndimage

    inside = np.fft.fftshift(mean > level * float(mean.max(initial=0.0)))
    if grow:
        inside = ndimage.binary_dilation(inside, iterations=grow)
    return np.asarray(np.fft.ifftshift(inside))


def drift(probe: Array) -> tuple[int, int]:
    """Whole pixels (y, x) by which the centre of mass of |P|^2 left the middle of the window.

    Raises OperatorFailed for a probe that is not finite.
    """
    light = to_host(intensity(probe).sum(axis=0))
    total = float(light.sum())
    if not np.isfinite(total):
        raise OperatorFailed("the reconstruction has diverged: its probe is not finite; look whether distance, "
                             "pixel and crop of the frames are right, else choose another `algorithm`")
    if total <= 0:
        return 0, 0
    found = []
    for axis in (0, 1):
        profile = light.sum(axis=1 - axis)
        found.append(round(float(profile @ np.arange(len(profile))) / total - len(profile) // 2))
    return found[0], found[1]


def window(frame: tuple[int, int], part: float) -> Array:
    """Where the probe may be: a disc of `part` of the window's smaller side across, (y, x) bool."""
    y, x = (np.arange(size) - size // 2 for size in frame)
    return np.asarray(np.hypot(y[:, None], x[None, :]) <= part * min(frame) / 2)


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a probe must obey: support of the pupil and of the probe itself (y, x) bool or None, and power [photon]."""

    pupil: Array | None
    power: float
    window: Array | None = None

    def masks(self, frame: tuple[int, int]) -> list[Array]:
        """Pupil and window as two masks (y, x) bool on the host, or nothing when there are none; see `of`."""
        if self.pupil is None and self.window is None:
            return []
        return [np.ones(frame, bool) if mask is None else to_host(mask) for mask in (self.pupil, self.window)]

    @staticmethod
    def of(masks: Sequence[Array], power: float) -> Constraints:
        """The constraints that these `masks` and the power [photon] make."""
        return Constraints(masks[0], power, masks[1]) if masks else Constraints(None, power)

    def taken(self, space: Any) -> Constraints:
        """The same in the memory of `space`, numpy or cupy."""
        pupil, inside = (None if mask is None else space.asarray(mask) for mask in (self.pupil, self.window))
        return Constraints(pupil, self.power, inside)

    def apply(self, probe: Array) -> Array:
        """The probe (mode, y, x) made to obey: Fourier mask first, then the one of the window, power last."""
        if self.pupil is not None:
            fft = fourier(probe)
            probe = fft.ifft2(fft.fft2(probe) * self.pupil).astype(probe.dtype)
        if self.window is not None:
            probe = probe * self.window
        return scaled(probe, self.power)
