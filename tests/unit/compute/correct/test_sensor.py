import numpy as np
import pytest

from camlink.block import FrameKind, Header, RawFrames, Scan
from camlink.compute.correct.correction import Correction
from camlink.compute.correct.gain import Gain
from camlink.compute.correct.layout import Layout
from camlink.compute.correct.sensor import CHUNK, Sensor, chunks

LAYOUT = Layout(64, 72)


def block(images: list[np.ndarray], kind: FrameKind) -> RawFrames:
    n = len(images)
    raw = np.full((n, 64, 72), 0x1000 + 10, dtype=np.uint16)
    for frame, image in zip(raw, images, strict=True):
        for half, rows in enumerate((slice(0, 32), slice(32, 64))):
            frame[rows, LAYOUT.data_columns[half]] += image[rows].astype(np.uint16)
    scan = Scan(id="s", expected=n, shape=(64, 72), pixel_m=(3e-5, 3e-5), distance_m=0.08, energy_eV=800,
                span_m=(0, 0, 1, 1))
    arrays = {"frames": raw, "index": np.arange(n), "point": np.arange(n), "kind": np.full(n, kind, dtype=np.uint8),
              "dwell_s": np.full(n, 0.1), "position_m": np.zeros((n, 2)), "time_s": np.zeros(n)}
    return RawFrames(Header(scan=scan, made_s=0.0), arrays)


def sensor(centre_frames: int = 2, centre: tuple[float, float] | None = None) -> Sensor:
    correction = Correction(LAYOUT, Gain(), half_rows=10, saturation_adu=np.inf, adu_per_photon=10.0,
                            threshold_photons=0.0)
    return Sensor(correction, 8.0, centre_frames, centre)


def beam() -> np.ndarray:
    y, x = np.mgrid[:64, :60]
    return 500.0 * (np.hypot(y - 34, x - 27) < 9)


def test_rows_are_taken_in_bounded_parts():
    parts = chunks(np.arange(2 * CHUNK + 3))
    assert [len(part) for part in parts] == [CHUNK, CHUNK, 3]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(2 * CHUNK + 3))


def test_the_dark_is_taken_off_and_late_dark_frames_are_counted():
    dark = block([np.full((64, 60), 40.0)] * 3, FrameKind.DARK)
    known = sensor()
    known.take_darks(dark, np.arange(3))
    known.darks.freeze()
    known.take_darks(dark, np.arange(2))
    assert (known.darks.frames, known.late_darks, known.bare) == (3, 2, 0)
    lit = block([beam() + 40], FrameKind.EXPOSURE)
    np.testing.assert_allclose(known.photons(lit, 0, (0, 0), 60), beam()[:60] / 10, atol=1e-4)


def test_the_centre_settles_with_enough_frames_and_stays():
    known = sensor(centre_frames=2)
    lit = block([beam()] * 3, FrameKind.EXPOSURE)
    known.look(lit, np.arange(1))
    assert known.centre is None
    known.look(lit, np.arange(1, 3))
    assert known.centre == pytest.approx((34, 27), abs=0.1)
    known.look(block([np.roll(beam(), 7)] * 3, FrameKind.EXPOSURE), np.arange(3))
    assert known.settle() == pytest.approx((34, 27), abs=0.1)
    assert not known.blind


def test_without_light_the_middle_is_taken_and_told():
    known = sensor(centre_frames=1)
    known.look(block([np.zeros((64, 60))], FrameKind.EXPOSURE), np.arange(1))
    assert known.settle() == (32, 30)
    assert known.blind
    assert known.bare == 0
