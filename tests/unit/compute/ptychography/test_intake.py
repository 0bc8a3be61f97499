"""What is taken, refused and counted."""

import numpy as np
import pytest

from camlink.block import CountFrames, Header, Scan
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.intake import Intake, joined
from camlink.compute.ptychography.model import MASKED

SCAN = Scan(id="s", expected=4, shape=(8, 8), pixel_m=(30e-6, 30e-6), distance_m=0.1, energy_eV=800.0,
            span_m=(0.0, 0.0, 1e-5, 1e-5))


def block(frames, index, facts=None):
    n = len(frames)
    columns = {"index": np.asarray(index), "point": np.asarray(index), "kind": np.ones(n, np.uint8),
               "dwell_s": np.ones(n), "position_m": np.full((n, 2), 2e-6), "time_s": np.zeros(n)}
    return CountFrames.checked(Header(scan=SCAN, made_s=0, facts=facts or {}), {"frames": frames, **columns})


@pytest.fixture
def intake():
    return Intake(Geometry.of(SCAN, 2))


def test_centre_moves_to_the_corner_and_counts_become_amplitudes(intake):
    frames = np.zeros((1, 8, 8), np.float32)
    frames[0, 4, 5] = 9
    batch = intake.read(block(frames, [3]))
    assert batch.amplitude[0, 0, 1] == 3
    assert batch.photons.tolist() == [9]
    assert batch.weights.tolist() == [1]


def test_shifted_frames_stay(intake):
    frames = np.zeros((1, 8, 8), np.float32)
    frames[0, 0, 1] = 4
    assert intake.read(block(frames, [0], {"fft_shifted": True})).amplitude[0, 0, 1] == 2


def test_missing_pixels_are_masked_and_lower_the_weight(intake):
    frames = np.ones((2, 8, 8), np.float32)
    frames[0, :4] = np.nan
    frames[1] = np.inf
    batch = intake.read(block(frames, [0, 1]))
    assert (batch.amplitude[0] == MASKED).sum() == 32
    assert batch.weights.tolist() == [0.5, 0]
    assert intake.counts["empty_frames"] == 1


def test_saturated_pixels_have_no_value():
    frames = np.ones((1, 8, 8), np.float32)
    frames[0, 0, :3] = [65535, 60000, np.nan]
    intake = Intake(Geometry.of(SCAN, 2), saturated=60000)
    batch = intake.read(block(frames, [0]))
    assert (batch.amplitude == MASKED).sum() == 3
    assert intake.counts["saturated_pixels"] == 2
    assert batch.weights[0] == pytest.approx(61 / 64)


def test_negative_counts_are_clipped_and_counted(intake):
    frames = np.full((1, 8, 8), -2.0, np.float32)
    assert not intake.read(block(frames, [0])).amplitude.any()
    assert intake.counts["negative_pixels"] == 64


def test_positions_off_the_grid_and_other_shapes_are_refused(intake):
    away = block(np.ones((2, 8, 8), np.float32), [0, 1])
    away.arrays["position_m"][1] = np.nan
    assert intake.read(away).index.tolist() == [0]
    assert len(intake.read(block(np.ones((3, 4, 4), np.float32), [0, 1, 2]))) == 0
    assert intake.counts["off_grid"] == 1
    assert intake.counts["wrong_shape"] == 3


def test_newer_of_a_pair_wins(intake):
    frames = np.stack([np.full((8, 8), value, np.float32) for value in (1, 4)])
    batch = intake.read(block(frames, [2, 2]))
    assert batch.index.tolist() == [2]
    assert batch.amplitude.max() == 2
    assert intake.counts["repeated"] == 1


def test_batches_join(intake):
    parts = [intake.read(block(np.ones((1, 8, 8), np.float32), [i])) for i in range(3)]
    assert joined(parts).index.tolist() == [0, 1, 2]
