import numpy as np
import pytest

from camlink.compute.correct.layout import Layout
from camlink.errors import FormatError, ParameterError


def test_data_and_overscan_columns_share_the_image_between_them():
    layout = Layout(4, 48)
    assert layout.shape == (4, 40)
    assert layout.supers == 4
    np.testing.assert_array_equal(layout.overscan_columns[0], [[0, 11], [12, 23], [24, 35], [36, 47]])
    np.testing.assert_array_equal(layout.data_columns[0, :11], [*range(1, 11), 13])
    np.testing.assert_array_equal(layout.owners[1, 8:12], [0, 0, 1, 1])


def test_overscan_positions_are_mirrored_in_the_bottom_half():
    layout = Layout(2, 24, (10, 11))
    np.testing.assert_array_equal(layout.overscan_columns, [[[10, 11], [22, 23]], [[0, 1], [12, 13]]])
    np.testing.assert_array_equal(layout.data_columns[1, :3], [2, 3, 4])


def test_without_overscan_every_column_is_data():
    layout = Layout(2, 7, ())
    assert layout.shape == (2, 7)
    np.testing.assert_array_equal(layout.data_columns, [range(7)] * 2)
    assert not layout.owners.any()


@pytest.mark.parametrize(("rows", "width"), [(3, 24), (2, 25), (0, 24), (2, 120000)])
def test_a_shape_no_camera_has_is_refused(rows, width):
    with pytest.raises(FormatError):
        Layout(rows, width)


@pytest.mark.parametrize("overscan", [(12,), (-1,), (0, 0), tuple(range(12))])
def test_impossible_overscan_positions_are_refused(overscan):
    with pytest.raises(ParameterError):
        Layout(2, 24, overscan)
