import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from camlink.compute.correct.merge import Exposure, Merge, combine

DWELLS_S = (0.5, 0.1)


def exposure(point: int, which: int, value: float = 1.0) -> Exposure:
    index = 2 * point + which
    return Exposure(image=np.full((2, 2), value * (index + 1), dtype=np.float32), index=index, point=point,
                    dwell_s=DWELLS_S[which], position_m=(point * 1e-6, 0.0), time_s=100.0 + index, made_s=200.0 + index)


def run(exposures: list[Exposure], window: int = 64) -> tuple[list[Exposure], Merge]:
    merge = Merge(2, window)
    given = list(itertools.chain.from_iterable(merge.add(one) for one in exposures))
    return [*given, *merge.finish()], merge


def test_valid_exposures_add_up_and_a_saturated_one_is_replaced_by_the_scaled_other():
    images = np.array([[[50, np.nan, 50, np.nan]], [[10, 10, np.nan, np.nan]]], dtype=np.float32)
    merged = combine(images, np.array([0.5, 0.1]), 0.6)
    np.testing.assert_allclose(merged, [[60, 60, 60, np.nan]], rtol=1e-6)


def test_three_exposures_follow_the_general_rule():
    images = np.array([[[7.0]], [[np.nan]], [[2.0]]], dtype=np.float32)
    np.testing.assert_allclose(combine(images, np.array([1.0, 2.0, 3.0]), 6.0), [[6 * 9 / 4]], rtol=1e-6)


def test_a_pair_is_joined_by_its_point_with_the_identity_of_its_first_exposure():
    (merged,), merge = run([exposure(3, 1), exposure(3, 0)])
    assert (merged.index, merged.point, merged.time_s, merged.made_s) == (6, 3, 106.0, 206.0)
    assert merged.dwell_s == 0.6
    np.testing.assert_allclose(merged.image, 15)
    assert (merge.merged, merge.unpaired, merge.late) == (1, 0, 0)


def test_a_lost_partner_never_shifts_the_later_pairs():
    exposures = [exposure(point, which) for point in range(6) for which in (0, 1)]
    del exposures[2]
    given, merge = run(exposures)
    assert sorted(one.point for one in given) == list(range(6))
    lonely = next(one for one in given if one.point == 1)
    assert lonely.dwell_s == 0.6
    np.testing.assert_allclose(lonely.image, 4 * 6, rtol=1e-6)
    assert (merge.merged, merge.unpaired) == (5, 1)


def test_a_lost_partner_is_not_waited_for_beyond_the_window():
    merge = Merge(2, 3)
    assert list(merge.add(exposure(0, 0))) == []
    given = [list(merge.add(exposure(point, which))) for point in range(1, 5) for which in (0, 1)]
    points = [[one.point for one in some] for some in given]
    assert points == [[], [1], [], [2], [0], [3], [], [4]]
    assert list(merge.add(exposure(0, 1))) == []
    assert merge.late == 1


def test_a_lonely_exposure_before_any_pair_keeps_its_own_dwell():
    (given,), _ = run([exposure(0, 1)])
    assert given.dwell_s == 0.1
    np.testing.assert_allclose(given.image, 2)


def test_an_exposure_that_is_sent_again_is_counted_once():
    (merged,), _ = run([exposure(0, 0), exposure(0, 0), exposure(0, 1)])
    np.testing.assert_allclose(merged.image, 3)


def test_without_merging_every_exposure_goes_straight_through():
    merge = Merge(1, 4)
    one = exposure(0, 0)
    assert list(merge.add(one)) == [one]
    assert next(merge.add(exposure(0, 1))).index == 1
    assert list(merge.finish()) == []


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(range(12)), lost=st.sets(st.integers(0, 11), max_size=4))
def test_the_order_of_arrival_does_not_matter(order, lost):
    exposures = [exposure(point, which) for point in range(6) for which in (0, 1)]
    kept = [exposures[k] for k in range(12) if k not in lost]
    plain, _ = run([*kept, exposure(6, 0), exposure(6, 1)])
    mixed, _ = run([*[exposures[k] for k in order if k not in lost], exposure(6, 0), exposure(6, 1)])
    by_point = {one.point: one for one in plain}
    assert {one.point for one in mixed} == set(by_point)
    for one in mixed:
        other = by_point[one.point]
        np.testing.assert_array_equal(one.image, other.image)
        assert (one.index, one.dwell_s, one.position_m) == (other.index, other.dwell_s, other.position_m)
