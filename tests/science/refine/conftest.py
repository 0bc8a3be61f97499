"""A scene with everything known, whose frames may have fractions of a pixel, several modes, background and more."""

from __future__ import annotations

import numpy as np
import pytest

from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.compiled import CompiledKernel
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.metric import score
from camlink.compute.ptychography.model import exit_waves, magnitude
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.propagator import FAR_FIELD
from camlink.compute.ptychography.shift import Shifts
from camlink.compute.ptychography.slots import Slots

MARGIN = 6


class Scene:
    """Truth: probe (mode, y, x), object (H, W) and corners (n, 2), any fraction; everything in single precision."""

    def __init__(self, simulated, propagator=FAR_FIELD):
        self.rng = np.random.default_rng(11)
        self.probe = simulated.probe[None]
        self.truth = np.pad(simulated.truth, MARGIN, constant_values=0.9)
        self.corners = simulated.corners + float(MARGIN)
        self.propagator = propagator
        self.frame = self.probe.shape[-2:]

    def fractional(self):
        """Let the positions be anywhere."""
        self.corners = self.corners + self.rng.uniform(-0.5, 0.5, self.corners.shape)
        return self

    @property
    def power(self):
        return float((np.abs(self.probe) ** 2).sum())

    def amplitude(self, *, background=0.0, factors=None, noise=True):
        """Amplitudes (n, y, x) of frames with background (y, x) [photon] and intensities multiplied by factors (n,)."""
        whole = np.floor(self.corners + 0.5).astype(int)
        probes = Shifts(1, self.frame, self.probe).moved(np.repeat(self.probe[None], len(whole), 0),
                                                         self.corners - whole)
        light = magnitude(self.propagator.forward(exit_waves(probes, self.truth, whole))) ** 2 + background
        if factors is not None:
            light = light * factors[:, None, None]
        return np.sqrt(self.rng.poisson(light) if noise else light).astype(np.float32)

    def engine(self, amplitude, *, corners=None, probe=None, image=None, kernel=None, put=True, **options):
        """An engine that has all frames and starts from the probe (or another one) and an even object."""
        count = len(amplitude)
        probe = self.probe if probe is None else probe
        geometry = Geometry(self.frame, self.truth.shape, (1.0, 1.0), (0.0, 0.0), MARGIN)
        if kernel is None:
            far = self.propagator is FAR_FIELD
            kernel = CompiledKernel(self.frame[0]) if far else ReferenceKernel(8, propagator=self.propagator)
        even = np.full(self.truth.shape, 0.9, np.complex64)
        options = {"constraints": Constraints(None, self.power), **options}
        engine = Engine(geometry, Slots(count, len(probe), self.frame, np.dtype(np.float32)), kernel,
                        probe=probe.astype(np.complex64), image=even if image is None else image, **options)
        if put:
            engine.put(np.arange(count), amplitude, self.corners if corners is None else corners,
                       np.ones(count, np.float32))
        return engine

    def error(self, image):
        """Relative rms error inside the frame centres."""
        low, high = (np.rint(edge).astype(int) + self.frame[0] // 2 for edge in
                     (self.corners.min(axis=0), self.corners.max(axis=0)))
        box = (slice(low[0], high[0]), slice(low[1], high[1]))
        return score(image[box], self.truth[box]).nrms


@pytest.fixture
def scene(simulate_scan):
    """A maker of scenes; arguments go to the simulated scan."""
    def make(propagator=FAR_FIELD, **options):
        return Scene(simulate_scan(**{"size": 48, "side": 8, "step": 4, **options}), propagator)

    return make
