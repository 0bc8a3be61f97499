"""Phantoms, samples with structure at many scales; every one is a complex transmission that follows from its seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from camlink.errors import UnknownName

LOWEST_AMPLITUDE: Final = 0.55
LARGEST_PHASE_RAD: Final = 1.2

Map = NDArray[np.float32]
Layer = Callable[["Canvas", np.random.Generator], None]


class Canvas:
    """Where a phantom is drawn: `absorption` and `phase_rad` maps (y, x) float32, edges one pixel soft."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.side = float(min(shape))
        self.y: Map = np.arange(shape[0], dtype=np.float32)[:, None]
        self.x: Map = np.arange(shape[1], dtype=np.float32)[None, :]
        self.absorption: Map = np.zeros(shape, np.float32)
        self.phase_rad: Map = np.zeros(shape, np.float32)

    def add(self, cover: Map, absorption: float, phase_rad: float,
            box: tuple[slice, slice] = (slice(None), slice(None))) -> None:
        """Lay matter over the canvas where `cover` (0..1) says so."""
        self.absorption[box] += np.float32(absorption) * cover
        self.phase_rad[box] += np.float32(phase_rad) * cover

    def disc(self, y: float, x: float, radius: float, absorption: float, phase_rad: float, *,
             ball: bool = False) -> None:
        """A disc, or a ball (as thick as its chord), clipped at the border of the canvas [pixel]."""
        box = tuple(slice(max(0, int(c - radius - 2)), max(0, int(c + radius + 3))) for c in (y, x))
        r = np.hypot(self.y[box[0]] - y, self.x[:, box[1]] - x)
        cover = np.sqrt(np.clip(1 - (r / radius) ** 2, 0, None)) if ball else np.clip(0.5 + radius - r, 0, 1)
        self.add(cover.astype(np.float32), absorption, phase_rad, (box[0], box[1]))

    def transmission(self) -> NDArray[np.complex64]:
        """Complex transmission (y, x): amplitude in 0.55..1, phase within +-1.2 rad."""
        amplitude = np.clip(1 - self.absorption, LOWEST_AMPLITUDE, 1)
        phase = LARGEST_PHASE_RAD * np.tanh(self.phase_rad / LARGEST_PHASE_RAD)
        return np.asarray(amplitude * np.exp(1j * phase), np.complex64)


def star(canvas: Canvas, rng: np.random.Generator) -> None:
    """A Siemens star of 24 spokes a little off the middle: all sizes down to the pixel."""
    spokes = 24
    centre = [c * s for c, s in zip(rng.uniform(0.4, 0.48, 2), canvas.shape, strict=True)]
    dy, dx = canvas.y - centre[0], canvas.x - centre[1]
    r = np.hypot(dy, dx)
    outer, inner = 0.3 * canvas.side, 0.02 * canvas.side
    # sin(n a) r / n is the distance to the edge of a spoke, near that edge
    edge = np.sin(spokes * np.arctan2(dy, dx)) * r / spokes
    cover = np.clip(0.5 + edge, 0, 1) * np.clip(0.5 + outer - r, 0, 1) * np.clip(0.5 + r - inner, 0, 1)
    canvas.add(cover.astype(np.float32), 0.22, -0.9)


def gold(canvas: Canvas, rng: np.random.Generator) -> None:
    """Gold balls in clusters, from two pixels to a thirtieth of the side."""
    for _ in range(14):
        cluster = rng.uniform(0.05, 0.95, 2) * canvas.shape
        for _ in range(int(rng.integers(4, 14))):
            y, x = cluster + rng.normal(0, 0.04 * canvas.side, 2)
            radius = float(rng.uniform(2, max(3.0, canvas.side / 30)))
            canvas.disc(y, x, radius, rng.uniform(0.05, 0.15), rng.uniform(-0.6, -0.2), ball=True)


def bars(canvas: Canvas, rng: np.random.Generator) -> None:
    """Bars of falling width and period, from a fortieth of the side down to one pixel."""
    top, bottom = int(0.74 * canvas.shape[0]), int(0.92 * canvas.shape[0])
    left = float(rng.uniform(0.12, 0.18)) * canvas.shape[1]
    width = max(2.0, canvas.side / 40)
    while left + width < 0.9 * canvas.shape[1]:
        cover = np.clip(0.5 + width / 2 - np.abs(canvas.x - (left + width / 2)), 0, 1).astype(np.float32)
        canvas.add(cover, 0.08, 0.5, (slice(top, bottom), slice(None)))
        left += 2 * width
        width = max(1.0, 0.94 * width)


def grain(canvas: Canvas, rng: np.random.Generator) -> None:
    """Band-limited noise, as of a rough support, and flat discs of many sizes."""
    for _ in range(40):
        y, x = rng.uniform(0, 1, 2) * canvas.shape
        canvas.disc(y, x, float(rng.uniform(2, max(3.0, canvas.side / 20))), rng.uniform(0, 0.12),
                    rng.uniform(-0.5, 0.5))
    canvas.phase_rad += 0.18 * band_limited(canvas.shape, 0.12, rng)
    canvas.absorption += 0.05 + 0.04 * band_limited(canvas.shape, 0.1, rng)


def band_limited(shape: tuple[int, int], cutoff: float, rng: np.random.Generator) -> Map:
    """Noise (y, x) float32 of zero mean and unit rms whose spectrum falls as a Gaussian of `cutoff` [1/pixel]."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * np.exp(-((frequency / cutoff) ** 2))
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, shape)
    return np.asarray(noise / noise.std(), np.float32)


PHANTOMS: Final[Mapping[str, tuple[Layer, ...]]] = MappingProxyType({
    "mixed": (star, gold, bars, grain),
    "star": (star,),
    "gold": (gold,),
    "bars": (bars,),
    "grain": (grain,),
    "empty": (),
})


def phantom(name: str, shape: tuple[int, int], seed: int) -> NDArray[np.complex64]:
    """Complex transmission (y, x) complex64 of the phantom `name`; raises UnknownName."""
    if name not in PHANTOMS:
        raise UnknownName("phantom", name, PHANTOMS)
    canvas = Canvas(shape)
    for layer in PHANTOMS[name]:
        layer(canvas, np.random.default_rng([seed, len(layer.__name__), *layer.__name__.encode()]))
    return canvas.transmission()
