"""Kernel: what the engine asks of a backend; one fused step over all active frames, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from camlink.compute.ptychography.algorithm import Blend
from camlink.compute.ptychography.slots import Active

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sums:
    """Numerators of one step: sum w P* z (H, W) and, when asked, sum w O_j* z (mode, y, x)."""

    image: Array
    probe: Array | None


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
    def recordable(self) -> bool:
        """Whether a step is a row of launches that may be recorded and repeated: it waits for nothing."""
        ...

    def arrange(self, amplitude: Array) -> Array:
        """Amplitudes (n, y, x), zero frequency at [0, 0], in the order that `step` wants: a permutation of pixels."""
        ...

    def step(self, active: Active, probe: Array, image: Array, blend: Blend, *, probe_sum: bool) -> Sums:
        """Advance `active.waves` in place by one iteration of `blend` and give the sums of the new waves.

        `probe` is (mode, y, x), `image` (H, W).
        """
        ...
