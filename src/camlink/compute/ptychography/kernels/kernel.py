"""Kernel: what the engine asks of a backend; one fused step over all active frames, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from camlink.compute.ptychography.algorithm import Rule
from camlink.compute.ptychography.propagator import Propagator
from camlink.compute.ptychography.slots import Active

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known so far.

    probes (shift, mode, y, x): the probe moved by each of the fractions of a pixel that frames were taken at, [0] is
    the probe itself; image (H, W); background (y, x) [photon], arranged as amplitudes are, or None for none.
    """

    probes: Array
    image: Array
    background: Array | None = None

    @staticmethod
    def plain(probe: Array, image: Array) -> Estimate:
        """Whole pixels and no background; probe (mode, y, x)."""
        return Estimate(probe[None], image)


@dataclass(frozen=True, slots=True)
class Sums:
    """How much the new waves differ from the estimate, summed over frames j with weight w, shift s and window O_j.

    image: sum w P_s* (z - P_s O_j) (H, W), summed over modes too. probes, when asked: sum over the frames of each shift
    of w O_j* (z - P_s O_j) (shift, mode, y, x). Divided by sum w |P|^2 and sum w |O_j|^2 they are the steps to the
    overlap of the waves, and whatever stands in the denominator, they vanish where waves and estimate agree.
    """

    image: Array
    probes: Array | None

    def add(self, other: Sums) -> None:
        """Add the sums of more frames."""
        self.image[...] += other.image
        if self.probes is not None:
            self.probes[...] += other.probes


class Kernel(Protocol):
    """A backend of the engine."""

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    @property
    def space(self) -> Any:
        """The array module in whose memory it works: numpy or cupy."""
        ...

    @property
    def propagator(self) -> Propagator:
        """How waves reach the detector."""
        ...

    @property
    def recordable(self) -> bool:
        """Whether a step is a row of launches that may be recorded and repeated: it waits for nothing."""
        ...

    def arrange(self, amplitude: Array) -> Array:
        """Amplitudes (n, y, x), zero frequency at [0, 0], in the order that `step` wants: a permutation of pixels."""
        ...

    def step(self, active: Active, estimate: Estimate, rule: Rule, *, probe_sum: bool) -> Sums:
        """Advance `active.waves` in place by one iteration of `rule` and give the sums of the new waves.

        With q = P_s O_j the waves z (mode, y, x) of a frame become (1-a-b) z + a q + b D(c q + (1-c) z). D goes to the
        detector and back by the propagator; there all modes are multiplied by m/M, where M = sqrt(sum |F_mode|^2 +
        background) and m is what the data term makes of M and gain x amplitude. Pixels with a negative amplitude are
        left alone.
        """
        ...
