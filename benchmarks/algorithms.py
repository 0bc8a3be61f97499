"""Time and passes to given errors for every algorithm: python benchmarks/algorithms.py SET.h5 … [--iterations 60]."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from camlink.compute.ptychography.evaluate import judge
from camlink.compute.ptychography.evaluate.budget import Budget
from camlink.compute.ptychography.evaluate.contest import Sample, time_to
from camlink.compute.ptychography.evaluate.contestant import Contestant
from camlink.compute.ptychography.evaluate.dataset import DataSet
from camlink.compute.ptychography.evaluate.entries import ALGORITHMS, KERNELS, entries
from camlink.compute.ptychography.evaluate.set_file import open_dataset

TARGETS = (0.06, 0.05, 0.04)


def watched(dataset: DataSet, contestant: Contestant, budget: Budget) -> list[Sample]:
    """Error against the truth after every iteration; the first guess is on the clock, making pictures is not."""
    contestant.prepare(dataset)
    found = []
    for snapshot in contestant.run(dataset, budget):
        score = judge.truth_score(dataset, snapshot)
        found.append(Sample(iteration=snapshot.iteration, seconds=snapshot.seconds, fourier_error=None,
                            nrms=score.nrms if score else None))
    return found


def line(name: str, samples: Sequence[Sample]) -> str:
    """One row of the table: seconds and iterations to every target, and the last error."""
    cells = [f"{name:8}"]
    for target in TARGETS:
        reached = time_to(samples, target, with_truth=True)
        cells.append(f"{reached.seconds:6.2f} s {reached.iteration:4d}" if reached else f"{'-':>13}")
    last = samples[-1]
    return "  ".join([*cells, f"{last.nrms if last.nrms is not None else float('nan'):.4f}"])


def main() -> None:
    """Print a table for every set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path, help="HDF5 sets with their truth")
    parser.add_argument("--algorithms", default=",".join(ALGORITHMS), help="names with commas between them")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--kernel", default="auto", choices=KERNELS)
    asked = parser.parse_args()
    for path in asked.sets:
        dataset = open_dataset(path)
        print(f"{path.name}: {len(dataset)} frames of {dataset.frame[0]} x {dataset.frame[1]}")
        print("          " + "  ".join(f"{f'to {target}':>13}" for target in TARGETS) + "  last error")
        for contestant in entries(asked.algorithms.split(","), [asked.kernel], {}):
            budget = Budget(asked.iterations, samples=asked.iterations)
            print(line(contestant.name, watched(dataset, contestant, budget)), flush=True)


if __name__ == "__main__":
    main()
