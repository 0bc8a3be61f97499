"""Reconstruct a scan on several processes or GPUs: `python reconstruct_together.py [FILE]`, also after mpirun."""

import sys
from contextlib import closing

from camlink.beamline.twin.dataset import simulated_dataset, small_parameters
from camlink.compute.ptychography.algorithm import raar
from camlink.compute.ptychography.evaluate.set_file import open_dataset
from camlink.compute.ptychography.many.mpi import join
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.reconstruction import Reconstruction


def main() -> None:
    """Iterate on a scan from a file, or of the twin."""
    seats = join()  # after mpirun the other ranks work in here, until this script ends
    if len(sys.argv) > 1:
        dataset = open_dataset(sys.argv[1])
    else:
        dataset = simulated_dataset(small_parameters(points=12, frame=64, photons=1e6, seed=0))
    with closing(Reconstruction(dataset.scan, SolveParameters(workers=2), seats)) as work:
        work.absorb(dataset.block())
        work.begin()
        for _ in range(40):
            work.advance(raar(0.75))
        facts = work.facts(final=True)
        picture = work.arrays()["object"]
    print(f"{facts['workers']} workers, {facts['active']} frames in {facts['frames_in']}, "
          f"picture {picture.shape}, Fourier error {facts['fourier_error']:.3f}")


if __name__ == "__main__":
    main()
