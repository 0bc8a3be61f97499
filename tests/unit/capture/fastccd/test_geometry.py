from __future__ import annotations

import numpy as np
import pytest
from detector_image import assembled, data_image

from camlink.capture.fastccd.geometry import PRESETS, Geometry, adc_order, data_columns, preset, row_table
from camlink.capture.fastccd.kernels import gather_samples, scatter_samples
from camlink.errors import ParameterError, UnknownName


@pytest.mark.parametrize("geometry", [Geometry(7, 1), Geometry(5, 4), PRESETS["window"], Geometry(3, 12)])
def test_samples_are_gathered_as_published_and_scattered_back(geometry):
    raw = np.random.default_rng(1).integers(0, 65536, geometry.samples, dtype=np.uint16)
    image, again = np.empty(geometry.shape, np.uint16), np.empty_like(raw)
    gather_samples(raw.byteswap(), row_table(geometry), image)
    np.testing.assert_array_equal(image, assembled(raw, geometry))
    scatter_samples(image, row_table(geometry), again)
    np.testing.assert_array_equal(again.byteswap(), raw)


@pytest.mark.parametrize("chips", [1, 2, 4, 12])
def test_adc_order_is_a_bijection_with_the_published_inverse(chips):
    des = adc_order(chips)
    assert sorted(des) == list(range(16 * chips))
    for j in range(chips):
        for a in range(4):
            for b in range(4):
                n = 16 * (chips - 1 - j) + 4 * (3 - a) + b
                assert des[chips * (4 * a + b) + j] == n


def test_adc_order_of_the_camera_starts_as_published():
    assert list(adc_order(12)[:13]) == [188, 172, 156, 140, 124, 108, 92, 76, 60, 44, 28, 12, 189]


def test_row_table_uses_every_sample_once_and_cannot_be_changed():
    table = row_table(PRESETS["cosmic"])
    assert sorted(table.ravel()) == list(range(12 * 192))
    assert row_table(PRESETS["cosmic"]) is table
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1


def test_presets_have_the_published_sizes():
    assert PRESETS["cosmic"].shape == (1040, 1152)
    assert PRESETS["cosmic"].bytes == 585 * 4096
    assert PRESETS["full"].bytes == 4_469_760
    assert PRESETS["window"].data_shape == (320, 320)


@pytest.mark.parametrize("overscan", [(0, 11), (10, 11)])
def test_data_columns_skip_the_overscan_in_both_halves(overscan):
    geometry = Geometry(rows=2, chips=1, overscan=overscan)
    position = np.arange(geometry.samples) // geometry.adcs % 12  # sample within its super-column
    image = assembled(position.astype(np.uint16), geometry)
    data = data_image(image, geometry)
    assert data.shape == geometry.data_shape
    assert not np.isin(data, overscan).any()
    for half, rows in (("top", image[:2]), ("bottom", image[2:])):
        rest = np.delete(rows, data_columns(geometry, half), axis=1)
        assert np.isin(rest, overscan).all()


@pytest.mark.parametrize("bad", [{"rows": 0, "chips": 1}, {"rows": 1, "chips": 99},
                                 {"rows": 1, "chips": 1, "overscan": (3, 3)},
                                 {"rows": 1, "chips": 1, "overscan": (0, 12)}])
def test_absurd_geometries_are_refused(bad):
    with pytest.raises(ParameterError):
        Geometry(**bad)


def test_preset_names_the_nearest():
    assert preset("full") is PRESETS["full"]
    with pytest.raises(UnknownName, match="cosmic"):
        preset("cosmik")
