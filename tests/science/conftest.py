"""A small ptychographic scan with a known truth; frames have zero frequency in the centre."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from camlink.block import CountFrames, Header, Optics, Scan
from camlink.testing.context import RecordingContext

PIXEL_M = 30e-6
DISTANCE_M = 0.1
ENERGY_EV = 800.0
OUTER = 0.17  # pupil radius as part of the frame


@dataclass(frozen=True)
class SimulatedSet:
    """Counts (n, y, x), corners (n, 2) [pixel], object, probe and the scan that fits them."""

    counts: np.ndarray
    corners: np.ndarray
    truth: np.ndarray
    probe: np.ndarray
    scan: Scan

    @property
    def position_m(self):
        return self.corners * self.scan.object_pixel_m + np.array(self.scan.span_m[:2])

    def block(self, rows, *, probe=None, counts=None):
        rows = np.asarray(rows)
        n = len(rows)
        arrays = {
            "frames": (self.counts if counts is None else counts)[rows].astype(np.float32),
            "index": rows.astype(np.int64), "point": rows.astype(np.int64), "kind": np.ones(n, np.uint8),
            "dwell_s": np.full(n, 0.1), "position_m": self.position_m[rows], "time_s": np.zeros(n),
        }
        if probe is not None:
            arrays["probe"] = probe
        return CountFrames.checked(Header(scan=self.scan, made_s=0.0), arrays)

    def box(self, image, margin):
        """The part of a reconstruction with `margin` around, and of the truth, inside the frame centres."""
        half = self.probe.shape[0] // 2
        low, high = self.corners.min(axis=0) + half, self.corners.max(axis=0) + half
        part = image[margin + low[0]:margin + high[0], margin + low[1]:margin + high[1]]
        return part, self.truth[low[0]:high[0], low[1]:high[1]]


def pupil_probe(size, blur=0.36, photons=1e5):
    """A zone-plate beam of power `photons` (y, x), and its defocus [m] in the geometry of this module."""
    frequency = (np.arange(size) - size // 2) / size
    r2 = frequency[:, None] ** 2 + frequency[None, :] ** 2
    r = np.sqrt(r2)
    edge = 1.5 / size
    pupil = 0.25 * (1 - np.tanh((r - OUTER) / edge)) * (1 + np.tanh((r - 0.45 * OUTER) / edge))
    bend = size * blur / 2 / OUTER
    field = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil * np.exp(-1j * np.pi * bend * r2))))
    field *= np.sqrt(photons / np.sum(np.abs(field) ** 2))
    angle = size * PIXEL_M / DISTANCE_M  # of one unit of `frequency`
    wavelength = Scan(id="", expected=1, shape=(1, 1), pixel_m=(1, 1), distance_m=1, energy_eV=ENERGY_EV,
                      span_m=(0, 0, 0, 0)).wavelength_m
    return field.astype(np.complex64), bend * wavelength / angle**2


def smooth_object(shape, rng):
    """A complex object (H, W) with structure at several scales, |O| in 0.6..1 and phase within 1 rad."""
    noise = [ndimage.gaussian_filter(rng.standard_normal(shape), width) for width in (1.5, 2.0, 5.0)]
    fine, middle, coarse = (part / part.std() for part in noise)
    y, x = np.mgrid[:shape[0], :shape[1]]
    discs = sum((np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1])) < rng.uniform(3, 8)) * 0.4
                for _ in range(20))
    phase = np.tanh(0.2 * fine + 0.2 * coarse + ndimage.gaussian_filter(discs, 0.7))
    return (np.clip(0.85 + 0.05 * middle, 0.6, 1.0) * np.exp(1j * phase)).astype(np.complex64)


def simulate(size=64, side=8, step=5, photons=1e5, seed=1, noise=True):
    """A scan of side x side frames of size x size with jittered whole-pixel positions."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(side) * step] * 2, indexing="ij"), -1).reshape(-1, 2)
    corners = grid + rng.integers(-1, 2, grid.shape)
    corners -= corners.min(axis=0)
    shape = tuple(int(extent) for extent in corners.max(axis=0) + size)
    truth = smooth_object(shape, rng)
    probe, defocus_m = pupil_probe(size, photons=photons)
    frames = np.stack([probe * truth[y:y + size, x:x + size] for y, x in corners])
    intensity = np.abs(np.fft.fftshift(np.fft.fft2(frames, norm="ortho"), axes=(1, 2))) ** 2
    counts = rng.poisson(intensity).astype(np.float32) if noise else intensity
    bare = Scan(id="simulated", expected=len(corners), shape=(size, size), pixel_m=(PIXEL_M, PIXEL_M),
                distance_m=DISTANCE_M, energy_eV=ENERGY_EV, span_m=(0, 0, 0, 0))
    pixel = np.array(bare.object_pixel_m)
    start = np.array([3e-6, -2e-6])
    span = (*start, *(start + corners.max(axis=0) * pixel))
    scan = Scan(id=bare.id, expected=bare.expected, shape=bare.shape, pixel_m=bare.pixel_m, energy_eV=ENERGY_EV,
                distance_m=DISTANCE_M, span_m=tuple(float(v) for v in span),
                optics=Optics(diameter_m=2e-4, outer_zone_m=5e-8, stop_m=9e-5, defocus_m=float(defocus_m)))
    return SimulatedSet(counts, corners, truth, probe, scan)


@pytest.fixture(scope="session")
def simulate_scan():
    """The function `simulate`."""
    return simulate


class Spoken(RecordingContext):
    """A Context that remembers what was told, and stops when asked."""

    def __init__(self, stop_after=None):
        super().__init__(Path(), "solve")
        self.asked = 0
        self.stop_after = stop_after

    def stopping(self):
        self.asked += 1
        return self.stop_after is not None and self.asked > self.stop_after


@pytest.fixture
def spoken():
    """A maker of contexts that remember."""
    return Spoken
