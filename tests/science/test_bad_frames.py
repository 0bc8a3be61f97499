"""Bad input through the whole solver: it is counted by name, nothing becomes NaN, and no picture is made of nothing."""

import msgspec
import numpy as np
import pytest

from camlink.block import CountFrames
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.solve import solve
from camlink.errors import FormatError
from camlink.workflow.port import Listed

KERNELS = ["reference", "compiled"]


@pytest.fixture(scope="module")
def tiny(simulate_scan):
    return simulate_scan(size=32, side=4, step=4, photons=1e5)


def run(blocks, context, kernel, **changes):
    parameters = SolveParameters(kernel=kernel, polish_s=0.0, iterations=15, **changes)
    return list(solve.make(parameters, context)(Listed(blocks)))


def finite(version):
    return all(np.isfinite(array).all() for array in version.arrays.values()) and np.isfinite(
        version.facts["fourier_error"])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("value", "problems"), [
    (np.nan, {"empty_frames": 16}), (np.inf, {"empty_frames": 16}), (0.0, {}), (6e4, {}),
    (-3.0, {"negative_pixels": 16 * 32 * 32})], ids=["nan", "infinite", "dark", "saturated", "negative"])
def test_frames_that_say_nothing_do_no_harm(tiny, spoken, kernel, value, problems):
    context = spoken()
    counts = np.full_like(tiny.counts, value)
    versions = run([tiny.block(range(16), counts=counts)], context, kernel)
    assert versions[-1].facts["active"] == 16
    assert all(finite(version) for version in versions)
    assert context.facts["problems"] == problems


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_frame_gives_a_picture(tiny, spoken, kernel):
    versions = run([tiny.block([5])], spoken(), kernel)
    assert versions[-1].facts["active"] == 1
    assert finite(versions[-1])


def test_some_bad_pixels_are_left_out_and_counted(tiny, spoken):
    counts = np.array(tiny.counts)
    counts[:, 3, 4], counts[2, 9, 9], counts[3, 1, :5] = np.inf, -np.inf, -1
    context = spoken()
    versions = run([tiny.block(range(16), counts=counts)], context, "reference")
    assert finite(versions[-1])
    assert context.facts["problems"] == {"negative_pixels": 5}


def test_positions_outside_are_counted_and_give_no_picture(tiny, spoken):
    stray = tiny.block(range(16))
    stray.arrays["position_m"][...] += 1.0
    context = spoken()
    assert run([stray], context, "reference") == []
    half = tiny.block(range(16))
    half.arrays["position_m"][8:] = np.inf
    versions = run([half], context, "reference")
    assert versions[-1].facts["active"] == 8
    assert context.facts["problems"] == {"off_grid": 8}


def test_frames_of_another_shape_are_counted(tiny, spoken):
    whole = tiny.block(range(16))
    cut = CountFrames.checked(whole.header, {**whole.arrays, "frames": whole.frames[:, :30]})
    context = spoken()
    versions = run([whole, cut], context, "reference")
    assert versions[-1].facts["active"] == 16
    assert context.facts["problems"] == {"wrong_shape": 16}


def test_an_empty_scan_is_refused_and_an_empty_stream_gives_nothing(tiny, spoken):
    assert run([], spoken(), "reference") == []
    assert run([tiny.block(np.zeros(0, int))], spoken(), "reference") == []
    block = tiny.block(range(16))
    none = CountFrames(msgspec.structs.replace(block.header, scan=msgspec.structs.replace(tiny.scan, expected=0)),
                       block.arrays)
    with pytest.raises(FormatError, match="how many will come"):
        run([none], spoken(), "reference")
