"""A contest on the published Siemens star: no truth, so the halves and the Fourier error have to tell."""

from pathlib import Path

import pytest

from camlink.compute.ptychography.evaluate.budget import Budget
from camlink.compute.ptychography.evaluate.contest import hold
from camlink.compute.ptychography.evaluate.contestant import Own
from camlink.compute.ptychography.evaluate.set_file import open_dataset
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.testing.samples import sample

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_star_is_judged_without_a_truth():
    path = sample("siemens-star-small.npz.bz2")
    dataset = open_dataset(path)
    assert len(dataset) == 516
    assert not dataset.in_metres
    (standing,) = hold(dataset, [Own("raar", SolveParameters())], Budget(40, samples=4), 0.2)
    outcome = standing.outcome
    assert outcome.correlated_with == "halves"
    assert outcome.fourier_error < 0.15
    assert outcome.half_period_nm is None
    assert sum(outcome.correlation[:20]) / 20 > 0.8  # the coarse structure is in both halves
    assert abs(outcome.correlation[-1]) < 0.3  # and nothing at Nyquist
    assert outcome.memory_bytes > 516 * 128 * 128 * 8
    assert [sample.iteration for sample in outcome.curve] == [10, 20, 30, 40]
    assert outcome.seconds_to_target is not None
