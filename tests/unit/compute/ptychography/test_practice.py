"""Practice leaves nothing to compile to the scan that comes after it."""

import pytest

from camlink.compute.arrays import gpu_trouble
from camlink.compute.ptychography.kernels.compiled import step_of
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.practice import practise
from camlink.errors import ParameterError

SIDE = 32


def test_a_second_practice_compiles_nothing():
    practise(SolveParameters(kernel="compiled"), SIDE)
    before = len(step_of(SIDE).signatures)
    practise(SolveParameters(kernel="compiled", modes=1, workers=3), SIDE)
    assert len(step_of(SIDE).signatures) == before >= 1


@pytest.mark.parametrize("changed", [{"algorithm": "admm", "total_variation": 1.0}, {"algorithm": "rpie"},
                                     {"modes": 2}, {"positions_every": 2, "gains_every": 3, "background_every": 4},
                                     {"regime": "near"}, {"edges": 1e-3, "object_kind": "phase"}])
def test_every_choice_can_be_practised(changed):
    practise(SolveParameters(kernel="auto" if gpu_trouble() else "reference", **changed), SIDE)


def test_what_a_kernel_does_not_take_is_told():
    with pytest.raises(ParameterError, match="kernel 'auto'"):
        practise(SolveParameters(kernel="compiled"), 34)
