"""The way of the beam over the sample, and the plan of all frames: first those without beam, then point after point."""

from __future__ import annotations

import hashlib
import math
import time
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.beamline.twin.parameters import TwinParameters
from camlink.block import Array, FrameKind, ScanId

GOLDEN_ANGLE_RAD: Final = math.pi * (3 - math.sqrt(5))
MARGIN_PX: Final = 4
NO_POINT: Final = -1

Positions = NDArray[np.float64]


class Corners(msgspec.Struct, frozen=True):
    """Where the window of every point starts on the object, and what that is in metres on the sample.

    `corner_px` (points, 2) float64 as (y, x): index in the object of the window's first pixel; whole numbers unless
    positions are kept between pixels. A position is origin_m + corner_px x object_pixel_m: `origin_m` (y, x) is the
    position whose window starts at object pixel [0, 0]. `object_shape` (y, x) holds every window and a margin.
    """

    corner_px: Positions
    origin_m: tuple[float, float]
    object_pixel_m: float
    object_shape: tuple[int, int]

    @property
    def position_m(self) -> Positions:
        """Where the beam meets the sample (points, 2) as (y, x) [m]."""
        return np.asarray(self.origin_m) + self.corner_px * self.object_pixel_m


def raster(points_y: int, points_x: int, step_m: float) -> Positions:
    """Rows of points about the origin (points, 2) as (y, x) [m], x runs fastest."""
    y, x = ((np.arange(n) - (n - 1) / 2) * step_m for n in (points_y, points_x))
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)


def fermat(points: int, step_m: float) -> Positions:
    """A Fermat spiral about the origin (points, 2) as (y, x) [m], one point on every step_m^2 (Huang et al. 2014)."""
    k = np.arange(points)
    r = step_m * np.sqrt((k + 0.5) / math.pi)
    return np.stack([r * np.sin(k * GOLDEN_ANGLE_RAD), r * np.cos(k * GOLDEN_ANGLE_RAD)], -1)


def positions(parameters: TwinParameters) -> Positions:
    """Positions (points, 2) as (y, x) [m] with their jitter, before they are rounded to object pixels."""
    if parameters.pattern == "spiral":
        ideal = fermat(parameters.points, parameters.step_m)
    else:
        ideal = raster(parameters.points_y, parameters.points_x, parameters.step_m)
    reach_m = parameters.jitter * parameters.step_m
    return ideal + np.random.default_rng([parameters.seed, 1]).uniform(-reach_m, reach_m, ideal.shape)


def corners(position_m: Positions, object_pixel_m: float, window: int, *, subpixel: bool) -> Corners:
    """Put positions (points, 2) on the pixels of an object just large enough, on whole ones unless `subpixel`."""
    in_pixels = position_m / object_pixel_m
    if not subpixel:
        in_pixels = np.rint(in_pixels)
    origin = np.floor(in_pixels.min(axis=0)) - MARGIN_PX
    corner_px = in_pixels - origin
    height, width = np.ceil(corner_px.max(axis=0)).astype(int) + window + MARGIN_PX
    return Corners(corner_px, (float(origin[0] * object_pixel_m), float(origin[1] * object_pixel_m)), object_pixel_m,
                   (int(height), int(width)))


def columns(parameters: TwinParameters, position_m: Positions, started_s: float) -> dict[str, Array]:
    """The columns of a Plan, one row a frame.

    Frames without beam come first (point -1, at the first position), by turns for every exposure time; then every
    point with its exposures, the longest first. `time_s` is when a frame is due if sending starts at `started_s`.
    """
    dwells = np.asarray(parameters.dwells_s)
    darks, points = parameters.dark_count, len(position_m)
    point = np.concatenate([np.full(darks, NO_POINT), np.repeat(np.arange(points), len(dwells))])
    frames = len(point)
    return {
        "index": np.arange(frames, dtype=np.int64),
        "point": point.astype(np.int64),
        "kind": np.where(point < 0, FrameKind.DARK, FrameKind.EXPOSURE).astype(np.uint8),
        "dwell_s": np.tile(dwells, parameters.dark_frames + points),
        "position_m": position_m[np.maximum(point, 0)],
        "time_s": started_s + np.arange(frames) / parameters.rate_hz,
    }


def scan_id(started_s: float, seed: int) -> ScanId:
    """Name of a scan from its start (UTC) and its seed, as in 2026-11-23T01-29-05-a1b2c3."""
    mark = hashlib.sha256(f"{started_s!r} {seed}".encode()).hexdigest()[:6]
    return ScanId(f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime(started_s))}-{mark}")
