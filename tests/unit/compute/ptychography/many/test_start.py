"""How many ranks a scan gets."""

import pytest

from camlink.compute.ptychography.many import start
from camlink.errors import ParameterError


@pytest.mark.parametrize(("workers", "gpus"), [(1, 0), (1, 4), (0, 0), (0, 1)])
def test_one_process_needs_no_others(monkeypatch, workers, gpus):
    monkeypatch.setattr(start, "gpu_count", lambda: gpus)
    assert start.seats_for(workers, "auto") is None


def test_more_workers_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(start, "gpu_count", lambda: 2)
    with pytest.raises(ParameterError, match="3 workers need as many GPUs"):
        start.seats_for(3, "auto")
