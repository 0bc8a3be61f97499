"""The displacement sums on a GPU against the array code on the host."""

import numpy as np
import pytest

from camlink.compute.arrays import gpu_trouble, to_host
from camlink.compute.ptychography.refine.positions import _right, gradient
from camlink.compute.ptychography.slots import Active

TROUBLE = gpu_trouble()


@pytest.mark.skipif(bool(TROUBLE), reason=f"no GPU to run the CUDA kernel on: {TROUBLE}")
@pytest.mark.parametrize(("count", "modes", "shifts", "frame"), [(5, 1, 1, (64, 64)), (3, 2, 4, (40, 50)),
                                                                 (0, 1, 1, (32, 32))])
def test_sums_agree_with_the_array_code(count, modes, shifts, frame):
    import cupy

    rng = np.random.default_rng(3)

    def field(*shape):
        return rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]

    probes, image, waves = field(shifts, modes, *frame), field(104, 104), field(count, modes, *frame)
    corners, rows = rng.integers(0, 40, (count, 2)), rng.integers(0, shifts, count)
    found = []
    for space in (np, cupy):
        take = space.asarray
        part = Active(take(np.zeros((count, *frame), np.float32)), take(waves), take(corners),
                      take(np.ones(count, np.float32)), take(np.ones(count, np.float32)), take(rows))
        found.append(to_host(_right(part, take(probes), take(image), gradient(take(image)))))
    assert found[0].shape == found[1].shape == (2, count)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-3 * np.abs(found[0]).max(initial=1e-30))
