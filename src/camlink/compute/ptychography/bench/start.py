"""Measure the way from raw frames to a picture: the time until the error stays below a target."""

from __future__ import annotations

from typing import Any, Final

from camlink.compute.ptychography.bench.record import record
from camlink.compute.ptychography.evaluate.budget import Budget
from camlink.compute.ptychography.evaluate.contest import Outcome, hold
from camlink.compute.ptychography.evaluate.contestant import Contestant, Own
from camlink.compute.ptychography.evaluate.dataset import DataSet
from camlink.compute.ptychography.evaluate.entries import entries
from camlink.compute.ptychography.evaluate.peers.pty_chi import pty_chi_contestants
from camlink.compute.ptychography.kernels.choice import KernelName
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.errors import FormatError

OURS: Final = "default"
OTHERS: Final = ("raar", "dm", "ap")
BUDGET: Final = Budget(iterations=300, seconds=10.0, samples=100)
OF_PEERS: Final = Budget(iterations=40, seconds=40.0, samples=40)


def time_to_error(name: str, dataset: DataSet, *, kernel: KernelName, target: float) -> dict[str, Any]:
    """Seconds from counts in memory to an error of `target`, first guess included, with the default parameters.

    Beside it the single algorithms, and the peers that are installed. Raises FormatError for a set without truth.
    """
    if dataset.truth is None:
        raise FormatError(f"'{dataset.name}' has no truth to measure an error against; give a set with obj, or none "
                          "for a simulated one")
    ours: list[Contestant] = [Own(OURS, SolveParameters(kernel=kernel)), *entries(OTHERS, [kernel], {})]
    peers = [peer for peer in pty_chi_contestants() if not peer.missing]
    outcomes = [standing.outcome for standing in hold(dataset, ours, BUDGET, target)]
    if peers:
        outcomes += [standing.outcome for standing in hold(dataset, peers, OF_PEERS, target)]
    first = outcomes[0]
    beside = {one.name: one.seconds_to_target for one in outcomes[1:] if one.seconds_to_target is not None}
    never = [one.name for one in outcomes if one.seconds_to_target is None]
    note = (f"{dataset.name}: {len(dataset)} frames of {dataset.frame[0]} x {dataset.frame[1]} to an error of "
            f"{target:g}; {_way(first)}" + (f"; not reached by {', '.join(never)}" if never else ""))
    return record(name, first.seconds_to_target or first.seconds, beside, note, unit="s",
                  checked=first.seconds_to_target is not None)


def _way(outcome: Outcome) -> str:
    if outcome.status != "ran":
        return outcome.text
    return (f"{outcome.iterations_to_target or outcome.iterations} iterations after {outcome.setup_s:.2f} s for the "
            f"first guess, {outcome.nrms} at the end")
