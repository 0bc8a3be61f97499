import numpy as np
import pytest
from correction_steps import baseline, decode, subtract

from camlink.compute.correct.gain import Gain
from camlink.compute.correct.kernels import baseline as baseline_kernel
from camlink.compute.correct.layout import Layout

LAYOUT = Layout(120, 36)


def drifting(layout: Layout = LAYOUT, slope: int = 2, n: int = 1) -> np.ndarray:
    """Raw frames whose level runs straight along the rows of each half, different in every super-column."""
    rows = layout.rows // 2
    level = slope * np.arange(rows)[:, None] + 7 * np.arange(layout.supers)
    whole = np.concatenate([level, 500 - level])
    return np.repeat(0x1000 + np.repeat(whole, 12, axis=1)[None], n, axis=0).astype(np.uint16)


def both(raw: np.ndarray, layout: Layout = LAYOUT, half_rows: int = 8) -> np.ndarray:
    """The baseline in NumPy, after the kernel was found to agree."""
    base = baseline(*decode(raw, Gain()), layout, half_rows)
    out = np.empty(base.shape[1:], dtype=np.float32)
    for image, expected in zip(raw, base, strict=True):
        baseline_kernel(image, layout.overscan_columns, half_rows, 0x1000, out)
        np.testing.assert_allclose(out, expected, atol=1e-3)
    return base


def test_a_linear_baseline_is_followed_exactly_to_the_edges_of_each_half():
    raw = drifting(n=2)
    signal = subtract(decode(raw, Gain())[0], both(raw), LAYOUT)
    assert signal.shape == (2, 120, 30)
    np.testing.assert_allclose(signal, 0, atol=1e-3)


def test_light_in_the_data_columns_does_not_move_it():
    raw = drifting()
    raw[:, :, LAYOUT.data_columns[0]] += 1000
    signal = subtract(decode(raw, Gain())[0], both(raw), LAYOUT)
    np.testing.assert_allclose(signal, 1000, atol=1e-3)


def test_lost_rows_and_spikes_and_lit_overscan_take_no_part():
    raw = drifting()
    clean = both(raw)
    raw[:, 20:24] |= 0x2000
    raw[:, 70, 11] = 0x1FF0
    raw[:, 90, 0] |= 0x4000
    np.testing.assert_allclose(both(raw), clean, atol=1e-2)


def test_noise_is_averaged_over_the_window():
    noise = np.random.default_rng(3).normal(100, 6, (1, 120, 36))
    base = both((0x1000 + noise).astype(np.uint16), half_rows=20)
    inner = base[0, 20:40]
    assert abs(inner.mean() - 99.5) < 0.5
    assert inner.std() < 6 / np.sqrt(2 * 41) * 1.6


def test_a_super_column_that_lost_all_its_overscan_has_no_baseline():
    raw = drifting()
    raw[:, :60, [12, 23]] |= 0x2000
    base = both(raw)
    assert np.isnan(base[0, :60, 1]).all()
    assert np.isfinite(base[0, 60:]).all()
    assert np.isfinite(base[0, :60, [0, 2]]).all()


def test_a_window_without_samples_takes_the_mean_of_its_super_column():
    raw = drifting(slope=0)
    raw[:, 10:50] |= 0x2000
    np.testing.assert_allclose(both(raw, half_rows=4)[0, 30], [0, 7, 14], atol=1e-3)


def test_without_overscan_positions_the_baseline_is_zero():
    layout = Layout(4, 24, ())
    level, multiplier = decode(np.full((1, 4, 24), 0x1003, dtype=np.uint16), Gain())
    base = baseline(level, multiplier, layout, 5)
    assert not base.any()
    np.testing.assert_array_equal(subtract(level, base, layout), np.full((1, 4, 24), 3))


@pytest.mark.parametrize("half_rows", [0, 1, 3, 59, 200])
def test_any_window_agrees_with_the_kernel(half_rows):
    rng = np.random.default_rng(half_rows)
    raw = (0x1000 + rng.normal(50, 10, (1, 120, 36))).astype(np.uint16)
    raw[rng.random(raw.shape) < 0.1] |= 0x2000
    both(raw, half_rows=half_rows)
