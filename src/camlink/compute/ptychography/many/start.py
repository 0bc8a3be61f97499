"""Start: the ranks that a scan gets, from the number of workers that somebody asked for."""

from __future__ import annotations

from camlink.compute.arrays import gpu_count
from camlink.compute.ptychography.kernels.choice import KernelName
from camlink.compute.ptychography.many.processes import Processes
from camlink.errors import ParameterError


def seats_for(workers: int, kernel: KernelName) -> Processes | None:
    """Processes for so many workers, or None when one process does all; 0 workers are one for every GPU, at least one.

    Raises ParameterError where there are fewer GPUs than workers.
    """
    gpus = gpu_count() if workers != 1 and kernel in ("auto", "cuda") else 0
    if gpus and workers > gpus:
        raise ParameterError(f"{workers} workers need as many GPUs and this process may use {gpus}; ask for fewer "
                             "workers, or for kernel 'compiled' to work on the processor")
    ranks = workers or max(1, gpus)
    return Processes(ranks) if ranks > 1 else None
