import pytest

from camlink.beamline.twin.parameters import TwinParameters, talk_parameters
from camlink.errors import ParameterError, UnknownName
from camlink.workflow.parameter import build, fields


def test_every_parameter_has_help_and_every_length_its_unit():
    for field in fields(TwinParameters):
        assert field["help"], field["name"]
        if field["name"].endswith("_m"):
            assert field["unit"] == "m"
        if field["name"].endswith("_s"):
            assert field["unit"] == "s"


def test_counts_of_a_double_exposure():
    p = TwinParameters(points_y=3, points_x=5, dark_frames=7, double_exposure=True, dwell_s=0.1, short_fraction=0.25)
    assert (p.points, p.dark_count, p.frame_count) == (15, 14, 44)
    assert p.dwells_s == pytest.approx((0.1, 0.025))


def test_talk_keeps_its_seed():
    assert talk_parameters(seed=5).seed == 5
    assert talk_parameters().frame_count == 1612


@pytest.mark.parametrize(("values", "error"), [
    ({"points_y": 0}, ParameterError), ({"middle_gain_code": 1}, ParameterError), ({"binning": 1.5}, ParameterError),
    ({"pattern": "zigzag"}, ParameterError), ({"photon": 1}, UnknownName)])
def test_bad_values_are_refused(values, error):
    with pytest.raises(error):
        build(TwinParameters, values, "twin")
