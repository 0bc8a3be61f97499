import numpy as np
from correction_steps import decode

from camlink.compute.correct.gain import Gain


def adu(raw: np.ndarray, gain: Gain) -> np.ndarray:
    level, multiplier = decode(raw, gain)
    return level * multiplier


def test_codes_multiply_the_level_above_the_bias():
    raw = np.array([0x1005, 0x1005 | 0x4000, 0x1005 | 0xC000, 0x0FFE], dtype=np.uint16)
    np.testing.assert_array_equal(adu(raw, Gain()), [5, 20, 40, -2])


def test_the_middle_code_is_configuration_and_the_other_one_has_no_value():
    raw = np.array([0x1005 | 0x4000, 0x1005 | 0x8000], dtype=np.uint16)
    np.testing.assert_array_equal(adu(raw, Gain()), [20, np.nan])
    np.testing.assert_array_equal(adu(raw, Gain(middle_code=0x8000)), [np.nan, 20])


def test_a_lost_sample_has_no_value_whatever_its_other_bits():
    raw = np.array([0x2000, 0x3005, 0xFFFF], dtype=np.uint16)
    level, _ = decode(raw, Gain())
    assert np.isnan(level).all()
    assert level.dtype == np.float32
