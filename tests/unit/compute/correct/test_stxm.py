import numpy as np
import pytest

from camlink.block import CountFrames, FrameKind, Header, Scan
from camlink.compute.correct.stxm import Grid, Stxm, StxmParameters, Transmission
from camlink.errors import FormatError

STEP_M = 1e-7


def raster(rows: int, columns: int) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return np.stack([y.ravel(), x.ravel()], axis=1) * STEP_M


def block(positions_m: np.ndarray, counts: np.ndarray, which: list[int]) -> CountFrames:
    span_m = (*positions_m.min(axis=0).tolist(), *positions_m.max(axis=0).tolist())
    scan = Scan(id="s", expected=len(positions_m), shape=(8, 8), pixel_m=(6e-5, 6e-5), distance_m=0.08, energy_eV=800,
                span_m=span_m, points=len(positions_m))
    n = len(which)
    frames = np.repeat(counts[which], 64).reshape(n, 8, 8).astype(np.float32) / 64
    arrays = {"frames": frames, "index": np.array(which), "point": np.array(which),
              "kind": np.full(n, FrameKind.EXPOSURE, dtype=np.uint8), "dwell_s": np.ones(n),
              "position_m": positions_m[which], "time_s": np.zeros(n)}
    return CountFrames(Header(scan=scan, made_s=3.0), arrays)


def make(every_s: float = 0.0):
    return Stxm.make(StxmParameters(every_s=every_s), None)


def test_every_point_lands_in_its_own_pixel_and_the_others_are_empty():
    positions_m, counts = raster(3, 5), np.arange(15) * 10.0 + 640
    stxm = make()
    result = stxm(block(positions_m, counts, [12, 0, 7]))
    image = result.arrays["map"]
    assert image.shape == (3, 5)
    assert image.dtype == np.float32
    np.testing.assert_allclose([image[0, 0], image[1, 2], image[2, 2]], counts[[0, 7, 12]], rtol=1e-6)
    assert np.isfinite(image).sum() == 3
    assert result.facts["points"] == 3
    assert result.facts["y1_m"] == pytest.approx(2 * STEP_M)
    np.testing.assert_allclose(result.arrays["positions_m"], positions_m[[12, 0, 7]].astype(np.float32))
    assert result.header.made_s == 3.0


def test_a_whole_jittered_scan_leaves_hardly_a_hole():
    rng = np.random.default_rng(2)
    positions_m = raster(12, 12) + rng.uniform(-0.2, 0.2, (144, 2)) * STEP_M
    stxm = make()
    image = stxm(block(positions_m, np.full(144, 640.0), list(range(144)))).arrays["map"]
    assert image.shape == (12, 12)
    np.testing.assert_allclose(image[np.isfinite(image)], 640, rtol=1e-5)
    assert np.isnan(image).sum() <= 2


def test_maps_are_given_at_their_pace_and_the_last_one_at_the_end():
    positions_m, counts = raster(2, 2), np.full(4, 64.0)
    stxm = make(every_s=60)
    assert stxm(block(positions_m, counts, [0])) is not None
    assert stxm(block(positions_m, counts, [1, 2])) is None
    (last,) = stxm.finish()
    assert last.facts["points"] == 3
    assert list(stxm.finish()) == []


def test_a_frame_that_is_sent_again_counts_once():
    stxm = make()
    first = block(raster(2, 2), np.full(4, 64.0), [0, 1])
    assert stxm(first).facts["points"] == 2
    assert stxm(first) is None


def test_a_frame_with_lost_rows_shows_what_the_whole_would_have():
    transmission = Transmission((8, 8))
    pattern = np.arange(64, dtype=np.float32).reshape(8, 8)
    frames = np.stack([pattern, 2 * pattern, 3 * pattern])
    frames[2, 4:] = np.nan
    np.testing.assert_allclose(transmission(frames[:2]), [2016, 4032])
    np.testing.assert_allclose(transmission(frames[2:]), [3 * 2016], rtol=0.2)
    assert np.isnan(transmission(np.full((1, 8, 8), np.nan, dtype=np.float32)))[0]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 9), (6, 1), (7, 13)])
def test_the_grid_is_read_from_the_span_and_the_number_of_points(rows, columns):
    grid = Grid((0.0, 0.0, (rows - 1) * STEP_M, (columns - 1) * STEP_M), rows * columns)
    assert grid.map.shape == (rows, columns)


def test_the_nearer_point_wins_whatever_the_order():
    for order in ((0, 1), (1, 0)):
        grid = Grid((0, 0, 2.0, 2.0), 9)
        points = [(np.array([1.1, 1.0]), 5.0), (np.array([1.3, 1.0]), 9.0)]
        for k in order:
            grid.put(*points[k])
        assert grid.map[1, 1] == 5


def test_a_point_off_the_grid_is_left_out():
    grid = Grid((0, 0, 2.0, 2.0), 9)
    grid.put(np.array([-8.0, 1.0]), 1.0)
    grid.put(np.array([1.0, 50.0]), 1.0)
    assert np.isnan(grid.map).all()


def test_a_map_beyond_all_bounds_is_refused():
    with pytest.raises(FormatError, match="step_m"):
        Grid((0, 0, 1.0, 1.0), 100, step_m=1e-7)
