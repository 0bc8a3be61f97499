"""The adapters to other packages against the packages themselves, where they are installed."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from camlink.beamline.twin.dataset import simulated_dataset, small_parameters
from camlink.compute.ptychography.evaluate.budget import Budget
from camlink.compute.ptychography.evaluate.judge import fourier_error, truth_score
from camlink.compute.ptychography.evaluate.peers.pty_chi import PACKAGE, PtyChi


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pty_chi_solves_the_same_problem_in_our_conventions():
    if find_spec(PACKAGE) is None:
        pytest.skip("pty-chi is not installed (pip install ptychi)")
    dataset = simulated_dataset(small_parameters(points=8, frame=64, photons=1e6, seed=0))
    (last,) = PtyChi("epie").run(dataset, Budget(40, samples=1))
    error = fourier_error(dataset, last)
    assert error < 0.06  # a beam shifted by half a pixel stays at 0.12
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        assert fourier_error(dataset, replace(last, object=np.roll(last.object, shift, (0, 1)))) > 2 * error
    assert truth_score(dataset, last).nrms < 0.03
    assert (np.abs(last.probe) ** 2).sum() == pytest.approx(1e6, rel=0.7)
