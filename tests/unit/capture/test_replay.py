"""replay: the frames of a file as blocks, at a pace, in an order, and files that cannot be played."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlink.block import CountFrames, Header, Result, Scan
from camlink.capture.replay import ReplayParameters, batches, replay
from camlink.carry.formats.cxi_write import CxiWriter
from camlink.errors import FormatError, ParameterError
from camlink.testing.samples import sample

COUNT = 10


class Told:
    """A context that remembers what it was told and can be asked to stop."""

    name, folder, provenance, screen = "replay", Path(), {}, None
    room = staticmethod(np.empty)

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.given: frozenset[int] = frozenset()
        self.asked = threading.Event()
        self.paused_s = 0.0

    def held_s(self) -> float:
        return self.paused_s

    def stopping(self) -> bool:
        return self.asked.is_set()

    def tell(self, **facts: Any) -> None:
        self.facts |= facts


def recorded(path: Path, period_s: float = 0.0, probe: bool = True) -> Path:
    scan = Scan(id="star", expected=COUNT, shape=(8, 8), pixel_m=(1e-5, 1e-5), distance_m=0.1, energy_eV=500.0,
                span_m=(0.0, 0.0, 0.0, 0.0))
    index = np.arange(COUNT)
    frames = np.random.default_rng(0).poisson(5, (COUNT, 8, 8)).astype(np.float32)
    frames[:, 0, 0] = index
    frames[4, 3, 3] = np.nan
    frames[:, 7, 7] = np.nan
    with CxiWriter(path, scan, provenance={}) as writer:
        writer.write_frames(CountFrames(Header(scan=scan, made_s=0), {
            "frames": frames, "index": 5 * index, "point": 100 + index // 2, "kind": np.ones(COUNT, np.uint8),
            "dwell_s": np.full(COUNT, 0.02), "position_m": np.stack([index, -index], 1) * 1e-6,
            "time_s": 1.7e9 + period_s * index}))
        if probe:
            writer.write_result(Result(Header(scan=scan, made_s=0), {
                "object": np.ones((9, 9), np.complex64), "probe": np.full((2, 8, 8), 1j, np.complex64)}))
    return path


def play(context: Told | None = None, **values: Any) -> list[CountFrames]:
    return list(replay.make(ReplayParameters(**values), context or Told())())


def test_all_frames_come_as_they_were(tmp_path: Path) -> None:
    told = Told()
    blocks = play(told, file=str(recorded(tmp_path / "a.cxi")), block_frames=4)
    assert [block.count for block in blocks] == [4, 4, 2]
    frames = np.concatenate([block.frames for block in blocks])
    np.testing.assert_array_equal(frames[:, 0, 0], np.arange(COUNT))
    assert np.isnan(frames[4, 3, 3])
    assert np.isnan(frames[:, 7, 7]).all()
    assert np.isnan(frames).sum() == COUNT + 1
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([block.index for block in blocks]), np.arange(COUNT))
    np.testing.assert_array_equal(np.concatenate([block.point for block in blocks]), np.arange(COUNT) // 2)
    np.testing.assert_allclose(blocks[0].position_m[3], (3e-6, -3e-6))
    assert told.facts["frames_expected"] == told.facts["frames_captured"] == COUNT
    assert blocks[0].scan.expected == COUNT
    assert blocks[0].scan.points == 5
    assert blocks[0].scan.span_m == pytest.approx((0, -9e-6, 9e-6, 0))


def test_the_first_block_alone_carries_the_probe(tmp_path: Path) -> None:
    blocks = play(file=str(recorded(tmp_path / "a.cxi")), block_frames=5)
    assert blocks[0].arrays["probe"].shape == (2, 8, 8)
    assert "probe" not in blocks[1].arrays
    assert "probe" not in play(file=str(recorded(tmp_path / "b.cxi", probe=False)))[0].arrays


def test_started_again_it_plays_only_what_was_not_given(tmp_path: Path) -> None:
    told = Told()
    told.given = frozenset(range(8))
    blocks = play(told, file=str(recorded(tmp_path / "star.cxi", period_s=20.0)), speed=1000.0, block_frames=2)
    assert np.concatenate([b.index for b in blocks]).tolist() == [8, 9]
    assert told.facts["frames_captured"] == told.facts["frames_expected"] == COUNT
    told.given = frozenset(range(COUNT))
    assert play(told, file=str(tmp_path / "star.cxi")) == []


def test_a_part_is_numbered_anew(tmp_path: Path) -> None:
    blocks = play(file=str(recorded(tmp_path / "a.cxi")), first=3, last=6)
    (block,) = blocks
    np.testing.assert_array_equal(block.frames[:, 0, 0], [3, 4, 5, 6])
    np.testing.assert_array_equal(block.index, [0, 1, 2, 3])
    np.testing.assert_array_equal(block.point, [0, 1, 1, 2])
    assert block.scan.expected == 4


@pytest.mark.parametrize("part", [{"first": 10}, {"first": 5, "last": 4}, {"last": 10}])
def test_a_part_that_is_not_there(tmp_path: Path, part: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match="0 to 9"):
        play(file=str(recorded(tmp_path / "a.cxi")), **part)


def test_shuffled_keeps_frame_index_and_position_together(tmp_path: Path) -> None:
    path = str(recorded(tmp_path / "a.cxi"))
    blocks = play(file=path, order="shuffled", seed=3, block_frames=3)
    index = np.concatenate([block.index for block in blocks])
    assert sorted(index) == list(range(COUNT))
    assert list(index) != list(range(COUNT))
    np.testing.assert_array_equal(np.concatenate([b.frames[:, 0, 0] for b in blocks]), index)
    np.testing.assert_allclose(np.concatenate([b.position_m[:, 0] for b in blocks]), index * 1e-6)
    again = play(file=path, order="shuffled", seed=3, block_frames=3)
    np.testing.assert_array_equal(np.concatenate([block.index for block in again]), index)


def test_a_rate_makes_it_wait_and_blocks_small(tmp_path: Path) -> None:
    began_s = time.monotonic()
    blocks = play(file=str(recorded(tmp_path / "a.cxi")), rate_hz=50.0)
    assert time.monotonic() - began_s >= COUNT / 50.0
    assert len(blocks) > 2


def test_recorded_times_set_the_pace_and_speed_scales_it(tmp_path: Path) -> None:
    path = str(recorded(tmp_path / "a.cxi", period_s=0.1))
    began_s = time.monotonic()
    assert len(play(file=path, speed=10.0)) > 1
    assert time.monotonic() - began_s >= 0.09
    assert len(play(file=path, speed=0.0)) == 1


def test_the_time_of_a_pause_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, due_s = Told(), list[float]()

    def waited(moment_s: float, _: object) -> bool:
        due_s.append(moment_s)
        told.paused_s += 100.0 * (len(due_s) == 3)
        return True

    monkeypatch.setattr("camlink.capture.replay.wait_until", waited)
    play(told, file=str(recorded(tmp_path / "a.cxi")), rate_hz=10.0)
    steps_s = np.diff(due_s)
    assert np.allclose(steps_s[[0, 1, *range(3, len(steps_s))]], 0.1)
    assert steps_s[2] == pytest.approx(100.1)


def test_stopping_is_heard_in_a_long_wait(tmp_path: Path) -> None:
    told = Told()
    told_blocks = replay.make(ReplayParameters(file=str(recorded(tmp_path / "a.cxi", period_s=3600.0))), told)()
    assert next(told_blocks).count == 1
    threading.Timer(0.05, told.asked.set).start()
    assert list(told_blocks) == []
    assert told.facts["frames_captured"] == 1


def test_files_that_cannot_be_played(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="name the recorded scan"):
        play()
    with pytest.raises(FormatError, match=r"no file 'none\.cxi' in .*, nor among the samples"):
        play(file="none.cxi")
    with pytest.raises(FormatError, match="no frames"):
        play(file=str(sample("cosmic-result-856eV.cxi")))
    with pytest.raises(FormatError, match="1 frames, but 0 positions"):
        play(file="cxidb_minimal.cxi")


def test_a_real_scan_is_found_among_the_samples() -> None:
    sample("siemens-star-small.npz.bz2")
    told = Told()
    blocks = play(told, file="siemens-star-small.npz.bz2", last=19, block_frames=64)
    (block,) = blocks
    assert block.frames.shape == (20, 128, 128)
    # a block must pass what any block from outside has to
    assert CountFrames.checked(block.header, block.arrays).count == 20
    assert block.arrays["probe"].shape == (1, 128, 128)
    mean = block.frames.mean(axis=0)
    assert mean[32:96, 32:96].sum() > 0.9 * mean.sum()


def test_batches_hold_what_is_due_together() -> None:
    assert list(batches(np.zeros(5), 2)) == [(0, 2), (2, 4), (4, 5)]
    assert list(batches(np.array([0.0, 0.01, 1.0, 1.02, 9.0]), 16)) == [(0, 2), (2, 4), (4, 5)]
    assert list(batches(np.empty(0), 4)) == []
