import msgspec
import numpy as np
import pytest

from camlink.beamline.twin.experiment import Experiment
from camlink.beamline.twin.parameters import TwinParameters, talk_parameters
from camlink.block import FrameKind, Plan
from camlink.errors import ParameterError

SMALL = TwinParameters(points_y=4, points_x=3, dark_frames=2)


@pytest.fixture(scope="module")
def experiment():
    return Experiment(SMALL, started_s=1000.0)


def test_plan_says_what_will_come(experiment):
    plan = experiment.plan("udp://127.0.0.1:5")
    assert isinstance(plan, Plan)
    plan.check_rows()
    assert plan.address == "udp://127.0.0.1:5"
    assert plan.scan.expected == 14 == len(plan.arrays["index"])
    assert plan.scan.shape == (320, 384) == experiment.frame(0).shape
    assert plan.scan.points == 12
    assert plan.scan.optics == experiment.optics
    lit = plan.arrays["position_m"][plan.arrays["kind"] == FrameKind.EXPOSURE]
    y0, x0, y1, x1 = plan.scan.span_m
    assert (lit.min(axis=0) == (y0, x0)).all()
    assert (lit.max(axis=0) == (y1, x1)).all()


def test_frames_follow_from_seed_and_index_in_any_order(experiment):
    late, early = experiment.frame(9), experiment.frame(3)
    other = Experiment(SMALL, started_s=5.0)
    np.testing.assert_array_equal(other.frame(3), early)
    np.testing.assert_array_equal(other.frame(9), late)
    changed = Experiment(msgspec.structs.replace(SMALL, seed=1))
    assert not np.array_equal(changed.frame(9), late)


def test_a_frame_too_large_for_the_detector_is_refused():
    with pytest.raises(ParameterError, match="choose a larger detector"):
        Experiment(msgspec.structs.replace(SMALL, reduced_shape=180))
    with pytest.raises(ParameterError, match="centre"):
        Experiment(msgspec.structs.replace(SMALL, centre_offset_y=60))


def test_an_absurd_object_is_refused_before_it_is_made():
    with pytest.raises(ParameterError, match="fewer points or a smaller step_m"):
        Experiment(msgspec.structs.replace(SMALL, step_m=1e-3))


def test_talk_has_frames_of_260_pixels_without_binning():
    talk = talk_parameters()
    assert (talk.points, talk.reduced_shape, talk.binning) == (1600, 260, 1)
    made = Experiment(msgspec.structs.replace(talk, points_y=2, points_x=2))
    assert made.probe.shape == (260, 260)
    assert made.intensity(0).shape == (260, 260)
    assert made.frame(made.parameters.dark_count).shape == (320, 384)


def test_subpixel_and_spiral_and_single_point_scans_are_made():
    for values in ({"subpixel": True}, {"pattern": "spiral"}, {"points_y": 1, "points_x": 1, "dark_frames": 0}):
        made = Experiment(msgspec.structs.replace(SMALL, **values))
        last = made.parameters.frame_count - 1
        assert made.frame(last).dtype == np.uint16
        assert made.photons(last).sum() > 0.4 * SMALL.photons


def test_plan_tells_what_the_receiver_and_the_reduction_need(experiment):
    facts = experiment.plan("udp://127.0.0.1:5", first_number=65500).header.facts
    assert facts["first_number"] == 65500
    assert (facts["adu_per_photon"], facts["crop"], facts["reduced_shape"]) == (SMALL.adu_per_photon, 256, 128)
    assert experiment.plan("").scan.id == experiment.truth().scan_id
