"""ADMM: phase retrieval with Gaussian or Poisson counts and total variation, one wave a frame as its state.

With psi = F(P O_j) the state s (a far-field wave a frame, u + Lambda / beta_1 of the papers) goes to
s + prox(2 psi - s) - psi, then the object to the weighted fit of P O_j to F^-1 s, denoised. With the projection in
place of the prox and no denoising this is the difference map.

Chang et al., arXiv 1811.02081 and 1808.05802.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography import overlap
from camlink.compute.ptychography.denoise import TotalVariation
from camlink.compute.ptychography.model import exit_waves, far_field, near_sample, scatter, windows
from camlink.compute.ptychography.prox import DataTerm

Array = NDArray[Any]
DAMPING = 1e-3
PROBE_DAMPING = 0.3


class Admm:
    """Iterates all frames of a scan.

    amplitude (n, y, x) with zero frequency at [0, 0] and negative where there is no value, corners (n, 2) integers,
    probe (y, x) complex with sum |P|^2 = photons, image (H, W) complex. `strength` weighs the total variation of the
    object against the likelihood of the counts.
    """

    def __init__(self, amplitude: Array, corners: Array, probe: Array, image: Array, *,
                 term: DataTerm | None = None, strength: float = 0.0) -> None:
        self.term = term or DataTerm("poisson", 0.25)
        self.probe, self.image = probe, image
        self.iteration = 0
        self._amplitude, self._corners = amplitude, corners
        self._denoise = TotalVariation(strength) if strength > 0 else None
        self._comb = overlap.comb(corners, np.ones(len(corners), probe.real.dtype), image.shape)
        self._state = self._model()

    def iterate(self, *, refine_probe: bool = False) -> None:
        """One iteration of every frame, then the object and, if asked, the probe."""
        model = self._model()
        self._state += self.term.draw(2 * model - self._state, self._amplitude) - model
        fit = near_sample(self._state)
        self._fit_object(fit)
        if refine_probe:
            self._fit_probe(fit)
        self.iteration += 1

    def _model(self) -> Array:
        return far_field(exit_waves(self.probe[None], self.image, self._corners))[:, 0]

    def _fit_object(self, fit: Array) -> None:
        weight = overlap.object_weight(self._comb, self.probe.real**2 + self.probe.imag**2)
        total = scatter(np.conj(self.probe) * fit, self._corners, self.image.shape)
        self.image = overlap.divide(total, weight, self.image, DAMPING)
        if self._denoise is not None:
            self.image = self._denoise.apply(self.image, self.term.stiffness * weight).astype(total.dtype)

    def _fit_probe(self, fit: Array) -> None:
        frame = (self.probe.shape[0], self.probe.shape[1])
        weight = overlap.probe_weight(self._comb, self.image.real**2 + self.image.imag**2, frame)
        total = (np.conj(windows(self.image, self._corners, frame)) * fit).sum(axis=0)
        self.probe = overlap.divide(total, weight, self.probe, PROBE_DAMPING)
