"""Measure what a run over sites costs, beside raw figures in the same run."""

from __future__ import annotations

from typing import Any


def measure(case: str) -> dict[str, Any]:
    """Case `curve-tcp`, `lanes`, `relay`, `ssh`, `control` or `dask`; raises InputError where something is missing."""
    from camlink.carry.bench import far
    from camlink.runtime.bench import control, dask, ssh

    ours = {"control": control.measure, "dask": dask.measure, "ssh": ssh.measure}
    return ours[case]() if case in ours else far.measure(case)
