"""simulated_dataset: a small scan of the twin with its truth, for comparing algorithms without a beamline."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from camlink.beamline.twin.experiment import Experiment
from camlink.beamline.twin.parameters import TwinParameters
from camlink.block import FrameKind, Scan
from camlink.carry.formats.recorded import span_m
from camlink.compute.ptychography.evaluate.dataset import DataSet, check_room
from camlink.errors import ParameterError

WINDOW_PIXEL_M: Final = 60e-6
"""Detector pixel of the small sets: the window on the sample is as wide as in the default scan, whatever the frame."""


def small_parameters(*, points: int, frame: int, photons: float, seed: int) -> TwinParameters:
    """A scan of points x points frames of frame x frame pixels without dark frames."""
    return TwinParameters(points_y=points, points_x=points, reduced_shape=frame, binning=1, photons=photons, seed=seed,
                          detector_pixel_m=WINDOW_PIXEL_M, dark_frames=0, phantom="mixed")


def simulated_dataset(parameters: TwinParameters) -> DataSet:
    """Photon counts of every exposure as an ideal detector sees them, and the truth.

    Raises ParameterError when the parameters do not fit together, or reduce frames, which an ideal detector does not.
    """
    if parameters.binning != 1 or parameters.double_exposure:
        raise ParameterError("a simulated set has binning 1 and one exposure a point; choose another detector_pixel_m "
                             "in place of binning")
    check_room(parameters.points, (parameters.reduced_shape, parameters.reduced_shape), "twin")
    experiment = Experiment(parameters)
    truth, position_m = experiment.truth(), experiment.corners.position_m
    lit = np.flatnonzero(experiment.columns["kind"] == FrameKind.EXPOSURE)
    counts = np.empty((len(lit), experiment.far.crop, experiment.far.crop), np.float32)
    for place, index in enumerate(lit):
        photons = experiment.photons(int(index))
        assert photons is not None
        counts[place] = photons
    box = span_m(position_m)
    scan: Scan = msgspec.structs.replace(
        experiment.plan("").scan, id="twin", expected=len(lit), points=len(lit), shape=counts.shape[1:], span_m=box)
    corner = np.rint((np.asarray(box[:2]) - truth.origin_m) / truth.object_pixel_m).astype(int)
    return DataSet(name=f"twin, seed {parameters.seed}", scan=scan, counts=counts, position_m=position_m,
                   truth=truth.object, truth_corner=(int(corner[0]), int(corner[1])))
